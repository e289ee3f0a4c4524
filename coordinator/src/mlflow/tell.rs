//! What MLflow is told when something happens to a sweep: from plain facts to ops, for the engine to commit.
//!
//! Only trial runs carry metrics, so that ordering an experiment by `metrics.best_validation_f1` ranks a sweep and
//! nothing else.

use std::collections::BTreeMap;

use distilsweep_proto::{
    ids::{SweepId, TrialId, WorkerId},
    names,
    params::Params,
};
use serde_json::json;

use super::{
    classes,
    op::{Input, NOTE_TAG, NewRun, Op, Point, RunKey, Status, identity},
};
use crate::scheduler::{Split, TrialResult};

/// Longest text of a tag; MLflow cuts at 8000 characters without a word, hosted ones refuse at 5000.
const TAG_CHARS: usize = 5000;

/// What all runs of a sweep share.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The sweep.
    pub sweep: &'a SweepId,
    /// Name of the MLflow experiment.
    pub experiment: &'a str,
    /// Id of the coordinator's state directory, random and kept for ever.
    pub coordinator: &'a str,
    /// Who is recorded as the user of the runs.
    pub user: &'a str,
    /// Where the coordinator runs.
    pub place: Place,
    /// Tags that all of them carry.
    pub tags: &'a BTreeMap<String, String>,
}

/// Where the coordinator runs, as MLflow's source types tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On somebody's machine: `LOCAL`.
    Local,
    /// As a service, in a cluster say: `JOB`.
    Service,
}

/// A sweep as it starts.
#[derive(Clone, Debug)]
pub struct SweepStart<'a> {
    /// Name in the sweep file.
    pub name: &'a str,
    /// Digest of the normalised file, hexadecimal.
    pub digest: &'a str,
    /// Metric that ranks: `best_validation_f1`, say.
    pub metric: &'a str,
    /// Whether more of it is better.
    pub maximize: bool,
    /// Model that all trials start from, as given.
    pub model: &'a str,
    /// Dataset in words.
    pub dataset: &'a str,
    /// The commit of a model of the Hub.
    pub model_commit: Option<&'a str>,
    /// The commit of a data set of the Hub.
    pub dataset_commit: Option<&'a str>,
    /// Points in the space.
    pub points: u64,
    /// What it is about, by its file.
    pub description: Option<&'a str>,
    /// The sweep file as submitted.
    pub file: &'a str,
    /// The parameters, and what else decides the points, as a sweep file has them.
    pub space: serde_json::Map<String, serde_json::Value>,
    /// When, in milliseconds since 1970.
    pub start_ms: i64,
}

/// An attempt at a trial as it starts.
#[derive(Clone, Copy, Debug)]
pub struct TrialStart<'a> {
    /// Index of the point.
    pub index: u64,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// Who trains it.
    pub worker: &'a WorkerId,
    /// Model that it starts from, as given.
    pub model: &'a str,
    /// Dataset in words.
    pub dataset: &'a str,
    /// Its hyperparameters.
    pub params: &'a Params,
    /// When, in milliseconds since 1970.
    pub start_ms: i64,
}

/// A trial's end.
#[derive(Clone, Debug)]
pub struct TrialEnd<'a> {
    /// Index of the point.
    pub index: u64,
    /// How it ended.
    pub status: Status,
    /// Final metrics: `best_validation_f1`, `test_accuracy` and so on, at the step of the chosen epoch.
    pub metrics: &'a [Point],
    /// URL of the best checkpoint, if there is one.
    pub best_checkpoint_path: Option<&'a str>,
    /// Its result, empty where it has none: of this the tags, and what was taken for what in the data.
    pub result: &'a TrialResult,
    /// The data that it worked with.
    pub inputs: Vec<Input>,
    /// Why, where it has no result.
    pub reason: Option<&'a str>,
    /// When, in milliseconds since 1970.
    pub end_ms: i64,
}

