//! What a worker may not do, over real gRPC.

use super::*;
use crate::grpc::Rate;

async fn results(coordinator: &mut Coordinator) -> v1::SweepResults {
    let mut parts =
        coordinator.sweeps.get_results(v1::GetSweepRequest::default()).await.unwrap().into_inner();
    parts.message().await.unwrap().expect("one part")
}

/// A failure of the trial in words, once it has failed for good.
async fn failure_of(coordinator: &mut Coordinator, trial: u64) -> String {
    let found = results(coordinator)
        .await
        .trials
        .into_iter()
        .find(|result| result.trial == trial)
        .expect("it has a row");
    let failure = found.failure.expect("it failed");
    assert_eq!(failure.kind(), v1::FailureKind::Internal);
    failure.message
}

#[tokio::test]
async fn a_report_under_anothers_lease_changes_nothing() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut honest, _) = coordinator.welcomed("honest", &[]).await;
    let (lease, _) = honest.assigned().await;
    let (mut thief, _) = coordinator.welcomed("thief", &[]).await;
    let (own, _) = thief.assigned().await;
    assert_ne!(own.term, lease.term);
    for stolen in
        [lease.clone(), v1::Lease { term: 999, ..lease.clone() }, v1::Lease { trial: 0, ..own.clone() }]
    {
        thief.report(&stolen, 1, completed(0.99));
        let Some(Down::Stop(stop)) = thief.hear().await else { panic!("not stopped") };
        assert_eq!(stop.lease, Some(stolen));
    }
    assert_eq!(coordinator.status("").await.unwrap().completed, 0);
    honest.report(&lease, 1, completed(0.5));
    assert_eq!(honest.acknowledged(&lease).await, 1);
    assert_eq!(results(&mut coordinator).await.trials[0].metrics["best_validation_f1"], 0.5);
}

#[tokio::test]
async fn files_outside_the_leases_place_end_the_lease_and_are_never_handed_on() {
    let mut coordinator = Coordinator::start(LONG).await;
    let one = SWEEP.replace("[2e-5, 5e-5]", "[2e-5]") + "max_retries: 1\n";
    coordinator.submit(&one).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, assignment) = worker.assigned().await;
    let sound = checkpoint(&assignment, &lease, 20);
    let foreign = v1::StoredFiles { url: "file:///etc".into(), ..sound.clone() };
    worker.report(&lease, 1, Said::Checkpoint(sound.clone()));
    assert_eq!(worker.acknowledged(&lease).await, 1);
    worker.report(&lease, 2, Said::Checkpoint(foreign));
    assert_eq!(worker.acknowledged(&lease).await, 2, "it is heard, or it would be sent for ever");
    let (again, assignment) = worker.assigned().await;
    assert_eq!((again.trial, again.attempt), (0, 2));
    assert_eq!(assignment.lanes[0].resume, Some(sound), "the trial goes on from what was sound");
    let model = format!("{}/{}/0/{}/../1/20", assignment.store_url, again.sweep, again.term);
    let model = v1::StoredFiles { url: model, step: 20, manifest_sha256: "ab".into() };
    let Said::Completed(result) = completed(0.9) else { panic!("a result") };
    worker.report(&again, 1, Said::Completed(v1::Completed { model: Some(model), ..result }));
    assert_eq!(worker.acknowledged(&again).await, 1);
    let message = failure_of(&mut coordinator, 0).await;
    assert!(message.starts_with("the report of worker w was refused: `"), "{message}");
    assert!(message.contains("/../1/20` is not where its lease publishes: it must be "), "{message}");
}

#[tokio::test]
async fn a_greeting_out_of_bounds_closes_the_stream_with_its_field() {
    let coordinator = Coordinator::start(LONG).await;
    let hello = v1::Hello { worker: "x".repeat(201), ..v1::Hello::default() };
    let message = v1::WorkerMessage { body: Some(Up::Hello(hello)) };
    let mut client = WorkersClient::connect(coordinator.server.url.clone()).await.unwrap();
    let error = client.session(tokio_stream::iter([message])).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("`hello.worker` must have 1 to 200 characters"), "{error}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_not_read() {
    let mut coordinator = Coordinator::start(LONG).await;
    let error = coordinator.submit(&format!("# {}\n{SWEEP}", "x".repeat(5 << 20))).await.unwrap_err();
    assert_eq!(error.code(), Code::OutOfRange, "{error}");
    let error = coordinator.submit(&format!("# {}\n{SWEEP}", "x".repeat(2 << 20))).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    assert!(error.message().contains("`source`"), "{error}");
}

#[tokio::test]
async fn no_more_workers_are_let_in_than_there_are_seats() {
    let state = tempfile::tempdir().unwrap();
    let options = ServerOptions { max_workers: 2, ..options(state.path(), LONG) };
    let coordinator = Coordinator::with(state, options).await;
    let (first, _) = coordinator.welcomed("first", &[]).await;
    let (_second, _) = coordinator.welcomed("second", &[]).await;
    let refused = async || {
        let hello = v1::Hello { worker: "third".into(), ..v1::Hello::default() };
        let message = v1::WorkerMessage { body: Some(Up::Hello(hello)) };
        let mut client = WorkersClient::connect(coordinator.server.url.clone()).await.unwrap();
        client.session(tokio_stream::iter([message])).await.err()
    };
    let error = refused().await.expect("there is no seat");
    assert_eq!(error.code(), Code::ResourceExhausted);
    assert_eq!(error.message(), "2 workers are connected, which is what --max-workers allows");
    drop(first);
    timeout(PATIENCE, async {
        while refused().await.is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the seat of one that left is free");
}

#[tokio::test]
async fn who_sends_too_fast_is_slowed_and_loses_nothing() {
    let state = tempfile::tempdir().unwrap();
    let rate = Rate { per_second: 50.0, burst: 10.0 };
    let options = ServerOptions { rate, ..options(state.path(), LONG) };
    let mut coordinator = Coordinator::with(state, options).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    let began = tokio::time::Instant::now();
    for sequence in 1..=60 {
        worker.report(&lease, sequence, metrics(sequence.cast_signed()));
    }
    for sequence in 1..=60 {
        assert_eq!(worker.acknowledged(&lease).await, sequence);
    }
    assert!(began.elapsed() > Duration::from_millis(900), "50 of them came at 50 a second");
    assert_eq!(recorded(&coordinator.reader()).len(), 60);
}
