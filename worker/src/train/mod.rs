//! Training: the trials of a pack, each to its own end. It reads no clock, no random source and, but for checkpoints,
//! no file.
//!
//! ```text
//! lane:  start ─> step ─> … ─> evaluation ─> … ─> last step, or stopped early ─> finished
//!                   └─ stopped on request, diverged, out of memory: ended without a result
//! ```
//! What a lane computes depends on its trial alone, so lanes may come, go and fail beside each other.

mod batched;
mod best;
mod data;
mod evaluation;
mod feed;
mod lane;
pub mod metrics;
mod mistakes;
mod optimizer;
mod order;
mod room;
mod schedule;
mod state;

use std::{sync::Arc, time::Duration};

use tch::{Device, Kind, Reduction, Tensor};

use self::{batched::Batched, feed::Window, lane::Lane, room::Room};
pub use self::{
    data::{Prepared, Tokenized},
    evaluation::Evaluation,
    lane::Trial,
    metrics::{Confusion, Report},
    mistakes::Mistake,
    optimizer::Optimizer,
    schedule::Plan,
    state::Identity,
};
use crate::{
    model::{Config, DistilBertForSequenceClassification, Parameters, TorchError},
    trainer::{Ended, EvaluationRecord, Observer},
};

/// What the trials of a pack have in common.
pub struct Shared {
    /// What they are trained on.
    pub data: Arc<Prepared>,
    /// Their model's shape.
    pub config: Config,
    /// Row of the word embeddings that gets no gradient.
    pub padding: Option<i64>,
    /// Where they are trained.
    pub device: Device,
    /// Kind of the parameters.
    pub storage: Kind,
    /// Kind of the linear layers.
    pub compute: Kind,
    /// Whether one pass computes all lanes' gradients, or each lane's plain kernels in turn.
    pub batched: bool,
}

/// What a pack asks of the machine.
pub struct Machine<'a> {
    /// Time since some fixed moment.
    pub clock: &'a dyn Fn() -> Duration,
    /// Bytes of the device's memory that one lane takes, asked once after the first steps.
    pub lane_bytes: &'a dyn Fn() -> Option<u64>,
}

/// A finished training.
#[derive(Debug)]
pub struct Finished {
    /// Weights of the best evaluation.
    pub parameters: Parameters,
    /// The first of the best evaluations.
    pub best: EvaluationRecord,
    /// What it took for what.
    pub confusion: Confusion,
    /// Its weights on the test split.
    pub test: Option<Report>,
    /// The worst that they do there.
    pub mistakes: Vec<Mistake>,
    /// Optimizer steps done, those of earlier attempts included; as the next three.
    pub steps: u64,
    /// Examples trained on, repetitions counted.
    pub samples: u64,
    /// Time in steps alone.
    pub stepping: Duration,
    /// Time in steps and evaluations.
    pub seconds: Duration,
    /// Factor of weight decay up to the best evaluation, for decayed weights that no gradient reaches.
    pub decay: f64,
}

/// Hears how the trial of a number ended; `observers` is that of its trainer.
pub type OnEnd<'a> = &'a mut dyn FnMut(usize, Result<Finished, Ended>, &mut dyn Observer);

impl From<TorchError> for Ended {
    fn from(error: TorchError) -> Self {
        match error.out_of_memory() {
            true => Self::OutOfMemory(error.to_string()),
            false => Self::Internal(error.to_string()),
        }
    }
}

impl From<tch::TchError> for Ended {
    fn from(error: tch::TchError) -> Self {
        TorchError::from(error).into()
    }
}

impl Shared {
    fn model(&self, parameters: &Parameters) -> DistilBertForSequenceClassification {
        DistilBertForSequenceClassification::load(parameters, &self.config, self.padding, self.compute)
    }
}

/// Steps after which a lane's memory is measured: by then every buffer has been asked for.
const MEASURED_AFTER: u64 = 3;

