//! What a worker holds: its leases, and the reports that the coordinator has not acknowledged. Pure.
//!
//! A report leaves the ledger when it is acknowledged, and only then: after a reconnect everything that is left is
//! sent again, in order, and the coordinator drops what it already has.

use std::collections::{BTreeMap, VecDeque};

use distilsweep_proto::ids::{Lease, Term};

use crate::wire::{Report, ReportBody};

#[derive(Debug)]
struct Held {
    lease: Lease,
    /// Sequence of the last report made.
    sequence: u64,
    unacknowledged: VecDeque<Report>,
    /// Whether the last report was made: nothing follows it.
    ended: bool,
}

/// Leases and unacknowledged reports, by term.
#[derive(Debug, Default)]
pub struct Ledger {
    held: BTreeMap<Term, Held>,
}

impl Ledger {
    /// Takes a lease on.
    pub fn open(&mut self, lease: Lease) {
        self.held.entry(lease.term).or_insert_with(|| Held {
            lease,
            sequence: 0,
            unacknowledged: VecDeque::new(),
            ended: false,
        });
    }

    /// Numbers a report and keeps it. `None` where the lease is not held, or has made its last report.
    pub fn report(&mut self, lease: &Lease, body: ReportBody) -> Option<Report> {
        let held = self.held.get_mut(&lease.term).filter(|held| !held.ended)?;
        held.sequence += 1;
        held.ended = body.is_last();
        let report = Report { lease: lease.clone(), sequence: held.sequence, body };
        held.unacknowledged.push_back(report.clone());
        Some(report)
    }

    /// Forgets reports up to `sequence`, and the lease with them where it has made its last. Answers what is now known
    /// to be durable.
    pub fn acknowledge(&mut self, lease: &Lease, sequence: u64) -> Vec<ReportBody> {
        let Some(held) = self.held.get_mut(&lease.term) else { return Vec::new() };
        let mut durable = Vec::new();
        while let Some(report) = held.unacknowledged.pop_front_if(|report| report.sequence <= sequence) {
            durable.push(report.body);
        }
        if held.ended && held.unacknowledged.is_empty() {
            self.held.remove(&lease.term);
        }
        durable
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

    /// Everything to send again after a reconnect, each lease's reports in order.
    pub fn unacknowledged(&self) -> Vec<Report> {
        self.held.values().flat_map(|held| held.unacknowledged.iter().cloned()).collect()
    }

    /// Whether nothing is held any more.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use distilsweep_proto::ids::{SweepId, TrialId};

    use super::*;

    fn lease(term: u64) -> Lease {
        Lease { trial: TrialId { sweep: SweepId::new("s"), index: term }, attempt: 1, term: Term(term) }
    }

    #[test]
    fn a_report_stays_until_it_is_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.open(lease(1));
        ledger.report(&lease(1), ReportBody::Metrics(Vec::new()));
        ledger.report(&lease(1), ReportBody::Metrics(Vec::new()));
        let sequences = |ledger: &Ledger| -> Vec<u64> {
            ledger.unacknowledged().iter().map(|report| report.sequence).collect()
        };
        assert_eq!(sequences(&ledger), [1, 2]);
        assert_eq!(ledger.acknowledge(&lease(1), 1), [ReportBody::Metrics(Vec::new())]);
        assert_eq!(sequences(&ledger), [2]);
        assert_eq!(ledger.acknowledge(&lease(1), 2).len(), 1);
        assert_eq!(ledger.acknowledge(&lease(1), 2), []);
        assert_eq!(ledger.held(), [lease(1)], "it is still trained");
    }

    #[test]
    fn a_lease_is_held_until_its_last_report_is_acknowledged() {
        let mut ledger = Ledger::default();
        ledger.open(lease(1));
        ledger.report(&lease(1), ReportBody::Stopped);
        assert!(ledger.report(&lease(1), ReportBody::Metrics(Vec::new())).is_none());
        assert_eq!((ledger.held(), ledger.training()), (vec![lease(1)], vec![]));
        ledger.acknowledge(&lease(1), 1);
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_forgotten_lease_takes_its_reports_along() {
        let mut ledger = Ledger::default();
        ledger.open(lease(1));
        ledger.report(&lease(1), ReportBody::Metrics(Vec::new()));
        ledger.forget(&lease(1));
        assert!(ledger.unacknowledged().is_empty());
        assert!(ledger.report(&lease(1), ReportBody::Stopped).is_none());
    }
}
