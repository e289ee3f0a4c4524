//! What a trainer is given and what it tells: the boundary between leases and mathematics.
//!
//! Two trainers stand behind it: [`crate::torch`], which trains, and [`crate::scripted`], which follows a script so
//! that leases, faults and the coordinator can be tested without libtorch.

use std::{collections::BTreeMap, path::PathBuf};

use distilsweep_proto::{
    dataset::DatasetSpec,
    names::Selection,
    params::{Params, TrainingArguments},
};
use serde::{Deserialize, Serialize};

/// One trial to train, complete: nothing else may change its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Directory or Hub id of the checkpoint to start from.
    pub model: String,
    /// Revision of a Hub model.
    pub model_revision: Option<String>,
    /// What it trains on.
    pub dataset: DatasetSpec,
    /// Hyperparameters as given, for the record.
    pub params: Params,
    /// The same, typed and complete.
    pub arguments: TrainingArguments,
    /// What selects the best evaluation.
    pub selection: Selection,
    /// Whether more of it is better.
    pub maximize: bool,
    /// An existing empty directory; the best model's files go to `model/` in it.
    pub output: PathBuf,
}

/// One point of the loss curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// Mean training loss over the steps since the last record.
    pub loss: f64,
    /// Global L2 norm of the gradients of this step, before clipping.
    pub grad_norm: f64,
    /// Learning rate that this step used.
    pub learning_rate: f64,
}

/// What an evaluation measures; averages over classes are weighted by support unless named macro.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are scikit-learn's")]
pub struct Scores {
    pub loss: f64,
    pub accuracy: f64,
    pub precision: f64,
    pub recall: f64,
    pub f1_score: f64,
    pub f1_macro: f64,
}

impl Scores {
    /// The scores under the names of an evaluation on the split `prefix` ("eval" or "test").
    pub fn named(&self, prefix: &str) -> BTreeMap<String, f64> {
        [
            ("loss", self.loss),
            ("accuracy", self.accuracy),
            ("precision", self.precision),
            ("recall", self.recall),
            ("f1_score", self.f1_score),
            ("f1_macro", self.f1_macro),
        ]
        .into_iter()
        .map(|(name, value)| (format!("{prefix}_{name}"), value))
        .collect()
    }
}

/// An evaluation on the validation split.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Optimizer steps done.
    pub step: u64,
    /// Passes over the training split, fractions included.
    pub epoch: f64,
    /// What was measured.
    #[serde(flatten)]
    pub scores: Scores,
}

/// What a trainer is doing, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading the data and the weights, tokenizing.
    Loading,
    /// Optimizer steps.
    Training,
    /// On the validation split.
    Evaluating,
    /// The chosen epoch on the test split, and writing the model.
    Finishing,
}

/// Listens to a training; called on the trainer's thread, so it must be quick.
pub trait Observer {
    /// The trial came to a phase, or a step further. `loss` is that of the last record.
    fn progress(&mut self, phase: Phase, step: u64, total_steps: u64);
    /// A point of the loss curve, every `logging_steps`.
    fn logged(&mut self, record: &StepRecord);
    /// An evaluation on the validation split.
    fn evaluated(&mut self, record: &EvaluationRecord);
    /// Asked between steps: true ends the training with [`Ended::Stopped`].
    fn stopping(&self) -> bool;
}

/// A finished trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The best evaluation by the selection.
    pub best: EvaluationRecord,
    /// The best evaluation's weights on the test split, where there is one.
    pub test: Option<Scores>,
    /// Optimizer steps done.
    pub steps: u64,
    /// Seconds of training and evaluating, without loading.
    pub seconds: f64,
    /// Optimizer steps by second of training alone.
    pub steps_per_second: f64,
    /// Examples by second of training alone.
    pub samples_per_second: f64,
    /// Accuracy and weighted F1 of always guessing the training split's commonest class:
    /// `eval_accuracy`, `eval_f1_score`, `test_accuracy`, `test_f1_score`.
    pub baseline: BTreeMap<String, f64>,
    /// Facts for the run's tags: device, libtorch version, threads.
    pub tags: BTreeMap<String, String>,
}

/// Why a trial ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The observer said so.
    #[error("stopped on request")]
    Stopped,
    /// The loss is not finite any more: a final result, not a fault.
    #[error("diverged: {0}")]
    Diverged(String),
    /// The data set or the model is at fault; no trial with them can succeed.
    #[error("{0}")]
    BadInput(String),
    /// The hyperparameters are at fault.
    #[error("{0}")]
    BadPoint(String),
    /// The device's memory does not hold it.
    #[error("out of memory: {0}")]
    OutOfMemory(String),
    /// Anything else; trying again may help.
    #[error("{0}")]
    Internal(String),
}

/// Trains trials, one at a time, on one thread that owns the device.
pub trait Trainer {
    /// Trains one trial from its start to its result, telling `observer` on the way.
    ///
    /// # Errors
    /// Why there is no result.
    fn train(&mut self, job: &Job, observer: &mut dyn Observer) -> Result<Trained, Ended>;
}
