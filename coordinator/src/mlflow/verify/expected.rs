//! What a run should hold, and where MLflow's differs. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::mlflow::{
    client::HeldRun,
    op::{IDENTITY_TAG, NewRun, Op, Point, Status},
};

/// Differences of one kind in one run that are told one by one.
const TOLD: usize = 5;

/// The state of a run after everything that it was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// As it was first created.
    pub new: NewRun,
    /// Tags, those of its creation included.
    pub tags: BTreeMap<String, String>,
    /// Parameters.
    pub params: BTreeMap<String, String>,
    /// Points by metric.
    pub points: BTreeMap<String, Vec<Point>>,
    /// Artifacts by path.
    pub texts: BTreeMap<String, String>,
    /// Name, digest and context of its data sets.
    pub inputs: BTreeSet<(String, String, String)>,
    /// How and when it ended; none while it runs.
    pub ended: Option<(Status, i64)>,
}

impl Expected {
    /// What these ops leave of a run; none without its creation.
    pub fn after(ops: &[Op]) -> Option<Self> {
        let new = ops.iter().find_map(|op| match op {
            Op::CreateRun(new) => Some(new.clone()),
            _ => None,
        })?;
        let mut tags = new.tags.clone();
        tags.insert(IDENTITY_TAG.to_owned(), new.identity.clone());
        let (params, points) = (BTreeMap::new(), BTreeMap::new());
        let mut run =
            Self { new, tags, params, points, texts: BTreeMap::new(), inputs: BTreeSet::new(), ended: None };
        for op in ops {
            match op {
                Op::CreateRun(_) => run.ended = None,
                Op::Params(params) => run.params.extend(params.clone()),
                Op::Tags(tags) => run.tags.extend(tags.clone()),
                Op::Metrics(points) => {
                    for point in points {
                        run.points.entry(point.key.clone()).or_default().push(point.clone());
                    }
                }
                Op::Text { path, content } => {
                    run.texts.insert(path.clone(), content.clone());
                }
                Op::Inputs(inputs) => run
                    .inputs
                    .extend(inputs.iter().map(|i| (i.name.clone(), i.digest.clone(), i.context.clone()))),
                Op::Finish { status, end_ms } => run.ended = Some((*status, *end_ms)),
                // They are made when they are sent.
                Op::Ranking | Op::Models => {}
            }
        }
        Some(run)
    }

    /// Where a run that MLflow holds is not this one; its points and artifacts apart.
    pub fn differences(&self, held: &HeldRun, parent: Option<&str>) -> Vec<String> {
        let mut found = Vec::new();
        let (status, end_ms) = match self.ended {
            Some((status, end_ms)) => (status.name(), Some(end_ms)),
            None => ("RUNNING", None),
        };
        if held.status != status {
            found.push(format!("its status is {}, it should be {status}", held.status));
        }
        // A run that goes on keeps its old end until it ends anew.
        if end_ms.is_some() && held.end_ms != end_ms {
            found.push(format!("it ended at {:?}, it should be {end_ms:?}", held.end_ms));
        }
        if held.start_ms != self.new.start_ms {
            found.push(format!("it started at {}, it should be {}", held.start_ms, self.new.start_ms));
        }
        if held.name != self.new.name {
            found.push(format!("its name is `{}`, it should be `{}`", held.name, self.new.name));
        }
        if held.tags.get("mlflow.parentRunId").map(String::as_str) != parent {
            found.push("it is not nested in the run of its sweep".to_owned());
        }
        differing("parameter", &self.params, &held.params, &mut found);
        for name in held.params.keys().filter(|name| !self.params.contains_key(*name)) {
            found.push(format!("it has a parameter `{name}` that it was never told"));
        }
        // Whose run it is and where from depends on who tells of older sweeps; anybody may add tags.
        let tags: BTreeMap<String, String> =
            self.tags.iter().filter(|(key, _)| *key != "mlflow.source.type").map(pair).collect();
        differing("tag", &tags, &held.tags, &mut found);
        for (name, digest, context) in self.inputs.difference(&held.inputs) {
            found.push(format!("data set `{name}` {digest} ({context}) is missing"));
        }
        found
    }

    /// Where the points of a metric that MLflow holds are not those that were told.
    pub fn differing_points(&self, key: &str, held: &[Point]) -> Vec<String> {
        let none = Vec::new();
        let own: BTreeSet<Exact> = self.points.get(key).unwrap_or(&none).iter().map(exact).collect();
        let there: BTreeSet<Exact> = held.iter().map(exact).collect();
        let mut found = Vec::new();
        if there.len() < held.len() {
            found.push(format!("metric `{key}` has the same point twice"));
        }
        let mut say = |points: Vec<&Exact>, what: &str| {
            for (step, at, value) in points.iter().take(TOLD) {
                let value = f64::from_bits(*value);
                found.push(format!("metric `{key}` {what} {value} at step {step}, time {at}"));
            }
            if points.len() > TOLD {
                found.push(format!("metric `{key}` {what} {} more points", points.len() - TOLD));
            }
        };
        say(own.difference(&there).collect(), "lacks");
        say(there.difference(&own).collect(), "was never told");
        found
    }
}

