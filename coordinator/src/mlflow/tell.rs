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

use super::op::{NewRun, Op, Point, RunKey, Status, identity};

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
#[derive(Clone, Copy, Debug)]
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
    /// Points in the space.
    pub points: u64,
    /// The sweep file as submitted.
    pub file: &'a str,
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
#[derive(Clone, Copy, Debug)]
pub struct TrialEnd<'a> {
    /// Index of the point.
    pub index: u64,
    /// How it ended.
    pub status: Status,
    /// Final metrics: `best_validation_f1`, `test_accuracy` and so on, at the step of the chosen epoch.
    pub metrics: &'a [Point],
    /// URL of the best checkpoint, if there is one.
    pub best_checkpoint_path: Option<&'a str>,
    /// Why, where it has no result.
    pub reason: Option<&'a str>,
    /// When, in milliseconds since 1970.
    pub end_ms: i64,
}

/// Name of a trial wherever people read it: `trial-0007`.
pub fn trial_name(index: u64) -> String {
    format!("trial-{index:04}")
}

/// A sweep starts or goes on: its parent run, with the file among the artifacts.
pub fn sweep_started(recorded: Recorded<'_>, start: SweepStart<'_>) -> Vec<(RunKey, Op)> {
    let run = RunKey::sweep(recorded.sweep);
    let goal = if start.maximize { "maximize" } else { "minimize" };
    let mut tags = recorded.tags();
    tags.extend(texts([
        ("digest", start.digest),
        ("metric", start.metric),
        ("goal", goal),
        ("model", start.model),
        ("dataset", start.dataset),
        ("points", &start.points.to_string()),
        (
            "mlflow.note.content",
            &format!(
                "Sweep `{}`: {} points of `{}` on `{}`, to {goal} `{}`. The nested runs are its trials.",
                start.name, start.points, start.model, start.dataset, start.metric
            ),
        ),
    ]));
    vec![
        (run.clone(), recorded.create(&run, recorded.sweep.to_string(), start.start_ms, tags, None)),
        (run, Op::Text { path: "sweep.yaml".to_owned(), content: start.file.to_owned() }),
    ]
}

/// A sweep got more points, or goes on after its end: its run runs again.
pub fn sweep_goes_on(recorded: Recorded<'_>, points: Option<u64>, now_ms: i64) -> Vec<(RunKey, Op)> {
    let run = RunKey::sweep(recorded.sweep);
    let create = recorded.create(&run, recorded.sweep.to_string(), now_ms, recorded.tags(), None);
    let points = points.map(|points| Op::Tags(texts([("points", &points.to_string())])));
    [create].into_iter().chain(points).map(|op| (run.clone(), op)).collect()
}

/// A trial that ended without a result waits for another attempt, which sets its run running again.
pub fn trial_retried(recorded: Recorded<'_>, index: u64, by: &str) -> Vec<(RunKey, Op)> {
    let reason = format!("it is tried again, ordered by {by}").chars().take(TAG_CHARS).collect();
    vec![(recorded.trial(index), Op::Tags(BTreeMap::from([("reason".to_owned(), reason)])))]
}

/// An attempt at a trial starts. The first creates its nested run; a later one sets it running again and leaves what
/// it holds.
pub fn trial_started(recorded: Recorded<'_>, start: TrialStart<'_>) -> Vec<(RunKey, Op)> {
    let run = recorded.trial(start.index);
    let mut tags = recorded.tags();
    tags.insert("trial".to_owned(), start.index.to_string());
    let mut params = texts([("model", start.model), ("dataset", start.dataset)]);
    params.extend(start.params.iter().map(|(name, value)| (name.clone(), value.to_string())));
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
    let mut tags = BTreeMap::new();
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

/// A sweep ended; `artifacts` are paths and texts, its ranking say.
pub fn sweep_finished(
    recorded: Recorded<'_>,
    artifacts: Vec<(String, String)>,
    status: Status,
    end_ms: i64,
) -> Vec<(RunKey, Op)> {
    let run = RunKey::sweep(recorded.sweep);
    artifacts
        .into_iter()
        .map(|(path, content)| Op::Text { path, content })
        .chain([Op::Finish { status, end_ms }])
        .map(|op| (run.clone(), op))
        .collect()
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
        texts([
            ("sweep", self.sweep.as_str()),
            ("mlflow.source.name", "distilsweep"),
            ("mlflow.source.type", place),
        ])
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

    fn recorded(sweep: &SweepId) -> Recorded<'_> {
        Recorded { sweep, experiment: "emotion", coordinator: "c0ffee", user: "ada", place: Place::Local }
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
                points: 12,
                file: "name: emotion\n",
                start_ms: 1000,
            },
        );
        insta::assert_snapshot!(lines(&told), @r#"
            emotion-1f2e {"create_run":{"experiment":"emotion","identity":"c0ffee/emotion-1f2e","name":"emotion-1f2e","start_ms":1000,"user":"ada","tags":{"dataset":"dair-ai/emotion","digest":"abc","goal":"maximize","metric":"best_validation_f1","mlflow.note.content":"Sweep `emotion`: 12 points of `distilbert-base-uncased` on `dair-ai/emotion`, to maximize `best_validation_f1`. The nested runs are its trials.","mlflow.source.name":"distilsweep","mlflow.source.type":"LOCAL","model":"distilbert-base-uncased","points":"12","sweep":"emotion-1f2e"},"parent":null}}
            emotion-1f2e {"text":{"path":"sweep.yaml","content":"name: emotion\n"}}
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
        let told =
            sweep_finished(recorded(&sweep), vec![("ranking.md".into(), "|".into())], Status::Finished, 9);
        assert!(
            matches!(&told[..], [(_, Op::Text { .. }), (run, Op::Finish { .. })] if run.as_str() == "s-1")
        );
    }

    #[test]
    fn no_points_are_no_row() {
        let sweep = SweepId::new("s-1");
        assert!(trial_metrics(recorded(&sweep), 0, Vec::new()).is_empty());
    }
}
