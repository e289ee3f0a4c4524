//! A session over a connection in memory, in paused time; the test plays the coordinator.

use std::{sync::Arc, time::Duration};

use distilsweep_proto::v1::{
    coordinator_message::Body as Down,
    report::Body as Said,
    worker_message::Body as Up,
    workers_server::{Workers, WorkersServer},
};
use futures::FutureExt;
use hyper_util::rt::TokioIo;
use tokio::{
    task::{JoinHandle, LocalSet, spawn_local},
    time::sleep,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Endpoint, Server},
};

use super::*;
use crate::{
    ledger::Bounds,
    link::{Connector, Refusal},
    runtime::Packs,
    scripted::ScriptedTrainer,
};

const GRACE: Duration = Duration::from_secs(20);
const WINDOW: u64 = 8;

/// One stream of the worker.
struct Stream {
    up: Streaming<v1::WorkerMessage>,
    down: mpsc::UnboundedSender<Result<v1::CoordinatorMessage, Status>>,
}

impl Stream {
    fn say(&self, body: Down) {
        self.down.send(Ok(v1::CoordinatorMessage { body: Some(body) })).unwrap();
    }

    async fn hear(&mut self) -> Up {
        self.up.message().await.unwrap().expect("the stream is open").body.unwrap()
    }

    /// The next report; heartbeats are passed over.
    async fn report(&mut self) -> v1::Report {
        loop {
            if let Up::Report(report) = self.hear().await {
                return report;
            }
        }
    }

    fn acknowledge(&self, sequence: u64) {
        self.say(Down::Acknowledgement(v1::Acknowledgement { lease: Some(lease()), sequence }));
    }

    /// Welcomes the worker, and answers which leases it presented.
    async fn welcome(&mut self) -> Vec<v1::Lease> {
        let Up::Hello(hello) = self.hear().await else { panic!("the first message is Hello") };
        self.say(Down::Welcome(v1::Welcome {
            lease_timeout_ms: 10_000,
            heartbeat_interval_ms: 1_000,
            ended: Vec::new(),
        }));
        hello.held
    }
}

fn lease() -> v1::Lease {
    v1::Lease { sweep: "s".into(), trial: 3, attempt: 1, term: 9 }
}

struct Service {
    streams: mpsc::UnboundedSender<Stream>,
    /// What everybody is turned away with.
    refusal: watch::Receiver<Option<Status>>,
}

#[tonic::async_trait]
impl Workers for Service {
    type SessionStream = UnboundedReceiverStream<Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(refusal) = &*self.refusal.borrow() {
            return Err(refusal.clone());
        }
        let (down, messages) = mpsc::unbounded_channel();
        let _ = self.streams.send(Stream { up: request.into_inner(), down });
        Ok(Response::new(UnboundedReceiverStream::new(messages)))
    }
}

/// A session and the coordinator that the test plays.
struct Scene {
    session: JoinHandle<Result<(), SessionError>>,
    streams: mpsc::UnboundedReceiver<Stream>,
    refusal: watch::Sender<Option<Status>>,
    packs: Option<Packs>,
    files: TempDir,
    _drain: watch::Sender<Option<String>>,
}

