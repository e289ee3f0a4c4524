//! What passes a trainer's word about one trial on to the session, and the session's wishes to the trainer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use distilsweep_proto::{
    ids::Lease,
    names::{GRAD_NORM, LEARNING_RATE, LOSS},
};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    clock,
    runtime::RuntimeEvent,
    trainer::{Checkpoint, Ended, EvaluationRecord, Observer, Phase, Request, StepRecord, Trained},
    wire::{Pause, Point},
};

/// What the session wants of a trial under way; the later of these stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wish(Arc<AtomicU8>);

impl Wish {
    pub(crate) const HAND_BACK: u8 = 1;
    pub(crate) const STOP: u8 = 2;

    pub(crate) fn raise(&self, to: u8) {
        self.0.fetch_max(to, Ordering::Relaxed);
    }

    pub(crate) fn request(&self) -> Request {
        match self.0.load(Ordering::Relaxed) {
            Self::HAND_BACK => Request::HandBack,
            Self::STOP => Request::Stop,
            _ => Request::GoOn,
        }
    }
}

/// Passes what a trainer says about one trial on to the session.
#[derive(Debug)]
pub(crate) struct Teller {
    pub(crate) lease: Lease,
    pub(crate) wish: Wish,
    pub(crate) interval: Duration,
    /// When the next checkpoint is asked for.
    pub(crate) due: Instant,
    pub(crate) events: UnboundedSender<RuntimeEvent>,
    /// Where to pause.
    pub(crate) pause: Option<Pause>,
    /// Whether it is there.
    pub(crate) is_to_pause: bool,
    /// Until the trial ended.
    pub(crate) output: Option<TempDir>,
}

impl Teller {
    fn points(&self, step: u64, values: impl IntoIterator<Item = (String, f64)>) {
        let timestamp_ms = clock::unix_ms();
        let points =
            values.into_iter().map(|(key, value)| Point { key, value, step, timestamp_ms }).collect();
        let _ = self.events.send(RuntimeEvent::Points(self.lease.clone(), points));
    }
}

impl Observer for Teller {
    fn progress(&mut self, phase: Phase, step: u64, total_steps: u64) {
        let lease = self.lease.clone();
        let _ = self.events.send(RuntimeEvent::Progress { lease, phase, step, total_steps });
    }

    fn logged(&mut self, record: &StepRecord) {
        let values =
            [(LOSS, record.loss), (LEARNING_RATE, record.learning_rate), (GRAD_NORM, record.grad_norm)];
        self.points(record.step, values.map(|(key, value)| (key.to_owned(), value)));
    }

    fn evaluated_before(&mut self, step: u64, epoch: f64) {
        self.is_to_pause = self.pause.is_some_and(|pause| pause.is_reached(step, epoch));
    }

    fn evaluated(&mut self, record: &EvaluationRecord) {
        self.evaluated_before(record.step, record.epoch);
        let mut values = record.scores.named("eval");
        values.insert("epoch".to_owned(), record.epoch);
        self.points(record.step, values);
    }

    fn request(&mut self) -> Request {
        let request = self.wish.request();
        let now = clock::now();
        if request == Request::GoOn && self.is_to_pause {
            return Request::HandBack;
        }
        if request != Request::GoOn || now < self.due {
            return request;
        }
        self.due = now + self.interval;
        Request::Checkpoint
    }

    fn checkpointed(&mut self, checkpoint: Checkpoint) {
        self.due = clock::now() + self.interval;
        let _ = self.events.send(RuntimeEvent::Checkpoint(self.lease.clone(), checkpoint));
    }

    fn measured(&mut self, lane_bytes: u64) {
        let _ = self.events.send(RuntimeEvent::Measured(self.lease.clone(), lane_bytes));
    }

    fn ended(&mut self, ended: Result<Trained, Ended>) {
        // Once: what comes after the last call is none of the trial's.
        if let Some(output) = self.output.take() {
            let paused = self.is_to_pause && self.wish.request() == Request::GoOn;
            let ended = match ended {
                Err(Ended::Stopped) if paused => Err(Ended::Paused),
                ended => ended.map(|trained| (Box::new(trained), output)),
            };
            let _ = self.events.send(RuntimeEvent::Ended(self.lease.clone(), ended));
        }
    }
}
