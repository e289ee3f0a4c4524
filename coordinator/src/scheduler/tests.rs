//! The contract of leases, told as stories; `random` checks it over stories that nobody thought of.

mod control;
mod early;
mod packs;
pub(crate) mod random;
mod resumed;
mod troubled;

use super::*;

const TIMEOUT: i64 = 10_000;
const PATIENCE: Patience = Patience { lease_timeout_ms: TIMEOUT, hang_floor_ms: 60_000 };

pub(crate) fn submission(id: &str, size: u64) -> Submission {
    Submission {
        id: SweepId::new(id),
        name: "sweep".into(),
        digest: "same file".into(),
        size,
        structure: Structure::default(),
        limits: Limits { max_retries: 1, ..Limits::default() },
        metric: "best_validation_f1".into(),
        maximize: true,
        force_new: false,
    }
}

fn worker(name: &str) -> WorkerId {
    WorkerId::new(name)
}

fn lease(trial: u64, attempt: u32, term: u64) -> Lease {
    Lease { trial: TrialId { sweep: SweepId::new("s"), index: trial }, attempt, term: Term(term) }
}

/// An assignment of one fresh trial.
fn assign(lease: Lease) -> Message {
    Message::Assign(vec![Lane { lease, resume: None, pause: None }])
}

fn heartbeat(name: &str) -> Event {
    Event::Heartbeat { worker: worker(name), seen: Vec::new() }
}

fn point(step: i64) -> Point {
    Point { key: "loss".into(), value: 0.5, timestamp_ms: 1, step }
}

fn result(value: f64) -> TrialResult {
    TrialResult { metrics: [("best_validation_f1".to_owned(), value)].into(), ..TrialResult::default() }
}

fn failure(kind: FailureKind) -> Failure {
    Failure { kind, message: "why".into() }
}

/// A time in parts as long as those between two ticks.
fn ticks(milliseconds: i64) -> impl Iterator<Item = i64> {
    (0..milliseconds).step_by(200).map(move |done| (milliseconds - done).min(200))
}

/// A scheduler with its clock and the effects of the last event.
struct Story {
    scheduler: Scheduler,
    now: Time,
    effects: Vec<Effect>,
}

impl Story {
    /// Sweep `s` of so many points is there, and no worker.
    fn of(points: u64) -> Self {
        Self::bounded(points, submission("s", points).limits)
    }

    /// The same with limits.
    fn bounded(points: u64, limits: Limits) -> Self {
        let mut story = Self { scheduler: Scheduler::new(PATIENCE), now: Time(1_000), effects: Vec::new() };
        story.event(Event::Submitted(Submission { limits, ..submission("s", points) }));
        story
    }

    fn event(&mut self, event: Event) {
        self.effects = self.scheduler.apply(self.now, event);
    }

    /// So much time passes, with its ticks.
    fn after(&mut self, milliseconds: i64) {
        let mut effects = Vec::new();
        for step in ticks(milliseconds) {
            self.now = self.now.plus(step);
            effects.extend(self.scheduler.apply(self.now, Event::Tick));
        }
        self.effects = effects;
    }

    fn join(&mut self, name: &str, held: &[Lease]) {
        self.event(Event::Joined {
            worker: worker(name),
            slots: 1,
            room: Room::default(),
            held: held.to_vec(),
        });
    }

    fn report(&mut self, name: &str, lease: &Lease, sequence: u64, body: ReportBody) {
        let report = Report { lease: lease.clone(), sequence, body };
        self.event(Event::Reported { worker: worker(name), report });
    }

    fn ended(&mut self, name: &str, lease: &Lease, end: AttemptEnd) {
        self.report(name, lease, 1, ReportBody::Ended(end));
    }

    fn restart(&mut self) {
        self.scheduler = Scheduler::restarted(self.now, PATIENCE, self.scheduler.durable());
    }

    fn sweep(&self) -> &Sweep {
        &self.scheduler.sweeps[0]
    }

