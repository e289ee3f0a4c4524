//! A worker's life under a coordinator: takes assignments, reports, survives a coordinator that goes and comes back.
//!
//! One task owns the [`Ledger`] and decides; the [`crate::link`] keeps the connection, the [`Runtime`] trains. A
//! crash of this process loses what was not acknowledged: the coordinator's deadline then gives its trials to others.

mod serve;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use distilsweep_proto::{
    ids::{Lease, Term},
    v1::{self, worker_message::Body},
};
use futures::future::join_all;
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

pub use serve::{SessionError, SessionOptions, Standing, serve};

use crate::{
    chores::{self, Superfluous},
    clock,
    ledger::Ledger,
    live::Live,
    runtime::{Lane, Runtime, RuntimeEvent},
    store::StoreError,
    trainer::{Checkpoint, Ended, Trained},
    vitals::Sample,
    wire::{Assignment, FromCoordinator, Point, Published, ReportBody},
};

/// Points of a report at most; more go up as several, so that no message grows with the time that it waited.
const BLOCK: usize = 1000;

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
    /// Whether the coordinator has said which leases go on: before it no report is sent.
    welcomed: bool,
    held: watch::Sender<Vec<Lease>>,
    scratch: PathBuf,
    done: mpsc::Sender<Done>,
    /// Removals of checkpoints that nobody needs any more.
    tidying: JoinSet<()>,
    /// Since when no more is taken on, and why.
    draining: Option<(Instant, String)>,
}

impl Session {
    fn connected(&mut self, up: mpsc::UnboundedSender<v1::WorkerMessage>) {
        self.up = Some(up);
        self.welcomed = false;
        self.ledger.rewind();
    }

    /// Whether there was a connection.
    fn disconnected(&mut self) -> bool {
        self.welcomed = false;
        self.up.take().is_some()
    }

    fn welcomed(&mut self, ended: &[Lease]) {
        for lease in ended {
            tracing::warn!(%lease, "the lease ended while this worker was away");
            self.give_up(lease);
        }
        self.welcomed = true;
        self.send_reports();
        // A coordinator that was restarted meanwhile does not know.
        self.say_that_it_drains();
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
                let said = self.ledger.acknowledge(&lease, sequence);
                self.tidy(&lease, &said.durable);
                if said.lost {
                    self.runtime.stop(&lease);
                    self.live.remove(&lease.term);
                }
                if !self.ledger.holds(&lease) {
                    self.stores.remove(&lease.term);
                }
                self.note_held();
                self.send_reports();
            }
            FromCoordinator::Stop(lease, reason) => {
                tracing::info!(%lease, reason, "stopped by the coordinator");
                self.give_up(&lease);
            }
            FromCoordinator::Drain(reason) => self.drain(reason),
            // Handled where the heartbeat's ticker is; a second one changes nothing.
            FromCoordinator::Welcome { .. } => {}
        }
    }

    fn assigned(&mut self, lanes: Vec<Assignment>) {
        for assignment in &lanes {
            let lease = &assignment.lease;
            self.open(lease);
            if self.draining.is_some() {
                // It crossed our word that we take no more.
                self.report(lease, ReportBody::Stopped);
                continue;
            }
            tracing::debug!(%lease, lanes = lanes.len(), "training");
            self.runtime.open(lease);
            self.stores.insert(lease.term, assignment.store_url.clone());
            self.live.insert(lease.term, Live::new(assignment.clone()));
        }
        if self.draining.is_none() {
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
                    if !matches!(ended, Err(Ended::Stopped | Ended::Paused)) {
                        live.saver.forget_waiting();
                    }
                    live.ended = Some(ended);
                }
                self.finish_if_written(&lease);
            }
        }
    }

    /// Records the machine's load with every trial under way.
    fn sampled(&mut self, sample: &Sample) {
        let now = clock::unix_ms();
        self.live.values_mut().for_each(|live| live.sampled(sample, now));
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Prepared(lanes) => self.runtime.train(lanes),
            Done::Saved(lease, saved) => {
                match saved {
                    Ok(published) => {
                        tracing::debug!(%lease, step = published.step, "checkpoint published");
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
            Done::Finished(lease, body) => {
                if let ReportBody::Completed(completed) = &body {
                    let (steps, seconds) = (completed.trained.steps, completed.trained.seconds);
                    tracing::info!(trial = %lease.trial, %lease, steps, seconds, "trained");
                }
                self.report(&lease, body);
            }
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
            Some(Err(Ended::Paused)) => self.report(lease, ReportBody::Paused),
            Some(Err(Ended::Stopped)) | None => self.report(lease, ReportBody::Stopped),
            Some(Err(why)) => {
                tracing::warn!(trial = %lease.trial, %lease, %why, "the trial ended without a result");
                self.report(lease, ReportBody::Failed(why));
            }
        }
    }

    /// Hands back what is not handed back yet: the grace time runs out. What has stopped has a checkpoint that takes
    /// too long to publish; what has not may never stop, and others can train it meanwhile.
    fn wait_no_longer(&mut self) {
        let unfinished =
            |live: &&Live| matches!(live.ended, None | Some(Err(Ended::Stopped | Ended::Paused)));
        let late: Vec<Lease> =
            self.live.values().filter(unfinished).map(|live| live.assignment.lease.clone()).collect();
        for lease in late {
            tracing::warn!(%lease, "handed back without its last checkpoint, which takes too long");
            self.runtime.stop(&lease);
            self.flush(&lease);
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

    /// Takes no more on, and hands back what there is after a last checkpoint. The second time changes nothing.
    fn drain(&mut self, reason: String) {
        if self.draining.is_some() {
            return;
        }
        tracing::info!(reason, "draining");
        self.draining = Some((Instant::now(), reason));
        self.say_that_it_drains();
        for lease in self.ledger.training() {
            self.runtime.hand_back(&lease);
        }
    }

    fn say_that_it_drains(&self) {
        if let Some((_, reason)) = &self.draining {
            self.send(Body::Draining(v1::Draining { reason: reason.clone() }));
        }
    }

    fn standing(&self) -> Standing {
        match (&self.draining, self.welcomed) {
            (Some(_), _) => Standing::Draining,
            (None, true) => Standing::Ready,
            (None, false) => Standing::Connecting,
        }
    }

    /// Whether a coordinator is there and this worker has nothing to do.
    fn is_idle(&self) -> bool {
        self.welcomed && self.ledger.is_empty() && self.runtime.under_way().next().is_none()
    }

    /// Whether all is handed back and no training is left on the thread.
    fn is_drained(&self) -> bool {
        self.draining.is_some() && self.ledger.is_empty() && self.runtime.under_way().next().is_none()
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
        self.ledger.report(lease, body);
        self.send_reports();
    }

    /// Sends what the window allows.
    fn send_reports(&mut self) {
        while let Some(report) = self.welcomed.then(|| self.ledger.next_to_send()).flatten() {
            self.send(Body::Report(report.into()));
        }
    }

    fn flush(&mut self, lease: &Lease) {
        let points: Vec<Point> =
            self.live.get_mut(&lease.term).map(|live| std::mem::take(&mut live.points)).unwrap_or_default();
        let mut points = points.into_iter().peekable();
        while points.peek().is_some() {
            self.report(lease, ReportBody::Metrics(points.by_ref().take(BLOCK).collect()));
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
