//! MLflow that was not there, lost something, or is another: `mlflow sync` and `mlflow verify` against real servers.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use distilsweep_tests::{
    documented::assert_as_documented,
    fleet::Scene,
    mlflow::Mlflow,
    process::{Finished, Process},
    sweep::{Ranking, Trial, four_trials},
    wait::until,
};
use rusqlite::Connection;
use serde_json::json;

/// MLflow waits so long for its database, and then says 503.
const LOCKED: Duration = Duration::from_secs(22);

/// A finished sweep that MLflow was told nothing of, with a failed attempt among its trials.
fn finished(scene: &Scene, name: &str) -> anyhow::Result<Ranking> {
    let file = scene.write("sweep.yaml", &format!("{}description: Of a test.\n", four_trials(name, 40)))?;
    let file = file.to_string_lossy().into_owned();
    let ran = scene.run("distilsweep", &["run", &file, "--workers", "2", "--scripted", "40x1"])?;
    ensure!(ran.code == Some(0), "{ran:?}");
    let shown = scene.run("distilsweep", &["results", "--format", "json"])?;
    Ranking::parse(&shown.out)
}

fn mlflow(scene: &Scene, command: &str, server: &Mlflow) -> anyhow::Result<Finished> {
    scene.run("distilsweep", &["mlflow", command, "--mlflow", &server.url])
}

fn assert_sound(scene: &Scene, server: &Mlflow) -> anyhow::Result<()> {
    let verified = mlflow(scene, "verify", server)?;
    ensure!(verified.code == Some(0), "{verified:?}");
    ensure!(verified.out.contains("5 runs, "), "{verified:?}");
    Ok(())
}

/// The file of this name below a folder of that name, below a directory.
fn found(directory: &Path, folder: &str, name: &str) -> anyhow::Result<PathBuf> {
    let named = |path: &PathBuf| path.ends_with(name) && path.iter().any(|part| part == folder);
    files(directory)?.into_iter().find(named).with_context(|| format!("there is no {name} in {folder}"))
}