    fn sent(&self) -> Vec<(&str, &Message)> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send(worker, message) => Some((worker.as_str(), message)),
                Effect::Record(_) | Effect::Disconnect(_) | Effect::Accepted { .. } | Effect::Answered(_) => {
                    None
                }
            })
            .collect()
    }

    fn records(&self) -> Vec<&Record> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Record(record) => Some(record),
                Effect::Send(..) | Effect::Disconnect(_) | Effect::Accepted { .. } | Effect::Answered(_) => {
                    None
                }
            })
            .collect()
    }

    fn accepted(&self) -> (&str, bool) {
        let found = self.effects.iter().find_map(|effect| match effect {
            Effect::Accepted { sweep, created } => Some((sweep.as_str(), *created)),
            Effect::Record(_) | Effect::Send(..) | Effect::Disconnect(_) | Effect::Answered(_) => None,
        });
        found.expect("a submission is answered")
    }

    fn order(&mut self, order: Order) {
        self.event(Event::Ordered { sweep: SweepId::new("s"), order, by: "ada".into() });
    }

    fn answer(&self) -> &Answer {
        let found = self.effects.iter().find_map(|effect| match effect {
            Effect::Answered(answer) => Some(answer),
            Effect::Record(_) | Effect::Send(..) | Effect::Disconnect(_) | Effect::Accepted { .. } => None,
        });
        found.expect("an order is answered")
    }

    /// The trials that the last event assigned, with their workers.
    fn assigned(&self) -> Vec<(&str, u64)> {
        let assigned = self.sent().into_iter().filter_map(|(worker, message)| match message {
            Message::Assign(lanes) => Some(lanes.iter().map(move |lane| (worker, lane.lease.trial.index))),
            Message::Welcome(_) | Message::Acknowledge(..) | Message::Stop(..) | Message::Drain(_) => None,
        });
        assigned.flatten().collect()
    }

    fn connected(&self) -> usize {
        self.scheduler.workers().filter(|(_, worker)| worker.connected).count()
    }
}

#[test]
fn a_joining_worker_is_welcomed_and_gets_the_first_point_after_the_lease_is_recorded() {
    let mut story = Story::of(3);
    story.join("w", &[]);
    let first = lease(0, 1, 1);
    let alone = Pack { first: Term(1), lanes: 1 };
    assert_eq!(
        story.effects,
        [
            Effect::Send(worker("w"), Message::Welcome(Vec::new())),
            Effect::Record(Record::LeaseGranted(first.clone(), worker("w"), alone)),
            Effect::Send(worker("w"), assign(first)),
        ]
    );
}

#[test]
fn lost_worker_requeues_its_trial_without_spending_a_retry() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.after(TIMEOUT);
    assert_eq!(story.effects[0], Effect::Disconnect(worker("w")));
    assert!(matches!(
        story.records()[..],
        [Record::LeaseEnded(_, _, Some(Failure { kind: FailureKind::WorkerLost, .. }))]
    ));
    let trial = &story.sweep().trials[&0];
    assert_eq!((trial.failures, trial.losses, trial.lease), (0, 1, None));
    story.join("v", &[]);
    assert_eq!(story.sent()[1], ("v", &assign(lease(0, 2, 2))));
}

#[test]
fn stale_term_is_refused_and_the_worker_told_to_stop() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.after(TIMEOUT);
    story.join("v", &[]);
    let before = story.scheduler.clone();
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.9)));
    assert_eq!(
        story.effects,
        [Effect::Send(worker("w"), Message::Stop(lease(0, 1, 1), "the lease has ended".into()))]
    );
    assert_eq!(story.scheduler, before);
}

#[test]
fn a_lease_of_another_worker_is_refused() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.join("thief", &[lease(0, 1, 1)]);
    assert_eq!(story.sent(), [("thief", &Message::Welcome(vec![lease(0, 1, 1)]))]);
    story.ended("thief", &lease(0, 1, 1), AttemptEnd::Completed(result(0.9)));
    assert!(matches!(story.sent()[..], [("thief", Message::Stop(..))]));
    assert!(story.records().is_empty());
}

#[test]
fn duplicate_report_is_acknowledged_and_not_recorded_twice() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    let held = lease(0, 1, 1);
    let points = ReportBody::Metrics(vec![point(10)]);
    story.report("w", &held, 1, points.clone());
    assert_eq!(
        story.effects,
        [
            Effect::Record(Record::Metrics(held.clone(), 1, vec![point(10)])),
            Effect::Send(worker("w"), Message::Acknowledge(held.clone(), 1)),
        ]
    );
    story.report("w", &held, 1, points);
    assert_eq!(story.effects, [Effect::Send(worker("w"), Message::Acknowledge(held, 1))]);
}

