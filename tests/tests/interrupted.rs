//! Trials that are interrupted go on from their checkpoints: each test first trains undisturbed, then shows that the
//! fault fired, where the next attempt went on, and that the results are the same.

use std::{
    collections::BTreeMap,
    fs,
    hash::{BuildHasher, Hasher, RandomState},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use distilsweep_tests::{
    fleet::{Coordinator, Scene, worker},
    mlflow::Mlflow,
    process::Process,
    sweep::{Ranking, Trial, four_trials, one_trial},
    wait::until,
};
use rustix::process::Signal;

const LEASE: &[&str] = &["--lease-timeout", "3"];
const PATIENCE: Duration = Duration::from_secs(120);
/// A script of 400 steps, 6 s in all.
const SCRIPTED: &[&str] = &["--scripted", "400x15", "--checkpoint-interval", "0.4", "--scratch", "scratch"];

fn complete(ranking: &Ranking) -> bool {
    ranking.state() == "completed"
}

/// A coordinator with a sweep.
struct Stage {
    scene: Scene,
    coordinator: Coordinator,
}

impl Stage {
    fn of(sweep: &str, extra: &[&str]) -> anyhow::Result<Self> {
        let scene = Scene::new()?;
        let coordinator = Coordinator::start(&scene, "127.0.0.1:0", &[LEASE, extra].concat())?;
        let file = scene.write("grid.yaml", sweep)?;
        coordinator.submit(&scene, &file)?;
        Ok(Self { scene, coordinator })
    }

    fn worker(&self, extra: &[&str]) -> anyhow::Result<Process> {
        worker(&self.scene, &self.coordinator.url, extra)
    }

    /// With its coordinator stopped and started again with these arguments.
    fn restarted(mut self, extra: &[&str]) -> anyhow::Result<Self> {
        self.coordinator.process.signal(Signal::TERM)?;
        let stopped = self.coordinator.process.wait(PATIENCE)?;
        anyhow::ensure!(stopped.code == Some(0), "{stopped:?}");
        let coordinator = Coordinator::start(&self.scene, "127.0.0.1:0", &[LEASE, extra].concat())?;
        Ok(Self { coordinator, ..self })
    }

    fn completed(&self) -> anyhow::Result<Ranking> {
        let ranking = self.coordinator.ranking_when(&self.scene, "a complete sweep", complete)?;
        let trials = ranking.trials();
        anyhow::ensure!(trials.iter().all(|trial| trial.state() == "completed"), "{trials:?}");
        Ok(ranking)
    }

    /// Checkpoints in the store, by step.
    fn checkpoints(&self) -> BTreeMap<u64, PathBuf> {
        let trials = self.scene.path("state/trials");
        let below = |directories: Vec<PathBuf>| -> Vec<PathBuf> {
            let read = directories.into_iter().filter_map(|directory| fs::read_dir(directory).ok());
            read.flatten().filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
        };
        // Sweep, trial, term, checkpoint.
        let directories = below(below(below(below(vec![trials]))));
        let published = directories.into_iter().filter_map(|directory| {
            let step = directory.file_name()?.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
            directory.join("manifest.json").exists().then_some((step, directory))
        });
        published.collect()
    }

    /// Waits until checkpoints were accepted: the first is removed when a third is.
    fn accepted(&self) -> anyhow::Result<()> {
        let first = until("a checkpoint", PATIENCE, || Ok(self.checkpoints().into_keys().next()))?;
        until("more checkpoints", PATIENCE, || {
            Ok(Some(self.checkpoints()).filter(|there| there.len() > 1 && !there.contains_key(&first)))
        })?;
        Ok(())
    }

    /// Waits until no checkpoint is left.
    fn tidy(&self) -> anyhow::Result<()> {
        until("a store without checkpoints", PATIENCE, || Ok(self.checkpoints().is_empty().then_some(())))
    }
}

/// The sweep without any fault, by a worker that trains one trial after the other.
fn undisturbed(sweep: &str) -> anyhow::Result<Ranking> {
    let stage = Stage::of(sweep, &[])?;
    let _worker = stage.worker(SCRIPTED)?;
    let ranking = stage.completed()?;
    for trial in ranking.trials() {
        assert_eq!((trial.attempts(), attempts(&trial)?), (1, vec![(1, 400)]), "{trial:?}");
    }
    Ok(ranking)
}

/// First and last step of each attempt that a scripted trial's model is made of.
fn attempts(trial: &Trial) -> anyhow::Result<Vec<(u64, u64)>> {
    let path = PathBuf::from(trial.text("checkpoint")).join("steps.txt");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let step = |text: &str| text.parse::<u64>().with_context(|| format!("a step, not {text:?}"));
    text.lines()
        .map(|line| {
            let (first, last) = line.split_once('-').context("FIRST-LAST")?;
            Ok((step(first)?, step(last)?))
        })
        .collect()
}

/// Steps of the checkpoints that a worker says it has published.
fn published(worker: &Process) -> Vec<u64> {
    let log = worker.err();
    let lines = log.lines().filter(|line| line.contains("checkpoint published"));
    lines.filter_map(|line| line.rsplit_once("step=")?.1.trim().parse().ok()).collect()
}

#[test]
fn a_killed_workers_trial_goes_on_elsewhere_from_its_last_accepted_checkpoint() -> anyhow::Result<()> {
    let sweep = one_trial("one", 400);
    let baseline = undisturbed(&sweep)?;

    let stage = Stage::of(&sweep, &[])?;
    let mut doomed = stage.worker(SCRIPTED)?;
    stage.accepted()?;
    doomed.kill()?;
    let left: Vec<u64> = stage.checkpoints().into_keys().collect();
    let _heir = stage.worker(SCRIPTED)?;
    let ranking = stage.completed()?;
    let trial = &ranking.trials()[0];
    assert_eq!(trial.attempts(), 2);
    let taken = attempts(trial)?;
    let [(1, last), (next, 400)] = taken[..] else { panic!("{taken:?}") };
    assert!(next == last + 1 && left.contains(&last), "{taken:?}, where {left:?} were published");
    assert_eq!(ranking.metrics(), baseline.metrics());
    stage.tidy()
}

#[test]
fn a_worker_that_is_told_to_go_hands_its_trial_back_at_the_step_where_it_stops() -> anyhow::Result<()> {
    let sweep = one_trial("one", 400);
    let baseline = undisturbed(&sweep)?;

    let stage = Stage::of(&sweep, &[])?;
    let mut leaving = stage.worker(SCRIPTED)?;
    stage.accepted()?;
    let before = published(&leaving);
    leaving.signal(Signal::TERM)?;
    let gone = leaving.wait(PATIENCE)?;
    assert_eq!(gone.code, Some(0), "{gone:?}");
    let last = *published(&leaving).last().context("a last checkpoint")?;
    assert!(before.iter().all(|step| *step < last), "{last} was published on request, after {before:?}");
    let _heir = stage.worker(SCRIPTED)?;
    let ranking = stage.completed()?;
    assert_eq!(attempts(&ranking.trials()[0])?, [(1, last), (last + 1, 400)], "no step is lost");
    assert_eq!(ranking.metrics(), baseline.metrics());
    stage.tidy()
}

#[test]
fn a_torn_checkpoint_is_refused_and_the_one_before_it_used() -> anyhow::Result<()> {
    let sweep = one_trial("one", 400);
    let baseline = undisturbed(&sweep)?;

    let stage = Stage::of(&sweep, &[])?;
    let mut doomed = stage.worker(SCRIPTED)?;
    stage.accepted()?;
    doomed.kill()?;
    // Whichever of them was accepted last: only the first stays whole.
    let mut there = stage.checkpoints();
    let (whole, _) = there.pop_first().context("checkpoints")?;
    assert!(!there.is_empty());
    for directory in there.values() {
        let part = directory.join("state.json");
        let bytes = fs::read(&part)?;
        fs::write(&part, &bytes[..bytes.len() / 2])?;
    }
    let heir = stage.worker(SCRIPTED)?;
    let ranking = stage.completed()?;
    let log = heir.err();
    assert!(log.contains("checkpoint refused") && log.contains("its manifest says"), "{log}");
    assert_eq!(attempts(&ranking.trials()[0])?, [(1, whole), (whole + 1, 400)]);
    assert_eq!(ranking.metrics(), baseline.metrics());
    stage.tidy()
}

#[test]
fn a_pack_of_a_killed_worker_goes_on_lane_by_lane() -> anyhow::Result<()> {
    let sweep = four_trials("grid", 400);
    let baseline = undisturbed(&sweep)?;

    let stage = Stage::of(&sweep, &[])?;
    let packed = [SCRIPTED, &["--lanes", "3"]].concat();
    let mut doomed = stage.worker(&packed)?;
    until("a pack of three", PATIENCE, || Ok(doomed.err().contains("lanes=3").then_some(())))?;
    until("a checkpoint of each of its lanes", PATIENCE, || {
        let log = doomed.err();
        let saved = |trial: &str| log.lines().any(|l| l.contains("published") && l.contains(trial));
        Ok(["/1 attempt", "/2 attempt", "/3 attempt"].into_iter().all(saved).then_some(()))
    })?;
    doomed.kill()?;
    let _heir = stage.worker(&packed)?;
    let ranking = stage.completed()?;
    assert_eq!(ranking.metrics(), baseline.metrics(), "neither packs nor faults change a result");
    for trial in ranking.trials() {
        let taken = attempts(&trial)?;
        let wanted = if trial.number() == 0 { 1 } else { 2 };
        assert_eq!((trial.attempts(), taken.last().map(|(_, last)| *last)), (wanted, Some(400)), "{taken:?}");
    }
    let resumed = ranking.trials().iter().filter(|trial| attempts(trial).is_ok_and(|a| a.len() == 2)).count();
    assert!(resumed >= 2, "lanes went on from their checkpoints: {ranking:?}");
    stage.tidy()
}

#[test]
fn what_a_worker_left_of_a_trial_with_a_result_goes_and_its_model_stays() -> anyhow::Result<()> {
    let stage = Stage::of(&one_trial("one", 400), &[])?;
    let mut doomed = stage.worker(SCRIPTED)?;
    stage.accepted()?;
    let (_, kept) = stage.checkpoints().pop_last().context("a checkpoint")?;
    let saved = stage.scene.path("saved");
    copy(&kept, &saved)?;
    let ranking = stage.completed()?;
    stage.tidy()?;
    doomed.kill()?;
    // As if it had been killed between its result's acknowledgement and its tidying up.
    copy(&saved, &kept)?;
    assert_eq!(stage.checkpoints().len(), 1);
    let stage = stage.restarted(&[])?;
    stage.tidy()?;
    assert_eq!(attempts(&ranking.trials()[0])?, [(1, 400)], "the model is there");
    Ok(())
}

#[test]
fn checkpoints_of_a_cancelled_sweep_stay_for_their_time_and_no_longer() -> anyhow::Result<()> {
    let stage = Stage::of(&one_trial("one", 400), &[])?;
    let mut worker = stage.worker(SCRIPTED)?;
    stage.accepted()?;
    worker.kill()?;
    let cancelled = stage
        .scene
        .run("distilsweep", &["sweep", "cancel", "one", "--yes", "--coordinator", &stage.coordinator.url])?;
    assert_eq!(cancelled.code, Some(0), "{cancelled:?}");
    let left = stage.checkpoints();
    assert!(!left.is_empty());
    let stage = stage.restarted(&[])?;
    until("a look through the store", PATIENCE, || {
        Ok(stage.coordinator.process.err().contains("looked through the store").then_some(()))
    })?;
    assert_eq!(stage.checkpoints(), left);
    let stage = stage.restarted(&["--checkpoint-retention", "0"])?;
    stage.tidy()
}

/// Copies the files of a directory into another, which is made where it is missing.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

const REAL: &[&str] = &["--checkpoint-interval", "0.3", "--scratch", "scratch"];

/// A stream of numbers from a seed: SplitMix64.
struct Random(u64);

impl Random {
    /// From `DISTILSWEEP_TEST_SEED`, or another each time.
    fn seeded() -> anyhow::Result<Self> {
        let seed = match std::env::var("DISTILSWEEP_TEST_SEED") {
            Ok(seed) => seed.parse().context("DISTILSWEEP_TEST_SEED is a whole number")?,
            Err(_) => RandomState::new().build_hasher().finish(),
        };
        eprintln!("DISTILSWEEP_TEST_SEED={seed}");
        Ok(Self(seed))
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The loss curve and the evaluations of the one trial, as MLflow was told them.
fn curves(mlflow: &Mlflow, ranking: &Ranking) -> anyhow::Result<Vec<Vec<(i64, f64)>>> {
    let trials = ranking.trials();
    let run = trials[0].text("mlflow_run");
    ["loss", "grad_norm", "learning_rate", "eval_loss", "eval_f1_score"]
        .into_iter()
        .map(|metric| mlflow.history(run, metric))
        .collect()
}

/// By default a few times; `DISTILSWEEP_TEST_KILLS=20` for the full number.
#[test]
fn a_trial_interrupted_at_random_moments_has_the_undisturbed_numbers_to_the_last_bit() -> anyhow::Result<()> {
    let times: u64 = std::env::var("DISTILSWEEP_TEST_KILLS").map_or(Ok(4), |text| text.parse())?;
    // More than it makes until the last of them.
    let steps = 1000 + 400 * times;
    let mut random = Random::seeded()?;
    let scene = Scene::new()?;
    let mlflow = Mlflow::start(&scene.path("mlflow"))?;
    let sweep = one_trial("one", steps);
    let recording = ["--mlflow", &mlflow.url];
    let told = |stage: &Stage| {
        stage.coordinator.ranking_when(&stage.scene, "a sweep that MLflow knows", |ranking| {
            complete(ranking) && ranking.messages_waiting() == Some(0)
        })
    };
    let stage = Stage::of(&sweep, &recording)?;
    let whole = stage.worker(REAL)?;
    let baseline = told(&stage)?;
    drop(whole);
    let expected = curves(&mlflow, &baseline)?;
    assert_eq!(expected[0].len() as u64, steps / 10);

    let stage = Stage::of(&sweep, &recording)?;
    for time in 0..times {
        let mut doomed = stage.worker(REAL)?;
        until("a lease", PATIENCE, || Ok(doomed.err().contains("training").then_some(())))?;
        let moment = Duration::from_millis(random.below(1000));
        // The moment is the fault.
        std::thread::sleep(moment);
        let fault = if time > 0 && random.below(3) == 0 {
            doomed.signal(Signal::TERM)?;
            assert_eq!(doomed.wait(PATIENCE)?.code, Some(0));
            "told to go"
        } else {
            doomed.kill()?;
            "killed"
        };
        eprintln!("{fault} {moment:?} after the lease, checkpoints {:?}", stage.checkpoints().keys());
    }
    let _heir = stage.worker(REAL)?;
    let ranking = told(&stage)?;
    assert_eq!(ranking.metrics(), baseline.metrics());
    assert_eq!(ranking.trials()[0].attempts(), times + 1, "every fault hit the trial");
    assert_eq!(curves(&mlflow, &ranking)?, expected, "each point once, and the same");
    stage.tidy()?;
    mlflow.stop()
}