fn pair((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn differing(
    what: &str,
    own: &BTreeMap<String, String>,
    held: &BTreeMap<String, String>,
    found: &mut Vec<String>,
) {
    for (name, value) in own {
        match held.get(name) {
            Some(there) if there == value => {}
            Some(there) => found.push(format!("{what} `{name}` is `{there}`, it should be `{value}`")),
            None => found.push(format!("{what} `{name}` is missing, it should be `{value}`")),
        }
    }
}

/// Step, time and value, which MLflow holds with infinities as the largest numbers.
type Exact = (i64, i64, u64);

fn exact(point: &Point) -> Exact {
    let value = match point.value {
        value if value.is_nan() => f64::NAN,
        value => value.clamp(f64::MIN, f64::MAX),
    };
    // 0 and -0 are one.
    (point.step, point.timestamp_ms, (value + 0.0).to_bits())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mlflow::op::{Input, RunIds};

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn point(step: i64, value: f64) -> Point {
        Point { key: "loss".into(), value, timestamp_ms: 100 + step, step }
    }

    fn ops() -> Vec<Op> {
        let new = NewRun {
            experiment: "e".into(),
            identity: "c/s/0".into(),
            name: "trial-0000".into(),
            start_ms: 50,
            user: "ada".into(),
            tags: texts(&[("sweep", "s"), ("mlflow.source.type", "LOCAL")]),
            parent: None,
        };
        let input = Input {
            name: "d-train".into(),
            digest: "ab".into(),
            context: "training".into(),
            source_type: "local".into(),
            source: "{}".into(),
            schema: "{}".into(),
            profile: "{}".into(),
        };
        vec![
            Op::CreateRun(new),
            Op::Params(texts(&[("lr", "1")])),
            Op::Metrics(vec![point(1, 0.5), point(2, f64::INFINITY), point(3, f64::NAN)]),
            Op::Inputs(vec![input]),
            Op::Finish { status: Status::Failed, end_ms: 70 },
            Op::CreateRun(NewRun {
                start_ms: 80,
                ..match &ops_new() {
                    Op::CreateRun(new) => new.clone(),
                    _ => unreachable!(),
                }
            }),
            Op::Tags(texts(&[("attempt", "2")])),
            Op::Finish { status: Status::Finished, end_ms: 90 },
        ]
    }

    fn ops_new() -> Op {
        Op::CreateRun(NewRun {
            experiment: "e".into(),
            identity: "c/s/0".into(),
            name: "trial-0000".into(),
            start_ms: 0,
            user: "ada".into(),
            tags: BTreeMap::new(),
            parent: None,
        })
    }

    fn held() -> HeldRun {
        HeldRun {
            ids: RunIds::default(),
            name: "trial-0000".into(),
            status: "FINISHED".into(),
            start_ms: 50,
            end_ms: Some(90),
            artifact_uri: String::new(),
            params: texts(&[("lr", "1")]),
            tags: texts(&[
                ("sweep", "s"),
                ("attempt", "2"),
                (IDENTITY_TAG, "c/s/0"),
                ("mlflow.parentRunId", "p"),
                ("a person's own", "tag"),
                ("mlflow.source.type", "JOB"),
            ]),
            metrics: BTreeMap::new(),
            inputs: BTreeSet::from([("d-train".into(), "ab".into(), "training".into())]),
        }
    }

    #[test]
    fn what_was_told_in_full_differs_in_nothing() {
        let expected = Expected::after(&ops()).unwrap();
        assert_eq!(expected.differences(&held(), Some("p")), Vec::<String>::new());
        let there = [point(1, 0.5), point(2, f64::MAX), point(3, f64::NAN)];
        assert_eq!(expected.differing_points("loss", &there), Vec::<String>::new());
    }

    #[test]
    fn everything_that_differs_is_named() {
        let expected = Expected::after(&ops()).unwrap();
        let mut other = held();
        other.status = "RUNNING".into();
        other.end_ms = None;
        other.params = texts(&[("lr", "2"), ("foreign", "x")]);
        other.tags.remove("attempt");
        other.inputs.clear();
        let mut said = expected.differences(&other, None);
        let doubled = [point(1, 0.5), Point { timestamp_ms: 0, ..point(1, 0.0) }, point(2, f64::MAX)];
        said.extend(expected.differing_points("loss", &doubled));
        said.extend(expected.differing_points("foreign", &[point(1, 0.5)]));
        insta::assert_snapshot!(said.join("\n"), @r"
        its status is RUNNING, it should be FINISHED
        it ended at None, it should be Some(90)
        it is not nested in the run of its sweep
        parameter `lr` is `2`, it should be `1`
        it has a parameter `foreign` that it was never told
        tag `attempt` is missing, it should be `2`
        data set `d-train` ab (training) is missing
        metric `loss` lacks NaN at step 3, time 103
        metric `loss` was never told 0 at step 1, time 0
        metric `foreign` was never told 0.5 at step 1, time 101
        ");
    }
}