impl Scene {
    fn new(refusal: Option<Status>) -> Self {
        let files = tempfile::tempdir().unwrap();
        let (streams, received) = mpsc::unbounded_channel();
        let (refusal, refusals) = watch::channel(refusal);
        let service = Arc::new(Service { streams, refusal: refusals });
        let connector = Connector::new("http://here".to_owned(), move || {
            let (client, server) = tokio::io::duplex(64 << 10);
            let incoming = futures::stream::iter([Ok::<_, std::io::Error>(server)]);
            let server = Server::builder().add_service(WorkersServer::from_arc(Arc::clone(&service)));
            tokio::spawn(server.serve_with_incoming(incoming));
            let client = std::sync::Mutex::new(Some(TokioIo::new(client)));
            let connect = tower::service_fn(move |_| {
                let client = client.lock().unwrap().take();
                async move { client.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::ConnectionReset)) }
            });
            async move { Endpoint::from_static("http://here").connect_with_connector(connect).await }.boxed()
        });
        let scratch = files.path().join("scratch");
        std::fs::create_dir(&scratch).unwrap();
        let options = SessionOptions {
            vitals: None,
            standing: watch::Sender::default(),
            connector,
            hello: v1::Hello { worker: "w".into(), slots: 1, ..v1::Hello::default() },
            patience: Duration::from_secs(30),
            grace: GRACE,
            exit_when_idle: None,
            scratch: scratch.clone(),
            bounds: Bounds { reports: 16, window: WINDOW, ..Bounds::default() },
        };
        let (runtime, packs, events) = Runtime::queue(scratch, Duration::from_secs(3600));
        let (drain, draining) = watch::channel(None);
        let session = tokio::spawn(serve(options, || 0.5, runtime, events, draining));
        Self { session, streams: received, refusal, packs: Some(packs), files, _drain: drain }
    }

    /// A welcomed worker that was given a trial; it is trained by this script, or by nobody: as a thread that hangs.
    async fn with_a_trial(script: Option<ScriptedTrainer>) -> (Self, Stream) {
        Self::with_a_lane(script, v1::Lane { lease: Some(lease()), ..v1::Lane::default() }).await
    }

    /// The same with what else is to be said of it.
    async fn with_a_lane(script: Option<ScriptedTrainer>, lane: v1::Lane) -> (Self, Stream) {
        let mut scene = Self::new(None);
        if let Some(script) = script {
            let packs = scene.packs.take().unwrap();
            spawn_local(train(packs, script));
        }
        let mut stream = scene.streams.recv().await.unwrap();
        assert_eq!(stream.welcome().await, []);
        stream.say(Down::Assignment(v1::Assignment {
            model: "m".into(),
            dataset: Some(v1::Dataset { train: vec!["train.csv".into()], ..v1::Dataset::default() }),
            metric: Some(v1::Metric { name: "best_validation_f1".into(), goal: v1::Goal::Maximize.into() }),
            store_url: format!("file://{}", scene.files.path().join("store").display()),
            lanes: vec![lane],
            ..v1::Assignment::default()
        }));
        (scene, stream)
    }
}

async fn train(mut packs: Packs, script: ScriptedTrainer) {
    while let Some(mut pack) = packs.next().await {
        let (jobs, observers) = pack.parts();
        let mut script = script.begin(jobs, observers);
        while let Some(step_time) = script.before_step() {
            sleep(step_time).await;
            script.step();
        }
    }
}

fn script(steps: u64) -> Option<ScriptedTrainer> {
    Some(ScriptedTrainer::new(steps, Duration::from_millis(100)))
}

