//! Stories of workers that fail trials, trials that fail on workers, and trainings that stand still.

use super::*;

fn fails(story: &mut Story, name: &str, kind: FailureKind) {
    let held = story.scheduler.leases.values().find(|active| active.worker == worker(name));
    let (lease, sequence) =
        held.map(|active| (active.lease.clone(), active.sequence + 1)).expect("it trains");
    story.report(name, &lease, sequence, ReportBody::Ended(AttemptEnd::Failed(failure(kind))));
}

fn completes(story: &mut Story, name: &str) {
    let held = story.scheduler.leases.values().find(|active| active.worker == worker(name));
    let lease = held.map(|active| active.lease.clone()).expect("it trains");
    story.ended(name, &lease, AttemptEnd::Completed(result(0.5)));
}

fn marks(story: &Story, name: &str) -> Vec<Mark> {
    story.scheduler.workers.get(&worker(name)).map(|w| w.marks.iter().copied().collect()).unwrap_or_default()
}

#[test]
fn a_worker_on_which_many_different_trials_fail_is_set_aside_while_another_is_there() {
    let mut story = Story::of(20);
    story.join("bad", &[]);
    story.join("good", &[]);
    for _ in 0..2 {
        fails(&mut story, "bad", FailureKind::Internal);
        assert_eq!(marks(&story, "bad"), []);
    }
    fails(&mut story, "bad", FailureKind::Internal);
    assert_eq!(marks(&story, "bad"), [Mark::Quarantined]);
    assert_eq!(story.assigned(), []);
    completes(&mut story, "good");
    assert_eq!(story.assigned(), [("good", 0)], "the trials that failed elsewhere go first");
    story.event(Event::Left { worker: worker("good") });
    assert_eq!(story.assigned().len(), 1, "nobody else is there: {:?}", story.effects);
    assert_eq!(story.assigned()[0].0, "bad");
}

#[test]
fn a_worker_that_completes_a_trial_between_is_not_set_aside() {
    let mut story = Story::of(20);
    story.join("w", &[]);
    story.join("v", &[]);
    for _ in 0..4 {
        fails(&mut story, "w", FailureKind::Internal);
        fails(&mut story, "w", FailureKind::Internal);
        completes(&mut story, "w");
    }
    assert_eq!(marks(&story, "w"), []);
}

#[test]
fn what_is_the_trials_own_fault_is_not_held_against_its_worker() {
    let mut story = Story::of(20);
    story.join("w", &[]);
    story.join("v", &[]);
    for kind in [FailureKind::Diverged, FailureKind::BadPoint, FailureKind::Preempted, FailureKind::Diverged]
    {
        fails(&mut story, "w", kind);
    }
    assert_eq!(marks(&story, "w"), []);
}

#[test]
fn a_trial_that_failed_on_a_worker_goes_to_another_if_there_is_one() {
    let mut story = Story::of(1);
    story.join("a", &[]);
    story.join("b", &[]);
    fails(&mut story, "a", FailureKind::Internal);
    assert_eq!(story.assigned(), [("b", 0)]);
}

#[test]
fn a_trial_that_fails_on_many_workers_is_failed_with_its_history() {
    let mut story = Story::of(1);
    story.join("a", &[]);
    story.join("b", &[]);
    fails(&mut story, "a", FailureKind::Internal);
    story.restart();
    story.join("b", &[lease(0, 2, 2)]);
    fails(&mut story, "b", FailureKind::Internal);
    let ended = story.records().into_iter().find_map(|record| match record {
        Record::TrialEnded(_, TrialEnd::Failed(failure)) => Some(failure.message.clone()),
        _ => None,
    });
    assert_eq!(ended.as_deref(), Some("why (before it: attempt 1 on a, internal: why)"));
}

/// Heartbeats every second, with the step that the trial has come to.
fn beats(story: &mut Story, name: &str, term: u64, steps: impl IntoIterator<Item = i64>) {
    for step in steps {
        story.now = story.now.plus(1_000);
        let seen =
            vec![Seen { term: Term(term), step, total_steps: 0, phase: Phase::Training, lane_bytes: None }];
        story.event(Event::Heartbeat { worker: worker(name), seen });
        if !story.scheduler.leases.contains_key(&Term(term)) {
            return;
        }
    }
}

#[test]
fn a_training_that_stands_still_is_given_to_another_worker_once_and_its_worker_ends() {
    let mut story = Story::of(1);
    story.join("a", &[]);
    story.join("b", &[]);
    let moving = (0..10).map(|second| second * 5);
    beats(&mut story, "a", 1, moving.clone());
    assert_eq!(story.scheduler.leases.len(), 1);
    beats(&mut story, "a", 1, [45; 100]);
    let why = "no step for 61 s after step 45, where a step takes 200 ms at most";
    assert_eq!(story.sent()[0], ("a", &Message::Stop(lease(0, 1, 1), why.into())));
    assert_eq!(story.sent()[1], ("a", &Message::Drain(format!("a training hangs: {why}"))));
    assert_eq!((marks(&story, "a"), story.assigned()), (vec![Mark::Draining], vec![("b", 0)]));
    beats(&mut story, "b", 2, moving.chain([45; 100]));
    assert_eq!(story.sweep().counts, Counts { failed: 1, ..Counts::default() }, "once is enough");
}

#[test]
fn a_worker_that_is_not_heard_of_does_not_hang() {
    let mut story = Story::of(1);
    story.join("a", &[]);
    beats(&mut story, "a", 1, (0..10).map(|second| second * 5));
    story.restart();
    story.now = story.now.plus(TIMEOUT - 1);
    story.join("a", &[lease(0, 1, 1)]);
    beats(&mut story, "a", 1, [45; 60]);
    assert_eq!(story.scheduler.leases.len(), 1);
}

#[test]
fn a_lane_that_stands_still_while_another_of_its_pack_evaluates_does_not_hang() {
    let mut story = Story::of(3);
    let room = Room { max_lanes: 2, memory_bytes: 1000 };
    story.event(Event::Joined { worker: worker("a"), slots: 1, room, held: Vec::new() });
    beats(&mut story, "a", 1, (0..10).map(|second| second * 5));
    let seen =
        Seen { term: Term(1), step: 45, total_steps: 0, phase: Phase::Training, lane_bytes: Some(100) };
    story.event(Event::Heartbeat { worker: worker("a"), seen: vec![seen] });
    completes(&mut story, "a");
    assert_eq!(story.assigned(), [("a", 1), ("a", 2)], "a pack of two");
    let beat = |story: &mut Story, phase: Phase| {
        story.now = story.now.plus(1_000);
        let lane = |term, phase| Seen { term: Term(term), step: 10, total_steps: 0, phase, lane_bytes: None };
        let seen = vec![lane(2, Phase::Training), lane(3, phase)];
        story.event(Event::Heartbeat { worker: worker("a"), seen });
    };
    for _ in 0..300 {
        beat(&mut story, Phase::Other);
    }
    assert_eq!(story.scheduler.leases.len(), 2, "the other lane evaluates for five minutes");
    for _ in 0..62 {
        beat(&mut story, Phase::Training);
    }
    assert_eq!(story.scheduler.leases.len(), 0, "now both stand still");
}
