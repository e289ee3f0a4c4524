//! The main job for real: a coordinator, two workers that train through libtorch, and MLflow, all processes.

use std::{path::Path, time::Duration};

use anyhow::Context;
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::Mlflow,
    sweep::{Ranking, Trial, fixture, four_trials},
    wait::until,
};

#[test]
fn a_grid_is_trained_by_two_workers_and_ranked_alike_here_and_in_mlflow() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let mlflow = Mlflow::start(&scene.path("mlflow"))?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &["--mlflow", &mlflow.url])?;
    // Both are there before there is work, so that both get some.
    let workers = [worker(&scene, &coordinator.url, &[])?, worker(&scene, &coordinator.url, &[])?];
    let file = scene.write("grid.yaml", &four_trials("grid", 200))?;
    coordinator.submit(&scene, &file)?;
    let ranking =
        coordinator.ranking_when(&scene, "a complete sweep that MLflow was told all about", |ranking| {
            ranking.state() == "completed" && ranking.messages_waiting() == Some(0)
        })?;
    drop(workers);

    let trials = ranking.trials();
    let mut points: Vec<u64> = trials.iter().map(Trial::number).collect();
    points.sort_unstable();
    assert_eq!(points, [0, 1, 2, 3], "one result a point");
    assert!(trials.iter().all(|trial| trial.state() == "completed" && trial.attempts() == 1), "{trials:?}");
    let mut by = trials.iter().map(|trial| trial.text("worker")).collect::<Vec<_>>();
    by.sort_unstable();
    by.dedup();
    assert_eq!(by.len(), 2, "both workers trained: {by:?}");
    assert!(trials[0].metric("best_validation_f1") > trials[3].metric("best_validation_f1"), "{trials:?}");

    same_ranking(&mlflow, &ranking)?;
    for trial in &trials {
        saved_model_predicts_as_recorded(&scene, trial)?;
    }
    mlflow.stop()
}

/// MLflow orders the trials' runs as the ranking does, and holds their curves and final metrics to the last bit.
fn same_ranking(mlflow: &Mlflow, ranking: &Ranking) -> anyhow::Result<()> {
    let runs = mlflow.runs_by("grid", "best_validation_f1")?;
    let (parents, children): (Vec<_>, Vec<_>) =
        runs.iter().partition(|run| run.tag("mlflow.parentRunId").is_none());
    assert_eq!(parents.len(), 1, "one parent run: {runs:?}");
    assert_eq!(children.len(), 4, "a nested run a trial: {runs:?}");
    let values = |metric: &str| -> (Vec<Option<f64>>, Vec<Option<f64>>) {
        (
            children.iter().map(|run| run.metric(metric)).collect(),
            ranking.trials().iter().map(|trial| trial.metric(metric)).collect(),
        )
    };
    let (there, here) = values("best_validation_f1");
    assert_eq!(there, here, "the same order");
    for trial in ranking.trials() {
        let run =
            children.iter().find(|run| run.id() == trial.text("mlflow_run")).context("the trial's run")?;
        assert_eq!(run.status(), "FINISHED");
        assert_eq!(run.tag("mlflow.parentRunId"), Some(parents[0].id()));
        assert_eq!(run.metric("test_f1_score"), trial.metric("test_f1_score"));
        assert!(run.param("learning_rate").is_some() && run.param("seed").is_some());
        let tagged = run.tag("best_checkpoint_path").context("the tag best_checkpoint_path")?;
        assert!(tagged.ends_with(trial.text("checkpoint")), "{tagged}: {trial:?}");
        let steps: Vec<i64> = mlflow.history(run.id(), "loss")?.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, (10..=200).step_by(10).collect::<Vec<i64>>(), "the loss curve, each point once");
    }
    Ok(())
}

/// Loads a published model and evaluates it: with a learning rate of zero one step changes nothing. The loss is that of
/// every row's scores, so where it is the same to the last digits, so are the labels.
fn saved_model_predicts_as_recorded(scene: &Scene, trial: &Trial) -> anyhow::Result<()> {
    let fixture = fixture();
    let (train, validation) = (fixture.join("train.csv"), fixture.join("validation.csv"));
    let output = scene.path(&format!("again-{}", trial.number()));
    let evaluated = scene.run(
        "distilsweep-worker",
        &[
            "train",
            "--model",
            &model_files(Path::new(trial.text("checkpoint")))?,
            "--train",
            &train.to_string_lossy(),
            "--validation",
            &validation.to_string_lossy(),
            "--test",
            &validation.to_string_lossy(),
            "--params",
            r#"{"learning_rate": 0, "max_steps": 1, "per_device_train_batch_size": 4}"#,
            "--dropout",
            "0",
            "--threads",
            "1",
            "--output",
            &output.to_string_lossy(),
        ],
    )?;
    assert_eq!(evaluated.code, Some(0), "{evaluated:?}");
    let result: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(output.join("result.json"))?)?;
    for metric in ["best_validation_f1", "test_loss", "test_accuracy", "test_f1_score", "test_f1_macro"] {
        let recorded = trial.metric(metric).with_context(|| format!("{metric} of {trial:?}"))?;
        let again = result["metrics"][metric].as_f64().context(metric)?;
        assert!(
            (recorded - again).abs() <= 1e-6 * recorded.abs(),
            "{metric}: {recorded} when trained, {again} loaded"
        );
    }
    Ok(())
}

