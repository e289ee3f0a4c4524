//! A whole coordinator on a free port, and workers that a script plays over real gRPC.

mod access;
mod limited;
mod numbers;
mod orders;
mod scaler;

use std::{path::Path, time::Duration};

use distilsweep_proto::v1::{
    self, coordinator_message::Body as Down, report::Body as Said, sweeps_client::SweepsClient,
    worker_message::Body as Up, workers_client::WorkersClient,
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

use crate::{
    access::Access,
    server::{Entry, Server, ServerError, ServerOptions, address_of},
    store::{Reader, StoreError},
};

/// Far more than anything takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// A lease timeout that no test waits for.
const LONG: u64 = 60_000;

const SWEEP: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
parameters:
  learning_rate: {values: [2e-5, 5e-5]}
";

fn options(state: &Path, lease_timeout_ms: u64) -> ServerOptions {
    ServerOptions {
        lease_timeout_ms,
        entry: Entry::Shared { access: Access::default(), tls: None, insecure: false },
        ..ServerOptions::private(state.to_owned(), "tester".into())
    }
}

/// A coordinator in a directory of its own.
struct Coordinator {
    state: TempDir,
    server: Server,
    sweeps: SweepsClient<Channel>,
}

impl Coordinator {
    async fn start(lease_timeout_ms: u64) -> Self {
        Self::on(tempfile::tempdir().unwrap(), lease_timeout_ms).await
    }

    async fn on(state: TempDir, lease_timeout_ms: u64) -> Self {
        let options = options(state.path(), lease_timeout_ms);
        Self::with(state, options).await
    }

    /// One with options of its own, which ask for no client's token.
    async fn with(state: TempDir, options: ServerOptions) -> Self {
        let server = Server::start(options).await.unwrap();
        let sweeps = SweepsClient::connect(server.url.clone()).await.unwrap();
        Self { state, server, sweeps }
    }

    async fn restart(self) -> Self {
        let Self { state, server, sweeps } = self;
        drop(sweeps);
        timeout(PATIENCE, server.stop()).await.expect("it stops though workers are connected").unwrap();
        Self::on(state, LONG).await
    }

    async fn submit(&mut self, source: &str) -> Result<v1::SubmitSweepResponse, Status> {
        let request = v1::SubmitSweepRequest {
            source: source.into(),
            file_name: "sweep.yaml".into(),
            force_new: false,
            base_directory: "/base".into(),
            home_directory: String::new(),
            ..v1::SubmitSweepRequest::default()
        };
        Ok(self.sweeps.submit_sweep(request).await?.into_inner())
    }

    async fn status(&mut self, sweep: &str) -> Result<v1::SweepStatus, Status> {
        Ok(self.sweeps.get_sweep(v1::GetSweepRequest { sweep: sweep.into() }).await?.into_inner())
    }

    /// The status once it is as wanted.
    async fn status_when(&mut self, wanted: impl Fn(&v1::SweepStatus) -> bool) -> v1::SweepStatus {
        let request = v1::GetSweepRequest { sweep: String::new() };
        let mut stream = self.sweeps.watch_sweep(request).await.unwrap().into_inner();
        let watch = async {
            loop {
                let status = stream.message().await.unwrap().expect("not the last");
                if wanted(&status) {
                    return status;
                }
            }
        };
        timeout(PATIENCE, watch).await.expect("the status gets there")
    }

    fn reader(&self) -> Reader {
        Reader::open(self.state.path()).unwrap()
    }

    async fn worker(&self, name: &str, held: &[v1::Lease], devices: Vec<v1::Device>) -> Worker {
        let (up, messages) = mpsc::unbounded_channel();
        let hello =
            v1::Hello { worker: name.into(), slots: 1, held: held.to_vec(), devices, ..v1::Hello::default() };
        let mut worker = Worker { up, down: None };
        worker.say(Up::Hello(hello));
        let mut client = WorkersClient::connect(self.server.url.clone()).await.unwrap();
        let session = client.session(UnboundedReceiverStream::new(messages));
        worker.down = Some(timeout(PATIENCE, session).await.unwrap().unwrap().into_inner());
        worker
    }

    /// What a worker of a version is told instead of a welcome.
    async fn refusal(&self, version: &str) -> Option<Status> {
        let (up, messages) = mpsc::unbounded_channel();
        let hello =
            v1::Hello { worker: "w".into(), slots: 1, version: version.into(), ..v1::Hello::default() };
        up.send(v1::WorkerMessage { body: Some(Up::Hello(hello)) }).unwrap();
        let mut client = WorkersClient::connect(self.server.url.clone()).await.unwrap();
        let session = client.session(UnboundedReceiverStream::new(messages));
        timeout(PATIENCE, session).await.unwrap().err()
    }

    /// A worker that got its welcome, and the leases that it was told have ended.
    async fn welcomed(&self, name: &str, held: &[v1::Lease]) -> (Worker, Vec<v1::Lease>) {
        self.welcomed_with(name, held, Vec::new()).await
    }

    /// The same of a worker with these devices.
    async fn welcomed_with(
        &self,
        name: &str,
        held: &[v1::Lease],
        devices: Vec<v1::Device>,
    ) -> (Worker, Vec<v1::Lease>) {
        let mut worker = self.worker(name, held, devices).await;
        let Some(Down::Welcome(welcome)) = worker.hear().await else { panic!("no welcome") };
        (worker, welcome.ended)
    }
}

struct Worker {
    up: mpsc::UnboundedSender<v1::WorkerMessage>,
    down: Option<Streaming<v1::CoordinatorMessage>>,
}

impl Worker {
    fn say(&self, body: Up) {
        self.up.send(v1::WorkerMessage { body: Some(body) }).expect("the stream is open");
    }

    /// The next message; `None` at the end of the stream.
    async fn hear(&mut self) -> Option<Down> {
        let down = self.down.as_mut().expect("connected");
        let message = timeout(PATIENCE, down.message()).await.expect("a message or the end");
        message.unwrap().and_then(|message| message.body)
    }

    async fn assigned(&mut self) -> (v1::Lease, v1::Assignment) {
        let Some(Down::Assignment(assignment)) = self.hear().await else { panic!("no assignment") };
        (assignment.lanes[0].lease.clone().unwrap(), assignment)
    }

    fn report(&self, lease: &v1::Lease, sequence: u64, body: Said) {
        self.say(Up::Report(v1::Report { lease: Some(lease.clone()), sequence, body: Some(body) }));
    }

    async fn acknowledged(&mut self, lease: &v1::Lease) -> u64 {
        let Some(Down::Acknowledgement(ack)) = self.hear().await else { panic!("no acknowledgement") };
        assert_eq!(ack.lease.as_ref(), Some(lease));
        ack.sequence
    }
}

fn metrics(step: i64) -> Said {
    let point = v1::MetricPoint { key: "loss".into(), value: 0.5, step, timestamp_ms: 7 };
    Said::Metrics(v1::MetricBlock { points: vec![point] })
}

/// A checkpoint where the lease publishes.
fn checkpoint(assignment: &v1::Assignment, lease: &v1::Lease, step: i64) -> v1::StoredFiles {
    let v1::Lease { sweep, trial, term, .. } = lease;
    let url = format!("{}/{sweep}/{trial}/{term}/checkpoint-{step}", assignment.store_url);
    v1::StoredFiles { url, step, manifest_sha256: "ab".into() }
}

fn completed(value: f64) -> Said {
    Said::Completed(v1::Completed {
        metrics: [("best_validation_f1".to_owned(), value)].into(),
        steps: 40,
        ..v1::Completed::default()
    })
}

/// Points of a trial's curve that MLflow has still to be told, as (step, value).
fn recorded(reader: &Reader) -> Vec<(i64, f64)> {
    let rows = reader.outbox(1000, &Default::default()).unwrap();
    let points = rows.into_iter().flat_map(|row| match row.op {
        crate::mlflow::op::Op::Metrics(points) => points,
        _ => Vec::new(),
    });
    points.filter(|point| point.key == "loss").map(|point| (point.step, point.value)).collect()
}

#[tokio::test]
async fn a_sweep_goes_from_its_file_to_its_results() {
    let mut coordinator = Coordinator::start(LONG).await;
    let submitted = coordinator.submit(SWEEP).await.unwrap();
    assert!(submitted.created && submitted.sweep.starts_with("demo-"));
    let again = coordinator.submit(SWEEP).await.unwrap();
    assert_eq!((again.sweep.as_str(), again.created), (submitted.sweep.as_str(), false));

    let (mut worker, ended) = coordinator.welcomed("w", &[]).await;
    assert_eq!(ended, []);
    for (trial, value) in [(0, 0.5), (1, 0.75)] {
        let (lease, assignment) = worker.assigned().await;
        assert_eq!((lease.trial, lease.attempt), (trial, 1));
        assert_eq!(assignment.model, "/base/model");
        assert_eq!(assignment.dataset.unwrap().train, ["/base/train.csv"]);
        assert!(assignment.store_url.starts_with("file:///"), "{}", assignment.store_url);
        assert_eq!(assignment.lanes[0].parameters[0].name, "learning_rate");
        worker.report(&lease, 1, completed(value));
        assert_eq!(worker.acknowledged(&lease).await, 1);
    }
    let status = coordinator.status_when(super::is_final).await;
    assert_eq!(status.state(), v1::SweepState::Completed);
    assert_eq!((status.completed, status.total, status.workers), (2, 2, 1));
    assert_eq!(status.best.unwrap(), v1::BestTrial { trial: 1, value: 0.75 });

    let request = v1::GetSweepRequest { sweep: "demo".into() };
    let mut parts = coordinator.sweeps.get_results(request).await.unwrap().into_inner();
    let results = parts.message().await.unwrap().unwrap();
    assert!(parts.message().await.unwrap().is_none());
    assert_eq!(results.varied, ["learning_rate"]);
    let trials: Vec<_> =
        results.trials.iter().map(|t| (t.trial, t.state(), t.metrics["best_validation_f1"])).collect();
    assert_eq!(trials, [(0, v1::TrialState::Completed, 0.5), (1, v1::TrialState::Completed, 0.75)]);
    let list = coordinator.sweeps.list_sweeps(v1::ListSweepsRequest {}).await.unwrap().into_inner();
    assert_eq!(list.sweeps.len(), 1);
    coordinator.server.stop().await.unwrap();
}

#[tokio::test]
async fn an_acknowledgement_comes_when_the_report_is_durable() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    for sequence in 1..20 {
        worker.report(&lease, sequence, metrics(10 * sequence.cast_signed()));
        assert_eq!(worker.acknowledged(&lease).await, sequence);
        assert_eq!(recorded(&coordinator.reader()).len() as u64, sequence);
    }
}

