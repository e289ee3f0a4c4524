//! Bodies of MLflow's REST calls, in the field order of the official client.
//!
//! MLflow's parser answers 200 to a value that it cannot read, stores a default and drops the rest of the request.
//! These types leave it nothing of the kind: parameters and tags are texts, times and steps whole numbers, statuses an
//! enum, metric values pass through [`crate::finite`]. The order matters too: with `value` before `timestamp` and `step` a
//! point that was not understood would show itself by its time 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    models::KeptModel,
    op::{IDENTITY_TAG, Input, NOTE_TAG, NewRun, Point, RunIds, Status},
    plan::Batch,
};

#[derive(Serialize)]
pub(super) struct KeyValue<'a> {
    key: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Metric<'a> {
    key: &'a str,
    #[serde(with = "crate::finite")]
    value: f64,
    timestamp: i64,
    step: i64,
}

impl<'a> From<&'a Point> for Metric<'a> {
    fn from(point: &'a Point) -> Self {
        Self { key: &point.key, value: point.value, timestamp: point.timestamp_ms, step: point.step }
    }
}

pub(super) fn pairs(texts: &BTreeMap<String, String>) -> Vec<KeyValue<'_>> {
    texts.iter().map(|(key, value)| KeyValue { key, value }).collect()
}

/// Bytes that a point takes in a body.
pub(super) fn metric_bytes(point: &Point) -> usize {
    bytes(&Metric::from(point))
}

/// Bytes that a parameter or tag takes in a body.
pub(super) fn pair_bytes(key: &str, value: &str) -> usize {
    bytes(&KeyValue { key, value })
}

fn bytes(item: &impl Serialize) -> usize {
    // Texts and numbers always serialise; one more is for the comma.
    serde_json::to_vec(item).map_or(0, |json| json.len()) + 1
}

#[derive(Serialize)]
pub(super) struct LogBatch<'a> {
    run_id: &'a str,
    metrics: Vec<Metric<'a>>,
    params: Vec<KeyValue<'a>>,
    tags: Vec<KeyValue<'a>>,
}

impl<'a> LogBatch<'a> {
    pub(super) fn new(run: &'a RunIds, batch: &'a Batch) -> Self {
        Self {
            run_id: &run.run_id,
            metrics: batch.metrics.iter().map(Metric::from).collect(),
            params: pairs(&batch.params),
            tags: pairs(&batch.tags),
        }
    }
}

#[derive(Serialize)]
pub(super) struct LogInputs<'a> {
    run_id: &'a str,
    datasets: Vec<DatasetInput<'a>>,
}

#[derive(Serialize)]
struct DatasetInput<'a> {
    tags: [KeyValue<'a>; 1],
    dataset: Dataset<'a>,
}

#[derive(Serialize)]
struct Dataset<'a> {
    name: &'a str,
    digest: &'a str,
    source_type: &'a str,
    source: &'a str,
    schema: &'a str,
    profile: &'a str,
}

impl<'a> LogInputs<'a> {
    pub(super) fn new(run: &'a RunIds, inputs: &'a [Input]) -> Self {
        let input = |input: &'a Input| DatasetInput {
            tags: [KeyValue { key: "mlflow.data.context", value: &input.context }],
            dataset: Dataset {
                name: &input.name,
                digest: &input.digest,
                source_type: &input.source_type,
                source: &input.source,
                schema: &input.schema,
                profile: &input.profile,
            },
        };
        Self { run_id: &run.run_id, datasets: inputs.iter().map(input).collect() }
    }
}

#[derive(Serialize)]
pub(super) struct LogModelMetrics<'a> {
    run_id: &'a str,
    metrics: Vec<ModelMetric<'a>>,
}

#[derive(Serialize)]
struct ModelMetric<'a> {
    #[serde(flatten)]
    metric: Metric<'a>,
    model_id: &'a str,
    #[serde(flatten)]
    dataset: Option<ModelDataset<'a>>,
}

#[derive(Serialize)]
struct ModelDataset<'a> {
    #[serde(rename = "dataset_name")]
    name: &'a str,
    #[serde(rename = "dataset_digest")]
    digest: &'a str,
}