/// Where below a published directory the model's files are.
fn model_files(directory: &Path) -> anyhow::Result<String> {
    let candidates = [directory.to_owned(), directory.join("model")];
    let found = candidates.iter().find(|candidate| candidate.join("model.safetensors").is_file());
    Ok(found
        .with_context(|| format!("{} holds no model", directory.display()))?
        .to_string_lossy()
        .into_owned())
}

#[test]
fn the_best_trial_is_trained_again_as_a_sweep_of_its_own_with_the_same_numbers() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let _worker = worker(&scene, &coordinator.url, &[])?;
    let file = scene.write("grid.yaml", &four_trials("grid", 60))?;
    coordinator.submit(&scene, &file)?;
    let all = coordinator.ranking_when(&scene, "a complete sweep", |all| all.state() == "completed")?;

    let printed = scene.run("distilsweep", &["results", "--best", "--coordinator", &coordinator.url])?;
    assert_eq!(printed.code, Some(0), "{printed:?}");
    let file = scene.write("best.yaml", &printed.out)?;
    coordinator.submit(&scene, &file)?;
    let again = coordinator.ranking_when(&scene, "another complete sweep", |again| {
        again.sweep() != all.sweep() && again.state() == "completed"
    })?;
    let (best, trials) = (&all.trials()[0], again.trials());
    assert_eq!(trials.len(), 1);
    for metric in ["best_validation_f1", "test_loss", "test_f1_score"] {
        assert!(best.metric(metric).is_some());
        assert_eq!(trials[0].metric(metric), best.metric(metric), "{metric}");
    }

    // The same trial in full, and both sweeps beside each other.
    let results = |arguments: &[&str]| -> anyhow::Result<serde_json::Value> {
        let fixed = ["results", "--json", "--coordinator", &coordinator.url];
        let printed = scene.run("distilsweep", &[&fixed, arguments].concat())?;
        anyhow::ensure!(printed.code == Some(0), "{printed:?}");
        Ok(serde_json::from_str(&printed.out)?)
    };
    let (number, sweep) = (best.number().to_string(), all.sweep());
    let [first, second] =
        [results(&[sweep, "--trial", &number])?, results(&[&format!("{}/0", again.sweep())])?];
    for key in ["metrics", "errors", "splits", "mistakes", "curves", "classes"] {
        assert!(!first[key].is_null() && first[key] == second[key], "{key}: {first} {second}");
    }
    check_mistakes(&first).with_context(|| first.to_string())?;
    let both = results(&[sweep, again.sweep()])?;
    assert_eq!(both["sweeps"][1]["better"], "not_to_be_told_apart", "{both}");
    assert_eq!(both["differences"][0]["name"], "learning_rate", "{both}");
    Ok(())
}

/// The confusion matrix of the test split makes the accuracy, and its wrong rows are those that are shown.
fn check_mistakes(trial: &serde_json::Value) -> anyhow::Result<()> {
    let splits = trial["splits"].as_array().context("splits")?;
    let test = splits.iter().find(|split| split["name"] == "test").context("a test split")?;
    let counts: Vec<Vec<u64>> = serde_json::from_value(test["confusion"].clone())?;
    let rows: u64 = counts.iter().flatten().sum();
    let right: u64 = counts.iter().enumerate().map(|(class, row)| row[class]).sum();
    assert_eq!(trial["metrics"]["test_accuracy"], right as f64 / rows as f64);
    let mistakes = trial["mistakes"].as_array().context("mistakes")?;
    assert_eq!(mistakes.len() as u64, (rows - right).min(10));
    for mistake in mistakes {
        assert!(mistake["truth"] != mistake["taken"]);
        assert!(mistake["text"].as_str().is_some_and(|text| !text.is_empty()));
    }
    let sure: Vec<f64> = mistakes.iter().filter_map(|mistake| mistake["probability"].as_f64()).collect();
    assert!(sure.is_sorted_by(|a, b| a >= b), "{sure:?}");
    Ok(())
}

#[test]
fn an_interrupted_run_goes_on_with_the_same_command() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    scene.write("grid.yaml", &four_trials("grid", 1500))?;
    let command =
        ["run", "grid.yaml", "--state", "state", "--workers", "1", "--threads", "1", "--device", "cpu"];
    let mut first = scene.start("distilsweep", &command)?;
    let finished_one = || {
        let printed = scene.run("distilsweep", &["results", "--format", "json", "--state", "state"])?;
        if printed.code != Some(0) {
            return Ok(None);
        }
        let done = Ranking::parse(&printed.out)?.trials().iter().filter(|t| t.state() == "completed").count();
        Ok((done >= 1).then_some(done))
    };
    let before = until("a first result", Duration::from_secs(120), finished_one)?;
    assert!(before < 4, "the interruption must come in the middle");
    first.signal(rustix::process::Signal::INT)?;
    let interrupted = first.wait(Duration::from_secs(60))?;
    assert_eq!(interrupted.code, Some(130), "{interrupted:?}");

    let mut second = scene.start("distilsweep", &command)?;
    let finished = second.wait(Duration::from_secs(240))?;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.err.contains("going on with sweep"), "{finished:?}");
    let printed = scene.run("distilsweep", &["results", "--format", "json", "--state", "state"])?;
    let ranking = Ranking::parse(&printed.out)?;
    assert_eq!(ranking.state(), "completed");
    assert_eq!(ranking.trials().len(), 4);
    assert!(ranking.trials().iter().all(|trial| trial.state() == "completed"), "{ranking:?}");

    let again = scene.run("distilsweep", &command)?;
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(again.err.contains("--new starts another"), "a finished sweep is shown, not trained: {again:?}");
    Ok(())
}
