//! What ending trials early saves: the recorded grid again, its epochs handed to the scheduler one by one.

use std::{collections::BTreeMap, fmt::Write};

use distilsweep::{
    scheduler::{
        AttemptEnd, Effect, Event, Limits, Message, Patience, Point, Record, Report, ReportBody, Room,
        Scheduler, Structure, Submission, Time, TrialEnd, TrialResult,
    },
    search::{EarlyTerminate, Resource},
    spec,
};
use distilsweep_proto::{
    ids::{Lease, SweepId, WorkerId},
    names::SELECTIONS,
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::curves::{self, Curve};

/// As `early_terminate` of a sweep file.
const RULES: [&str; 6] = [
    "{type: asha, min_epochs: 1, eta: 2}",
    "{type: asha, min_epochs: 1, eta: 3}",
    "{type: asha, min_epochs: 1, eta: 4}",
    "{type: hyperband, min_iter: 1, eta: 3}",
    "{type: hyperband, min_iter: 1, eta: 4}",
    "{type: median, min_iter: 2}",
];
const WORKERS: usize = 4;
/// F1 that a search may miss the grid's best by: half a point of a hundred.
const NEAR: f64 = 0.005;

/// A line for each rule, over `seeds` orders of the grid.
pub(super) fn table(seeds: u64) -> anyhow::Result<String> {
    let recorded = curves::recorded()?;
    let best = recorded.iter().map(Curve::best_f1).fold(f64::NEG_INFINITY, f64::max);
    let whole: usize = recorded.iter().map(|curve| curve.epochs.len()).sum();
    let mut table = format!("{:<40}{:>16}{:>22}{:>12}\n", "", "epochs", "F1 below the best", "within");
    for text in RULES {
        let rule = rule(text)?;
        let (mut epochs, mut below, mut near) = (0, Vec::new(), 0);
        for seed in 0..seeds {
            let mut curves = recorded.clone();
            curves.shuffle(&mut StdRng::seed_from_u64(seed));
            let found = Found::of(&curves, rule);
            epochs += found.epochs;
            below.push(best - found.best);
            near += u64::from(best - found.best <= NEAR);
        }
        let share = epochs as f64 / (whole as f64 * seeds as f64);
        let mean = below.iter().sum::<f64>() / seeds as f64;
        let worst = below.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(
            table,
            "{text:<40}{:>16}{:>22}{:>12}",
            format!("{:.1} %", share * 100.0),
            format!("{:.2} ({:.2})", mean * 100.0, worst * 100.0),
            format!("{near} of {seeds}"),
        );
    }
    let _ = writeln!(
        table,
        "the recorded grid of {} trials by {WORKERS} workers, in {seeds} orders: share of its {whole} epochs; points of F1 below its\nbest, {best:.4}, on average (at worst); orders in which it is within half a point",
        recorded.len()
    );
    Ok(table)
}

fn rule(text: &str) -> anyhow::Result<EarlyTerminate> {
    let file = format!("{}early_terminate: {text}\n", curves::SWEEP);
    let spec = spec::parse(&file).map_err(|problems| anyhow::anyhow!("{}", problems.in_file("search")))?;
    spec.early_terminate.ok_or_else(|| anyhow::anyhow!("{text} ends nothing"))
}

/// What a sweep came to.
struct Found {
    /// Epochs that were trained.
    epochs: u64,
    /// The best F1 of a trial that came to its end.
    best: f64,
}

/// A trial under way on a worker.
struct Held {
    lease: Lease,
    pause: Option<Resource>,
    /// Of the last report.
    sequence: u64,
}

/// A sweep over recorded trials, in which every worker trains an epoch at a time.
struct Sweep<'a> {
    curves: &'a [Curve],
    scheduler: Scheduler,
    now: Time,
    held: BTreeMap<WorkerId, Held>,
    /// Epochs that each trial has behind it.
    trained: BTreeMap<u64, usize>,
    found: Found,
}

