//! A worker's life under a coordinator: takes assignments, reports, survives a coordinator that goes and comes back.
//!
//! One task owns the [`Ledger`] and decides; the [`crate::link`] keeps the connection, the [`Runtime`] trains. A
//! crash of this process loses what was not acknowledged: the coordinator's deadline then gives its trials to others.

use std::{collections::BTreeMap, path::Path, time::Duration};

use distilsweep_proto::{
    ids::{Lease, Term},
    names,
    v1::{self, worker_message::Body},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::transport::Endpoint;

use crate::{
    ledger::Ledger,
    link::{self, LinkEvent},
    publish::publish,
    runtime::{Runtime, RuntimeEvent},
    trainer::{Ended, Phase, Trained},
    wire::{Assignment, Completed, FromCoordinator, Point, Progress, Report, ReportBody},
};

/// New points wait this long for others, to go up as one block.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Where the coordinator is.
    pub endpoint: Endpoint,
    /// Who this worker is; the held leases are filled in at each connection.
    pub hello: v1::Hello,
    /// How long the first connection may take.
    pub patience: Duration,
    /// How long a drain may take before what is left is given up.
    pub grace: Duration,
}

/// Why a session ended otherwise than by draining.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Nobody was there.
    #[error("coordinator {url} cannot be reached: {why}: is `distilsweep serve` running there?")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the last attempt said.
        why: String,
    },
    /// The grace time passed with reports that nobody acknowledged.
    #[error("drained for {} s and the coordinator has not acknowledged everything: it will give the trials to others", .0.as_secs())]
    GraceSpent(Duration),
}

