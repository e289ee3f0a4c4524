//! Models of trials as logged models of MLflow, in the form that `mlflow.transformers` itself logs.
//!
//! Every step may be done again: a logged model is found by its run and the hash of its files, files that are there are
//! not sent again, a registered version is found by its model. So a break anywhere, or everything twice, leaves one.

mod directory;
mod publish;

use std::collections::BTreeMap;

use super::op::{Input, Point, RunIds};
use crate::scheduler::StoredFiles;

pub(super) use publish::{differences, publish};

/// Tag of a logged model with the hash of the manifest that it was made from.
pub(super) const MANIFEST_TAG: &str = "distilsweep.manifest";

/// The models that a sweep keeps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptModels {
    /// Name of the registered model whose versions they become.
    pub register: Option<String>,
    /// The models, the best trial's first.
    pub models: Vec<KeptModel>,
}

/// One trial's model.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptModel {
    /// Name of the sweep's run.
    pub sweep: String,
    /// Index of the trial.
    pub trial: u64,
    /// The trial's run.
    pub run: RunIds,
    /// Where its files are.
    pub files: StoredFiles,
    /// What it was fine-tuned from, as the sweep file says.
    pub base: String,
    /// Its hyperparameters.
    pub params: BTreeMap<String, String>,
    /// Its final metrics, as its run was told.
    pub metrics: Vec<Point>,
    /// The data that they were measured on, as its run was told.
    pub inputs: Vec<Input>,
    /// When it was finished, in milliseconds since 1970.
    pub finished_ms: i64,
}

impl KeptModel {
    /// The split that a metric was measured on, by its name.
    pub(super) fn measured_on(&self, metric: &str) -> Option<&Input> {
        let context = match metric.split_once('_')? {
            ("best" | "eval", _) => "validation",
            ("test", _) => "test",
            ("train", _) => "training",
            _ => return None,
        };
        self.inputs.iter().find(|input| input.context == context)
    }
}
