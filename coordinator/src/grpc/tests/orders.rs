//! Orders and the journal over gRPC.

use super::*;

fn order() -> v1::OrderRequest {
    v1::OrderRequest { sweep: "demo".into(), by: "ada".into() }
}

async fn events(coordinator: &mut Coordinator, trial: Option<u64>) -> Vec<v1::Event> {
    let request = v1::ListEventsRequest { sweep: "demo".into(), trial, follow: false };
    let mut stream = coordinator.sweeps.list_events(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(event) = stream.message().await.unwrap() {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_paused_sweep_hands_out_nothing_over_a_restart_until_it_is_resumed() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let paused = coordinator.sweeps.pause_sweep(order()).await.unwrap().into_inner();
    assert_eq!((paused.changed, paused.status.unwrap().state()), (1, v1::SweepState::Paused));
    assert_eq!(coordinator.sweeps.pause_sweep(order()).await.unwrap().into_inner().changed, 0);
    let mut coordinator = coordinator.restart().await;
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    assert_eq!(coordinator.status("demo").await.unwrap().running.len(), 0);
    coordinator.sweeps.resume_sweep(order()).await.unwrap();
    assert_eq!(worker.assigned().await.0.trial, 0);
}

#[tokio::test]
async fn a_finished_sweep_is_extended_and_trains_the_missing_points_alone() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    for _ in 0..2 {
        let (lease, _) = worker.assigned().await;
        worker.report(&lease, 1, completed(0.5));
        worker.acknowledged(&lease).await;
    }
    coordinator.status_when(super::super::is_final).await;
    let extend = |addition: &str| v1::ExtendSweepRequest {
        sweep: "demo".into(),
        by: "ada".into(),
        additions: vec![addition.into()],
    };
    let wrong = coordinator.sweeps.extend_sweep(extend("learning_rte=1e-4")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let extended = coordinator.sweeps.extend_sweep(extend("learning_rate=1e-4")).await.unwrap().into_inner();
    assert_eq!((extended.changed, extended.status.unwrap().total), (1, 3));
    let (lease, assignment) = worker.assigned().await;
    let value = assignment.lanes[0].parameters[0].value.clone().unwrap().kind;
    assert_eq!((lease.trial, value), (2, Some(v1::value::Kind::Number(1e-4))));
    let mut coordinator = coordinator.restart().await;
    let again = coordinator.sweeps.extend_sweep(extend("learning_rate=1e-4")).await.unwrap().into_inner();
    assert_eq!(again.changed, 0, "the restart knows it");
}

#[tokio::test]
async fn trials_are_tried_again_by_how_they_ended_and_what_holds_of_them() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    for kind in [v1::FailureKind::Diverged, v1::FailureKind::BadPoint] {
        let (lease, _) = worker.assigned().await;
        worker.report(&lease, 1, metrics(10));
        worker.acknowledged(&lease).await;
        worker.report(&lease, 2, Said::Failed(v1::Failure { kind: kind.into(), message: "why".into() }));
        worker.acknowledged(&lease).await;
    }
    coordinator.status_when(super::super::is_final).await;
    let retry = |states: &[v1::TrialState], conditions: &str| v1::RetryTrialsRequest {
        sweep: "demo".into(),
        by: "ada".into(),
        states: states.iter().map(|state| (*state).into()).collect(),
        trials: Vec::new(),
        r#where: conditions.into(),
    };
    let none = coordinator.sweeps.retry_trials(retry(&[v1::TrialState::Failed], "learning_rate<5e-5")).await;
    assert_eq!(none.unwrap().into_inner().changed, 0);
    let error = coordinator.sweeps.retry_trials(retry(&[v1::TrialState::Completed], "")).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    let one = coordinator.sweeps.retry_trials(retry(&[], "learning_rate=2e-5")).await.unwrap().into_inner();
    assert_eq!((one.changed, one.status.unwrap().state()), (1, v1::SweepState::Running));
    let (lease, _) = worker.assigned().await;
    assert_eq!((lease.trial, lease.attempt), (0, 2));
    worker.report(&lease, 1, metrics(10));
    worker.acknowledged(&lease).await;
    assert_eq!(recorded(&coordinator.reader()).len(), 2, "a point that was recorded is not recorded again");
    worker.report(&lease, 2, completed(0.5));
    worker.acknowledged(&lease).await;
    let status = coordinator.status("demo").await.unwrap();
    assert_eq!((status.completed, status.diverged, status.failed), (1, 0, 1));
}

#[tokio::test]
async fn a_stopped_trial_leaves_the_others() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    let stop = |trial| v1::StopTrialRequest { sweep: "demo".into(), by: "ada".into(), trial };
    coordinator.sweeps.stop_trial(stop(0)).await.unwrap();
    let Some(Down::Stop(told)) = worker.hear().await else { panic!("not told") };
    assert_eq!(told.lease.as_ref(), Some(&lease));
    assert_eq!(worker.assigned().await.0.trial, 1);
    let error = coordinator.sweeps.stop_trial(stop(2)).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().ends_with("its trials are 0 to 1"), "{error}");
}