/// Serves the coordinator until `drain` turns true and everything is handed back.
///
/// # Errors
/// Where the coordinator cannot be reached at the start, or does not take back what is held at the end.
pub async fn serve(
    options: SessionOptions,
    runtime: Runtime,
    mut runtime_events: mpsc::UnboundedReceiver<RuntimeEvent>,
    mut drain: watch::Receiver<bool>,
) -> Result<(), SessionError> {
    let (held_sender, held) = watch::channel(Vec::new());
    let (link_sender, mut link_events) = mpsc::channel(256);
    let url = options.endpoint.uri().to_string();
    let keep = link::keep(options.endpoint, options.hello, held, rand::random::<f64>, link_sender);
    let link = AbortOnDrop(tokio::spawn(keep));

    let (published_sender, mut published) = mpsc::channel(16);
    let mut session = Session {
        runtime,
        ledger: Ledger::default(),
        live: BTreeMap::new(),
        up: None,
        held: held_sender,
        published: published_sender,
        draining: false,
    };
    let mut patience = Some(Instant::now() + options.patience);
    let mut last_words = String::new();
    let mut deadline = None;
    let mut heartbeat = ticker(Duration::from_secs(1));
    let mut flush = ticker(FLUSH_INTERVAL);
    loop {
        tokio::select! {
            event = link_events.recv() => match event {
                Some(LinkEvent::Up(up)) => {
                    patience = None;
                    session.up = Some(up);
                    tracing::info!(coordinator = url, "connected");
                }
                Some(LinkEvent::Message(FromCoordinator::Welcome { heartbeat_interval_ms, ended })) => {
                    heartbeat = ticker(Duration::from_millis(heartbeat_interval_ms.max(50)));
                    session.welcomed(&ended);
                }
                Some(LinkEvent::Message(message)) => session.told(message),
                Some(LinkEvent::Down(why)) => {
                    if session.up.take().is_some() || last_words != why {
                        tracing::warn!(coordinator = url, why, "no connection, trying again");
                    }
                    last_words = why;
                }
                // The link ends only with the session.
                None => return Ok(()),
            },
            Some(event) = runtime_events.recv() => session.runtime_said(event),
            Some((lease, body)) = published.recv() => session.report(&lease, body),
            _ = heartbeat.tick() => session.heartbeat(),
            _ = flush.tick() => session.flush_all(),
            changed = drain.changed(), if !session.draining => {
                if changed.is_err() || *drain.borrow() {
                    session.drain();
                    deadline = Some(Instant::now() + options.grace);
                }
            }
        }
        let now = Instant::now();
        if session.draining && session.ledger.is_empty() {
            // What was just sent has to leave the process: the stream closes when its sender goes.
            drop(session.up.take());
            let _ = tokio::time::timeout(Duration::from_millis(500), async {
                while let Some(event) = link_events.recv().await {
                    if matches!(event, LinkEvent::Down(_)) {
                        break;
                    }
                }
            })
            .await;
            drop(link);
            return Ok(());
        }
        if deadline.is_some_and(|deadline| now >= deadline) {
            return Err(SessionError::GraceSpent(options.grace));
        }
        if patience.is_some_and(|patience| now >= patience) {
            return Err(SessionError::Unreachable { url, why: last_words });
        }
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A trial that is being trained.
struct Live {
    assignment: Assignment,
    progress: Progress,
    /// When it was at which step, for the rate.
    mark: (Instant, u64),
    points: Vec<Point>,
}

struct Session {
    runtime: Runtime,
    ledger: Ledger,
    live: BTreeMap<Term, Live>,
    up: Option<mpsc::UnboundedSender<v1::WorkerMessage>>,
    held: watch::Sender<Vec<Lease>>,
    published: mpsc::Sender<(Lease, ReportBody)>,
    draining: bool,
}

impl Session {
    fn welcomed(&mut self, ended: &[Lease]) {
        for lease in ended {
            tracing::warn!(%lease, "the lease ended while this worker was away");
            self.give_up(lease);
        }
        for report in self.ledger.unacknowledged() {
            self.send(Body::Report(report.into()));
        }
        if self.draining {
            self.send(Body::Draining(v1::Draining { reason: "the worker was told to stop".to_owned() }));
        }
    }

    fn told(&mut self, message: FromCoordinator) {
        match message {
            FromCoordinator::Assign(assignment) => {
                let lease = assignment.lease.clone();
                self.open(&lease);
                if self.draining {
                    // It crossed our word that we take no more.
                    self.report(&lease, ReportBody::Stopped);
                    return;
                }
                tracing::info!(%lease, "training");
                let progress = Progress {
                    lease: lease.clone(),
                    phase: phase_name(Phase::Loading),
                    step: 0,
                    total_steps: 0,
                    loss: f64::NAN,
                    best_metric: None,
                    steps_per_second: 0.0,
                };
                let live =
                    Live { assignment: *assignment, progress, mark: (Instant::now(), 0), points: Vec::new() };
                self.runtime.train(live.assignment.clone());
                self.live.insert(lease.term, live);
            }
            FromCoordinator::Unusable(lease, why) => {
                self.open(&lease);
                self.report(&lease, ReportBody::Failed(why));
            }
            FromCoordinator::Acknowledge(lease, sequence) => {
                self.ledger.acknowledge(&lease, sequence);
                self.note_held();
            }
            FromCoordinator::Stop(lease, reason) => {
                tracing::info!(%lease, reason, "stopped by the coordinator");
                self.give_up(&lease);
            }
            FromCoordinator::Drain(reason) => {
                tracing::info!(reason, "draining");
                self.drain();
            }
            // Handled where the heartbeat's ticker is; a second one changes nothing.
            FromCoordinator::Welcome { .. } => {}
        }
    }

    fn runtime_said(&mut self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Progress { lease, phase, step, total_steps } => {
                let Some(live) = self.live.get_mut(&lease.term) else { return };
                live.progress.phase = phase_name(phase);
                live.progress.total_steps = total_steps;
                let (since, from) = live.mark;
                let seconds = since.elapsed().as_secs_f64();
                if phase != Phase::Training || step < from {
                    live.mark = (Instant::now(), step);
                } else if seconds >= 2.0 {
                    live.progress.steps_per_second = (step - from) as f64 / seconds;
                    live.mark = (Instant::now(), step);
                }
                live.progress.step = step;
            }
            RuntimeEvent::Points(lease, points) => {
                let Some(live) = self.live.get_mut(&lease.term) else { return };
                let selection = live.assignment.selection.evaluation;
                for point in &points {
                    if point.key == names::LOSS {
                        live.progress.loss = point.value;
                    } else if point.key == selection && !point.value.is_nan() {
                        let best = live.progress.best_metric.get_or_insert(point.value);
                        let better = if live.assignment.maximize { f64::max } else { f64::min };
                        *best = better(*best, point.value);
                    }
                }
                live.points.extend(points);
            }
            RuntimeEvent::Ended(lease, ended) => {
                self.runtime.ended(&lease);
                let Some(mut live) = self.live.remove(&lease.term) else { return };
                let points = std::mem::take(&mut live.points);
                if !points.is_empty() {
                    self.report(&lease, ReportBody::Metrics(points));
                }
                match ended {
                    Ok((trained, output)) => self.publish(live.assignment, *trained, output),
                    Err(Ended::Stopped) => self.report(&lease, ReportBody::Stopped),
                    Err(why) => {
                        tracing::warn!(%lease, %why, "the trial ended without a result");
                        self.report(&lease, ReportBody::Failed(why));
                    }
                }
            }
        }
    }

    /// Publishes a model beside the session, and reports when it is there.
    fn publish(&self, assignment: Assignment, trained: Trained, output: tempfile::TempDir) {
        let published = self.published.clone();
        tokio::spawn(async move {
            let model = output.path().join("model");
            let body = result(&assignment, trained, &model).await;
            let _ = published.send((assignment.lease, body)).await;
        });
    }

    fn drain(&mut self) {
        self.draining = true;
        self.send(Body::Draining(v1::Draining { reason: "the worker was told to stop".to_owned() }));
        for lease in self.ledger.training() {
            self.runtime.stop(&lease);
        }
    }

    fn open(&mut self, lease: &Lease) {
        self.ledger.open(lease.clone());
        self.note_held();
    }

    fn give_up(&mut self, lease: &Lease) {
        self.runtime.stop(lease);
        self.live.remove(&lease.term);
        self.ledger.forget(lease);
        self.note_held();
    }

    fn report(&mut self, lease: &Lease, body: ReportBody) {
        if let Some(report) = self.ledger.report(lease, body) {
            self.send_report(report);
        }
    }

    fn flush_all(&mut self) {
        let waiting: Vec<(Lease, Vec<Point>)> = self
            .live
            .values_mut()
            .filter(|live| !live.points.is_empty())
            .map(|live| (live.assignment.lease.clone(), std::mem::take(&mut live.points)))
            .collect();
        for (lease, points) in waiting {
            self.report(&lease, ReportBody::Metrics(points));
        }
    }

    fn heartbeat(&self) {
        let progress = self.live.values().map(|live| live.progress.clone().into()).collect();
        self.send(Body::Heartbeat(v1::Heartbeat { progress }));
    }

    fn send_report(&self, report: Report) {
        self.send(Body::Report(report.into()));
    }

    /// Sends where there is a stream; without one the ledger keeps what matters.
    fn send(&self, body: Body) {
        if let Some(up) = &self.up {
            let _ = up.send(v1::WorkerMessage { body: Some(body) });
        }
    }

    fn note_held(&self) {
        self.held.send_replace(self.ledger.held());
    }
}

async fn result(assignment: &Assignment, trained: Trained, model: &Path) -> ReportBody {
    let step = trained.best.step;
    match publish(&assignment.store_url, &assignment.lease, step, model).await {
        Ok(model) => {
            let metrics = final_metrics(assignment, &trained);
            ReportBody::Completed(Box::new(Completed { trained, metrics, model }))
        }
        Err(error) => ReportBody::Failed(Ended::Internal(error.to_string())),
    }
}

/// The final values of a trial under the names that the sweep's file, MLflow and the summary share.
fn final_metrics(assignment: &Assignment, trained: &Trained) -> BTreeMap<String, f64> {
    let best = trained.best.scores.named("eval");
    let mut metrics: BTreeMap<String, f64> = best
        .get(assignment.selection.evaluation)
        .map(|value| (assignment.selection.best.to_owned(), *value))
        .into_iter()
        .collect();
    if let Some(test) = &trained.test {
        metrics
            .extend(test.named("test").into_iter().filter(|(name, _)| names::TEST.contains(&name.as_str())));
    }
    metrics
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Loading => "loading",
        Phase::Training => "training",
        Phase::Evaluating => "evaluating",
        Phase::Finishing => "finishing",
    }
}
