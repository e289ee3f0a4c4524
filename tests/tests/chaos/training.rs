//! Single faults while real trials train: each test first runs the sweep undisturbed, then shows that the fault fired, and
//! that the results are the same.

use std::time::Duration;

use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::{Mlflow, free_port},
    process::Process,
    sweep::{Ranking, Trial, four_trials},
    wait::until,
};

/// Steps of a trial: enough to be struck in the middle.
const STEPS: u64 = 1500;
const LEASE: &[&str] = &["--lease-timeout", "4"];

fn complete(ranking: &Ranking) -> bool {
    ranking.state() == "completed"
}

/// The sweep without any fault, by one worker.
fn undisturbed() -> anyhow::Result<Ranking> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", LEASE)?;
    let _worker = worker(&scene, &coordinator.url, &[])?;
    let file = scene.write("grid.yaml", &four_trials("grid", STEPS))?;
    coordinator.submit(&scene, &file)?;
    coordinator.ranking_when(&scene, "an undisturbed sweep", complete)
}

fn assert_whole(ranking: &Ranking, baseline: &Ranking) {
    let trials = ranking.trials();
    assert_eq!(trials.len(), 4, "{trials:?}");
    assert!(trials.iter().all(|trial| trial.state() == "completed"), "{trials:?}");
    assert_eq!(ranking.metrics(), baseline.metrics(), "a fault changes no result");
}

/// Waits until every worker trains something.
fn all_busy(coordinator: &Coordinator, scene: &Scene, workers: usize) -> anyhow::Result<()> {
    let running = |ranking: &Ranking| ranking.trials().iter().filter(|t| t.state() == "running").count();
    coordinator.ranking_when(scene, "trials under way", |ranking| running(ranking) == workers).map(|_| ())
}

#[test]
fn a_killed_worker_costs_its_trial_an_attempt_and_the_sweep_nothing() -> anyhow::Result<()> {
    let baseline = undisturbed()?;
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", LEASE)?;
    let mut doomed = worker(&scene, &coordinator.url, &[])?;
    let _other = worker(&scene, &coordinator.url, &[])?;
    let file = scene.write("grid.yaml", &four_trials("grid", STEPS))?;
    coordinator.submit(&scene, &file)?;
    all_busy(&coordinator, &scene, 2)?;
    doomed.kill()?;

    let ranking = coordinator.ranking_when(&scene, "the sweep in spite of a lost worker", complete)?;
    assert_whole(&ranking, &baseline);
    let attempts: u64 = ranking.trials().iter().map(Trial::attempts).sum();
    assert_eq!(attempts, 5, "the lost trial was tried twice: {ranking:?}");
    Ok(())
}

#[test]
fn a_killed_coordinator_goes_on_with_its_workers_and_tells_mlflow_everything_once() -> anyhow::Result<()> {
    let baseline = undisturbed()?;
    let scene = Scene::new()?;
    let mlflow = Mlflow::start(&scene.path("mlflow"))?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let extra = [LEASE, &["--mlflow", &mlflow.url]].concat();
    let mut coordinator = Coordinator::start(&scene, &listen, &extra)?;
    let mut workers = [worker(&scene, &coordinator.url, &[])?, worker(&scene, &coordinator.url, &[])?];
    let file = scene.write("grid.yaml", &four_trials("grid", STEPS))?;
    coordinator.submit(&scene, &file)?;
    all_busy(&coordinator, &scene, 2)?;
    coordinator.process.kill()?;
    drop(coordinator);

    let coordinator = Coordinator::start(&scene, &listen, &extra)?;
    let ranking =
        coordinator.ranking_when(&scene, "the sweep in spite of a lost coordinator", |ranking| {
            complete(ranking) && ranking.messages_waiting() == Some(0)
        })?;
    assert_whole(&ranking, &baseline);
    // A lost connection is not a lost trial: nobody had to begin again.
    assert!(ranking.trials().iter().all(|trial| trial.attempts() == 1), "{ranking:?}");
    for process in &mut workers {
        assert!(process.is_running()?, "workers outlive their coordinator");
    }
    for trial in ranking.trials() {
        let steps: Vec<i64> = mlflow.history(trial.text("mlflow_run"), "loss")?.iter().map(|p| p.0).collect();
        assert_eq!(steps, (10..=STEPS as i64).step_by(10).collect::<Vec<i64>>(), "each point once");
    }
    mlflow.stop()
}

#[test]
fn mlflow_that_is_away_is_told_everything_when_it_is_back() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let port = free_port()?;
    let url = format!("http://127.0.0.1:{port}");
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &["--mlflow", &url])?;
    let _worker: Process = worker(&scene, &coordinator.url, &[])?;
    let file = scene.write("grid.yaml", &four_trials("grid", 50))?;
    coordinator.submit(&scene, &file)?;
    let ranking = coordinator.ranking_when(&scene, "a sweep without MLflow", complete)?;
    assert!(ranking.messages_waiting() > Some(0), "MLflow was away: {ranking:?}");

    let mlflow = Mlflow::start_at(&scene.path("mlflow"), port)?;
    let told = |ranking: &Ranking| ranking.messages_waiting() == Some(0);
    let ranking = coordinator.ranking_when(&scene, "an MLflow that knows", told)?;
    let runs = until("four finished runs", Duration::from_secs(60), || {
        let runs = mlflow.runs_by("grid", "best_validation_f1")?;
        Ok((runs.len() == 5 && runs.iter().all(|run| run.status() == "FINISHED")).then_some(runs))
    })?;
    let there: Vec<Option<f64>> = runs.iter().take(4).map(|run| run.metric("best_validation_f1")).collect();
    let here: Vec<Option<f64>> =
        ranking.trials().iter().map(|trial| trial.metric("best_validation_f1")).collect();
    assert_eq!(there, here);
    mlflow.stop()
}
