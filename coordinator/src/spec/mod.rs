//! The sweep file: its grammar (W&B's, with Hugging Face's names), its validation, and the space that it spans.
//!
//! Pure: text in, a checked [`SweepSpec`] or every [`Problem`] with its line out. Reading the file is the caller's.
//!
//! ```yaml
//! name: emotion-lr
//! model: distilbert-base-uncased
//! dataset: dair-ai/emotion
//! method: grid
//! metric: {name: best_validation_f1, goal: maximize}
//! parameters:
//!   learning_rate: {values: [2e-5, 5e-5]}
//!   num_train_epochs: {value: 2}
//! ```

mod chosen;
mod conditions;
mod data;
mod distribution;
mod distributions;
mod drawn;
mod early;
mod extension;
mod filter;
mod form;
mod grammar;
mod grid;
mod local;
mod models;
mod narrowed;
mod origin;
mod parameters;
mod paths;
mod points;
mod problem;
mod schema;
mod space;
#[cfg(test)]
mod tests;
mod tree;
mod warnings;

use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec},
    hex::hex,
    names::{self, Selection},
    resource::ResourceKind,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::search::EarlyTerminate;

pub use chosen::{Chosen, MAX_COMBINATIONS};
pub use conditions::Conditions;
pub(crate) use data::source_named;
pub use distribution::Distribution;
pub use drawn::{Dimension, Drawn, Sequence};
pub(crate) use drawn::{MAX_ATTEMPTS, hashed, scrambled, sobol};
pub use extension::ExtensionError;
pub use filter::{Filter, FilterError};
pub use grammar::{Reading, parse, read};
pub use grid::{Axis, Digit, Grid, MAX_POINTS, SpaceError};
pub use local::Local;
pub use models::KeepModels;
pub use narrowed::{NotReplaceable, narrowed};
pub use origin::Origin;
pub use problem::{Problem, Problems};
pub use schema::schema;
pub use space::Space;

/// A sweep, as its file says and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepSpec {
    /// Name for people; also the name of the parent run in MLflow.
    pub name: String,
    /// What it is about, for people.
    pub description: Option<String>,
    /// Hub id or directory of the checkpoint that every trial starts from.
    pub model: String,
    /// Branch, tag or commit of a Hub model.
    pub model_revision: Option<String>,
    /// What the trials train and are judged on.
    pub dataset: DatasetSpec,
    /// How points of the space are chosen.
    pub method: Method,
    /// What ranks the trials.
    pub metric: MetricSpec,
    /// The hyperparameters and their values.
    pub space: Space,
    /// What bounds the sweep.
    pub limits: Limits,
    /// How trials are ended before their end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_terminate: Option<EarlyTerminate>,
    /// Name of the experiment in MLflow; the sweep's name when left out.
    pub experiment: Option<String>,
    /// Which trials' models become logged models of MLflow.
    #[serde(default, skip_serializing_if = "KeepModels::is_default")]
    pub keep_models: KeepModels,
    /// Name of the registered model whose versions they become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// Who handed it in and from where: no part of the file, nor of its digest.
    #[serde(default, skip_serializing_if = "Origin::is_default")]
    pub origin: Origin,
}

/// How points of the space are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Every point once, by index.
    Grid,
    /// Points drawn one by one.
    Random,
    /// Points of a sequence that covers the space evenly.
    QuasiRandom,
    /// Points that go by what came of earlier ones.
    Bayes,
}

/// What selects the best epoch of a trial and ranks the trials.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "StoredMetric", into = "StoredMetric")]
pub struct MetricSpec {
    /// The metric under both of its names.
    pub selection: Selection,
    /// Whether more is better.
    pub maximize: bool,
    /// Value with which the sweep is content: no more trials begin.
    pub target: Option<f64>,
    /// What a search takes for the value of a trial without one.
    pub impute: Impute,
}

impl MetricSpec {
    /// Whether it is the validation loss, which a split of one class can measure too.
    pub fn is_loss(&self) -> bool {
        !self.selection.maximize
    }
}

/// What stands for the value of a trial without a result, in a search that learns from results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impute {
    /// The best of all trials.
    Best,
    /// The worst of all trials.
    #[default]
    Worst,
    /// That of its last evaluation.
    Latest,
}

impl Impute {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for MetricSpec {
    /// [`names::DEFAULT_METRIC`], maximised.
    fn default() -> Self {
        let [selection, ..] = names::SELECTIONS;
        Self { selection, maximize: selection.maximize, target: None, impute: Impute::default() }
    }
}

/// [`MetricSpec`] as stored: by name, so that the table of names may grow.
#[derive(Serialize, Deserialize)]
struct StoredMetric {
    name: String,
    maximize: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<f64>,
    #[serde(default, skip_serializing_if = "Impute::is_default")]
    impute: Impute,
}

impl From<MetricSpec> for StoredMetric {
    fn from(metric: MetricSpec) -> Self {
        let MetricSpec { selection, maximize, target, impute } = metric;
        Self { name: selection.best.to_owned(), maximize, target, impute }
    }
}

impl TryFrom<StoredMetric> for MetricSpec {
    type Error = String;

    fn try_from(stored: StoredMetric) -> Result<Self, String> {
        let StoredMetric { name, maximize, target, impute } = stored;
        Selection::named(&name)
            .map(|selection| Self { selection, maximize, target, impute })
            .ok_or_else(|| format!("unknown metric `{name}`"))
    }
}

/// What bounds a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// How often a trial is tried again after an internal failure.
    pub max_retries: u32,
    /// Trials under way at a time, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent_trials: Option<u64>,
    /// Failed trials that the sweep bears; one more and it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed_trials: Option<u64>,
    /// Seconds that the sweep may run, pauses not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_budget: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_retries: 2, max_concurrent_trials: None, max_failed_trials: None, time_budget: None }
    }
}

impl SweepSpec {
    /// Name of the experiment in MLflow: of who handed the sweep in, else of the file, else of that one's environment,
    /// else the sweep's.
    pub fn experiment(&self) -> &str {
        let Origin { experiment, default_experiment, .. } = &self.origin;
        let named = experiment.as_ref().or(self.experiment.as_ref()).or(default_experiment.as_ref());
        named.map_or(&self.name, String::as_str)
    }

    /// The revision of the model that trials take: the commit that it was at when the sweep was handed in.
    pub fn pinned_model_revision(&self) -> Option<&String> {
        self.origin.commit(ResourceKind::Model).or(self.model_revision.as_ref())
    }

    /// The data set that trials take: at the commit that it was at when the sweep was handed in.
    pub fn pinned_dataset(&self) -> DatasetSpec {
        let mut dataset = self.dataset.clone();
        if let (DatasetSource::Id { revision, .. }, Some(commit)) =
            (&mut dataset.source, self.origin.commit(ResourceKind::Dataset))
        {
            *revision = Some(commit.clone());
        }
        dataset
    }

    /// Identity of what is computed: SHA-256, in hexadecimal, of the sweep as compact JSON without its description and
    /// origin.
    ///
    /// Comments and layout of the file do not matter; the order of `parameters` does, because a point's index depends
    /// on it. Take it after [`SweepSpec::with_base`]: the same relative paths in two directories are two sweeps.
    pub fn digest(&self) -> String {
        let described = Self { description: None, origin: Origin::default(), ..self.clone() };
        let json =
            serde_json::to_vec(&described).expect("text keys and finite numbers alone always become JSON");
        hex(&Sha256::digest(&json))
    }
}
