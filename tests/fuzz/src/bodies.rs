//! What the fuzz targets do with their input; ordinary tests do the same with random input, so that it does not rot.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep::{
    grpc::{convert, limits},
    scheduler::{
        AttemptEnd, Effect, Event, Failure, FailureKind, Patience, Phase, Record, Report, ReportBody, Room,
        Scheduler, Seen, Structure, Submission, SweepState, Time,
    },
    spec::{self, Space},
};
use distilsweep_proto::{
    ids::{SweepId, Term, TrialId, WorkerId},
    v1::{self, worker_message::Body},
};
use prost::Message;

/// Points of a space that are looked at.
const LOOKED_AT: u64 = 64;
/// Where the workers of [`worker_messages`] publish.
pub const STORE: &str = "file:///store";

/// A text as a sweep file: it is refused with a place, or has a digest that a second reading agrees with and points that
/// are found again by their values.
pub fn sweep_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let spec = match spec::parse(text) {
        Ok(spec) => spec,
        Err(problems) => {
            assert!(!problems.in_file("sweep.yaml").is_empty(), "a refusal without a word");
            return;
        }
    };
    let again = spec::parse(text).expect("what was read once is read again");
    assert_eq!(spec.digest(), again.digest());
    let size = spec.space.len();
    assert!(size > 0, "a space without a point");
    for index in (0..size.min(LOOKED_AT)).chain(size.checked_sub(1)) {
        let point = spec.space.point(index);
        assert_eq!(point, again.space.point(index));
        // Drawn points may be equal, those of a grid have a number each.
        let found = match &spec.space {
            Space::Grid(grid) => grid.index_of(&point),
            Space::Chosen(chosen) => chosen.index_of(&point),
            Space::Drawn(_) => Some(index),
        };
        assert_eq!(found, Some(index), "{point:?}");
    }
}

/// Bytes as what two workers send, each message after a byte that says whose it is and how much time passes before it.
/// Whatever it is, the coordinator stays sound.
pub fn worker_messages(mut input: &[u8]) {
    let mut witness = Witness::start();
    while let Some((head, rest)) = input.split_first() {
        let mut rest = rest;
        let Ok(message) = v1::WorkerMessage::decode_length_delimited(&mut rest) else { return };
        input = rest;
        let worker = WorkerId::new(if head & 1 == 0 { "one" } else { "other" });
        witness.now = witness.now.plus(i64::from(head >> 1) * 100);
        if let Some(event) = event(worker, message) {
            witness.apply(event);
        }
    }
    for _ in 0..3 {
        witness.now = witness.now.plus(60_000);
        witness.apply(Event::Tick);
    }
}

/// What becomes of a message, as the service for workers makes it; nothing where it closes the stream instead.
fn event(worker: WorkerId, message: v1::WorkerMessage) -> Option<Event> {
    Some(match message.body? {
        Body::Hello(hello) => {
            limits::hello(&hello).ok()?;
            let held = hello.held.into_iter().map(Into::into).collect();
            Event::Joined { worker, slots: hello.slots, room: Room::default(), held }
        }
        Body::Heartbeat(heartbeat) => {
            limits::heartbeat(&heartbeat).ok()?;
            let seen = |(term, progress): (Term, distilsweep::engine::Progress)| Seen {
                term,
                step: progress.step,
                total_steps: progress.total_steps,
                phase: if progress.phase == "training" { Phase::Training } else { Phase::Other },
                lane_bytes: progress.lane_bytes,
            };
            Event::Heartbeat { worker, seen: convert::progress(heartbeat).into_iter().map(seen).collect() }
        }
        Body::Report(report) => {
            let report = Report::try_from(report).ok()?;
            limits::lease(&report.lease).ok()?;
            let report = match limits::report(&report, STORE) {
                Ok(()) => report,
                Err(why) => {
                    let failure = Failure { kind: FailureKind::Internal, message: why.to_string() };
                    Report { body: ReportBody::Ended(AttemptEnd::Failed(failure)), ..report }
                }
            };
            Event::Reported { worker, report }
        }
        Body::Draining(_) => Event::Draining { worker },
    })
}

/// A scheduler, and what must hold of its answers.
struct Witness {
    scheduler: Scheduler,
    now: Time,
    /// The highest term given out.
    last: Term,
    live: BTreeMap<Term, TrialId>,
    ended: BTreeSet<TrialId>,
}

