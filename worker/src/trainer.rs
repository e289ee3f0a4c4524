//! What a trainer is given and what it tells: the boundary between leases and mathematics.
//!
//! Two trainers stand behind it: [`crate::torch`], which trains, and [`crate::scripted`], which follows a script so
//! that leases, faults and the coordinator can be tested without libtorch.

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
};

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
    /// Whether states to go on from are wanted: after each epoch and when the observer asks.
    pub checkpoints: bool,
    /// Directories of checkpoints to go on from, the best first: the first that is sound and this trial's is used,
    /// without any the trial starts from its beginning.
    pub resume: Vec<PathBuf>,
}

/// A training's state between two steps, taken while it goes on.
pub struct Checkpoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Writes its files into an existing empty directory; may run on any thread.
    pub write: WriteCheckpoint,
}

/// See [`Checkpoint::write`].
pub type WriteCheckpoint = Box<dyn FnOnce(&Path) -> io::Result<()> + Send>;

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("step", &self.step).finish_non_exhaustive()
    }
}

/// What an observer wants of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Request {
    /// Nothing.
    #[default]
    GoOn,
    /// A checkpoint, and to go on.
    Checkpoint,
    /// The end, as [`Ended::Stopped`].
    Stop,
    /// A checkpoint, where the job keeps them, and then the end as [`Ended::Stopped`].
    HandBack,
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
    pub matthews_correlation: f64,
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
            ("matthews_correlation", self.matthews_correlation),
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

/// Listens to the training of one trial; called on the trainer's thread, so it must be quick.
pub trait Observer {
    /// The trial came to a phase, or a step further.
    fn progress(&mut self, phase: Phase, step: u64, total_steps: u64);
    /// A point of the loss curve, every `logging_steps`.
    fn logged(&mut self, record: &StepRecord);
    /// An evaluation on the validation split.
    fn evaluated(&mut self, record: &EvaluationRecord);
    /// The trial goes on from a checkpoint right behind an evaluation, which an earlier attempt has told of.
    fn evaluated_before(&mut self, step: u64, epoch: f64);
    /// Asked before each step, and before each batch of an evaluation on the validation split.
    fn request(&mut self) -> Request;
    /// A state to go on from; only where the job keeps them.
    fn checkpointed(&mut self, checkpoint: Checkpoint);
    /// Memory of the device that one such trial takes, in bytes; told once, after its first steps.
    fn measured(&mut self, lane_bytes: u64);
    /// The trial has its result, or ended without: the last call, once for each trial.
    fn ended(&mut self, ended: Result<Trained, Ended>);
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
    /// Names of the classes, in class order.
    pub classes: Vec<String>,
    /// The data that it worked with: `train`, `validation` and, where there is one, `test`.
    pub splits: Vec<Split>,
    /// The rows of the test split that the best evaluation's weights take for another class with the most confidence.
    pub mistakes: Vec<Mistake>,
}

/// A text that was taken for another class than its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mistake {
    /// What the model saw of it: its tokens, decoded.
    pub text: String,
    /// Its own class, by number.
    pub truth: u32,
    /// The class that it was taken for.
    pub taken: u32,
    /// Probability of that class.
    pub probability: f64,
}

/// One split as a trial worked with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// `train`, `validation` or `test`.
    pub name: String,
    /// Texts.
    pub rows: u64,
    /// SHA-256 over their tokens and classes, in hexadecimal.
    pub sha256: String,
    /// How often the best evaluation's weights took each class for each class: by true class, then by predicted class.
    /// Empty for what they are not evaluated on.
    pub confusion: Vec<Vec<u64>>,
}

/// Why a trial ended without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The observer said so.
    #[error("stopped on request")]
    Stopped,
    /// It is as far as it is to come for now.
    #[error("paused at its rung")]
    Paused,
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

/// Trains packs of trials, one pack at a time, on one thread that owns the device.
pub trait Trainer {
    /// Trains the trials of a pack, which share model, data and structural parameters, each to its own end. What
    /// happens to one does not touch the others. `observers` are those of the jobs, in their order.
    fn train(&mut self, jobs: &[Job], observers: &mut [&mut dyn Observer]);
}
