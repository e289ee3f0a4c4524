//! A trial under way as its session sees it: how far it is, what it has to report, what is being written.

use std::collections::BTreeMap;

use distilsweep_proto::names;
use tokio::time::Instant;

use crate::{
    runtime::TrialEnded,
    saver::Saver,
    trainer::{Phase, Trained},
    vitals::Sample,
    wire::{Assignment, Point, Progress},
};

/// Steps that the samples of one attempt have to themselves: four months of one each ten seconds.
const SAMPLES: u64 = 1_000_000;

/// A trial that is being trained, or whose files are being published.
#[derive(Debug)]
pub struct Live {
    /// What is trained.
    pub assignment: Assignment,
    /// For the next heartbeat.
    pub progress: Progress,
    /// Points that were not reported yet.
    pub points: Vec<Point>,
    /// Its checkpoints.
    pub saver: Saver,
    /// How it ended, while something is still being written.
    pub ended: Option<TrialEnded>,
    /// When it was at which step, for the rate.
    mark: (Instant, u64),
    /// Samples of the machine's load.
    samples: u64,
}

impl Live {
    /// A trial that was just taken on.
    pub fn new(assignment: Assignment) -> Self {
        let progress = Progress {
            lease: assignment.lease.clone(),
            phase: phase_name(Phase::Loading),
            step: 0,
            total_steps: 0,
            loss: f64::NAN,
            best_metric: None,
            steps_per_second: 0.0,
            lane_bytes: None,
        };
        Self {
            assignment,
            progress,
            points: Vec::new(),
            saver: Saver::default(),
            ended: None,
            mark: (Instant::now(), 0),
            samples: 0,
        }
    }

    /// It came further.
    pub fn came_to(&mut self, phase: Phase, step: u64, total_steps: u64) {
        self.progress.phase = phase_name(phase);
        self.progress.total_steps = total_steps;
        let (since, from) = self.mark;
        let seconds = since.elapsed().as_secs_f64();
        // A resumed trial jumps from nothing to its step: that is no speed.
        if phase != Phase::Training || step < from || self.progress.step == 0 {
            self.mark = (Instant::now(), step);
        } else if seconds >= 2.0 {
            self.progress.steps_per_second = (step - from) as f64 / seconds;
            self.mark = (Instant::now(), step);
        }
        self.progress.step = step;
    }

    /// The machine was so busy at `now_ms`. Samples are counted from 0, as MLflow does; those of later attempts go on
    /// above all of the earlier ones', so that no step is there twice.
    pub fn sampled(&mut self, sample: &Sample, now_ms: i64) {
        let before = u64::from(self.assignment.lease.attempt.saturating_sub(1)) * SAMPLES;
        let step = before + self.samples.min(SAMPLES - 1);
        self.samples += 1;
        let point = |(key, value): &(String, f64)| Point {
            key: key.clone(),
            value: *value,
            step,
            timestamp_ms: now_ms,
        };
        self.points.extend(sample.iter().map(point));
    }

    /// It has new points of its curves.
    pub fn measured(&mut self, points: Vec<Point>) {
        let selection = self.assignment.selection.evaluation;
        for point in &points {
            if point.key == names::LOSS {
                self.progress.loss = point.value;
            } else if point.key == selection && !point.value.is_nan() {
                let best = self.progress.best_metric.get_or_insert(point.value);
                let better = if self.assignment.maximize { f64::max } else { f64::min };
                *best = better(*best, point.value);
            }
        }
        self.points.extend(points);
    }
}

/// The final values of a trial under the names that the sweep's file, MLflow and the summary share.
pub fn final_metrics(assignment: &Assignment, trained: &Trained) -> BTreeMap<String, f64> {
    let best = trained.best.scores.named("eval");
    let mut metrics: BTreeMap<String, f64> = best
        .get(assignment.selection.evaluation)
        .map(|value| (assignment.selection.best.to_owned(), *value))
        .into_iter()
        .collect();
    if let Some(test) = &trained.test {
        metrics
            .extend(test.named("test").into_iter().filter(|(name, _)| names::TEST.contains(&name.as_str())));
    }
    metrics
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Loading => "loading",
        Phase::Training => "training",
        Phase::Evaluating => "evaluating",
        Phase::Finishing => "finishing",
    }
}
