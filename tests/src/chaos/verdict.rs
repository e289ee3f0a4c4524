//! What must be so after any faults.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{
    LOGGING, STEPS,
    recorded::{self, Recorded},
};
use crate::{
    fleet::Scene,
    mlflow::{Mlflow, Run},
    sweep::{Ranking, Trial},
};

/// Failures that cost no retry: those of a worker that went, and no others have been planned.
const INNOCENT: [&str; 2] = ["worker_lost", "preempted"];

/// The sweep has one result for each of its `total` points.
pub(super) fn is_whole(ranking: &Ranking, total: usize) -> anyhow::Result<()> {
    ensure!(ranking.state() == "completed", "the sweep is {}: {ranking:?}", ranking.state());
    let trials = ranking.trials();
    let mut points: Vec<u64> = trials.iter().map(Trial::number).collect();
    points.sort_unstable();
    ensure!(points == (0..total as u64).collect::<Vec<_>>(), "a result for each point: {points:?}");
    let open: Vec<&Trial> = trials.iter().filter(|trial| trial.state() != "completed").collect();
    ensure!(open.is_empty(), "trials without a result: {open:?}");
    Ok(())
}

/// And it is that of the undisturbed sweep, to the last bit. Where that had more points, these came last.
pub(super) fn same_results(ranking: &Ranking, undisturbed: &Ranking, total: usize) -> anyhow::Result<()> {
    is_whole(ranking, total)?;
    for (here, there) in ranking.metrics().iter().zip(undisturbed.metrics()) {
        ensure!(*here == there, "trial {} has {}, undisturbed {}", here.0, here.1, there.1);
    }
    Ok(())
}

/// Each run is there once, each point of its curves once, and all have ended well.
pub(super) fn mlflow_knows_all_once(mlflow: &Mlflow, ranking: &Ranking) -> anyhow::Result<()> {
    let runs = mlflow.runs_by("grid", "best_validation_f1")?;
    let trials = ranking.trials();
    ensure!(runs.len() == trials.len() + 1, "a run a trial and one of the sweep, not {}", runs.len());
    let running: Vec<&Run> = runs.iter().filter(|run| run.status() != "FINISHED").collect();
    ensure!(running.is_empty(), "runs that have not finished: {running:?}");
    for trial in trials {
        let number = trial.number();
        let run = runs
            .iter()
            .find(|run| run.id() == trial.text("mlflow_run"))
            .with_context(|| format!("trial {number} has no run"))?;
        for metric in ["best_validation_f1", "test_loss"] {
            let (here, there) = (trial.metric(metric), run.metric(metric));
            ensure!(
                here.is_some() && here == there,
                "{metric} of trial {number}: {here:?}, in MLflow {there:?}"
            );
        }
        let steps: Vec<i64> = mlflow.history(run.id(), "loss")?.iter().map(|(step, _)| *step).collect();
        let each_once: Vec<i64> = logged().map(|step| step as i64).collect();
        ensure!(steps == each_once, "steps of trial {number} in MLflow: {steps:?}");
    }
    Ok(())
}

/// Every attempt has a reason, began at the last checkpoint accepted before it, and no point is recorded twice. Answers
/// how many attempts were not their trial's first, and how many of the results rest on a checkpoint.
pub(super) fn nothing_lost_nothing_twice(scene: &Scene, ranking: &Ranking) -> anyhow::Result<(usize, usize)> {
    let all = Recorded::all(scene)?;
    let trials = ranking.trials();
    ensure!(all.len() == trials.len(), "a record a point, not {}", all.len());
    let (mut again, mut resumed) = (0, 0);
    ensure!(!recorded::leased_while_paused(scene)?, "a trial was leased while the sweep was paused");
    for trial in trials {
        let recorded = all.get(&trial.number()).context("a record of each trial")?;
        let trained = Trained::read(&trial)?;
        explains_itself(recorded)
            .and_then(|()| trained.rests_on(recorded))
            .with_context(|| format!("trial {}: {recorded:?}, {trained:?}", trial.number()))?;
        again += recorded.leases.len() - 1;
        resumed += usize::from(trained.0.len() > 1);
    }
    Ok((again, resumed))
}

fn explains_itself(recorded: &Recorded) -> anyhow::Result<()> {
    ensure!(recorded.state == "completed", "it has not completed");
    let attempts: Vec<u64> = recorded.leases.iter().map(|lease| lease.attempt).collect();
    ensure!(attempts == (1..=recorded.attempts).collect::<Vec<_>>(), "attempts are counted one by one");
    let (last, lost) = recorded.leases.split_last().context("a trial with a result has been leased")?;
    ensure!(last.failure.is_none() && last.ended, "the last attempt has ended with the result");
    ensure!(lost.iter().all(|lease| lease.ended), "the attempts before have ended too");
    let mut kinds = lost.iter().filter_map(|lease| lease.failure.as_deref());
    ensure!(kinds.all(|kind| INNOCENT.contains(&kind)), "none was lost for its own fault");
    let stopped = lost.iter().filter(|lease| lease.failure.is_none()).count();
    ensure!(stopped <= recorded.retried, "those that were not lost or handed back were stopped by command");
    ensure!(
        recorded.losses == logged().collect::<Vec<_>>(),
        "each point of a curve is recorded once, in order"
    );
    Ok(())
}

/// The first and last step of each attempt that a result rests on, as its model's file tells.
#[derive(Debug)]
struct Trained(Vec<(u64, u64)>);

impl Trained {
    fn read(trial: &Trial) -> anyhow::Result<Self> {
        let model = trial.text("checkpoint");
        let model = Path::new(model.strip_prefix("file://").unwrap_or(model));
        let candidates: [PathBuf; 2] = [model.join("steps.txt"), model.join("model/steps.txt")];
        let path = candidates.iter().find(|path| path.is_file());
        let path = path.with_context(|| format!("{} holds no model", model.display()))?;
        let read = |line: &str| {
            let (first, last) = line.split_once('-')?;
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        let attempts = std::fs::read_to_string(path)?.lines().map(read).collect::<Option<Vec<_>>>();
        Ok(Self(attempts.with_context(|| format!("{} is no list of steps", path.display()))?))
    }

    /// Each step was trained once, but for what no checkpoint could have saved.
    fn rests_on(&self, recorded: &Recorded) -> anyhow::Result<()> {
        let mut next = 1;
        for (first, last) in &self.0 {
            ensure!(*first == next, "an attempt goes on where its checkpoint is");
            let accepted = next == 1 || recorded.checkpoints.iter().any(|(_, step)| step + 1 == next);
            ensure!(accepted, "step {first} is where no accepted checkpoint is");
            next = last + 1;
        }
        ensure!(next == STEPS + 1, "all steps are trained");
        let begun = self.0.last().map_or(0, |(first, _)| *first);
        let term = recorded.leases.last().map_or(0, |lease| lease.term);
        let before = recorded.checkpoints.iter().filter(|(by, _)| *by < term);
        let saved = before.map(|(_, step)| *step).max().unwrap_or(0);
        ensure!(
            begun == saved + 1,
            "the last attempt begins after step {saved}, the last that was accepted before it"
        );
        Ok(())
    }
}

fn logged() -> impl Iterator<Item = u64> {
    (1..=STEPS).filter(|step| step.is_multiple_of(LOGGING))
}
