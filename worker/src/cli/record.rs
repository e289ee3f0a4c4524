//! What `train` writes of a trial: its curve and evaluations as they come, its result at the end.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use distilsweep_proto::terminal;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::{output::unwritable, progress::LaneProgress};
use crate::{
    clock, machine,
    trainer::{Checkpoint, Ended, EvaluationRecord, Job, Observer, Phase, Request, StepRecord, Trained},
};

/// Writes records as they come, and shows people how far it is.
pub(super) struct Recorder {
    steps: Lines,
    evaluations: Lines,
    progress: LaneProgress,
    /// Where checkpoints go, if they are kept, and when the next is due.
    checkpoints: Option<UnboundedSender<Checkpoint>>,
    interval: Duration,
    due: Instant,
    stop: Arc<AtomicBool>,
    failed: Option<io::Error>,
    ended: Option<Result<Trained, Ended>>,
}

impl Recorder {
    /// Records into the directory `output`, where an earlier attempt may have written.
    pub(super) fn new(
        output: &Path,
        progress: LaneProgress,
        checkpoints: Option<UnboundedSender<Checkpoint>>,
        interval: Duration,
        stop: Arc<AtomicBool>,
    ) -> io::Result<Self> {
        Ok(Self {
            steps: Lines::open(output.join("steps.jsonl"))?,
            evaluations: Lines::open(output.join("evals.jsonl"))?,
            progress,
            checkpoints,
            interval,
            due: clock::now() + interval,
            stop,
            failed: None,
            ended: None,
        })
    }

    pub(super) fn finish(self, output: &Path) -> Result<Trained, Ended> {
        if let Some(error) = self.failed {
            return Err(unwritable(output, &error));
        }
        self.ended.unwrap_or_else(|| Err(Ended::Internal("the trainer gave no result".to_owned())))
    }

    fn keep_first(&mut self, written: io::Result<()>) {
        if let (Err(error), None) = (written, &self.failed) {
            self.failed = Some(error);
        }
    }
}

/// A file of one record a line, by step.
struct Lines {
    path: PathBuf,
    /// Open once this attempt has a record.
    file: Option<File>,
}

impl Lines {
    fn open(path: PathBuf) -> io::Result<Self> {
        // Also where no record ever comes.
        let _there = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { path, file: None })
    }

    fn add(&mut self, step: u64, record: &impl Serialize) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(from(&self.path, step)?),
        };
        file.write_all((serde_json::to_string(record)? + "\n").as_bytes())
    }
}

/// Opens a file whose records from `step` on an attempt makes again: they go, with what a killed one left of a line.
fn from(path: &Path, step: u64) -> io::Result<File> {
    #[derive(Deserialize)]
    struct Step {
        step: u64,
    }
    let text = fs::read_to_string(path)?;
    let before = |line: &&str| serde_json::from_str::<Step>(line).is_ok_and(|record| record.step < step);
    let kept: String = text.lines().filter(before).flat_map(|line| [line, "\n"]).collect();
    let mut file = File::create(path)?;
    file.write_all(kept.as_bytes())?;
    Ok(file)
}

impl Observer for Recorder {
    fn progress(&mut self, phase: Phase, step: u64, total: u64) {
        self.progress.at(phase, step, total);
    }

    fn logged(&mut self, record: &StepRecord) {
        let written = self.steps.add(record.step, record);
        self.keep_first(written);
        self.progress.logged(record);
    }

    fn evaluated_before(&mut self, _: u64, _: f64) {}

    fn evaluated(&mut self, record: &EvaluationRecord) {
        let written = self.evaluations.add(record.step, record);
        self.keep_first(written);
        self.progress.evaluated(record);
    }

    fn request(&mut self) -> Request {
        if self.failed.is_some() {
            return Request::Stop;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Request::HandBack;
        }
        if clock::now() < self.due {
            return Request::GoOn;
        }
        Request::Checkpoint
    }

    fn checkpointed(&mut self, checkpoint: Checkpoint) {
        self.due = clock::now() + self.interval;
        if let Some(checkpoints) = &self.checkpoints {
            // Its thread ends only after this sender.
            let _ = checkpoints.send(checkpoint);
        }
    }

    fn measured(&mut self, _lane_bytes: u64) {}

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        self.progress.ended();
        self.ended = Some(ended);
    }
}

/// `result.json`.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The best evaluation's under the names of a run's final metrics.
    metrics: BTreeMap<String, f64>,
    baseline: BTreeMap<String, f64>,
    best_step: u64,
    best_epoch: f64,
    steps: u64,
    seconds: f64,
    steps_per_second: f64,
    samples_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
    tags: BTreeMap<String, String>,
}

impl Report {
    pub(super) fn new(job: &Job, trained: &Trained) -> Self {
        let mut metrics = trained.best.scores.named("eval");
        if let Some(best) = metrics.get(job.selection.evaluation).copied() {
            metrics.insert(job.selection.best.to_owned(), best);
        }
        if let Some(test) = &trained.test {
            metrics.extend(test.named("test"));
        }
        Self {
            metrics,
            baseline: trained.baseline.clone(),
            best_step: trained.best.step,
            best_epoch: trained.best.epoch,
            steps: trained.steps,
            seconds: trained.seconds,
            steps_per_second: trained.steps_per_second,
            samples_per_second: trained.samples_per_second,
            peak_rss_mib: peak_rss_mib(),
            tags: trained.tags.clone(),
        }
    }

    /// Writes `result.json` into the job's output, and a line for people.
    pub(super) fn write(&self, job: &Job) -> Result<(), Ended> {
        let path = job.output.join("result.json");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Ended::Internal(format!("the result is no JSON: {error}")))?;
        fs::write(&path, text + "\n").map_err(|error| unwritable(&path, &error))?;
        let best = self.metrics.get(job.selection.best).copied().unwrap_or(f64::NAN);
        terminal::note(format_args!(
            "{} {best:.4} at step {}; {:.2} steps/s; {}",
            job.selection.best,
            self.best_step,
            self.steps_per_second,
            job.output.display()
        ));
        Ok(())
    }
}

/// The most memory that this process had resident, where the system tells (Linux does).
fn peak_rss_mib() -> Option<f64> {
    machine::resident().map(|(_, most)| most as f64 / f64::from(1 << 20))
}