#[test]
fn what_mlflow_lost_is_named_and_told_again_and_another_server_gets_everything() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let ranking = finished(&scene, "lost")?;
    let server = Mlflow::start(&scene.path("mlflow"))?;
    let before = mlflow(&scene, "verify", &server)?;
    ensure!(before.code == Some(1) && before.out.contains("wait to be told"), "{before:?}");
    let synced = mlflow(&scene, "sync", &server)?;
    ensure!(synced.code == Some(0), "{synced:?}");
    assert_sound(&scene, &server)?;

    // What people and accidents do.
    let runs = server.runs_by("lost", "best_validation_f1")?;
    let run = |place: usize| runs[place].id();
    server.post("runs/set-tag", &json!({"run_id": run(0), "key": "trial", "value": "77"}))?;
    server.post("runs/delete", &json!({"run_id": run(1)}))?;
    server.post("runs/update", &json!({"run_id": run(2), "status": "RUNNING"}))?;
    fs::remove_file(found(&scene.path("mlflow/artifacts"), run(2), "confusion_matrix.csv")?)?;
    let broken = mlflow(&scene, "verify", &server)?;
    ensure!(broken.code == Some(1), "{broken:?}");
    for said in [
        "tag `trial` is `77`, it should be ",
        "it has no run",
        "its status is RUNNING, it should be FINISHED",
        "confusion_matrix.csv` is missing",
    ] {
        ensure!(broken.out.contains(said), "{said}: {broken:?}");
    }
    let words = ["mlflow", "verify", "--json", "--mlflow", &server.url];
    let told: serde_json::Value = serde_json::from_str(&scene.run("distilsweep", &words)?.out)?;
    assert_as_documented("mlflow verify", &told);
    ensure!(told["sound"] == false && told["differences"][0]["run"].is_string(), "{told:#}");
    let mended = mlflow(&scene, "sync", &server)?;
    ensure!(mended.code == Some(0), "{mended:?}");
    assert_sound(&scene, &server)?;

    // What nobody can take back.
    let foreign = json!({"run_id": run(0), "key": "loss", "value": 0.5, "timestamp": 7, "step": 10});
    server.post("runs/log-metric", &foreign)?;
    let left = mlflow(&scene, "sync", &server)?;
    ensure!(left.code == Some(1) && left.err.contains("1 difference cannot be mended"), "{left:?}");
    let named = mlflow(&scene, "verify", &server)?;
    ensure!(named.out.contains("metric `loss` was never told 0.5 at step 10, time 7"), "{named:?}");
    server.stop()?;

    let other = Mlflow::start(&scene.path("other"))?;
    let synced = mlflow(&scene, "sync", &other)?;
    ensure!(synced.code == Some(0), "{synced:?}");
    assert_sound(&scene, &other)?;
    let there: Vec<Option<f64>> = other
        .runs_by("lost", "best_validation_f1")?
        .iter()
        .filter(|run| run.tag("mlflow.parentRunId").is_some())
        .map(|run| run.metric("best_validation_f1"))
        .collect();
    let here: Vec<Option<f64>> =
        ranking.trials().iter().map(|trial| trial.metric("best_validation_f1")).collect();
    assert_eq!(there, here, "ordered by the metric, the runs are the ranking");

    // For who has MLflow alone.
    let arguments =
        ["results", "--mlflow", &other.url, "--experiment", "lost", "--format", "json", "-o", "out"];
    let shown = scene.run("distilsweep", &arguments)?;
    ensure!(shown.code == Some(0), "{shown:?}");
    let held = Ranking::parse(&shown.out)?;
    let order = |ranking: &Ranking| -> Vec<(u64, Option<u64>, Option<f64>)> {
        let told = |trial: &Trial| (trial.number(), trial.rank(), trial.metric("best_validation_f1"));
        ranking.trials().iter().map(told).collect()
    };
    assert_eq!(order(&held), order(&ranking));
    assert_eq!(held.trials()[0].text("checkpoint"), ranking.trials()[0].text("checkpoint"));
    let report = fs::read_to_string(scene.path("out/report.html"))?;
    ensure!(report.contains("training loss by step"), "curves come from MLflow too");
    other.stop()
}

#[test]
fn runs_of_another_program_are_ranked_too() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let server = Mlflow::start(&scene.path("mlflow"))?;
    let made = server.post("experiments/create", &json!({"name": "trainer"}))?;
    for (rate, score) in [("2e-05", 0.7), ("5e-05", 0.9), ("1e-04", 0.8)] {
        let new = json!({"experiment_id": made["experiment_id"], "start_time": 1000, "run_name": rate});
        let run = server.post("runs/create", &new)?;
        let run = run["run"]["info"]["run_id"].as_str().context("a run")?.to_owned();
        let metrics = json!([{"key": "eval_accuracy", "value": score, "timestamp": 5, "step": 3}]);
        let params = json!([{"key": "learning_rate", "value": rate}, {"key": "output_dir", "value": rate}]);
        server.post("runs/log-batch", &json!({"run_id": run, "metrics": metrics, "params": params}))?;
        server.post("runs/update", &json!({"run_id": run, "status": "FINISHED", "end_time": 9000}))?;
    }
    let ask = |more: &[&str]| {
        let named = ["results", "--mlflow", &server.url, "--experiment", "trainer"];
        scene.run("distilsweep", &[&named[..], more].concat())
    };
    let unnamed = ask(&[])?;
    ensure!(unnamed.code == Some(3) && unnamed.err.contains("there are eval_accuracy"), "{unnamed:?}");
    let shown = ask(&["--metric", "eval_accuracy", "--format", "json"])?;
    let scores: Vec<Option<f64>> =
        Ranking::parse(&shown.out)?.trials().iter().map(|trial| trial.metric("eval_accuracy")).collect();
    assert_eq!(scores, [Some(0.9), Some(0.8), Some(0.7)], "{shown:?}");
    server.stop()
}