/// A data set as MLflow is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    /// Its name in lists.
    pub name: &'a str,
    /// A directory or file, or an address: `local` or `http` in MLflow's words.
    pub place: DataPlace<'a>,
    /// Its columns: text and class.
    pub columns: [&'a str; 2],
}

/// Where a data set is.
#[derive(Clone, Copy, Debug)]
pub enum DataPlace<'a> {
    /// A path on the workers' machines.
    Local(&'a str),
    /// An address.
    Http(&'a str),
}

/// Name of a trial wherever people read it: `trial-0007`.
pub fn trial_name(index: u64) -> String {
    format!("trial-{index:04}")
}

/// A sweep starts or goes on: its parent run, with the file among the artifacts.
pub fn sweep_started(recorded: Recorded<'_>, start: SweepStart<'_>) -> Vec<(RunKey, Op)> {
    let run = RunKey::sweep(recorded.sweep);
    let goal = goal(&start);
    let mut tags = recorded.tags();
    tags.extend(texts([
        ("digest", start.digest),
        ("metric", start.metric),
        ("goal", goal),
        ("model", start.model),
        ("dataset", start.dataset),
        ("points", &start.points.to_string()),
        (NOTE_TAG, &note(&start)),
    ]));
    for (tag, commit) in [("model_commit", start.model_commit), ("dataset_commit", start.dataset_commit)] {
        tags.extend(commit.map(|commit| (tag.to_owned(), commit.to_owned())));
    }
    vec![
        (run.clone(), recorded.create(&run, recorded.sweep.to_string(), start.start_ms, tags, None)),
        (run.clone(), Op::Text { path: "sweep.yaml".to_owned(), content: start.file.to_owned() }),
        (run, space(&start)),
    ]
}

/// The space as a sweep file has it, which it no longer tells by itself once it is extended.
fn space(start: &SweepStart<'_>) -> Op {
    let mut document = start.space.clone();
    document.insert("points".to_owned(), json!(start.points));
    let content = format!("{:#}\n", serde_json::Value::Object(document));
    Op::Text { path: "space.json".to_owned(), content }
}

fn goal(start: &SweepStart<'_>) -> &'static str {
    if start.maximize { "maximize" } else { "minimize" }
}

fn note(start: &SweepStart<'_>) -> String {
    let goal = goal(start);
    let SweepStart { name, points, model, dataset, metric, .. } = start;
    let facts = format!(
        "Sweep `{name}`: {points} points of `{model}` on `{dataset}`, to {goal} `{metric}`. The nested runs are its trials."
    );
    match start.description.map(str::trim) {
        Some(described) if !described.is_empty() => format!("{described}\n\n{facts}"),
        Some(_) | None => facts,
    }
}

/// A sweep goes on after its end, or got more points, of which `larger` then tells: its run runs again.
pub fn sweep_goes_on(
    recorded: Recorded<'_>,
    larger: Option<SweepStart<'_>>,
    now_ms: i64,
) -> Vec<(RunKey, Op)> {
    let run = RunKey::sweep(recorded.sweep);
    let create = recorded.create(&run, recorded.sweep.to_string(), now_ms, recorded.tags(), None);
    let size = larger.map(|start| {
        [Op::Tags(texts([("points", &start.points.to_string()), (NOTE_TAG, &note(&start))])), space(&start)]
    });
    [create].into_iter().chain(size.into_iter().flatten()).map(|op| (run.clone(), op)).collect()
}

/// A trial that ended without a result waits for another attempt, which sets its run running again.
pub fn trial_retried(recorded: Recorded<'_>, index: u64, by: &str) -> Vec<(RunKey, Op)> {
    let reason = format!("it is tried again, ordered by {by}").chars().take(TAG_CHARS).collect();
    vec![(recorded.trial(index), Op::Tags(BTreeMap::from([("reason".to_owned(), reason)])))]
}

/// The parameters of a trial's run.
pub fn params(model: &str, dataset: &str, params: &Params) -> BTreeMap<String, String> {
    let mut told = texts([("model", model), ("dataset", dataset)]);
    told.extend(params.iter().map(|(name, value)| (name.clone(), value.to_string())));
    told
}

/// An attempt at a trial starts. The first creates its nested run; a later one sets it running again and leaves what
/// it holds.
pub fn trial_started(recorded: Recorded<'_>, start: TrialStart<'_>) -> Vec<(RunKey, Op)> {
    let run = recorded.trial(start.index);
    let mut tags = recorded.tags();
    tags.insert("trial".to_owned(), start.index.to_string());
    let params = params(start.model, start.dataset, start.params);
    let attempt = texts([("attempt", &start.attempt.to_string()), ("worker", start.worker.as_str())]);
    let parent = Some(RunKey::sweep(recorded.sweep));
    vec![
        (run.clone(), recorded.create(&run, trial_name(start.index), start.start_ms, tags, parent)),
        (run.clone(), Op::Params(params)),
        (run, Op::Tags(attempt)),
    ]
}

/// Points that a worker reported, of which none was recorded before.
pub fn trial_metrics(recorded: Recorded<'_>, index: u64, points: Vec<Point>) -> Vec<(RunKey, Op)> {
    if points.is_empty() { Vec::new() } else { vec![(recorded.trial(index), Op::Metrics(points))] }
}

/// A trial reached a final state.
pub fn trial_finished(recorded: Recorded<'_>, end: TrialEnd<'_>) -> Vec<(RunKey, Op)> {
    let run = recorded.trial(end.index);
    let mut ops = trial_metrics(recorded, end.index, end.metrics.to_vec());
    if !end.inputs.is_empty() {
        ops.push((run.clone(), Op::Inputs(end.inputs)));
    }
    for split in &end.result.splits {
        let artifacts = classes::artifacts(&split.name, &end.result.classes, &split.confusion);
        ops.extend(artifacts.into_iter().map(|op| (run.clone(), op)));
    }
    let mut tags = end.result.tags.clone();
    if let Some(path) = end.best_checkpoint_path {
        tags.insert(names::BEST_CHECKPOINT_PATH.to_owned(), path.to_owned());
    }
    if let Some(reason) = end.reason {
        tags.insert("reason".to_owned(), reason.chars().take(TAG_CHARS).collect());
    }
    if !tags.is_empty() {
        ops.push((run.clone(), Op::Tags(tags)));
    }
    ops.push((run, Op::Finish { status: end.status, end_ms: end.end_ms }));
    ops
}

/// One split for MLflow, which takes 36 characters of a digest.
pub fn input(data: Data<'_>, split: &Split) -> Input {
    let context = if split.name == "train" { "training" } else { &split.name };
    let column = |kind: &str, name: &str| json!({"type": kind, "name": name, "required": true});
    let (source_type, source) = match data.place {
        DataPlace::Local(path) => ("local", json!({"uri": path})),
        DataPlace::Http(url) => ("http", json!({"url": url})),
    };
    let [text, class] = data.columns;
    Input {
        name: format!("{}-{}", data.name, split.name),
        digest: split.sha256.chars().take(32).collect(),
        context: context.to_owned(),
        source_type: source_type.to_owned(),
        source: source.to_string(),
        schema: json!({"mlflow_colspec": [column("string", text), column("long", class)]}).to_string(),
        profile: json!({"num_rows": split.rows}).to_string(),
    }
}

/// An attempt at a trial ended without a result: a tag of its own tells why, whatever follows.
pub fn attempt_ended(
    recorded: Recorded<'_>,
    index: u64,
    attempt: u32,
    worker: &WorkerId,
    why: &str,
) -> Vec<(RunKey, Op)> {
    let why = format!("{worker}: {why}").chars().take(TAG_CHARS).collect();
    let tags = BTreeMap::from([(format!("attempt.{attempt}"), why)]);
    vec![(recorded.trial(index), Op::Tags(tags))]
}

/// A sweep ended: its ranking and the models that it keeps, before its status.
pub fn sweep_finished(recorded: Recorded<'_>, status: Status, end_ms: i64) -> Vec<(RunKey, Op)> {
    let run = RunKey::sweep(recorded.sweep);
    [Op::Ranking, Op::Models, Op::Finish { status, end_ms }].map(|op| (run.clone(), op)).into()
}

impl Recorded<'_> {
    fn trial(&self, index: u64) -> RunKey {
        RunKey::trial(&TrialId { sweep: self.sweep.clone(), index })
    }

    fn tags(&self) -> BTreeMap<String, String> {
        let place = match self.place {
            Place::Local => "LOCAL",
            Place::Service => "JOB",
        };
        let mut tags = self.tags.clone();
        tags.extend(texts([
            ("sweep", self.sweep.as_str()),
            ("mlflow.source.name", "distilsweep"),
            ("mlflow.source.type", place),
        ]));
        tags
    }

    fn create(
        &self,
        run: &RunKey,
        name: String,
        start_ms: i64,
        tags: BTreeMap<String, String>,
        parent: Option<RunKey>,
    ) -> Op {
        Op::CreateRun(NewRun {
            experiment: self.experiment.to_owned(),
            identity: identity(self.coordinator, run),
            name,
            start_ms,
            user: self.user.to_owned(),
            tags,
            parent,
        })
    }
}

fn texts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, text)| (key.to_owned(), text.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::params::Value;

    use super::*;

    static NONE: BTreeMap<String, String> = BTreeMap::new();

    fn recorded(sweep: &SweepId) -> Recorded<'_> {
        Recorded {
            sweep,
            experiment: "emotion",
            coordinator: "c0ffee",
            user: "ada",
            place: Place::Local,
            tags: &NONE,
        }
    }

    fn lines(told: &[(RunKey, Op)]) -> String {
        let line = |(run, op): &(RunKey, Op)| format!("{run} {}\n", serde_json::to_string(op).unwrap());
        told.iter().map(line).collect()
    }

    #[test]
    fn a_sweep_becomes_a_parent_run_with_its_file() {
        let sweep = SweepId::new("emotion-1f2e");
        let told = sweep_started(
            recorded(&sweep),
            SweepStart {
                name: "emotion",
                digest: "abc",
                metric: "best_validation_f1",
                maximize: true,
                model: "distilbert-base-uncased",
                dataset: "dair-ai/emotion",
                model_commit: Some("12040ac"),
                dataset_commit: None,
                points: 12,
                description: None,
                file: "name: emotion\n",
                space: serde_json::Map::from_iter([(
                    "parameters".to_owned(),
                    json!({"learning_rate": {"values": [2e-5, 5e-5]}, "seed": {"value": 42}}),
                )]),
                start_ms: 1000,
            },
        );
        insta::assert_snapshot!(lines(&told), @r#"
            emotion-1f2e {"create_run":{"experiment":"emotion","identity":"c0ffee/emotion-1f2e","name":"emotion-1f2e","start_ms":1000,"user":"ada","tags":{"dataset":"dair-ai/emotion","digest":"abc","goal":"maximize","metric":"best_validation_f1","mlflow.note.content":"Sweep `emotion`: 12 points of `distilbert-base-uncased` on `dair-ai/emotion`, to maximize `best_validation_f1`. The nested runs are its trials.","mlflow.source.name":"distilsweep","mlflow.source.type":"LOCAL","model":"distilbert-base-uncased","model_commit":"12040ac","points":"12","sweep":"emotion-1f2e"},"parent":null}}
            emotion-1f2e {"text":{"path":"sweep.yaml","content":"name: emotion\n"}}
            emotion-1f2e {"text":{"path":"space.json","content":"{\n  \"parameters\": {\n    \"learning_rate\": {\n      \"values\": [\n        0.00002,\n        0.00005\n      ]\n    },\n    \"seed\": {\n      \"value\": 42\n    }\n  },\n  \"points\": 12\n}\n"}}
            "#);
    }

    #[test]
    fn a_later_attempt_tells_the_same_but_for_who_and_when() {
        let sweep = SweepId::new("emotion-1f2e");
        let params = Params::from([
            ("learning_rate".to_owned(), Value::Number(5e-5)),
            ("seed".to_owned(), Value::Integer(42)),
        ]);
        let start = |attempt, worker: &WorkerId| {
            let start = TrialStart {
                index: 7,
                attempt,
                worker,
                model: "m",
                dataset: "d",
                params: &params,
                start_ms: 1000,
            };
            trial_started(recorded(&sweep), start)
        };
        let first = start(1, &WorkerId::new("w1"));
        let second = start(2, &WorkerId::new("w2"));
        assert_eq!(first[..2], second[..2]);
        insta::assert_snapshot!(lines(&first), @r#"
            emotion-1f2e/7 {"create_run":{"experiment":"emotion","identity":"c0ffee/emotion-1f2e/7","name":"trial-0007","start_ms":1000,"user":"ada","tags":{"mlflow.source.name":"distilsweep","mlflow.source.type":"LOCAL","sweep":"emotion-1f2e","trial":"7"},"parent":"emotion-1f2e"}}
            emotion-1f2e/7 {"params":{"dataset":"d","learning_rate":"5e-05","model":"m","seed":"42"}}
            emotion-1f2e/7 {"tags":{"attempt":"1","worker":"w1"}}
            "#);
        assert_eq!(second[2].1, Op::Tags(texts([("attempt", "2"), ("worker", "w2")])));
    }

    #[test]
    fn a_trial_ends_with_its_metrics_before_its_status() {
        let sweep = SweepId::new("s-1");
        let point = Point { key: "best_validation_f1".into(), value: 0.9, timestamp_ms: 5, step: 100 };
        let end = TrialEnd {
            index: 0,
            status: Status::Finished,
            metrics: &[point],
            best_checkpoint_path: Some("file:///c/0"),
            result: &TrialResult::default(),
            inputs: Vec::new(),
            reason: None,
            end_ms: 6,
        };
        insta::assert_snapshot!(lines(&trial_finished(recorded(&sweep), end)), @r#"
            s-1/0 {"metrics":[{"key":"best_validation_f1","value":0.9,"timestamp_ms":5,"step":100}]}
            s-1/0 {"tags":{"best_checkpoint_path":"file:///c/0"}}
            s-1/0 {"finish":{"status":"FINISHED","end_ms":6}}
            "#);
    }

    #[test]
    fn a_failed_trial_says_why_in_a_tag_that_fits() {
        let sweep = SweepId::new("s-1");
        let reason = "é".repeat(9000);
        let end = TrialEnd {
            index: 0,
            status: Status::Failed,
            metrics: &[],
            best_checkpoint_path: None,
            result: &TrialResult::default(),
            inputs: Vec::new(),
            reason: Some(&reason),
            end_ms: 6,
        };
        let told = trial_finished(recorded(&sweep), end);
        let [(_, Op::Tags(tags)), (_, Op::Finish { status: Status::Failed, end_ms: 6 })] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(tags["reason"].chars().count(), TAG_CHARS);
    }

    #[test]
    fn the_ranking_is_stored_before_the_sweep_ends() {
        let sweep = SweepId::new("s-1");
        let told = sweep_finished(recorded(&sweep), Status::Finished, 9);
        assert!(
            matches!(&told[..], [(_, Op::Ranking), (_, Op::Models), (run, Op::Finish { .. })] if run.as_str() == "s-1")
        );
    }

    #[test]
    fn no_points_are_no_row() {
        let sweep = SweepId::new("s-1");
        assert!(trial_metrics(recorded(&sweep), 0, Vec::new()).is_empty());
    }
}