impl Found {
    fn of(curves: &[Curve], rule: EarlyTerminate) -> Self {
        let patience = Patience { lease_timeout_ms: i64::MAX / 4, hang_floor_ms: i64::MAX / 4 };
        let mut sweep = Sweep {
            curves,
            scheduler: Scheduler::new(patience),
            now: Time(0),
            held: BTreeMap::new(),
            trained: BTreeMap::new(),
            found: Self { epochs: 0, best: f64::NEG_INFINITY },
        };
        let [selection, ..] = SELECTIONS;
        sweep.event(Event::Submitted(Submission {
            id: SweepId::new("recorded"),
            name: "recorded".to_owned(),
            digest: String::new(),
            size: curves.len() as u64,
            structure: Structure::default(),
            limits: Limits { early_terminate: Some(rule), ..Limits::default() },
            metric: selection.best.to_owned(),
            maximize: true,
            force_new: false,
        }));
        for number in 0..WORKERS {
            let worker = WorkerId::new(format!("w{number}"));
            sweep.event(Event::Joined { worker, slots: 1, room: Room::default(), held: Vec::new() });
        }
        while !sweep.held.is_empty() {
            sweep.now = sweep.now.plus(1);
            let busy: Vec<WorkerId> = sweep.held.keys().cloned().collect();
            busy.iter().for_each(|worker| sweep.epoch(worker));
        }
        sweep.found
    }
}

impl Sweep<'_> {
    /// Lets a worker train an epoch of what it holds, and report.
    fn epoch(&mut self, worker: &WorkerId) {
        // What it held was taken from it by what another reported.
        let Some(held) = self.held.get(worker) else { return };
        let (lease, pause) = (held.lease.clone(), held.pause);
        let trained = self.trained.entry(lease.trial.index).or_default();
        let curve = &self.curves[lease.trial.index as usize];
        let value = curve.epochs[*trained].f1;
        *trained += 1;
        self.found.epochs += 1;
        let epoch = *trained;
        let [selection, ..] = SELECTIONS;
        let point = Point {
            key: selection.evaluation.to_owned(),
            value,
            timestamp_ms: self.now.0,
            step: epoch as i64,
        };
        self.report(worker, &lease, ReportBody::Metrics(vec![point]));
        let pauses = pause.is_some_and(|at| match at {
            Resource::Epochs(epochs) => epoch as f64 >= epochs,
            Resource::Steps(_) => false,
        });
        if epoch == curve.epochs.len() {
            let metrics = BTreeMap::from([(selection.best.to_owned(), curve.best_f1())]);
            let result = TrialResult { metrics, ..TrialResult::default() };
            self.report(worker, &lease, ReportBody::Ended(AttemptEnd::Completed(result)));
        } else if pauses {
            self.report(worker, &lease, ReportBody::Ended(AttemptEnd::Paused));
        }
    }

    /// Nothing where the lease is over.
    fn report(&mut self, worker: &WorkerId, lease: &Lease, body: ReportBody) {
        let Some(held) = self.held.get_mut(worker).filter(|held| held.lease == *lease) else { return };
        held.sequence += 1;
        let report = Report { lease: lease.clone(), sequence: held.sequence, body };
        if matches!(report.body, ReportBody::Ended(_)) {
            self.held.remove(worker);
        }
        self.event(Event::Reported { worker: worker.clone(), report });
    }

    fn event(&mut self, event: Event) {
        for effect in self.scheduler.apply(self.now, event) {
            match effect {
                Effect::Send(worker, Message::Assign(lanes)) => {
                    for lane in lanes {
                        let held = Held { lease: lane.lease, pause: lane.pause, sequence: 0 };
                        self.held.insert(worker.clone(), held);
                    }
                }
                Effect::Send(worker, Message::Stop(lease, _)) => {
                    if self.held.get(&worker).is_some_and(|held| held.lease == lease) {
                        self.held.remove(&worker);
                    }
                }
                Effect::Record(Record::TrialEnded(trial, TrialEnd::Completed(_))) => {
                    self.found.best = self.found.best.max(self.curves[trial.index as usize].best_f1());
                }
                Effect::Record(_)
                | Effect::Send(..)
                | Effect::Disconnect(_)
                | Effect::Accepted { .. }
                | Effect::Answered(_) => {}
            }
        }
    }
}
