//! The drainer against MLflow itself, started here. `DISTILSWEEP_TEST_MLFLOW` names the `mlflow` program; without it these
//! tests say so and pass.

use std::{collections::BTreeMap, time::Duration};

use distilsweep_proto::{
    ids::{SweepId, WorkerId},
    params::{Params, Value},
};
use serde_json::json;
use tokio::time::Instant;

use super::{
    client,
    lossy::{Fault, lossy},
    memory::Memory,
    server::{Server, dump},
    steady,
};
use crate::{
    mlflow::{
        drain::{Drained, drain, drain_until_empty},
        error::MlflowError,
        op::{Op, Point, RunKey, Status},
        tell::{self, Place, Recorded, SweepStart, TrialEnd, TrialStart},
    },
    scheduler::TrialResult,
};

const TRIALS: u64 = 4;
/// Points of each curve of a trial: more than one call takes.
const STEPS: i64 = 600;

/// Everything that a sweep of four trials tells, of which the last diverges.
fn sweep(experiment: &str) -> Vec<(RunKey, Op)> {
    let (id, none) = (SweepId::new("emotion-1f2e"), BTreeMap::new());
    let recorded = Recorded {
        sweep: &id,
        experiment,
        coordinator: experiment,
        user: "ada",
        place: Place::Local,
        tags: &none,
    };
    let mut told = tell::sweep_started(
        recorded,
        SweepStart {
            name: "emotion",
            digest: "1f2e",
            metric: "best_validation_f1",
            maximize: true,
            model: "distilbert-base-uncased",
            dataset: "dair-ai/emotion",
            model_commit: None,
            dataset_commit: None,
            points: TRIALS,
            description: None,
            file: "name: emotion\n",
            space: serde_json::Map::from_iter([("parameters".to_owned(), json!({}))]),
            start_ms: 1_795_500_000_000,
        },
    );
    (0..TRIALS).for_each(|index| told.extend(trial(recorded, index)));
    told.extend(tell::sweep_finished(recorded, Status::Finished, 1_795_500_900_000));
    told
}

fn trial(recorded: Recorded<'_>, index: u64) -> Vec<(RunKey, Op)> {
    let diverges = index == TRIALS - 1;
    let params = Params::from([
        ("learning_rate".to_owned(), Value::Number(1e-5 * (index + 1) as f64)),
        ("seed".to_owned(), Value::Integer(42)),
        ("lr_scheduler_type".to_owned(), Value::Text("linear".to_owned())),
    ]);
    let point = |key: &str, step: i64, value: f64| Point {
        key: key.to_owned(),
        value,
        timestamp_ms: 1_795_500_000_000 + step,
        step,
    };
    let workers = [WorkerId::new("w1"), WorkerId::new("w2")];
    let start = |attempt: u32| TrialStart {
        index,
        attempt,
        worker: &workers[attempt as usize - 1],
        model: "distilbert-base-uncased",
        dataset: "dair-ai/emotion",
        params: &params,
        start_ms: 1_795_500_000_000,
    };
    let mut told = tell::trial_started(recorded, start(1));
    let points = (0..STEPS).flat_map(|step| {
        let loss = if diverges && step > 500 { f64::NAN } else { 1.0 / (step + 1) as f64 };
        [point("loss", step, loss), point("learning_rate", step, 1e-5)]
    });
    told.extend(tell::trial_metrics(recorded, index, points.collect()));
    told.extend(tell::trial_started(recorded, start(2)));
    let metrics = [point("best_validation_f1", STEPS, 0.5 + 0.1 * index as f64)];
    let result = TrialResult::default();
    let end = TrialEnd {
        result: &result,
        inputs: Vec::new(),
        index,
        status: if diverges { Status::Failed } else { Status::Finished },
        metrics: if diverges { &[] } else { &metrics },
        best_checkpoint_path: (!diverges).then_some("file:///checkpoints/best"),
        reason: diverges.then_some("the loss became NaN at step 501"),
        end_ms: 1_795_500_800_000,
    };
    told.extend(tell::trial_finished(recorded, end));
    told
}

