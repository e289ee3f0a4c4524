//! Trials that end early: rungs, promotions and what is kept of whatever does not go on.

use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::{Mlflow, free_port},
    sweep::{Ranking, Trial, four_trials, sixteen_trials},
    wait::until,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
/// Eight epochs of five steps.
const SCRIPT: [&str; 2] = ["--scripted", "40x5,evaluations=8"];
/// Rungs after epochs 1, 2 and 4.
const ASHA: &str = "early_terminate: {type: asha, min_epochs: 1, eta: 2}\n";

fn completed(ranking: &Ranking) -> bool {
    ranking.state() == "completed"
}

/// What the sweep is without early ends, trained on a coordinator of its own.
fn undisturbed(file: &str, workers: &[&str]) -> anyhow::Result<Ranking> {
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let file = scene.write("whole.yaml", file)?;
    coordinator.submit(&scene, &file)?;
    let _worker = worker(&scene, &coordinator.url, workers)?;
    coordinator.ranking_when(&scene, "the whole sweep", completed)
}

/// The trials that came to their end have the results that they have in the whole sweep.
fn same_results(whole: &Ranking, ranking: &Ranking) {
    let whole = whole.metrics();
    for trial in ranking.trials().iter().filter(|trial| trial.state() == "completed") {
        let number = trial.number();
        let (_, expected) = whole.iter().find(|(other, _)| *other == number).expect("the same points");
        let (_, found) = ranking.metrics().into_iter().find(|(other, _)| *other == number).expect("itself");
        assert_eq!(found, *expected, "trial {number}");
    }
}

fn events(scene: &Scene, coordinator: &Coordinator) -> anyhow::Result<Vec<String>> {
    let done = scene.run("distilsweep", &["sweep", "events", "grid", "--coordinator", &coordinator.url])?;
    assert_eq!(done.code, Some(0), "{done:?}");
    Ok(done.out.lines().map(ToOwned::to_owned).collect())
}

#[test]
fn asha_finds_the_best_of_a_grid_for_a_part_of_its_steps_though_its_coordinator_is_killed()
-> anyhow::Result<()> {
    let whole = undisturbed(&sixteen_trials("grid", 40), &SCRIPT)?;
    let scene = Scene::new()?;
    let listen = format!("127.0.0.1:{}", free_port()?);
    let mut coordinator = Coordinator::start(&scene, &listen, &["--lease-timeout", "5"])?;
    let file = scene.write("grid.yaml", &format!("{}{ASHA}", sixteen_trials("grid", 40)))?;
    coordinator.submit(&scene, &file)?;
    let _workers = [worker(&scene, &coordinator.url, &SCRIPT)?, worker(&scene, &coordinator.url, &SCRIPT)?];
    until("a promotion", PATIENCE, || {
        Ok(events(&scene, &coordinator)?.iter().any(|line| line.contains("promoted")).then_some(()))
    })?;
    coordinator.process.kill()?;
    coordinator = Coordinator::start(&scene, &listen, &["--lease-timeout", "5"])?;
    let ranking = coordinator.ranking_when(&scene, "the sweep with its early ends", completed)?;

    let of = |state: &str| ranking.trials().into_iter().filter(|trial| trial.state() == state).collect();
    let (done, ended): (Vec<Trial>, Vec<Trial>) = (of("completed"), of("early_stopped"));
    assert_eq!(done.len() + ended.len(), 16, "one end a point");
    assert!((1..8).contains(&done.len()), "{} came to their end", done.len());
    assert_eq!(ranking.trials()[0].number(), whole.trials()[0].number(), "the best of all is found");
    same_results(&whole, &ranking);
    for trial in &ended {
        assert_eq!(trial.rank(), None, "it is not ranked: {trial:?}");
        assert!(trial.metric("eval_f1_score").is_some() && trial.metric("test_loss").is_none(), "{trial:?}");
    }

    let events = events(&scene, &coordinator)?;
    let count = |event: &str| events.iter().filter(|line| line.contains(&format!(" {event} "))).count();
    assert!(count("paused") >= 16, "each trial comes to the first rung: {events:#?}");
    assert_eq!(count("early_stopped"), ended.len());
    let ranked = ["results", "grid", "--early-stopped", "--json", "--coordinator", &coordinator.url];
    let asked = Ranking::parse(&scene.run("distilsweep", &ranked)?.out)?;
    assert!(asked.trials().iter().all(|trial| trial.rank().is_some()), "ranked where asked: {asked:?}");
    Ok(())
}

#[test]
fn hyperband_stops_trials_under_way_and_a_stopped_one_can_be_trained_to_its_end() -> anyhow::Result<()> {
    let whole = undisturbed(&sixteen_trials("grid", 40), &SCRIPT)?;
    let scene = Scene::new()?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[])?;
    let rule = "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n";
    let file = scene.write("grid.yaml", &format!("{}{rule}", sixteen_trials("grid", 40)))?;
    coordinator.submit(&scene, &file)?;
    let _worker = worker(&scene, &coordinator.url, &["--scripted", "40x20,evaluations=8"])?;
    let ranking = coordinator.ranking_when(&scene, "the sweep with its early ends", completed)?;
    let stopped = ranking.trials().into_iter().find(|trial| trial.state() == "early_stopped");
    let stopped = stopped.expect("one of sixteen is worse than half of those before it").number();
    same_results(&whole, &ranking);

    let number = stopped.to_string();
    let order = ["trial", "retry", "grid", &number, "--coordinator", &coordinator.url];
    let done = scene.run("distilsweep", &order)?;
    assert_eq!(done.code, Some(0), "{done:?}");
    let ranking = coordinator.ranking_when(&scene, "the trial's end", |ranking| {
        let state = |trial: &Trial| trial.number() == stopped && trial.state() == "completed";
        completed(ranking) && ranking.trials().iter().any(state)
    })?;
    same_results(&whole, &ranking);
    Ok(())
}

#[test]
fn a_real_training_goes_on_from_its_rung_to_the_result_that_it_has_without_one() -> anyhow::Result<()> {
    let epochs =
        |name: &str| four_trials(name, 1).replace("max_steps: {value: 1}", "num_train_epochs: {value: 2}");
    let whole = undisturbed(&epochs("grid"), &[])?;
    let scene = Scene::new()?;
    let mlflow = Mlflow::start(&scene.path("mlflow"))?;
    let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &["--mlflow", &mlflow.url])?;
    let file = scene.write("grid.yaml", &format!("{}{ASHA}", epochs("grid")))?;
    coordinator.submit(&scene, &file)?;
    let _worker = worker(&scene, &coordinator.url, &[])?;
    let ranking = coordinator.ranking_when(&scene, "a sweep that MLflow was told all about", |ranking| {
        completed(ranking) && ranking.messages_waiting() == Some(0)
    })?;
    let done: Vec<Trial> =
        ranking.trials().into_iter().filter(|trial| trial.state() == "completed").collect();
    assert_eq!(done.len(), 2, "half of four go on: {ranking:?}");
    assert!(done.iter().all(|trial| trial.attempts() == 2), "from where they paused: {done:?}");
    same_results(&whole, &ranking);
    let runs = mlflow.runs_by("grid", "best_validation_f1")?;
    let killed = runs.iter().filter(|run| run.status() == "KILLED").count();
    assert_eq!(killed, 2, "{runs:?}");
    mlflow.stop()
}