#[tokio::test]
async fn reports_sent_again_after_a_reconnect_are_recorded_once() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    worker.report(&lease, 1, metrics(10));
    assert_eq!(worker.acknowledged(&lease).await, 1);
    drop(worker);

    let (mut worker, ended) = coordinator.welcomed("w", std::slice::from_ref(&lease)).await;
    assert_eq!(ended, []);
    worker.report(&lease, 1, metrics(10));
    worker.report(&lease, 2, metrics(20));
    assert_eq!(worker.acknowledged(&lease).await, 1);
    assert_eq!(worker.acknowledged(&lease).await, 2);
    assert_eq!(recorded(&coordinator.reader()), [(10, 0.5), (20, 0.5)]);
}

#[tokio::test]
async fn a_worker_goes_on_with_its_lease_under_a_restarted_coordinator() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    worker.report(&lease, 1, metrics(10));
    assert_eq!(worker.acknowledged(&lease).await, 1);

    let mut coordinator = coordinator.restart().await;
    assert_eq!(worker.hear().await, None, "the old stream ended");
    let again = coordinator.submit(SWEEP).await.unwrap();
    assert!(!again.created, "the sweep is there");
    let (mut worker, ended) = coordinator.welcomed("w", std::slice::from_ref(&lease)).await;
    assert_eq!(ended, []);
    worker.report(&lease, 1, metrics(10));
    worker.report(&lease, 2, completed(0.5));
    assert_eq!(worker.acknowledged(&lease).await, 1);
    assert_eq!(worker.acknowledged(&lease).await, 2);
    let (next, _) = worker.assigned().await;
    assert_eq!((next.trial, next.attempt), (1, 1), "nothing was begun twice");
    assert!(next.term > lease.term);
    assert_eq!(recorded(&coordinator.reader()), [(10, 0.5)]);
}

