//! What people order while a sweep runs, by the command line, against real processes that follow a script.

use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::free_port,
    process::Finished,
    sweep::{Ranking, four_trials},
    wait::until,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

struct Stage {
    scene: Scene,
    coordinator: Coordinator,
    listen: String,
}

impl Stage {
    /// A coordinator with a sweep `grid` of four points.
    fn set() -> anyhow::Result<Self> {
        let scene = Scene::new()?;
        let listen = format!("127.0.0.1:{}", free_port()?);
        let coordinator =
            Coordinator::start(&scene, &listen, &["--hang-timeout", "1", "--lease-timeout", "5"])?;
        let file = scene.write("grid.yaml", &four_trials("grid", 20))?;
        coordinator.submit(&scene, &file)?;
        Ok(Self { scene, coordinator, listen })
    }

    fn try_order(&self, words: &[&str]) -> anyhow::Result<Finished> {
        let words = [words, &["--coordinator", &self.coordinator.url]].concat();
        self.scene.run("distilsweep", &words)
    }

    /// What an order that is followed prints, without the sweep's id.
    fn order(&self, words: &[&str]) -> anyhow::Result<String> {
        let done = self.try_order(words)?;
        anyhow::ensure!(done.code == Some(0), "{words:?}: {done:?}");
        let ranking = self.coordinator.ranking(&self.scene)?;
        Ok(done.out.trim().replace(ranking.sweep(), "SWEEP"))
    }

    fn worker(&self, script: &str) -> anyhow::Result<distilsweep_tests::process::Process> {
        worker(&self.scene, &self.coordinator.url, &["--scripted", script, "--grace", "5"])
    }

    fn ranking_when(&self, what: &str, wanted: impl Fn(&Ranking) -> bool) -> anyhow::Result<Ranking> {
        self.coordinator.ranking_when(&self.scene, what, wanted)
    }

    fn states(&self) -> anyhow::Result<Vec<String>> {
        let mut trials = self.coordinator.ranking(&self.scene)?.trials();
        trials.sort_by_key(|trial| trial.number());
        Ok(trials.iter().map(|trial| trial.state().to_owned()).collect())
    }
}

fn completed(ranking: &Ranking) -> bool {
    ranking.state() == "completed"
}

#[test]
fn orders_survive_a_coordinator_that_is_killed_right_after_them() -> anyhow::Result<()> {
    let mut stage = Stage::set()?;
    assert_eq!(
        stage.order(&["sweep", "pause", "grid"])?,
        "sweep SWEEP is paused: 0 trials under way go on to their end"
    );
    assert_eq!(
        stage.order(&["sweep", "extend", "grid", "seed=3"])?,
        "sweep SWEEP has 2 points more, 6 in all"
    );
    assert_eq!(stage.order(&["trial", "stop", "grid", "1"])?, "trial 1 of sweep SWEEP is stopped");
    assert_eq!(stage.order(&["sweep", "priority", "grid", "5"])?, "sweep SWEEP has priority 5");
    stage.coordinator.process.kill()?;
    stage.coordinator = Coordinator::start(&stage.scene, &stage.listen, &[])?;

    assert_eq!(stage.order(&["sweep", "pause", "grid"])?, "sweep SWEEP is paused already");
    assert_eq!(
        stage.order(&["sweep", "extend", "grid", "seed=3"])?,
        "sweep SWEEP has these values already: 6 points"
    );
    assert_eq!(stage.order(&["trial", "stop", "grid", "1"])?, "trial 1 of sweep SWEEP has ended already");
    let _worker = stage.worker("20x1")?;
    assert_eq!(stage.order(&["sweep", "resume", "grid"])?, "sweep SWEEP goes on");
    stage.ranking_when("an extended sweep", completed)?;
    assert_eq!(
        stage.states()?,
        ["completed", "cancelled", "completed", "completed", "completed", "completed"]
    );
    let events = stage.order(&["sweep", "events", "grid"])?;
    let told: Vec<&str> = events.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(told[..3], ["submitted", "paused", "extended"], "{events}");
    assert_eq!(told.iter().filter(|event| **event == "extended").count(), 1, "twice is once: {events}");
    assert!(events.contains(" by "), "who did it: {events}");
    Ok(())
}