async fn told(address: &str, outbox: &Memory) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let drained = drain_until_empty(outbox, &client(address), steady, deadline).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    assert!(outbox.aside().is_empty(), "{:?}", outbox.aside());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_told_twice_is_in_mlflow_once() {
    let Some(server) = Server::start().await else { return };
    let outbox = Memory::holding(sweep("twice"));
    told(&server.address, &outbox).await;
    let once = dump(&server.address, "twice").await;

    // A coordinator that died before it could note any of it.
    told(&server.address, &Memory::holding(sweep("twice"))).await;
    assert_eq!(dump(&server.address, "twice").await, once);

    assert_eq!(once.len(), TRIALS as usize + 1);
    let parent = &once["emotion-1f2e"];
    assert_eq!(parent["status"], "FINISHED");
    assert_eq!(parent["metrics"], json!({}), "metrics of the parent would stand in the ranking");
    assert_eq!(
        parent["artifacts"],
        json!({
            "sweep.yaml": "name: emotion\n",
            "space.json": "{\n  \"parameters\": {},\n  \"points\": 4\n}\n",
            "ranking.md": "| emotion-1f2e |\n"
        })
    );
    let trial = &once["trial-0002"];
    assert_eq!(trial["parent"], "emotion-1f2e");
    assert_eq!(trial["status"], "FINISHED");
    assert_eq!(trial["end_time"], 1_795_500_800_000_i64);
    assert_eq!(trial["params"]["learning_rate"], "3.0000000000000004e-05");
    assert_eq!(trial["params"]["lr_scheduler_type"], "linear");
    assert_eq!(trial["tags"]["worker"], "w2");
    assert_eq!(trial["tags"]["mlflow.user"], "ada");
    assert_eq!(trial["tags"]["best_checkpoint_path"], "file:///checkpoints/best");
    let losses = trial["metrics"]["loss"].as_array().unwrap();
    assert_eq!(losses.len(), STEPS as usize);
    assert_eq!(losses[599], json!([599, 1_795_500_000_599_i64, 1.0 / 600.0]));
    let diverged = &once["trial-0003"];
    assert_eq!(diverged["status"], "FAILED");
    assert_eq!(diverged["metrics"]["loss"][501], json!([501, 1_795_500_000_501_i64, "NaN"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflow_away_for_a_while_ends_up_complete() {
    let Some(mut server) = Server::start().await else { return };
    let address = server.address.clone();
    let outbox = Memory::holding(sweep("away").into_iter().take(4));
    told(&address, &outbox).await;

    server.stop();
    outbox.add(sweep("away").into_iter().skip(4));
    let soon = Instant::now() + Duration::from_secs(2);
    let drained = drain_until_empty(&outbox, &client(&address), steady, soon).await.unwrap();
    assert!(matches!(drained, Drained::Waiting(Some(MlflowError::Unreachable { .. }))), "{drained:?}");

    let client = client(&address);
    let back = async {
        server.restart().await;
        let emptied = async {
            while !outbox.left().is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), emptied).await.expect("told in two minutes");
    };
    drain(&outbox, &client, steady, back).await.unwrap();
    assert!(outbox.aside().is_empty(), "{:?}", outbox.aside());

    told(&address, &Memory::holding(sweep("near"))).await;
    assert_eq!(dump(&address, "away").await, dump(&address, "near").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_that_loses_every_first_try_doubles_and_drops_nothing() {
    let Some(server) = Server::start().await else { return };
    told(&server.address, &Memory::holding(sweep("undisturbed"))).await;

    let (address, fired) = lossy(&server.address).await;
    told(&address, &Memory::holding(sweep("disturbed"))).await;

    let fired = fired.lock().unwrap().clone();
    for fault in [Fault::AnswerReplaced, Fault::AnswerLost, Fault::RequestLost] {
        for call in ["POST runs/create", "POST runs/log-batch", "POST runs/update"] {
            assert!(
                fired.contains_key(&(call.to_owned(), fault)),
                "{call} {fault:?} never happened: {fired:?}"
            );
        }
    }
    assert_eq!(dump(&server.address, "disturbed").await, dump(&server.address, "undisturbed").await);
}