impl Witness {
    /// A sweep of three points, and two workers that each got one.
    fn start() -> Self {
        let mut witness = Self {
            scheduler: Scheduler::new(Patience { lease_timeout_ms: 30_000, hang_floor_ms: 120_000 }),
            now: Time(1_000_000),
            last: Term(0),
            live: BTreeMap::new(),
            ended: BTreeSet::new(),
        };
        witness.apply(Event::Submitted(Submission {
            id: SweepId::new("s"),
            name: "s".to_owned(),
            digest: "d".to_owned(),
            size: 3,
            structure: Structure::default(),
            limits: Default::default(),
            metric: "best_validation_f1".to_owned(),
            maximize: true,
            force_new: false,
        }));
        for worker in ["one", "other"] {
            let worker = WorkerId::new(worker);
            witness.apply(Event::Joined { worker, slots: 1, room: Room::default(), held: Vec::new() });
        }
        assert_eq!(witness.live.len(), 2, "each worker has a trial");
        witness
    }

    fn apply(&mut self, event: Event) {
        for effect in self.scheduler.apply(self.now, event) {
            match effect {
                Effect::Record(Record::LeaseGranted(lease, ..)) => {
                    assert!(lease.term > self.last, "{lease}: terms only grow");
                    self.last = lease.term;
                    assert!(!self.ended.contains(&lease.trial), "{lease}: its trial has ended");
                    assert!(!self.live.values().any(|trial| *trial == lease.trial), "{lease} is not alone");
                    self.live.insert(lease.term, lease.trial);
                }
                Effect::Record(Record::LeaseEnded(lease, ..)) => {
                    assert_eq!(self.live.remove(&lease.term), Some(lease.trial), "it lived");
                }
                Effect::Record(Record::TrialEnded(trial, _)) => {
                    assert!(self.ended.insert(trial.clone()), "{trial} has two ends");
                }
                Effect::Record(Record::Metrics(lease, ..) | Record::Checkpoint(lease, ..)) => {
                    assert_eq!(self.live.get(&lease.term), Some(&lease.trial), "{lease} does not live");
                }
                _ => {}
            }
        }
        let leases: BTreeMap<Term, TrialId> =
            self.scheduler.leases().map(|active| (active.lease.term, active.lease.trial.clone())).collect();
        assert_eq!(leases, self.live);
        let sweep = &self.scheduler.sweeps()[0];
        let counts = sweep.counts;
        let ended = counts.completed + counts.diverged + counts.failed + counts.cancelled;
        assert_eq!(ended, self.ended.len() as u64);
        if sweep.state == SweepState::Completed {
            assert_eq!(ended, sweep.size);
        }
    }
}

/// Conversations that the fuzzer starts from: a result, a checkpoint with a failure, a worker that comes back.
pub fn conversations() -> Vec<(&'static str, Vec<u8>)> {
    let lease = |term: u64| v1::Lease { sweep: "s".into(), trial: term - 1, attempt: 1, term };
    let report = |term, sequence, body| {
        Body::Report(v1::Report { lease: Some(lease(term)), sequence, body: Some(body) })
    };
    let point = v1::MetricPoint { key: "loss".into(), value: 0.5, step: 10, timestamp_ms: 1 };
    let metrics = v1::report::Body::Metrics(v1::MetricBlock { points: vec![point] });
    let files = |name: &str, step| v1::StoredFiles {
        url: format!("{STORE}/s/{name}"),
        step,
        manifest_sha256: "ab".repeat(32),
    };
    let completed = v1::report::Body::Completed(v1::Completed {
        metrics: [("best_validation_f1".to_owned(), 0.5)].into(),
        model: Some(files("0/1/20", 20)),
        ..Default::default()
    });
    let failed = v1::Failure { kind: v1::FailureKind::Internal.into(), message: "why".into() };
    let progress = v1::Progress {
        lease: Some(lease(1)),
        step: 10,
        phase: "training".into(),
        lane_bytes: 1 << 30,
        ..Default::default()
    };
    let hello = v1::Hello { worker: "one".into(), slots: 1, held: vec![lease(1)], ..Default::default() };
    let draining = v1::Draining { reason: "told to".into() };
    [
        ("result", vec![(0, report(1, 1, metrics)), (0, report(1, 2, completed))]),
        (
            "failure",
            vec![
                (1, report(2, 1, v1::report::Body::Checkpoint(files("1/2/checkpoint-10", 10)))),
                (1, report(2, 2, v1::report::Body::Failed(failed))),
                (1, report(2, 3, v1::report::Body::Stopped(v1::Stopped {}))),
            ],
        ),
        (
            "return",
            vec![
                (0, Body::Heartbeat(v1::Heartbeat { progress: vec![progress] })),
                (40, Body::Hello(hello)),
                (1, Body::Draining(draining)),
            ],
        ),
    ]
    .map(|(name, said)| {
        let mut bytes = Vec::new();
        for (head, body) in said {
            bytes.push(head);
            bytes.extend(v1::WorkerMessage { body: Some(body) }.encode_length_delimited_to_vec());
        }
        (name, bytes)
    })
    .to_vec()
}
