//! Reading back what MLflow holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Client;
use crate::mlflow::{
    error::MlflowError,
    op::{Point, RunIds},
};

/// Runs of one answer, and points of one answer.
const PAGE: u32 = 1000;

/// A run as MLflow holds it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeldRun {
    /// What MLflow calls it.
    pub ids: RunIds,
    /// Its name.
    pub name: String,
    /// `RUNNING`, `FINISHED`, `FAILED`, `KILLED` or `SCHEDULED`.
    pub status: String,
    /// When it started, in milliseconds since 1970.
    pub start_ms: i64,
    /// When it ended; none while it runs.
    pub end_ms: Option<i64>,
    /// Where its artifacts are.
    pub artifact_uri: String,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// The last value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// Name, digest and context of its data sets.
    pub inputs: BTreeSet<(String, String, String)>,
}

#[derive(Serialize)]
struct Search<'a> {
    experiment_ids: [&'a str; 1],
    filter: &'a str,
    order_by: [&'a str; 1],
    max_results: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    page_token: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    runs: Vec<Run>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Run {
    info: Info,
    #[serde(default)]
    data: Data,
    #[serde(default)]
    inputs: Inputs,
}

#[derive(Deserialize)]
struct Info {
    run_id: String,
    experiment_id: String,
    #[serde(default)]
    run_name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    start_time: i64,
    end_time: Option<i64>,
    #[serde(default)]
    artifact_uri: String,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    metrics: Vec<Metric>,
    #[serde(default)]
    params: Vec<Pair>,
    #[serde(default)]
    tags: Vec<Pair>,
}

#[derive(Deserialize)]
struct Metric {
    key: String,
    #[serde(with = "crate::finite", default)]
    value: f64,
    #[serde(default)]
    timestamp: i64,
    #[serde(default)]
    step: i64,
}

#[derive(Deserialize)]
struct Pair {
    key: String,
    #[serde(default)]
    value: String,
}

#[derive(Default, Deserialize)]
struct Inputs {
    #[serde(default)]
    dataset_inputs: Vec<DatasetInput>,
}

#[derive(Deserialize)]
struct DatasetInput {
    #[serde(default)]
    tags: Vec<Pair>,
    dataset: Dataset,
}

#[derive(Deserialize)]
struct Dataset {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: String,
}

#[derive(Deserialize)]
struct History {
    #[serde(default)]
    metrics: Vec<Metric>,
    next_page_token: Option<String>,
}

fn pairs(list: Vec<Pair>) -> BTreeMap<String, String> {
    list.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

impl From<Run> for HeldRun {
    fn from(Run { info, data, inputs }: Run) -> Self {
        let input = |input: DatasetInput| {
            let context = input.tags.into_iter().find(|tag| tag.key == "mlflow.data.context");
            let context = context.map(|tag| tag.value).unwrap_or_default();
            (input.dataset.name, input.dataset.digest, context)
        };
        Self {
            ids: RunIds { experiment_id: info.experiment_id, run_id: info.run_id },
            name: info.run_name,
            status: info.status,
            start_ms: info.start_time,
            end_ms: info.end_time,
            artifact_uri: info.artifact_uri,
            params: pairs(data.params),
            tags: pairs(data.tags),
            metrics: data.metrics.into_iter().map(|metric| (metric.key, metric.value)).collect(),
            inputs: inputs.dataset_inputs.into_iter().map(input).collect(),
        }
    }
}

impl Client {
    /// Id of an experiment; none where there is none.
    ///
    /// # Errors
    /// [`MlflowError`]; [`MlflowError::ExperimentDeleted`] where it is in the bin.
    pub async fn experiment_id(&self, name: &str) -> Result<Option<String>, MlflowError> {
        self.find_experiment(name).await
    }

    /// The runs of an experiment that a filter of MLflow's language holds of, oldest first.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub async fn runs(&self, experiment_id: &str, filter: &str) -> Result<Vec<HeldRun>, MlflowError> {
        let call = "runs/search";
        let (mut runs, mut page_token) = (Vec::new(), None);
        loop {
            // A page's token counts rows: runs that are made meanwhile come last.
            let order_by = ["attributes.start_time ASC"];
            let experiment_ids = [experiment_id];
            let body = Search { experiment_ids, filter, order_by, max_results: PAGE, page_token };
            let found: Found = self.send(call, self.post(call).json(&body)).await?;
            runs.extend(found.runs.into_iter().map(HeldRun::from));
            page_token = found.next_page_token.filter(|token| !token.is_empty());
            if page_token.is_none() {
                return Ok(runs);
            }
        }
    }

    /// All points of a run's metric, in MLflow's order.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub async fn history(&self, run: &RunIds, key: &str) -> Result<Vec<Point>, MlflowError> {
        let call = "metrics/get-history";
        let (mut points, mut page_token) = (Vec::new(), String::new());
        loop {
            let page = PAGE.to_string();
            let mut query =
                vec![("run_id", run.run_id.as_str()), ("metric_key", key), ("max_results", &page)];
            if !page_token.is_empty() {
                query.push(("page_token", &page_token));
            }
            let history: History = self.send(call, self.http.get(self.url(call)).query(&query)).await?;
            points.extend(history.metrics.into_iter().map(|metric| Point {
                key: metric.key,
                value: metric.value,
                timestamp_ms: metric.timestamp,
                step: metric.step,
            }));
            match history.next_page_token.filter(|token| !token.is_empty()) {
                Some(next) => page_token = next,
                None => return Ok(points),
            }
        }
    }

    /// An artifact of a run as a text; none where there is none.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub async fn text(&self, run: &HeldRun, path: &str) -> Result<Option<String>, MlflowError> {
        let root = &run.artifact_uri;
        let url = self.artifact_url(root, path).ok_or_else(|| MlflowError::ArtifactsNotServed {
            address: self.address.clone(),
            root: root.clone(),
        })?;
        match self.answer("the download of an artifact", self.http.get(url)).await {
            Ok(text) => Ok(Some(text)),
            Err(MlflowError::Refused { status: 404, .. } | MlflowError::NotMlflow { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