#[tokio::test]
async fn a_silent_worker_loses_its_stream_and_its_trial() {
    let mut coordinator = Coordinator::start(500).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut silent, _) = coordinator.welcomed("silent", &[]).await;
    let (lease, _) = silent.assigned().await;
    assert_eq!(silent.hear().await, None);
    let (mut heir, _) = coordinator.welcomed("heir", &[]).await;
    let (inherited, _) = heir.assigned().await;
    assert_eq!((inherited.trial, inherited.attempt), (lease.trial, 2));
    let (_, ended) = coordinator.welcomed("silent", std::slice::from_ref(&lease)).await;
    assert_eq!(ended, [lease]);
}

#[tokio::test]
async fn the_checkpoint_of_a_lost_worker_goes_down_with_its_trials_next_assignment() {
    let mut coordinator = Coordinator::start(500).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut doomed, _) = coordinator.welcomed("doomed", &[]).await;
    let (lease, assignment) = doomed.assigned().await;
    assert_eq!(assignment.lanes[0].resume, None);
    let files = |step| checkpoint(&assignment, &lease, step);
    for (sequence, step) in [(1, 20), (2, 40), (3, 30)] {
        doomed.report(&lease, sequence, Said::Checkpoint(files(step)));
        assert_eq!(doomed.acknowledged(&lease).await, sequence);
    }
    assert_eq!(doomed.hear().await, None);
    let (mut heir, _) = coordinator.welcomed("heir", &[]).await;
    let (_, inherited) = heir.assigned().await;
    assert_eq!(inherited.lanes[0].resume, Some(files(40)), "the one furthest on");
}