impl<'a> LogModelMetrics<'a> {
    pub(super) fn new(model: &'a KeptModel, model_id: &'a str) -> Self {
        let of_model = |point: &'a Point| ModelMetric {
            metric: Metric::from(point),
            model_id,
            dataset: model
                .measured_on(&point.key)
                .map(|input| ModelDataset { name: &input.name, digest: &input.digest }),
        };
        Self { run_id: &model.run.run_id, metrics: model.metrics.iter().map(of_model).collect() }
    }
}

/// Tags of a new run, its own and those that the other fields stand for; a name occurs once, for MLflow refuses two.
pub(super) fn run_tags(run: &NewRun, parent: Option<&RunIds>) -> BTreeMap<String, String> {
    let mut tags = run.tags.clone();
    tags.insert("mlflow.user".to_owned(), run.user.clone());
    tags.insert("mlflow.runName".to_owned(), run.name.clone());
    tags.insert(IDENTITY_TAG.to_owned(), run.identity.clone());
    if let Some(parent) = parent {
        tags.insert("mlflow.parentRunId".to_owned(), parent.run_id.clone());
    }
    tags
}

#[derive(Serialize)]
pub(super) struct CreateRun<'a> {
    experiment_id: &'a str,
    user_id: &'a str,
    run_name: &'a str,
    start_time: i64,
    tags: Vec<KeyValue<'a>>,
}

impl<'a> CreateRun<'a> {
    pub(super) fn new(experiment_id: &'a str, run: &'a NewRun, tags: &'a BTreeMap<String, String>) -> Self {
        Self {
            experiment_id,
            user_id: &run.user,
            run_name: &run.name,
            start_time: run.start_ms,
            tags: pairs(tags),
        }
    }
}

#[derive(Serialize)]
pub(super) struct UpdateRun<'a> {
    run_id: &'a str,
    status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RunStatus {
    Ended(Status),
    Running(Running),
}

#[derive(Serialize)]
enum Running {
    #[serde(rename = "RUNNING")]
    Running,
}

impl<'a> UpdateRun<'a> {
    pub(super) fn running(run: &'a RunIds) -> Self {
        Self { run_id: &run.run_id, status: RunStatus::Running(Running::Running), end_time: None }
    }

    pub(super) fn ended(run: &'a RunIds, status: Status, end_ms: i64) -> Self {
        Self { run_id: &run.run_id, status: RunStatus::Ended(status), end_time: Some(end_ms) }
    }
}

#[derive(Serialize)]
pub(super) struct RunId<'a> {
    pub(super) run_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct SearchRuns<'a> {
    experiment_ids: [&'a str; 1],
    filter: String,
    max_results: u32,
}

impl<'a> SearchRuns<'a> {
    /// The runs of an experiment that carry an identity, which holds no quote by construction.
    pub(super) fn by_identity(experiment_id: &'a str, identity: &str) -> Self {
        Self {
            experiment_ids: [experiment_id],
            filter: format!("tags.`{IDENTITY_TAG}` = '{identity}'"),
            max_results: 100,
        }
    }
}

#[derive(Serialize)]
pub(super) struct CreateExperiment<'a> {
    name: &'a str,
    tags: Vec<KeyValue<'a>>,
}

impl<'a> CreateExperiment<'a> {
    pub(super) fn new(name: &'a str, note: Option<&'a String>) -> Self {
        let tag = |value: &'a String| KeyValue { key: NOTE_TAG, value };
        Self { name, tags: note.map(tag).into_iter().collect() }
    }
}

#[derive(Deserialize)]
pub(super) struct Created {
    pub(super) experiment_id: String,
}

#[derive(Deserialize)]
pub(super) struct Experiment {
    pub(super) experiment_id: String,
    #[serde(default)]
    pub(super) lifecycle_stage: String,
}

#[derive(Deserialize)]
pub(super) struct ExperimentAnswer {
    pub(super) experiment: Experiment,
}

#[derive(Deserialize)]
pub(super) struct RunInfo {
    pub(super) run_id: String,
    #[serde(default)]
    pub(super) artifact_uri: String,
}

#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) info: RunInfo,
}

#[derive(Deserialize)]
pub(super) struct RunAnswer {
    pub(super) run: Run,
}

