//! What a worker holds: its leases, and the reports that the coordinator has not acknowledged. It decides what is sent
//! when, and does nothing but that; past a bound in memory reports go to a file (the crate's `backlog`).
//!
//! A report leaves the ledger when it is acknowledged, and only then: on a new stream everything that is left is
//! sent again, in order and a window at a time, and the coordinator drops what it already has.

use std::{collections::BTreeMap, io, path::PathBuf};

use distilsweep_proto::ids::{Lease, Term};

use crate::{
    backlog::Backlog,
    trainer::Ended,
    wire::{Report, ReportBody},
};

/// How much a ledger keeps where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of unacknowledged reports in memory, about; further ones go to a file.
    pub bytes: usize,
    /// The same by their number.
    pub reports: usize,
    /// Reports of a lease that are under way at a time: more are sent as these are acknowledged.
    pub window: u64,
}

impl Default for Bounds {
    /// Some hours of a usual trial in memory, and a window that keeps a round trip of a second from being felt.
    fn default() -> Self {
        Self { bytes: 4 << 20, reports: 4096, window: 64 }
    }
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// Sequence of the last report made.
    sequence: u64,
    /// Of the last that is acknowledged.
    acknowledged: u64,
    /// Of the last that was sent on the present stream, or is acknowledged.
    sent: u64,
    backlog: Backlog,
    /// Whether the last report was made: nothing follows it.
    ended: bool,
}

/// What an acknowledgement says.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// Now known to be durable.
    pub durable: Vec<ReportBody>,
    /// The reports that waited in the file cannot be read, so the attempt has failed: its training is of no use.
    pub lost: bool,
}

/// Leases and unacknowledged reports, by term.
#[derive(Debug)]
pub struct Ledger {
    held: BTreeMap<Term, Held>,
    bounds: Bounds,
    scratch: PathBuf,
    /// Whether it was said that the disk takes nothing.
    disk_is_full: bool,
}

impl Ledger {
    /// A ledger that holds nothing; its files go to the directory `scratch`.
    pub fn new(scratch: PathBuf, bounds: Bounds) -> Self {
        Self { held: BTreeMap::new(), bounds, scratch, disk_is_full: false }
    }

    /// Takes a lease on.
    pub fn open(&mut self, lease: Lease) {
        self.held.entry(lease.term).or_insert_with(|| Held {
            lease,
            sequence: 0,
            acknowledged: 0,
            sent: 0,
            backlog: Backlog::default(),
            ended: false,
        });
    }

    /// Numbers a report and keeps it. Nothing is kept where the lease is not held, or has made its last report.
    pub fn report(&mut self, lease: &Lease, body: ReportBody) {
        let (reports, bytes) = self.in_memory();
        let room = reports < self.bounds.reports && bytes < self.bounds.bytes;
        let Some(held) = self.held.get_mut(&lease.term).filter(|held| !held.ended) else { return };
        held.sequence += 1;
        held.ended = body.is_last();
        let report = Report { lease: lease.clone(), sequence: held.sequence, body };
        match held.backlog.push(report, room, &self.scratch) {
            Ok(()) => self.disk_is_full = false,
            Err(error) if !self.disk_is_full => {
                self.disk_is_full = true;
                let scratch = self.scratch.display().to_string();
                tracing::warn!(
                    scratch,
                    %error,
                    "reports that wait for the coordinator cannot be written there and stay in memory"
                );
            }
            Err(_) => {}
        }
    }

    /// The next report to send on the present stream, as far as the window goes.
    pub fn next_to_send(&mut self) -> Option<Report> {
        let window = self.bounds.window;
        self.held.values_mut().find_map(|held| {
            let under_way = held.sent - held.acknowledged;
            let place = usize::try_from(under_way).ok().filter(|_| under_way < window)?;
            let report = held.backlog.get(place)?.clone();
            held.sent = report.sequence;
            Some(report)
        })
    }

    /// A new stream begins: nothing was sent on it.
    pub fn rewind(&mut self) {
        self.held.values_mut().for_each(|held| held.sent = held.acknowledged);
    }

    /// Forgets reports up to `sequence`, and the lease with them where it has made its last.
    pub fn acknowledge(&mut self, lease: &Lease, sequence: u64) -> Acknowledged {
        let mut said = Acknowledged::default();
        let (_, bytes) = self.in_memory();
        let Some(held) = self.held.get_mut(&lease.term) else { return said };
        // Half of it, so that files are read in pieces rather than by report.
        let others = bytes - held.backlog.in_memory().1;
        let room = (self.bounds.bytes / 2).saturating_sub(others);
        let read = held.backlog.acknowledge(sequence, room, &mut said.durable);
        held.acknowledged += said.durable.len() as u64;
        held.sent = held.sent.max(held.acknowledged);
        if let Err(error) = read {
            held.lose(&error);
            said.lost = true;
        }
        if held.ended && held.backlog.is_empty() {
            self.held.remove(&lease.term);
        }
        said
    }

    /// Whether a lease is held.
    pub fn holds(&self, lease: &Lease) -> bool {
        self.held.contains_key(&lease.term)
    }

    /// Forgets a lease that has ended on the coordinator's side.
    pub fn forget(&mut self, lease: &Lease) {
        self.held.remove(&lease.term);
    }

    /// The leases to present after a reconnect.
    pub fn held(&self) -> Vec<Lease> {
        self.held.values().map(|held| held.lease.clone()).collect()
    }

    /// The leases under which something is still trained.
    pub fn training(&self) -> Vec<Lease> {
        self.held.values().filter(|held| !held.ended).map(|held| held.lease.clone()).collect()
    }

    /// Whether nothing is held any more.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Unacknowledged reports in memory, and the bytes that they take, about.
    pub fn in_memory(&self) -> (usize, usize) {
        self.held
            .values()
            .map(|held| held.backlog.in_memory())
            .fold((0, 0), |sum, (reports, bytes)| (sum.0 + reports, sum.1 + bytes))
    }
}

impl Held {
    /// Ends the attempt: a gap in its reports would never be closed, so the trial goes on from its last checkpoint.
    fn lose(&mut self, error: &io::Error) {
        let why = format!("reports that waited on the worker's disk cannot be read: {error}");
        tracing::error!(lease = %self.lease, why, "the attempt is lost");
        self.sequence = self.backlog.lose().unwrap_or(self.acknowledged) + 1;
        self.ended = true;
        let body = ReportBody::Failed(Ended::Internal(why));
        self.backlog.keep(Report { lease: self.lease.clone(), sequence: self.sequence, body });
    }
}

#[cfg(test)]
mod tests;