#[tokio::test]
async fn lanes_that_fit_come_in_one_assignment_and_end_one_by_one() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(&SWEEP.replace("[2e-5, 5e-5]", "[1e-5, 2e-5, 3e-5, 4e-5]")).await.unwrap();
    let device = v1::Device { memory_bytes: 1000, max_lanes: 8, ..v1::Device::default() };
    let (mut worker, _) = coordinator.welcomed_with("w", &[], vec![device]).await;
    let (first, assignment) = worker.assigned().await;
    assert_eq!(assignment.lanes.len(), 1);
    let progress = v1::Progress { lease: Some(first.clone()), lane_bytes: 400, ..v1::Progress::default() };
    worker.say(Up::Heartbeat(v1::Heartbeat { progress: vec![progress] }));
    worker.report(&first, 1, completed(0.5));
    worker.acknowledged(&first).await;
    let (_, assignment) = worker.assigned().await;
    let leases: Vec<v1::Lease> = assignment.lanes.iter().map(|lane| lane.lease.clone().unwrap()).collect();
    assert_eq!(leases.iter().map(|lease| lease.trial).collect::<Vec<_>>(), [1, 2]);
    worker.report(&leases[1], 1, completed(0.5));
    worker.acknowledged(&leases[1]).await;
    worker.report(&leases[0], 1, completed(0.5));
    worker.acknowledged(&leases[0]).await;
    let (last, _) = worker.assigned().await;
    assert_eq!(last.trial, 3);
}

#[tokio::test]
async fn progress_is_shown_while_the_lease_lives() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    let progress = v1::Progress {
        lease: Some(lease.clone()),
        step: 30,
        total_steps: 100,
        phase: "training".into(),
        ..v1::Progress::default()
    };
    worker.say(Up::Heartbeat(v1::Heartbeat { progress: vec![progress] }));
    let status = coordinator.status_when(|status| status.running.iter().any(|t| t.step > 0)).await;
    let shown = &status.running[0];
    assert_eq!((shown.trial, shown.step, shown.total_steps, shown.worker.as_str()), (0, 30, 100, "w"));
    assert_eq!(shown.parameters[0].name, "learning_rate");
}

