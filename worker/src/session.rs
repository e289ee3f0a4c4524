//! A worker's life under a coordinator: takes assignments, reports, survives a coordinator that goes and comes back.
//!
//! One task owns the [`Ledger`] and decides; the [`crate::link`] keeps the connection, the [`Runtime`] trains. A
//! crash of this process loses what was not acknowledged: the coordinator's deadline then gives its trials to others.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use distilsweep_proto::{
    dial::Coordinator,
    ids::{Lease, Term},
    limits,
    v1::{self, worker_message::Body},
};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    chores::{self, Superfluous},
    ledger::Ledger,
    link::{self, LinkEvent},
    live::Live,
    runtime::{Lane, Runtime, RuntimeEvent},
    store::StoreError,
    trainer::{Checkpoint, Ended, Trained},
    wire::{Assignment, FromCoordinator, Point, Published, Report, ReportBody},
};

/// New points wait this long for others, to go up as one block.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// How long a worker that has handed everything back still removes files that nobody needs.
const TIDYING: Duration = Duration::from_secs(5);

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Where the coordinator is.
    pub coordinator: Coordinator,
    /// Who this worker is; the held leases are filled in at each connection.
    pub hello: v1::Hello,
    /// How long the first connection may take.
    pub patience: Duration,
    /// How long a drain may take before what is left is given up. A checkpoint that is not published after three
    /// quarters of it is: its trial goes back to the one before.
    pub grace: Duration,
    /// Directory for checkpoints on their way from and to the store.
    pub scratch: PathBuf,
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
    /// It, or this worker, is not trusted.
    #[error("coordinator {url}: {why}")]
    Refused {
        /// Where it is.
        url: String,
        /// What would be right.
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
    let url = options.coordinator.url();
    let keep = link::keep(options.coordinator, options.hello, held, rand::random::<f64>, link_sender);
    let link = AbortOnDrop(tokio::spawn(keep));

    let (done_sender, mut done) = mpsc::channel(16);
    let mut session = Session {
        runtime,
        ledger: Ledger::default(),
        live: BTreeMap::new(),
        stores: BTreeMap::new(),
        up: None,
        held: held_sender,
        scratch: options.scratch,
        done: done_sender,
        tidying: JoinSet::new(),
        draining: false,
    };
    let mut patience = Some(Instant::now() + options.patience);
    let mut last_words = String::new();
    let (mut deadline, mut hurry) = (None, None);
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
                // Nobody who starts a worker waits to hear that its token is wrong; one that trains goes on.
                Some(LinkEvent::Refused(why)) if patience.is_some() => {
                    return Err(SessionError::Refused { url, why });
                }
                Some(LinkEvent::Refused(why)) => {
                    session.up = None;
                    if last_words != why {
                        tracing::warn!(coordinator = url, why, "refused, trying again");
                    }
                    last_words = why;
                }
                // The link ends only with the session.
                None => return Ok(()),
            },
            Some(event) = runtime_events.recv() => session.runtime_said(event),
            Some(done) = done.recv() => session.done(done),
            Some(_) = session.tidying.join_next() => {}
            _ = heartbeat.tick() => session.heartbeat(),
            _ = flush.tick() => session.flush_all(),
            changed = drain.changed(), if !session.draining => {
                if changed.is_err() || *drain.borrow() {
                    session.drain();
                    let now = Instant::now();
                    (hurry, deadline) = (Some(now + options.grace.mul_f64(0.75)), Some(now + options.grace));
                }
            }
        }
        let now = Instant::now();
        if hurry.is_some_and(|hurry| now >= hurry) {
            hurry = None;
            session.wait_no_longer();
        }
        if session.draining && session.ledger.is_empty() {
            // What was just sent has to leave the process: the stream closes when its sender goes.
            drop(session.up.take());
            let _ = timeout(Duration::from_millis(500), async {
                while let Some(event) = link_events.recv().await {
                    if matches!(event, LinkEvent::Down(_)) {
                        break;
                    }
                }
            })
            .await;
            drop(link);
            let tidying = async { while session.tidying.join_next().await.is_some() {} };
            let _ = timeout(TIDYING, tidying).await;
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

/// What a task beside the session has done.
enum Done {
    /// The checkpoints that the lanes of a pack go on from are on this machine.
    Prepared(Vec<Lane>),
    /// A checkpoint is published, or could not be.
    Saved(Lease, Result<Published, StoreError>),
    /// A result's model is published, or could not be.
    Finished(Lease, ReportBody),
}

struct Session {
    runtime: Runtime,
    ledger: Ledger,
    live: BTreeMap<Term, Live>,
    /// Where the files of held leases are.
    stores: BTreeMap<Term, String>,
    up: Option<mpsc::UnboundedSender<v1::WorkerMessage>>,
    held: watch::Sender<Vec<Lease>>,
    scratch: PathBuf,
    done: mpsc::Sender<Done>,
    /// Removals of checkpoints that nobody needs any more.
    tidying: JoinSet<()>,
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
            // A coordinator that was restarted meanwhile does not know.
            self.send(Body::Draining(v1::Draining { reason: "the worker was told to stop".to_owned() }));
        }
    }

    fn told(&mut self, message: FromCoordinator) {
        match message {
            FromCoordinator::Assign { lanes, unusable } => {
                for (lease, why) in unusable {
                    self.open(&lease);
                    self.report(&lease, ReportBody::Failed(why));
                }
                self.assigned(lanes);
            }
            FromCoordinator::Acknowledge(lease, sequence) => {
                let durable = self.ledger.acknowledge(&lease, sequence);
                self.tidy(&lease, &durable);
                if !self.ledger.holds(&lease) {
                    self.stores.remove(&lease.term);
                }
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

    fn assigned(&mut self, lanes: Vec<Assignment>) {
        for assignment in &lanes {
            let lease = &assignment.lease;
            self.open(lease);
            if self.draining {
                // It crossed our word that we take no more.
                self.report(lease, ReportBody::Stopped);
                continue;
            }
            tracing::info!(%lease, lanes = lanes.len(), "training");
            self.runtime.open(lease);
            self.stores.insert(lease.term, assignment.store_url.clone());
            self.live.insert(lease.term, Live::new(assignment.clone()));
        }
        if !self.draining {
            self.prepare(lanes);
        }
    }

    /// Fetches what the trials of a pack go on from, beside the session.
    fn prepare(&self, lanes: Vec<Assignment>) {
        let (done, scratch) = (self.done.clone(), self.scratch.clone());
        tokio::spawn(async move {
            let lanes =
                join_all(lanes.into_iter().map(|assignment| chores::fetch(assignment, &scratch))).await;
            let _ = done.send(Done::Prepared(lanes)).await;
        });
    }

    fn runtime_said(&mut self, event: RuntimeEvent) {
        match event {
            RuntimeEvent::Progress { lease, phase, step, total_steps } => {
                if let Some(live) = self.live.get_mut(&lease.term) {
                    live.came_to(phase, step, total_steps);
                }
            }
            RuntimeEvent::Points(lease, points) => {
                if let Some(live) = self.live.get_mut(&lease.term) {
                    live.measured(points);
                }
            }
            RuntimeEvent::Measured(lease, bytes) => {
                if let Some(live) = self.live.get_mut(&lease.term) {
                    live.progress.lane_bytes = Some(bytes);
                }
            }
            RuntimeEvent::Checkpoint(lease, checkpoint) => {
                let now = self.live.get_mut(&lease.term).and_then(|live| live.saver.offer(checkpoint));
                self.save(&lease, now);
            }
            RuntimeEvent::Ended(lease, ended) => {
                self.runtime.ended(&lease);
                self.flush(&lease);
                if let Some(live) = self.live.get_mut(&lease.term) {
                    if !matches!(ended, Err(Ended::Stopped)) {
                        live.saver.forget_waiting();
                    }
                    live.ended = Some(ended);
                }
                self.finish_if_written(&lease);
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Prepared(lanes) => self.runtime.train(lanes),
            Done::Saved(lease, saved) => {
                match saved {
                    Ok(published) => {
                        tracing::info!(%lease, step = published.step, "checkpoint published");
                        // Before it: whoever goes on from it does not measure these points again.
                        self.flush(&lease);
                        self.report(&lease, ReportBody::Checkpoint(published));
                    }
                    Err(error) => tracing::warn!(%lease, %error, "a checkpoint could not be published"),
                }
                let next = self.live.get_mut(&lease.term).and_then(|live| live.saver.written());
                self.save(&lease, next);
                self.finish_if_written(&lease);
            }
            Done::Finished(lease, body) => self.report(&lease, body),
        }
    }

    /// Writes and publishes a checkpoint beside the session.
    fn save(&self, lease: &Lease, checkpoint: Option<Checkpoint>) {
        let (Some(live), Some(checkpoint)) = (self.live.get(&lease.term), checkpoint) else { return };
        let (done, scratch) = (self.done.clone(), self.scratch.clone());
        let (lease, store_url) = (lease.clone(), live.assignment.store_url.clone());
        tokio::spawn(async move {
            let saved = chores::save(&store_url, &lease, checkpoint, scratch).await;
            let _ = done.send(Done::Saved(lease, saved)).await;
        });
    }

    /// Reports how a trial ended once nothing of it is being written.
    fn finish_if_written(&mut self, lease: &Lease) {
        if self.live.get(&lease.term).is_some_and(|live| live.ended.is_some() && live.saver.is_idle()) {
            self.finish(lease);
        }
    }

    fn finish(&mut self, lease: &Lease) {
        let Some(live) = self.live.remove(&lease.term) else { return };
        match live.ended {
            Some(Ok((trained, output))) => self.publish(live.assignment, *trained, output),
            Some(Err(Ended::Stopped)) | None => self.report(lease, ReportBody::Stopped),
            Some(Err(why)) => {
                tracing::warn!(%lease, %why, "the trial ended without a result");
                self.report(lease, ReportBody::Failed(why));
            }
        }
    }

    /// Hands back what has stopped, though its last checkpoint is not published: the grace time runs out.
    fn wait_no_longer(&mut self) {
        let stopped = |live: &&Live| matches!(live.ended, Some(Err(Ended::Stopped)));
        let late: Vec<Lease> =
            self.live.values().filter(stopped).map(|live| live.assignment.lease.clone()).collect();
        for lease in late {
            tracing::warn!(%lease, "handed back without its last checkpoint, which takes too long to publish");
            self.finish(&lease);
        }
    }

    /// Publishes a model beside the session, and reports when it is there.
    fn publish(&self, assignment: Assignment, trained: Trained, output: TempDir) {
        let done = self.done.clone();
        tokio::spawn(async move {
            let body = chores::publish(&assignment, trained, &output.path().join("model")).await;
            let _ = done.send(Done::Finished(assignment.lease, body)).await;
        });
    }

    /// Removes the checkpoints that are superfluous once these reports are durable, beside the session.
    fn tidy(&mut self, lease: &Lease, durable: &[ReportBody]) {
        let accepted = durable.iter().rev().find_map(|body| match body {
            ReportBody::Checkpoint(published) => Some(published.step),
            _ => None,
        });
        // Diverged is a result too: no attempt follows.
        let has_result = durable
            .iter()
            .any(|body| matches!(body, ReportBody::Completed(_) | ReportBody::Failed(Ended::Diverged(_))));
        let Some(store_url) = self.stores.get(&lease.term).cloned() else { return };
        let superfluous = match accepted {
            _ if has_result => Superfluous::All,
            Some(step) => Superfluous::Before(step),
            None => return,
        };
        self.tidying.spawn(chores::tidy(store_url, lease.clone(), superfluous));
    }

    fn drain(&mut self) {
        self.draining = true;
        self.send(Body::Draining(v1::Draining { reason: "the worker was told to stop".to_owned() }));
        for lease in self.ledger.training() {
            self.runtime.hand_back(&lease);
        }
    }

    fn open(&mut self, lease: &Lease) {
        self.ledger.open(lease.clone());
        self.note_held();
    }

    fn give_up(&mut self, lease: &Lease) {
        self.runtime.stop(lease);
        self.live.remove(&lease.term);
        self.stores.remove(&lease.term);
        self.ledger.forget(lease);
        self.note_held();
    }

    fn report(&mut self, lease: &Lease, body: ReportBody) {
        if let Some(report) = self.ledger.report(lease, body) {
            self.send_report(report);
        }
    }

    fn flush(&mut self, lease: &Lease) {
        let mut points: Vec<Point> =
            self.live.get_mut(&lease.term).map(|live| std::mem::take(&mut live.points)).unwrap_or_default();
        while !points.is_empty() {
            let rest = points.split_off(points.len().min(limits::POINTS));
            self.report(lease, ReportBody::Metrics(std::mem::replace(&mut points, rest)));
        }
    }

    fn flush_all(&mut self) {
        let leases: Vec<Lease> = self.live.values().map(|live| live.assignment.lease.clone()).collect();
        for lease in leases {
            self.flush(&lease);
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