#[test]
fn the_environment_s_words_reach_the_runs_and_its_secrets_nothing_else() -> anyhow::Result<()> {
    const SECRET: &str = "pass-for-the-server-alone";
    let scene = Scene::new()?;
    let server = Mlflow::start(&scene.path("mlflow"))?;
    // The environment comes before the file, of which it lacks the rest.
    let more = "tags: [smoke]\nresources: {workers: 1}\ntracking: http://127.0.0.1:9\n";
    let file = scene.write("sweep.yaml", &(four_trials("words", 100) + more))?;
    let mut command = scene.command("distilsweep", &["run", &file.to_string_lossy()])?;
    command
        .args(["--scripted", "100x20"])
        .env("MLFLOW_TRACKING_URI", &server.url)
        .env("MLFLOW_TRACKING_USERNAME", "ada")
        .env("MLFLOW_TRACKING_PASSWORD", SECRET)
        .env("MLFLOW_EXPERIMENT_NAME", "of-the-environment")
        .env("MLFLOW_RUN_CONTEXT", r#"{"team": "nlp"}"#)
        .env("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.25");
    let mut run = Process::start("run", command, &scene.path("logs"))?;
    let environment =
        until("a worker's environment", Duration::from_secs(60), || worker_environment(&scene))?;
    ensure!(
        environment.contains("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"),
        "it is a worker's: {environment}"
    );
    ensure!(!environment.contains(SECRET), "a worker's environment: {environment}");
    let ran = run.wait(Duration::from_secs(120))?;
    ensure!(ran.code == Some(0) && !ran.err.contains(SECRET), "{ran:?}");
    for file in files(&scene.path(".distilsweep"))? {
        let bytes = fs::read(&file)?;
        let leaked = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        ensure!(!leaked, "the secret is in {}", file.display());
    }

    let runs = server.runs_by("of-the-environment", "best_validation_f1")?;
    assert_eq!(runs.len(), 5);
    for run in &runs {
        assert_eq!((run.tag("team"), run.tag("mlflow.user")), (Some("nlp"), Some("ada")));
        assert_eq!(run.tag("smoke"), Some("true"));
    }
    let steps: Vec<i64> = server
        .history(runs[0].id(), "system/system_memory_usage_percentage")?
        .iter()
        .map(|(step, _)| *step)
        .collect();
    ensure!(steps.len() > 2, "samples of two seconds: {steps:?}");
    assert_eq!(steps, (0..steps.len() as i64).collect::<Vec<_>>());
    server.stop()
}

/// The environment of a worker in the scene, once there is one.
fn worker_environment(scene: &Scene) -> anyhow::Result<Option<String>> {
    let here = scene.path("").canonicalize()?;
    for entry in fs::read_dir("/proc")? {
        let process = entry?.path();
        let ours = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&here));
        let worker = fs::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("distilsweep-worker"));
        if ours && worker {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            if !environment.is_empty() {
                return Ok(Some(String::from_utf8_lossy(&environment).replace('\0', "\n")));
            }
        }
    }
    Ok(None)
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}

#[test]
fn a_database_locked_for_longer_than_mlflow_waits_costs_time_alone() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    finished(&scene, "locked")?;
    let server = Mlflow::start(&scene.path("mlflow"))?;
    let lock = Connection::open(scene.path("mlflow/mlflow.db"))?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    let mut sync = scene.start("distilsweep", &["mlflow", "sync", "--mlflow", &server.url])?;
    std::thread::sleep(LOCKED);
    ensure!(sync.is_running()?, "it waits for the lock: {}", sync.err());
    lock.execute_batch("COMMIT")?;
    let synced = sync.wait(Duration::from_secs(120)).context("the sync after the lock")?;
    ensure!(synced.code == Some(0), "{synced:?}");
    ensure!(synced.err.contains("TEMPORARILY_UNAVAILABLE"), "MLflow gave up on the lock: {synced:?}");
    assert_sound(&scene, &server)?;
    server.stop()
}
