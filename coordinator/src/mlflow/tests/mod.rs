//! The drainer against a server that a script plays, against MLflow itself, and against MLflow behind a bad network.

mod calls;
mod drained;
mod http;
mod lossy;
mod memory;
mod models;
mod planned;
mod real;
mod server;

use std::collections::BTreeMap;

use super::{
    client::Client,
    op::{NewRun, Op, Point, RunKey, Status, identity},
    settings::Settings,
};

fn client(address: &str) -> Client {
    Client::new(&Settings::at(address, |_| None).unwrap()).unwrap()
}

/// Jitter of which nothing is random.
fn steady() -> f64 {
    0.5
}

fn create(experiment: &str, run: &str) -> (RunKey, Op) {
    let run = RunKey::new(run);
    let new = NewRun {
        experiment: experiment.to_owned(),
        identity: identity("c0ffee", &run),
        name: run.as_str().replace('/', "-"),
        start_ms: 1_795_500_000_000,
        user: "ada".to_owned(),
        tags: texts(&[("mlflow.source.name", "distilsweep"), ("mlflow.source.type", "LOCAL")]),
        parent: run.parent(),
    };
    (run, Op::CreateRun(new))
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn params(run: &str, pairs: &[(&str, &str)]) -> (RunKey, Op) {
    (RunKey::new(run), Op::Params(texts(pairs)))
}

fn tags(run: &str, pairs: &[(&str, &str)]) -> (RunKey, Op) {
    (RunKey::new(run), Op::Tags(texts(pairs)))
}

fn curve(run: &str, steps: std::ops::Range<i64>, value: impl Fn(i64) -> f64) -> (RunKey, Op) {
    let point = |step| Point {
        key: "loss".to_owned(),
        value: value(step),
        timestamp_ms: 1_795_500_000_000 + step,
        step,
    };
    (RunKey::new(run), Op::Metrics(steps.map(point).collect()))
}

fn finish(run: &str) -> (RunKey, Op) {
    (RunKey::new(run), Op::Finish { status: Status::Finished, end_ms: 1_795_500_100_000 })
}
