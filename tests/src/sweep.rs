//! Sweeps for tests: the tiny checkpoint and sentences of the parity tests under a chosen grid.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

/// The directory of the parity tests.
pub fn parity() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity")
}

/// The tiny checkpoint's directory, beside its sentences in `train.csv` and `validation.csv`.
pub fn fixture() -> PathBuf {
    parity().join("fixture")
}

/// A sweep file of four trials of `steps` steps: two learning rates by two seeds.
pub fn four_trials(name: &str, steps: u64) -> String {
    sweep(name, steps, "[1e-3, 1e-5]", "[1, 2]")
}

/// A sweep file of one trial of `steps` steps.
pub fn one_trial(name: &str, steps: u64) -> String {
    sweep(name, steps, "[1e-3]", "[1]")
}

/// A sweep file of sixteen trials of `steps` steps: four learning rates by four seeds.
pub fn sixteen_trials(name: &str, steps: u64) -> String {
    sweep(name, steps, "[1e-5, 2e-5, 3e-5, 4e-5]", "[1, 2, 3, 4]")
}

/// A sweep file of forty trials of `steps` steps, each logged: five learning rates by eight seeds.
pub fn forty_trials(name: &str, steps: u64) -> String {
    let sweep = sweep(name, steps, "[1e-5, 2e-5, 3e-5, 4e-5, 5e-5]", "[1, 2, 3, 4, 5, 6, 7, 8]");
    format!("{sweep}  logging_steps: {{value: 1}}\n")
}

fn sweep(name: &str, steps: u64, rates: &str, seeds: &str) -> String {
    let fixture = fixture();
    format!(
        "name: {name}
model: {fixture}/start
dataset:
  train: {fixture}/train.csv
  validation: {fixture}/validation.csv
  test: {fixture}/validation.csv
method: grid
metric: {{name: best_validation_f1, goal: maximize}}
parameters:
  learning_rate: {{values: {rates}}}
  seed: {{values: {seeds}}}
  per_device_train_batch_size: {{value: 4}}
  max_steps: {{value: {steps}}}
",
        fixture = fixture.display()
    )
}

/// A ranking as `distilsweep results --format json` prints it.
#[derive(Clone, Debug)]
pub struct Ranking(Value);

/// One trial of a ranking.
#[derive(Clone, Debug)]
pub struct Trial(Value);

impl Ranking {
    /// Reads one.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        Ok(Self(serde_json::from_str(text).with_context(|| format!("a ranking, not {text:?}"))?))
    }

    /// The text that [`Ranking::parse`] reads.
    pub fn text(&self) -> String {
        self.0.to_string()
    }

    /// `running`, `completed`, ...
    pub fn state(&self) -> &str {
        self.0["state"].as_str().unwrap_or_default()
    }

    /// Messages that MLflow has not been told.
    pub fn messages_waiting(&self) -> Option<u64> {
        self.0["mlflow"]["messages_waiting"].as_u64()
    }

    /// The sweep's id.
    pub fn sweep(&self) -> &str {
        self.0["sweep"].as_str().unwrap_or_default()
    }

    /// The trials, best first.
    pub fn trials(&self) -> Vec<Trial> {
        self.0["trials"].as_array().into_iter().flatten().map(|trial| Trial(trial.clone())).collect()
    }

    /// The trials' metrics by the number of the trial: what no fault may change.
    pub fn metrics(&self) -> Vec<(u64, Value)> {
        let mut metrics: Vec<_> =
            self.trials().iter().map(|trial| (trial.number(), trial.0["metrics"].clone())).collect();
        metrics.sort_by_key(|(number, _)| *number);
        metrics
    }
}

impl Trial {
    /// Index of its point.
    pub fn number(&self) -> u64 {
        self.0["trial"].as_u64().unwrap_or(u64::MAX)
    }

    /// `running`, `completed`, ...
    pub fn state(&self) -> &str {
        self.text("state")
    }

    /// Place in the ranking, from 1.
    pub fn rank(&self) -> Option<u64> {
        self.0["rank"].as_u64()
    }

    /// Tries that it took.
    pub fn attempts(&self) -> u64 {
        self.0["attempts"].as_u64().unwrap_or(0)
    }

    /// A final metric.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.0["metrics"][name].as_f64()
    }

    /// A text: `worker`, `mlflow_run`, `checkpoint`, `failure`.
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }
}