/// Trains `trials`, each of which is told to the observer of its number, and says of each how it ended.
pub fn run(
    shared: &Shared,
    trials: Vec<Trial>,
    observers: &mut [&mut dyn Observer],
    machine: &Machine,
    on_end: OnEnd,
) {
    let batch = trials.iter().map(|trial| trial.arguments.per_device_train_batch_size).max();
    let mut room =
        Room { lanes: if shared.batched { trials.len() } else { 1 }, examples: batch.unwrap_or(1) };
    let mut lanes = Vec::new();
    for trial in trials {
        let number = trial.number;
        match Lane::start(trial, shared, room.examples, machine.clock, observers[number]) {
            Ok(lane) => lanes.push(lane),
            Err(why) => on_end(number, Err(why), observers[number]),
        }
    }
    let mut batched = Batched::default();
    let mut turns = 0;
    loop {
        let mut ready = Vec::new();
        for mut lane in lanes {
            let (number, now) = (lane.trial.number, (machine.clock)());
            match lane.goes_on(now, observers[number]) {
                Ok(true) => ready.push(lane),
                Ok(false) => {
                    let finished = lane.finish(shared, now, observers[number]);
                    on_end(number, finished, observers[number]);
                }
                Err(why) => on_end(number, Err(why), observers[number]),
            }
        }
        if ready.is_empty() {
            return;
        }
        let began = (machine.clock)();
        let together = shared.batched.then(|| batched.turn(&mut ready, shared, &mut room)).transpose();
        let computing = (machine.clock)().saturating_sub(began);
        let mut together = match together {
            Ok(losses) => losses.map(Vec::into_iter),
            Err(why) => {
                for lane in ready {
                    on_end(lane.trial.number, Err(why.clone()), observers[lane.trial.number]);
                }
                return;
            }
        };
        lanes = Vec::new();
        for mut lane in ready {
            let number = lane.trial.number;
            let observer = &mut *observers[number];
            let settled = match together.as_mut().and_then(Iterator::next) {
                Some((loss, examples)) => {
                    lane.settle(loss, examples, shared, computing, machine.clock, observer)
                }
                None => step(&mut lane, shared, &mut room, machine, observer),
            };
            match settled {
                Ok(()) => lanes.push(lane),
                Err(why) => on_end(number, Err(why), observers[number]),
            }
        }
        turns += 1;
        if turns == MEASURED_AFTER
            && let Some(bytes) = (machine.lane_bytes)()
        {
            lanes.iter().for_each(|lane| observers[lane.trial.number].measured(bytes));
        }
    }
}

/// One step of a lane by itself.
fn step(
    lane: &mut Lane,
    shared: &Shared,
    room: &mut Room,
    machine: &Machine,
    observer: &mut dyn Observer,
) -> Result<(), Ended> {
    let began = (machine.clock)();
    loop {
        let window = lane.window()?;
        match gradients(lane, &window) {
            Ok(loss) => {
                let computing = (machine.clock)().saturating_sub(began);
                return lane.settle(loss, window.examples, shared, computing, machine.clock, observer);
            }
            Err(error) if error.out_of_memory() => {
                // The gradients of pieces before would stand in the way of what is given back.
                lane.optimizer.clear()?;
                distilsweep_native::release_freed_memory();
                // Another lane may have found out already how much fits.
                if window.pieces.iter().all(|piece| piece.rows.len() <= room.examples) {
                    *room = room.smaller(&error)?;
                }
                lane.cut(shared, room.examples)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Leaves the gradients of a step in the lane's parameters. Returns its loss, on the device.
fn gradients(lane: &Lane, window: &Window) -> Result<Tensor, TorchError> {
    let dropout = lane.dropout();
    let smoothing = lane.trial.arguments.label_smoothing_factor;
    lane.optimizer.clear()?;
    let mut losses = Vec::new();
    for (batch, weights) in window.pieces.iter().filter_map(|piece| piece.tensors.as_ref()) {
        let logits = lane.model.forward(batch, Some(&dropout))?;
        let each =
            logits.f_cross_entropy_loss(&batch.labels, None::<Tensor>, Reduction::None, -100, smoothing)?;
        let loss = each.f_mul(weights)?.f_sum(None::<Kind>)?;
        loss.f_backward()?;
        losses.push(loss.f_detach()?);
    }
    Ok(Tensor::f_stack(&losses, 0)?.f_sum(None::<Kind>)?)
}