#[test]
fn a_report_ahead_of_its_turn_is_neither_recorded_nor_acknowledged() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.report("w", &lease(0, 1, 1), 2, ReportBody::Metrics(vec![point(10)]));
    assert_eq!(story.effects, []);
}

#[test]
fn steps_replayed_by_the_next_attempt_are_not_recorded_twice() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.report("w", &lease(0, 1, 1), 1, ReportBody::Metrics(vec![point(10), point(20)]));
    story.after(TIMEOUT);
    story.join("v", &[]);
    let second = lease(0, 2, 2);
    story.report("v", &second, 1, ReportBody::Metrics(vec![point(20), point(30)]));
    assert_eq!(story.records(), [&Record::Metrics(second, 1, vec![point(30)])]);
}

#[test]
fn a_reconnecting_worker_keeps_its_lease() {
    let mut story = Story::of(2);
    story.join("w", &[]);
    story.event(Event::Left { worker: worker("w") });
    story.after(TIMEOUT - 1);
    let held = lease(0, 1, 1);
    story.join("w", std::slice::from_ref(&held));
    assert_eq!(story.effects, [Effect::Send(worker("w"), Message::Welcome(Vec::new()))]);
    story.after(TIMEOUT - 1);
    story.ended("w", &held, AttemptEnd::Completed(result(0.9)));
    assert_eq!(story.sweep().counts.completed, 1);
}

#[test]
fn a_worker_that_comes_back_too_late_learns_which_leases_ended() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.after(TIMEOUT);
    story.join("w", &[lease(0, 1, 1)]);
    assert_eq!(
        story.sent(),
        [("w", &Message::Welcome(vec![lease(0, 1, 1)])), ("w", &assign(lease(0, 2, 2))),]
    );
}

#[test]
fn an_assignment_that_never_arrived_goes_to_the_next() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.event(Event::Left { worker: worker("w") });
    story.join("v", &[]);
    assert_eq!(story.sent(), [("v", &Message::Welcome(Vec::new()))], "the lease is alive");
    story.event(Event::Draining { worker: worker("w") });
    story.join("w", &[]);
    let sent = story.sent();
    assert!(matches!(sent[..2], [("w", Message::Welcome(_)), ("w", Message::Drain(_))]), "{sent:?}");
    assert_eq!(sent[2], ("v", &assign(lease(0, 2, 2))));
    assert_eq!(story.sweep().trials[&0].failures, 0);
}

#[test]
fn deadlines_run_from_the_restart() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.now = story.now.plus(50 * TIMEOUT);
    story.restart();
    story.after(TIMEOUT - 1);
    assert_eq!(story.effects, []);
    story.after(1);
    assert!(matches!(story.records()[..], [Record::LeaseEnded(_, _, Some(_))]));
}

#[test]
fn time_in_which_the_coordinator_itself_stood_still_ends_no_lease() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.after(TIMEOUT / 2);
    story.now = story.now.plus(20 * TIMEOUT);
    story.event(Event::Tick);
    assert_eq!(story.effects, []);
    story.after(TIMEOUT / 2 - 1);
    assert_eq!(story.effects, []);
    story.after(1);
    assert_eq!(story.effects[0], Effect::Disconnect(worker("w")), "what it was silent before still counts");
}

#[test]
fn after_a_restart_a_worker_goes_on_with_its_lease_and_terms_go_on_growing() {
    let mut story = Story::of(2);
    story.join("w", &[]);
    story.report("w", &lease(0, 1, 1), 1, ReportBody::Metrics(vec![point(10)]));
    story.restart();
    story.join("v", &[]);
    assert_eq!(story.sent()[1], ("v", &assign(lease(1, 1, 2))));
    story.join("w", &[lease(0, 1, 1)]);
    story.report("w", &lease(0, 1, 1), 1, ReportBody::Metrics(vec![point(10)]));
    assert_eq!(story.effects, [Effect::Send(worker("w"), Message::Acknowledge(lease(0, 1, 1), 1))]);
}