#[tokio::test]
async fn a_cancelled_sweep_stops_its_worker_and_refuses_what_comes_late() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    let request = v1::CancelSweepRequest { sweep: "demo".into(), by: "ada".into() };
    let status = coordinator.sweeps.cancel_sweep(request).await.unwrap().into_inner();
    assert_eq!(status.state(), v1::SweepState::Cancelled);
    assert!(status.running.is_empty());
    for round in ["told", "told again"] {
        let Some(Down::Stop(stop)) = worker.hear().await else { panic!("not {round}") };
        assert_eq!(stop.lease.as_ref(), Some(&lease));
        worker.report(&lease, 1, completed(0.9));
    }
    assert_eq!(coordinator.status("").await.unwrap().completed, 0);
    assert!(coordinator.submit(SWEEP).await.unwrap().created, "a cancelled sweep is no answer to its file");
}

#[tokio::test]
async fn bad_input_fails_the_sweep_with_the_workers_words() {
    let mut coordinator = Coordinator::start(LONG).await;
    coordinator.submit(SWEEP).await.unwrap();
    let (mut worker, _) = coordinator.welcomed("w", &[]).await;
    let (lease, _) = worker.assigned().await;
    let failure =
        v1::Failure { kind: v1::FailureKind::BadInput.into(), message: "train.csv has no rows".into() };
    worker.report(&lease, 1, Said::Failed(failure));
    assert_eq!(worker.acknowledged(&lease).await, 1);
    let status = coordinator.status("demo").await.unwrap();
    assert_eq!((status.state(), status.reason.as_str()), (v1::SweepState::Failed, "train.csv has no rows"));
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_every_problem() {
    let mut coordinator = Coordinator::start(LONG).await;
    let error = coordinator.submit("nmae: demo\nmethod: gird\n").await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("sweep.yaml:1:1: unknown key `nmae`"), "{error}");
    assert!(error.message().contains("sweep.yaml:2:9"), "{error}");
}

#[tokio::test]
async fn a_sweep_that_is_not_there_is_not_found_and_the_answer_helps() {
    let mut coordinator = Coordinator::start(LONG).await;
    let error = coordinator.status("").await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.message().contains("distilsweep run"), "{error}");
    let error = coordinator.status("other").await.unwrap_err();
    assert!(error.message().contains("`other`") && error.message().contains("sweep list"), "{error}");
}

#[tokio::test]
async fn a_session_begins_with_hello_and_a_name() {
    let coordinator = Coordinator::start(LONG).await;
    let first = [Up::Heartbeat(v1::Heartbeat::default()), Up::Hello(v1::Hello::default())];
    for (body, expected) in first.into_iter().zip(["must be Hello", "`hello.worker`"]) {
        let mut client = WorkersClient::connect(coordinator.server.url.clone()).await.unwrap();
        let message = v1::WorkerMessage { body: Some(body) };
        let error = client.session(tokio_stream::iter([message])).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.message().contains(expected), "{error}");
    }
}

#[tokio::test]
async fn one_coordinator_has_a_state_directory_and_says_where_it_listens() {
    let coordinator = Coordinator::start(LONG).await;
    let state = coordinator.state.path();
    let error = Server::start(options(state, LONG)).await.unwrap_err();
    assert!(matches!(error, ServerError::Store(StoreError::InUse(_))), "{error}");
    assert_eq!(address_of(state), Some(coordinator.server.url.clone()));
    let taken = coordinator.server.url.trim_start_matches("http://").parse().unwrap();
    let other = tempfile::tempdir().unwrap();
    let error =
        Server::start(ServerOptions { listen: taken, ..options(other.path(), LONG) }).await.unwrap_err();
    assert!(error.to_string().contains("port 0 takes a free one"), "{error}");
    coordinator.server.stop().await.unwrap();
    assert_eq!(address_of(coordinator.state.path()), None);
}

#[tokio::test]
async fn a_worker_of_another_time_is_turned_away_with_a_sentence() {
    let coordinator = Coordinator::start(LONG).await;
    let ours = env!("CARGO_PKG_VERSION");
    assert!(coordinator.refusal(ours).await.is_none());
    let refused = coordinator.refusal("97.0.0").await.unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("the worker is version 97.0.0 and the coordinator "), "{refused}");
}
