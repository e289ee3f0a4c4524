use distilsweep_proto::ids::{SweepId, TrialId};

use super::*;
use crate::wire::Point;

fn lease(term: u64) -> Lease {
    Lease { trial: TrialId { sweep: SweepId::new("s"), index: term }, attempt: 1, term: Term(term) }
}

fn points(from: u64, count: u64) -> ReportBody {
    let point = |step| Point { key: "loss".to_owned(), value: 1.0 / step as f64, step, timestamp_ms: 7 };
    ReportBody::Metrics((from..from + count).map(point).collect())
}

fn ledger() -> (tempfile::TempDir, Ledger) {
    bounded(Bounds::default())
}

fn bounded(bounds: Bounds) -> (tempfile::TempDir, Ledger) {
    let scratch = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(scratch.path().to_owned(), bounds);
    ledger.open(lease(1));
    (scratch, ledger)
}

/// Everything that may be sent now, by sequence.
fn sent(ledger: &mut Ledger) -> Vec<u64> {
    std::iter::from_fn(|| ledger.next_to_send()).map(|report| report.sequence).collect()
}

#[test]
fn a_report_stays_until_it_is_acknowledged() {
    let (_scratch, mut ledger) = ledger();
    ledger.report(&lease(1), points(1, 1));
    ledger.report(&lease(1), points(2, 1));
    assert_eq!(sent(&mut ledger), [1, 2]);
    assert_eq!(sent(&mut ledger), [0; 0], "once on a stream");
    assert_eq!(ledger.acknowledge(&lease(1), 1).durable, [points(1, 1)]);
    ledger.rewind();
    assert_eq!(sent(&mut ledger), [2]);
    assert_eq!(ledger.acknowledge(&lease(1), 2).durable.len(), 1);
    assert_eq!(ledger.acknowledge(&lease(1), 2).durable, []);
    assert_eq!(ledger.held(), [lease(1)], "it is still trained");
}

#[test]
fn a_lease_is_held_until_its_last_report_is_acknowledged() {
    let (_scratch, mut ledger) = ledger();
    ledger.report(&lease(1), ReportBody::Stopped);
    ledger.report(&lease(1), points(1, 1));
    assert_eq!(sent(&mut ledger), [1], "nothing follows the last");
    assert_eq!((ledger.held(), ledger.training()), (vec![lease(1)], vec![]));
    ledger.acknowledge(&lease(1), 1);
    assert!(ledger.is_empty());
}

#[test]
fn a_forgotten_lease_takes_its_reports_along() {
    let (_scratch, mut ledger) = ledger();
    ledger.report(&lease(1), points(1, 1));
    ledger.forget(&lease(1));
    assert_eq!(sent(&mut ledger), [0; 0]);
    ledger.report(&lease(1), ReportBody::Stopped);
    assert!(ledger.is_empty());
}

#[test]
fn a_new_stream_gets_a_window_and_more_as_acknowledgements_come() {
    let (_scratch, mut ledger) = bounded(Bounds { window: 3, ..Bounds::default() });
    ledger.open(lease(2));
    for step in 1..=9 {
        ledger.report(&lease(1), points(step, 1));
    }
    ledger.report(&lease(2), points(1, 1));
    assert_eq!(sent(&mut ledger), [1, 2, 3, 1], "each lease has a window of its own");
    ledger.acknowledge(&lease(1), 2);
    assert_eq!(sent(&mut ledger), [4, 5]);
    ledger.rewind();
    assert_eq!(sent(&mut ledger), [3, 4, 5, 1]);
    ledger.acknowledge(&lease(1), 9);
    assert_eq!(sent(&mut ledger), [0; 0], "a stream before this one had brought them");
}

#[test]
fn a_million_points_wait_on_the_disk_and_come_back_in_order() {
    const REPORTS: u64 = 10_000;
    let bounds = Bounds { bytes: 256 << 10, reports: 1000, window: 64 };
    let (scratch, mut ledger) = bounded(bounds);
    ledger.open(lease(2));
    for report in 0..REPORTS {
        ledger.report(&lease(1), points(100 * report + 1, 100));
        // One lease's flood must not shut the other out.
        if report % 1000 == 0 {
            ledger.report(&lease(2), points(report + 1, 1));
        }
        let (reports, bytes) = ledger.in_memory();
        assert!(
            reports <= bounds.reports + 2 && bytes < 2 * bounds.bytes,
            "{reports} reports, {bytes} bytes"
        );
    }
    ledger.report(&lease(1), ReportBody::Stopped);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the file has no name to leave behind");

    let (mut next, mut last) = (1, 0);
    while ledger.holds(&lease(1)) {
        let mut newest = last;
        while let Some(report) = ledger.next_to_send() {
            if report.lease != lease(1) {
                continue;
            }
            newest = report.sequence;
            match report.body {
                ReportBody::Metrics(points) => {
                    for point in points {
                        assert_eq!((point.step, point.value), (next, 1.0 / next as f64));
                        next += 1;
                    }
                }
                body => assert_eq!((body, next), (ReportBody::Stopped, 100 * REPORTS + 1)),
            }
        }
        assert!(newest > last, "it goes on");
        last = newest;
        assert!(!ledger.acknowledge(&lease(1), last).lost);
        assert!(ledger.in_memory().1 < 2 * bounds.bytes);
    }
    assert_eq!((next, last), (100 * REPORTS + 1, REPORTS + 1));
    let others = ledger.acknowledge(&lease(2), REPORTS / 1000).durable;
    assert_eq!(others.len() as u64, REPORTS / 1000);
}

#[test]
fn a_disk_that_takes_nothing_costs_memory_and_no_report() {
    let bounds = Bounds { bytes: 1 << 20, reports: 4, window: 64 };
    let (scratch, mut ledger) = bounded(bounds);
    let gone = scratch.path().join("gone");
    ledger.scratch = gone.clone();
    for step in 1..=20 {
        ledger.report(&lease(1), points(step, 1));
    }
    assert!(ledger.disk_is_full);
    assert_eq!(ledger.in_memory().0, 20);
    // It has room again: what waits goes there with the next report.
    std::fs::create_dir(gone).unwrap();
    ledger.report(&lease(1), points(21, 1));
    assert!(!ledger.disk_is_full);
    assert_eq!(ledger.in_memory().0, 4);
    let mut all = Vec::new();
    while all.len() < 21 {
        all.extend(sent(&mut ledger));
        ledger.acknowledge(&lease(1), all.len() as u64);
    }
    assert_eq!(all, (1..=21).collect::<Vec<u64>>());
}

#[test]
fn reports_that_cannot_be_read_back_end_the_attempt_without_a_gap() {
    let (_scratch, mut ledger) = bounded(Bounds { bytes: 1 << 20, reports: 2, window: 64 });
    for step in 1..=5 {
        ledger.report(&lease(1), points(step, 1));
    }
    ledger.held.get_mut(&Term(1)).unwrap().backlog.tear();
    assert_eq!(sent(&mut ledger), [1, 2]);
    assert!(ledger.acknowledge(&lease(1), 2).lost);
    let last = ledger.next_to_send().unwrap();
    assert_eq!(last.sequence, 3);
    assert!(matches!(last.body, ReportBody::Failed(Ended::Internal(_))));
    ledger.report(&lease(1), points(6, 1));
    assert!(ledger.next_to_send().is_none());
    ledger.acknowledge(&lease(1), 3);
    assert!(ledger.is_empty());
}