#[test]
fn heartbeats_keep_a_lease_alive_and_so_do_reports() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    for sequence in 1..5 {
        story.after(TIMEOUT - 1);
        story.event(heartbeat("w"));
        story.after(TIMEOUT - 1);
        story.report("w", &lease(0, 1, 1), sequence, ReportBody::Metrics(Vec::new()));
    }
    assert_eq!(story.scheduler.leases.len(), 1);
}

#[test]
fn a_silent_worker_is_disconnected_even_when_it_holds_nothing() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.join("idle", &[]);
    story.event(heartbeat("w"));
    assert_eq!(story.connected(), 2);
    story.after(TIMEOUT - 1);
    story.event(heartbeat("w"));
    story.after(1);
    assert_eq!(story.effects, [Effect::Disconnect(worker("idle"))]);
    assert_eq!(story.connected(), 1);
}

#[test]
fn bad_input_fails_the_sweep_and_stops_its_leases() {
    let mut story = Story::of(9);
    story.join("v", &[]);
    story.join("w", &[]);
    story.ended("w", &lease(1, 1, 2), AttemptEnd::Failed(failure(FailureKind::BadInput)));
    let (v, w) = (lease(0, 1, 1), lease(1, 1, 2));
    let bad = failure(FailureKind::BadInput);
    assert_eq!(
        story.effects,
        [
            Effect::Record(Record::LeaseEnded(w.clone(), worker("w"), Some(bad.clone()))),
            Effect::Record(Record::TrialEnded(w.trial.clone(), TrialEnd::Failed(bad))),
            Effect::Record(Record::LeaseEnded(v.clone(), worker("v"), None)),
            Effect::Send(worker("v"), Message::Stop(v.clone(), "why".into())),
            Effect::Record(Record::TrialEnded(
                v.trial,
                TrialEnd::Cancelled("the sweep ended before it: why".into())
            )),
            Effect::Record(Record::SweepEnded(SweepId::new("s"), SweepState::Failed, Some("why".into()))),
            Effect::Send(worker("w"), Message::Acknowledge(w, 1)),
        ]
    );
}

#[test]
fn bad_input_of_the_last_trial_fails_the_sweep_rather_than_completing_it() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Failed(failure(FailureKind::BadInput)));
    assert_eq!(story.sweep().state, SweepState::Failed);
    assert_eq!(story.sweep().counts, Counts { failed: 1, ..Counts::default() });
}

#[test]
fn a_bad_point_fails_its_trial_alone_and_the_sweep_completes() {
    let mut story = Story::of(2);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Failed(failure(FailureKind::BadPoint)));
    story.ended("w", &lease(1, 1, 2), AttemptEnd::Completed(result(0.5)));
    assert_eq!(story.sweep().state, SweepState::Completed);
    assert_eq!(story.sweep().counts, Counts { completed: 1, failed: 1, ..Counts::default() });
}

#[test]
fn internal_failures_are_retried_until_the_budget_is_spent() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Failed(failure(FailureKind::Internal)));
    assert_eq!(story.sent().last(), Some(&("w", &assign(lease(0, 2, 2)))));
    story.ended("w", &lease(0, 2, 2), AttemptEnd::Failed(failure(FailureKind::Internal)));
    assert_eq!(story.sweep().counts.failed, 1);
    assert_eq!(story.sweep().state, SweepState::Completed);
}

#[test]
fn a_diverged_trial_is_not_tried_again() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Failed(failure(FailureKind::Diverged)));
    assert_eq!(story.sweep().counts, Counts { diverged: 1, ..Counts::default() });
}

#[test]
fn a_trial_handed_back_goes_before_fresh_points_and_costs_nothing() {
    let mut story = Story::of(5);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Stopped);
    assert_eq!(story.sent().last(), Some(&("w", &assign(lease(0, 2, 2)))));
    assert_eq!(story.sweep().trials[&0].failures, 0);
}

#[test]
fn a_cancelled_sweep_stops_its_leases_and_lets_late_results_go() {
    let mut story = Story::of(5);
    story.join("w", &[]);
    story.order(Order::Cancel("enough".into()));
    assert_eq!(story.sent(), [("w", &Message::Stop(lease(0, 1, 1), "enough".into()))]);
    assert_eq!(story.sweep().state, SweepState::Cancelled);
    assert_eq!(story.sweep().counts, Counts { cancelled: 1, ..Counts::default() });
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.9)));
    assert!(story.records().is_empty());
    story.order(Order::Cancel("enough".into()));
    assert_eq!(story.effects, [Effect::Answered(Answer::Done(0))], "it ends once");
}