/// MLflow leaves empty lists out.
#[derive(Deserialize)]
pub(super) struct RunsAnswer {
    #[serde(default)]
    pub(super) runs: Vec<Run>,
}

/// An answer of which nothing is needed.
#[derive(Deserialize)]
pub(super) struct Nothing {}

#[cfg(test)]
mod tests {
    use super::{super::op::RunKey, *};

    fn ids() -> RunIds {
        RunIds { experiment_id: "1".into(), run_id: "r".into() }
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_batch_is_written_as_the_official_client_writes_it() {
        let point =
            |key: &str, value, step| Point { key: key.into(), value, timestamp_ms: 1795500757146, step };
        let batch = Batch {
            metrics: vec![
                point("loss", 0.5, 1),
                point("loss", f64::NAN, 2),
                point("loss", f64::INFINITY, 3),
                point("loss", f64::NEG_INFINITY, 4),
                point("learning_rate", 5e-5, 4),
                point("big", f64::MAX, 4),
            ],
            params: texts(&[("learning_rate", "5e-05"), ("note", "\"é\n")]),
            tags: texts(&[("k", "v")]),
        };
        insta::assert_snapshot!(serde_json::to_string(&LogBatch::new(&ids(), &batch)).unwrap(), @r#"{"run_id":"r","metrics":[{"key":"loss","value":0.5,"timestamp":1795500757146,"step":1},{"key":"loss","value":"NaN","timestamp":1795500757146,"step":2},{"key":"loss","value":"Infinity","timestamp":1795500757146,"step":3},{"key":"loss","value":"-Infinity","timestamp":1795500757146,"step":4},{"key":"learning_rate","value":0.00005,"timestamp":1795500757146,"step":4},{"key":"big","value":1.7976931348623157e+308,"timestamp":1795500757146,"step":4}],"params":[{"key":"learning_rate","value":"5e-05"},{"key":"note","value":"\"é\n"}],"tags":[{"key":"k","value":"v"}]}"#);
    }

    #[test]
    fn a_new_run_names_its_parent_and_carries_each_tag_once() {
        let run = NewRun {
            experiment: "e".into(),
            identity: "c/s/0".into(),
            name: "trial-0000".into(),
            start_ms: 1795500757066,
            user: "ada".into(),
            tags: texts(&[("mlflow.user", "somebody else"), ("mlflow.source.type", "LOCAL")]),
            parent: Some(RunKey::new("s")),
        };
        let tags = run_tags(&run, Some(&RunIds { experiment_id: "1".into(), run_id: "p".into() }));
        insta::assert_snapshot!(serde_json::to_string(&CreateRun::new("1", &run, &tags)).unwrap(), @r#"{"experiment_id":"1","user_id":"ada","run_name":"trial-0000","start_time":1795500757066,"tags":[{"key":"distilsweep.run_key","value":"c/s/0"},{"key":"mlflow.parentRunId","value":"p"},{"key":"mlflow.runName","value":"trial-0000"},{"key":"mlflow.source.type","value":"LOCAL"},{"key":"mlflow.user","value":"ada"}]}"#);
    }

    #[test]
    fn updates_and_searches_are_written_in_full() {
        let bodies = [
            serde_json::to_string(&UpdateRun::running(&ids())).unwrap(),
            serde_json::to_string(&UpdateRun::ended(&ids(), Status::Killed, 7)).unwrap(),
            serde_json::to_string(&SearchRuns::by_identity("1", "c/s/0")).unwrap(),
        ];
        insta::assert_snapshot!(bodies.join("\n"), @r#"
        {"run_id":"r","status":"RUNNING"}
        {"run_id":"r","status":"KILLED","end_time":7}
        {"experiment_ids":["1"],"filter":"tags.`distilsweep.run_key` = 'c/s/0'","max_results":100}
        "#);
    }

    #[test]
    fn answers_may_leave_out_what_is_empty() {
        assert!(serde_json::from_str::<RunsAnswer>("{}").unwrap().runs.is_empty());
        let run: RunAnswer = serde_json::from_str(r#"{"run":{"info":{"run_id":"r"},"data":{}}}"#).unwrap();
        assert_eq!(run.run.info.run_id, "r");
    }
}