#[tokio::test]
async fn workers_are_listed_and_one_that_is_told_to_drain_hears_of_it() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    worker.assigned().await;
    let drain = |worker: &str| v1::DrainWorkerRequest { worker: worker.into(), by: "ada".into() };
    let error = coordinator.sweeps.drain_worker(drain("v")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert_eq!(coordinator.sweeps.drain_worker(drain("w")).await.unwrap().into_inner().changed, 1);
    assert!(matches!(worker.hear().await, Some(Down::Drain(_))));
    let listed = coordinator.sweeps.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner();
    let [listed] = &listed.workers[..] else { panic!("{listed:?}") };
    assert_eq!((listed.state.as_str(), listed.reason.as_str()), ("draining", "told to by ada"));
    assert_eq!(listed.leases.len(), 1);
}

#[tokio::test]
async fn the_journal_tells_who_did_what_in_order_and_of_one_trial_alone() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    coordinator.sweeps.pause_sweep(order()).await.unwrap();
    worker.report(&lease, 1, completed(0.5));
    worker.acknowledged(&lease).await;
    let all: Vec<String> = events(&mut coordinator, None).await.into_iter().map(|e| e.event).collect();
    assert_eq!(all, ["submitted", "leased", "paused", "completed"]);
    let of_it = events(&mut coordinator, Some(0)).await;
    assert_eq!(of_it.iter().map(|e| e.event.as_str()).collect::<Vec<_>>(), ["leased", "completed"]);
    assert_eq!((of_it[0].worker.as_str(), of_it[0].attempt), ("w", Some(1)));
    assert!(events(&mut coordinator, Some(1)).await.is_empty());
}

#[tokio::test]
async fn as_much_of_a_name_as_tells_it_apart_is_enough_and_less_is_refused_with_what_it_may_mean() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (_one, _) = coordinator.welcomed("vm-1-0a", &[]).await;
    let (_other, _) = coordinator.welcomed("vm-1-0b", &[]).await;
    let pause = |sweep: &str| v1::OrderRequest { sweep: sweep.into(), ..order() };
    assert_eq!(coordinator.sweeps.pause_sweep(pause("de")).await.unwrap().into_inner().changed, 1);
    let error = coordinator.sweeps.pause_sweep(pause("emo")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    let drain = |worker: &str| v1::DrainWorkerRequest { worker: worker.into(), by: "ada".into() };
    let error = coordinator.sweeps.drain_worker(drain("vm-1")).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert_eq!(error.message(), "`vm-1` may be vm-1-0a or vm-1-0b: more letters tell them apart");
    let drained = coordinator.sweeps.drain_worker(drain("vm-1-0b")).await.unwrap().into_inner();
    assert_eq!((drained.changed, drained.worker.as_str()), (1, "vm-1-0b"));
}