#[test]
fn a_draining_worker_gets_nothing_even_after_a_reconnect() {
    let mut story = Story::of(3);
    story.join("w", &[]);
    story.event(Event::Draining { worker: worker("w") });
    story.event(Event::Left { worker: worker("w") });
    story.join("w", &[lease(0, 1, 1)]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.9)));
    assert_eq!(story.sent(), [("w", &Message::Acknowledge(lease(0, 1, 1), 1))]);
}

#[test]
fn the_same_file_again_finds_its_sweep_unless_it_failed_or_was_cancelled_or_a_new_one_is_forced() {
    let mut story = Story::of(1);
    story.event(Event::Submitted(submission("t", 1)));
    assert_eq!(story.accepted(), ("s", false));
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.9)));
    story.event(Event::Submitted(submission("t", 1)));
    assert_eq!(story.accepted(), ("s", false), "a completed one has the results");

    story.event(Event::Submitted(Submission { force_new: true, ..submission("t", 1) }));
    assert_eq!(story.accepted(), ("t", true));
    let order = Order::Cancel("enough".into());
    story.event(Event::Ordered { sweep: SweepId::new("t"), order, by: "ada".into() });
    story.event(Event::Submitted(submission("u", 1)));
    assert_eq!(story.accepted(), ("s", false), "the latest that is an answer");

    story.event(Event::Submitted(Submission { digest: "another".into(), ..submission("u", 1) }));
    assert_eq!(story.accepted(), ("u", true));
    let bad = Lease { trial: TrialId { sweep: SweepId::new("u"), index: 0 }, ..lease(0, 1, 3) };
    story.ended("w", &bad, AttemptEnd::Failed(failure(FailureKind::BadInput)));
    assert_eq!(story.scheduler.sweeps[2].state, SweepState::Failed);
    story.event(Event::Submitted(Submission { digest: "another".into(), ..submission("v", 1) }));
    assert_eq!(story.accepted(), ("v", true), "a failed one is no answer");
}

#[test]
fn the_best_is_finite_and_of_equals_the_first_point() {
    let mut story = Story::of(4);
    for (index, value) in [f64::INFINITY, 0.5, 0.7, 0.7].into_iter().enumerate() {
        let name = format!("w{index}");
        story.join(&name, &[]);
        let held = lease(index as u64, 1, index as u64 + 1);
        story.report(
            &name,
            &held,
            1,
            ReportBody::Checkpoint(StoredFiles {
                url: "file:///x".into(),
                step: 1,
                manifest_sha256: String::new(),
            }),
        );
        assert_eq!(story.records().len(), 1, "{value}");
    }
    for (index, value) in [(0, f64::INFINITY), (3, 0.7), (1, 0.5), (2, 0.7)] {
        let held = lease(index, 1, index + 1);
        story.report(&format!("w{index}"), &held, 2, ReportBody::Ended(AttemptEnd::Completed(result(value))));
    }
    assert_eq!(story.sweep().best, Some(Best { trial: 2, value: 0.7 }));
    assert_eq!(story.sweep().state, SweepState::Completed);
}

#[test]
fn a_worker_gets_as_many_trials_as_it_has_slots_and_the_oldest_sweep_goes_first() {
    let mut story = Story::of(1);
    story.event(Event::Submitted(Submission { digest: "another".into(), ..submission("t", 5) }));
    story.event(Event::Joined { worker: worker("w"), slots: 3, room: Room::default(), held: Vec::new() });
    let granted = story.records().into_iter().filter_map(|record| match record {
        Record::LeaseGranted(lease, ..) => Some(lease.trial.to_string()),
        _ => None,
    });
    let assigned: Vec<String> = granted.collect();
    assert_eq!(assigned, ["s/0", "t/0", "t/1"]);
}

#[test]
fn the_largest_space_is_leased_without_being_counted_through() {
    let mut story = Story::of(1 << 63);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.9)));
    assert_eq!(story.sent().last(), Some(&("w", &assign(lease(1, 1, 2)))));
    assert_eq!(story.sweep().state, SweepState::Running);
}
