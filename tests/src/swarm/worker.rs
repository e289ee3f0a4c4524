//! One scripted worker: it speaks the protocol on a connection of its own and trains nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use distilsweep_proto::v1::{
    self, coordinator_message::Body as Down, report::Body as Said, worker_message::Body as Up,
    workers_client::WorkersClient,
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::Endpoint;

use super::{hello, tally::Tally};

/// Metric that ranks the sweep.
pub(super) const METRIC: &str = "best_validation_f1";
const CURVES: [&str; 3] = ["loss", "learning_rate", "grad_norm"];

/// What every worker does.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) url: String,
    /// Reports of metrics a trial.
    pub(super) reports: u64,
    /// Points a report.
    pub(super) points: u64,
    /// How long a trial lasts.
    pub(super) trial: Duration,
    /// Connections that are being made at a time.
    pub(super) gate: Semaphore,
    pub(super) connected: Connected,
    pub(super) tally: Arc<Tally>,
}

/// Workers that were welcomed.
#[derive(Debug, Default)]
pub(super) struct Connected(AtomicUsize);

impl Connected {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// The result of a trial: of its index alone.
pub(super) fn score(trial: u64) -> f64 {
    (trial % 9973) as f64 / 9973.0
}

/// Starts a worker; `first` in [0, 1) is the part of its first trial that is left, so that workers do not march in step.
pub(super) fn spawn(script: &Arc<Script>, number: usize, first: f64) -> JoinHandle<()> {
    let script = Arc::clone(script);
    tokio::spawn(async move {
        let mut welcomed = false;
        let mut left = first;
        loop {
            // A broken stream: the same worker comes again, and what it held goes back to the queue.
            if let Err(error) = Box::pin(session(&script, number, &mut left, &mut welcomed)).await {
                eprintln!("worker {number}: {error:#}");
            }
            script.tally.reconnected();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
}

/// A trial under way.
struct Trial {
    lease: v1::Lease,
    /// URL of the directory that its models would lie in.
    models: String,
    since: Instant,
    duration: Duration,
    /// Reports sent.
    sent: u64,
}

async fn session(script: &Script, number: usize, left: &mut f64, welcomed: &mut bool) -> anyhow::Result<()> {
    let (up, messages) = mpsc::unbounded_channel();
    send(&up, Up::Hello(hello(number)));
    let mut down = {
        let _turn = script.gate.acquire().await?;
        let channel = Endpoint::from_shared(script.url.clone())?.connect().await?;
        WorkersClient::new(channel).session(UnboundedReceiverStream::new(messages)).await?.into_inner()
    };
    let Some(Down::Welcome(welcome)) = down.message().await?.and_then(|message| message.body) else {
        anyhow::bail!("the first message was no welcome");
    };
    if !std::mem::replace(welcomed, true) {
        script.connected.0.fetch_add(1, Ordering::Relaxed);
    }
    let interval = Duration::from_millis(welcome.heartbeat_interval_ms);
    let mut heartbeat = Instant::now() + interval.mul_f64(*left);
    let mut trial: Option<Trial> = None;
    let mut free_since: Option<Instant> = None;
    // Reports that were not acknowledged: sequence, when sent, points.
    let mut unacknowledged: VecDeque<(u64, Instant, u64)> = VecDeque::new();
    loop {
        let next = trial.as_ref().map_or(heartbeat, |trial| trial.next(script).min(heartbeat));
        tokio::select! {
            message = down.message() => match message?.and_then(|message| message.body) {
                Some(Down::Assignment(assignment)) => {
                    let now = Instant::now();
                    if let Some(since) = free_since.take() {
                        script.tally.assign.add(now - since);
                    }
                    let store = assignment.store_url;
                    let lease = assignment.lanes.into_iter().next().and_then(|lane| lane.lease);
                    let lease = lease.ok_or_else(|| anyhow::anyhow!("an assignment without a lane"))?;
                    let duration = script.trial.mul_f64(std::mem::replace(left, 1.0));
                    unacknowledged.clear();
                    let models = format!("{store}/{}/{}/{}", lease.sweep, lease.trial, lease.term);
                    trial = Some(Trial { lease, models, since: now, duration, sent: 0 });
                }
                Some(Down::Acknowledgement(acknowledgement)) => {
                    let now = Instant::now();
                    while let Some((sequence, sent, points)) = unacknowledged.front().copied() {
                        if sequence > acknowledgement.sequence {
                            break;
                        }
                        unacknowledged.pop_front();
                        script.tally.acknowledged(points, sequence > script.reports, now - sent);
                    }
                }
                Some(Down::Stop(stop)) => {
                    if stop.lease == trial.as_ref().map(|trial| trial.lease.clone()) {
                        trial = None;
                    }
                    unacknowledged.clear();
                }
                Some(Down::Welcome(_) | Down::Drain(_)) => {}
                None => return Ok(()),
            },
            () = sleep_until(next) => {
                let now = Instant::now();
                if now >= heartbeat {
                    heartbeat = now + interval;
                    let progress = trial.as_ref().map(|trial| trial.progress(script));
                    send(&up, Up::Heartbeat(v1::Heartbeat { progress: progress.into_iter().collect() }));
                }
                while let Some(running) = trial.as_mut().filter(|trial| trial.next(script) <= now) {
                    let (report, points) = running.report(script);
                    unacknowledged.push_back((report.sequence, now, points));
                    send(&up, Up::Report(report));
                    if running.sent > script.reports {
                        free_since = Some(now);
                        trial = None;
                    }
                }
            }
        }
    }
}

fn send(up: &mpsc::UnboundedSender<v1::WorkerMessage>, body: Up) {
    // A stream that has just broken says so where it is read.
    let _ = up.send(v1::WorkerMessage { body: Some(body) });
}

impl Trial {
    /// When its next report is due.
    fn next(&self, script: &Script) -> Instant {
        self.since + self.duration.mul_f64((self.sent + 1) as f64 / (script.reports + 1) as f64)
    }

    /// The next report, and the points in it: curves, and after them the result.
    fn report(&mut self, script: &Script) -> (v1::Report, u64) {
        self.sent += 1;
        let (body, points) = if self.sent <= script.reports {
            let first = (self.sent - 1) * script.points;
            let points = (first..first + script.points).map(point).collect();
            (Said::Metrics(v1::MetricBlock { points }), script.points)
        } else {
            (Said::Completed(self.result(script)), 0)
        };
        (v1::Report { lease: Some(self.lease.clone()), sequence: self.sent, body: Some(body) }, points)
    }

    fn result(&self, script: &Script) -> v1::Completed {
        let value = score(self.lease.trial);
        let names = ["test_loss", "test_accuracy", "test_f1_score", "test_f1_macro"];
        let metrics = names.into_iter().chain([METRIC]).map(|name| (name.to_owned(), value)).collect();
        v1::Completed {
            metrics,
            model: Some(v1::StoredFiles {
                url: format!("{}/100", self.models),
                step: 100,
                manifest_sha256: "0".repeat(64),
            }),
            train_seconds: self.duration.as_secs_f64(),
            steps: (script.reports * script.points).cast_signed(),
            steps_per_second: 10.0,
            baseline: [("test_accuracy".to_owned(), 0.5)].into(),
            tags: [("device".to_owned(), "cpu".to_owned())].into(),
            ..v1::Completed::default()
        }
    }

    fn progress(&self, script: &Script) -> v1::Progress {
        v1::Progress {
            lease: Some(self.lease.clone()),
            step: (self.sent * script.points).cast_signed(),
            total_steps: (script.reports * script.points).cast_signed(),
            loss: 0.5,
            best_metric: None,
            steps_per_second: 10.0,
            phase: "training".into(),
            lane_bytes: 0,
        }
    }
}

/// A trial's point of this number.
fn point(number: u64) -> v1::MetricPoint {
    let curves = CURVES.len() as u64;
    let step = (number / curves + 1) * 10;
    v1::MetricPoint {
        key: CURVES[usize::try_from(number % curves).unwrap_or_default()].to_owned(),
        value: 1.0 / (step as f64 + 0.1),
        step: step.cast_signed(),
        timestamp_ms: 1_700_000_000_000 + step.cast_signed(),
    }
}
