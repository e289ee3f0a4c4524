//! Numbers from workers that are none: each double of the protocol as NaN and infinite.

use super::*;

const WILD: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

fn wild_progress(lease: &v1::Lease, value: f64) -> Up {
    let progress = v1::Progress {
        lease: Some(lease.clone()),
        step: 3,
        total_steps: 9,
        loss: value,
        best_metric: Some(value),
        steps_per_second: value,
        phase: "train".into(),
        lane_bytes: 0,
    };
    Up::Heartbeat(v1::Heartbeat { progress: vec![progress] })
}

fn wild_points(value: f64) -> Said {
    let point = |key: &str| v1::MetricPoint { key: key.into(), value, step: 10, timestamp_ms: 7 };
    let keys = ["loss", "grad_norm", "learning_rate", "eval_loss", "eval_f1_score"];
    Said::Metrics(v1::MetricBlock { points: keys.map(point).into() })
}

fn wild_result(value: f64) -> Said {
    let numbers = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), value)).collect();
    Said::Completed(v1::Completed {
        metrics: numbers(&["best_validation_f1", "test_loss", "test_f1_score"]),
        baseline: numbers(&["validation_accuracy"]),
        train_seconds: value,
        steps: 40,
        steps_per_second: value,
        classes: vec!["no".into(), "yes".into()],
        mistakes: vec![v1::Mistake { text: "so".into(), truth: 0, taken: 1, probability: value }],
        ..v1::Completed::default()
    })
}

/// Reports a wild number wherever one fits for a trial each, then a sound result for the last, and reads everything.
async fn survive(source: &str) {
    let mut coordinator = Coordinator::start(LONG).await;
    let sweep = coordinator.submit(source).await.unwrap().sweep;
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    for value in WILD {
        let (lease, _) = worker.assigned().await;
        worker.say(wild_progress(&lease, value));
        worker.report(&lease, 1, wild_points(value));
        assert_eq!(worker.acknowledged(&lease).await, 1);
        let status = coordinator.status(&sweep).await.unwrap();
        assert!(status.running.iter().all(|trial| trial.steps_per_second == 0.0), "{status:?}");
        worker.report(&lease, 2, wild_result(value));
        assert_eq!(worker.acknowledged(&lease).await, 2);
    }
    let (lease, _) = worker.assigned().await;
    worker.report(&lease, 1, completed(0.5));
    assert_eq!(worker.acknowledged(&lease).await, 1);

    let mut coordinator = coordinator.restart().await;
    let status = coordinator.status_when(crate::grpc::is_final).await;
    assert_eq!((status.completed, status.best.unwrap().trial), (4, lease.trial));
    let request = v1::GetSweepRequest { sweep: sweep.clone() };
    let mut parts = coordinator.sweeps.get_results(request).await.unwrap().into_inner();
    let results = parts.message().await.unwrap().unwrap();
    assert_eq!(results.trials.len(), 4);
    assert!(results.trials.iter().all(|trial| trial.seconds == 0.0));
    assert!(results.trials[0].metrics["best_validation_f1"].is_nan());
    assert_eq!(results.trials[1].metrics["test_loss"], f64::INFINITY);
    let waiting = coordinator.reader().outbox(10_000, &Default::default()).unwrap();
    assert!(waiting.len() > 10, "{} operations wait for MLflow", waiting.len());
}

const GRID: &str = "{values: [1e-5, 2e-5, 3e-5, 4e-5]}";

#[tokio::test]
async fn numbers_that_are_not_finite_leave_a_sweep_readable() {
    survive(&SWEEP.replace("{values: [2e-5, 5e-5]}", GRID)).await;
}

#[tokio::test]
async fn searches_and_early_ends_survive_numbers_that_are_not_finite() {
    let range = "{distribution: log_uniform_values, min: 1e-5, max: 1e-3}";
    let source =
        SWEEP.replace("{values: [2e-5, 5e-5]}", range).replace("method: grid", "method: bayes\nrun_cap: 4");
    survive(&(source + "early_terminate: {type: median, min_iter: 1}\n")).await;
}

#[tokio::test]
async fn one_unreadable_record_leaves_the_others() {
    let mut coordinator = Coordinator::start(LONG).await;
    let sweep = coordinator.submit(SWEEP).await.unwrap().sweep;
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    for value in [0.25, 0.5] {
        let (lease, _) = worker.assigned().await;
        worker.report(&lease, 1, completed(value));
        assert_eq!(worker.acknowledged(&lease).await, 1);
    }
    coordinator.status_when(crate::grpc::is_final).await;
    let database = rusqlite::Connection::open(coordinator.state.path().join("coordinator.db")).unwrap();
    let damaged = database.execute("UPDATE trials SET result = '{' WHERE trial = 0", []).unwrap();
    assert_eq!(damaged, 1);
    let id = distilsweep_proto::ids::SweepId::new(sweep.clone());
    let trials = coordinator.reader().trials(&id, 0, 10).unwrap();
    assert!(trials[0].result.is_none());
    assert_eq!(trials[1].result.as_ref().unwrap().metrics["best_validation_f1"], 0.5);
    let mut parts = coordinator.sweeps.get_results(v1::GetSweepRequest { sweep }).await.unwrap().into_inner();
    assert_eq!(parts.message().await.unwrap().unwrap().trials.len(), 2);
}