/// Runs a test with tasks that stay on its thread.
async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn drain() -> Down {
    Down::Drain(v1::Drain { reason: "the operator says so".into() })
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_the_coordinator_asks_for_hands_back_after_a_checkpoint() {
    on_one_thread(async {
        let (scene, mut stream) = Scene::with_a_trial(script(1_000_000)).await;
        assert_eq!(stream.report().await.sequence, 1, "it trains");
        stream.say(drain());
        let mut said = Vec::new();
        let last = loop {
            match stream.hear().await {
                Up::Draining(draining) => said.push(draining.reason),
                Up::Report(report) => match report.body.unwrap() {
                    Said::Stopped(_) => break report.sequence,
                    Said::Checkpoint(_) => said.push("a checkpoint".to_owned()),
                    _ => {}
                },
                _ => {}
            }
        };
        assert_eq!(said, ["the operator says so", "a checkpoint"]);
        stream.acknowledge(last);
        scene.session.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_trial_pauses_behind_the_evaluation_and_the_checkpoint_of_its_rung() {
    on_one_thread(async {
        let script =
            ScriptedTrainer { evaluations: 4, ..ScriptedTrainer::new(80, Duration::from_millis(100)) };
        let pause = Some(v1::Pause { at: Some(v1::pause::At::Epochs(2.0)) });
        let lane = v1::Lane { lease: Some(lease()), pause, ..v1::Lane::default() };
        let (_scene, mut stream) = Scene::with_a_lane(Some(script), lane).await;
        let (mut evaluated, mut checkpoint) = (Vec::new(), 0);
        loop {
            let report = stream.report().await;
            match report.body.unwrap() {
                Said::Metrics(block) => {
                    let scores = block.points.iter().filter(|point| point.key == "eval_f1_score");
                    evaluated.extend(scores.map(|point| point.step));
                }
                Said::Checkpoint(files) => checkpoint = files.step,
                Said::Paused(_) => break,
                other => panic!("{other:?}"),
            }
            stream.acknowledge(report.sequence);
        }
        assert_eq!((evaluated, checkpoint), (vec![20, 40], 40));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_training_that_does_not_stop_is_handed_back_and_ends_the_session_when_the_grace_time_is_over() {
    on_one_thread(async {
        let (scene, mut stream) = Scene::with_a_trial(None).await;
        sleep(Duration::from_secs(60)).await;
        stream.say(drain());
        let (start, mut beats, mut draining) = (Instant::now(), 0, false);
        while let Ok(Some(message)) = stream.up.message().await {
            match message.body.unwrap() {
                Up::Heartbeat(heartbeat) => {
                    beats += 1;
                    let early = draining && start.elapsed() < GRACE.mul_f64(0.75);
                    assert!(!early || heartbeat.progress.len() == 1, "others must not get it too soon");
                }
                Up::Report(report) => {
                    assert_eq!(report.body, Some(Said::Stopped(v1::Stopped {})));
                    assert!(start.elapsed() >= GRACE.mul_f64(0.75));
                    stream.acknowledge(report.sequence);
                }
                Up::Draining(_) => draining = true,
                Up::Hello(_) => panic!("Hello comes once"),
            }
        }
        let error = scene.session.await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "the training of s/3 does not stop: no step of it ended within 20 s");
        assert!((GRACE..GRACE * 2).contains(&start.elapsed()), "{:?}", start.elapsed());
        // A minute's, and those since: a thread that hangs keeps none back.
        assert!(beats > 75, "{beats} heartbeats");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hung_training_whose_lease_has_ended_still_ends_the_drained_session_as_a_failure() {
    on_one_thread(async {
        let (scene, mut stream) = Scene::with_a_trial(None).await;
        stream.say(Down::Stop(v1::StopLease { lease: Some(lease()), reason: "hung".into() }));
        stream.say(drain());
        while let Ok(Some(message)) = stream.up.message().await {
            assert!(!matches!(message.body, Some(Up::Report(_))), "the lease is over: {message:?}");
        }
        assert!(matches!(scene.session.await.unwrap(), Err(SessionError::Stuck { .. })));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_turned_away_with_nothing_to_lose_says_so_and_ends() {
    on_one_thread(async {
        let refused = |status: Status| async { Scene::new(Some(status)).session.await.unwrap().unwrap_err() };
        let error = refused(Status::unauthenticated("a token is needed")).await;
        assert_eq!(error.to_string(), "coordinator http://here: a token is needed");
        assert!(matches!(error, SessionError::Refused { refusal: Refusal::NotAllowed, .. }));
        let error = refused(Status::unimplemented("no such service")).await;
        assert!(matches!(error, SessionError::Refused { refusal: Refusal::NotUnderstood, .. }));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_turned_away_with_a_lease_trains_on_and_brings_it_when_it_is_let_in() {
    on_one_thread(async {
        let (mut scene, stream) = Scene::with_a_trial(script(1_000_000)).await;
        sleep(Duration::from_secs(5)).await;
        scene.refusal.send_replace(Some(Status::permission_denied("the token is no longer good")));
        drop(stream);
        sleep(Duration::from_secs(600)).await;
        assert!(!scene.session.is_finished());
        scene.refusal.send_replace(None);
        let mut stream = scene.streams.recv().await.unwrap();
        assert_eq!(stream.welcome().await, [lease()]);
        assert_eq!(stream.report().await.sequence, 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_reports_comes_back_by_the_window_and_complete() {
    on_one_thread(async {
        const STEPS: u64 = 36_000;
        let (mut scene, stream) = Scene::with_a_trial(script(STEPS)).await;
        // Before anything was reported; the hour is spent alone.
        scene.refusal.send_replace(Some(Status::unavailable("stopping")));
        drop(stream);
        sleep(Duration::from_secs(4000)).await;
        scene.refusal.send_replace(None);
        let mut stream = scene.streams.recv().await.unwrap();
        assert_eq!(stream.welcome().await, [lease()]);

        let mut first = Vec::new();
        let quiet = async {
            loop {
                first.push(stream.report().await);
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(30), quiet).await.is_err());
        assert_eq!(first.len() as u64, WINDOW, "no more before an acknowledgement");

        let (mut reports, mut steps) = (first, Vec::new());
        let mut sequence = 0;
        loop {
            for report in std::mem::take(&mut reports) {
                sequence += 1;
                assert_eq!(report.sequence, sequence);
                match report.body.unwrap() {
                    Said::Metrics(block) => {
                        let losses = block.points.iter().filter(|point| point.key == "loss");
                        steps.extend(losses.map(|point| point.step.cast_unsigned()));
                    }
                    Said::Completed(_) => {
                        assert_eq!(steps, (10..=STEPS).step_by(10).collect::<Vec<u64>>());
                        return;
                    }
                    Said::Checkpoint(_) => {}
                    other => panic!("{other:?}"),
                }
            }
            stream.acknowledge(sequence);
            reports.push(stream.report().await);
        }
    })
    .await;
}