#[test]
fn trials_that_failed_get_another_chance_after_the_worker_at_fault_was_drained() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let mut bad = stage.worker("20x1,fail=100")?;
    stage.ranking_when("a sweep on a bad worker alone", completed)?;
    assert_eq!(stage.states()?, ["failed"; 4]);
    let listed = stage.order(&["worker", "list"])?;
    assert!(listed.contains("quarantined") && listed.contains("3 different trials failed"), "{listed}");
    let name = listed.lines().nth(1).and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    assert_eq!(
        stage.order(&["worker", "drain", name])?,
        format!("worker {name} hands its trials back and ends")
    );
    assert_eq!(bad.wait(PATIENCE)?.code, Some(0));

    let none = stage.order(&["sweep", "retry", "grid", "--diverged"])?;
    assert_eq!(none, "sweep SWEEP: no such trial has ended without a result");
    let wrong = stage.try_order(&["sweep", "retry", "grid", "--where", "learning_rte>1"])?;
    assert_eq!(wrong.code, Some(3), "{wrong:?}");
    assert!(wrong.err.contains("did you mean `learning_rate`?"), "{wrong:?}");
    let _good = stage.worker("20x1")?;
    let some = stage.order(&["sweep", "retry", "grid", "--failed", "--where", "learning_rate>1e-4"])?;
    assert_eq!(some, "sweep SWEEP: 2 trials are tried again");
    stage.ranking_when("half of a sweep", completed)?;
    assert_eq!(stage.states()?, ["completed", "completed", "failed", "failed"]);
    assert_eq!(stage.order(&["trial", "retry", "grid", "2"])?, "sweep SWEEP: 1 trial is tried again");
    stage.ranking_when("one more", |ranking| {
        completed(ranking)
            && ranking.trials().iter().filter(|trial| trial.state() == "completed").count() == 3
    })?;
    Ok(())
}

#[test]
fn a_bad_worker_beside_a_good_one_is_set_aside_and_costs_the_sweep_nothing() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let file =
        stage.scene.write("more.yaml", &four_trials("more", 20).replace("[1, 2]", "[1, 2, 3, 4, 5]"))?;
    stage.coordinator.submit(&stage.scene, &file)?;
    let _bad = stage.worker("20x1,fail=100")?;
    until("a bad worker that is set aside", PATIENCE, || {
        Ok(stage.order(&["worker", "list"])?.contains("quarantined").then_some(()))
    })?;
    let _good = stage.worker("20x10")?;
    stage.ranking_when("a sweep in spite of a bad worker", completed)?;
    let listed = stage.order(&["worker", "list"])?;
    assert!(listed.contains("quarantined") && listed.contains("connected"), "{listed}");
    Ok(())
}

#[test]
fn a_training_that_hangs_is_given_to_another_process_and_its_own_ends() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let mut hanging = stage.worker("200x10,hang=150")?;
    stage.ranking_when("a trial on the worker that will hang", |ranking| {
        ranking.trials().iter().any(|trial| trial.state() == "running")
    })?;
    let _other = stage.worker("200x10")?;
    let ended = hanging.wait(PATIENCE)?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.err.contains("does not stop"), "{ended:?}");
    let ranking = stage.ranking_when("a sweep in spite of a hung training", completed)?;
    let attempts: Vec<u64> = ranking.trials().iter().map(|trial| trial.attempts()).collect();
    assert_eq!(attempts.iter().sum::<u64>(), 5, "one trial was tried twice: {attempts:?}");
    let events = stage.order(&["sweep", "events", "grid"])?;
    assert!(events.contains("hung: no step for"), "{events}");
    assert!(events.contains("a training hangs"), "{events}");
    Ok(())
}

#[test]
fn a_sweep_is_cancelled_for_good_only_by_who_says_yes() -> anyhow::Result<()> {
    let stage = Stage::set()?;
    let unasked = stage.try_order(&["sweep", "cancel", "gri"])?;
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    let said =
        "for good, 0 trials under way and 4 trials not begun with it (`sweep pause` would not): say --yes";
    assert!(unasked.err.contains(said), "{unasked:?}");
    assert_eq!(stage.coordinator.ranking(&stage.scene)?.state(), "running");
    let done = stage.order(&["sweep", "cancel", "gri", "--yes"])?;
    assert!(done.contains("state      cancelled"), "{done}");
    let again = stage.order(&["sweep", "cancel", "grid"])?;
    assert!(again.contains("state      cancelled"), "nothing is left to be asked about: {again}");
    Ok(())
}
