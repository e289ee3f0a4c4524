//! Stories of packs: several trials on one slot.

use super::*;

const ROOM: Room = Room { max_lanes: 4, memory_bytes: 1000 };

/// A sweep whose lanes take 200 of 1,000 bytes, which the worker `w` has found out with the first trial, now complete.
fn measured(points: u64) -> Story {
    let mut story = Story::of(points);
    join(&mut story, "w");
    let first = lease(0, 1, 1);
    assert_eq!(assigned(&story), [vec![0]], "one lane until a lane is measured");
    story.event(Event::Heartbeat { worker: worker("w"), seen: vec![measures(1, 200)] });
    assert!(story.effects.is_empty(), "a slot with a pack is not free");
    story.ended("w", &first, AttemptEnd::Completed(result(0.1)));
    story
}

/// A heartbeat's word that a lane takes so many bytes.
fn measures(term: u64, bytes: u64) -> Seen {
    Seen { term: Term(term), step: 1, total_steps: 0, phase: Phase::Training, lane_bytes: Some(bytes) }
}

fn join(story: &mut Story, name: &str) {
    story.event(Event::Joined { worker: worker(name), slots: 1, room: ROOM, held: Vec::new() });
}

/// The trials of each pack that the last event assigned.
fn assigned(story: &Story) -> Vec<Vec<u64>> {
    let packs = story.sent().into_iter().filter_map(|(_, message)| match message {
        Message::Assign(lanes) => Some(lanes.iter().map(|lane| lane.lease.trial.index).collect()),
        Message::Welcome(_) | Message::Acknowledge(..) | Message::Stop(..) | Message::Drain(_) => None,
    });
    packs.collect()
}

#[test]
fn as_many_trials_as_fit_train_in_one_pack_once_a_lane_is_measured() {
    let story = measured(9);
    assert_eq!(assigned(&story), [vec![1, 2, 3, 4]]);
    let pack = Pack { first: Term(2), lanes: 4 };
    let granted = Record::LeaseGranted(lease(3, 1, 4), worker("w"), pack);
    assert!(story.records().contains(&&granted), "each lane has a lease of its own: {:?}", story.records());
}

#[test]
fn a_measurement_under_somebody_elses_lease_counts_for_nothing() {
    let mut story = Story::of(9);
    join(&mut story, "w");
    story.event(Event::Heartbeat { worker: worker("v"), seen: vec![measures(1, 1), measures(7, 1)] });
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.1)));
    assert_eq!(assigned(&story), [vec![1]]);
}

#[test]
fn a_slot_is_free_when_the_last_lane_of_its_pack_has_ended() {
    let mut story = measured(9);
    story.ended("w", &lease(2, 1, 3), AttemptEnd::Completed(result(0.1)));
    story.ended("w", &lease(1, 1, 2), AttemptEnd::Failed(failure(FailureKind::Diverged)));
    story.ended("w", &lease(4, 1, 5), AttemptEnd::Failed(failure(FailureKind::Internal)));
    assert_eq!(assigned(&story), [[0_u64; 0]; 0]);
    story.ended("w", &lease(3, 1, 4), AttemptEnd::Completed(result(0.1)));
    assert_eq!(assigned(&story), [vec![4, 5, 6, 7]], "the one to try again goes first");
    assert_eq!(story.sweep().counts, Counts { completed: 3, diverged: 1, ..Counts::default() });
}

#[test]
fn all_lanes_of_a_lost_worker_go_to_others() {
    let mut story = measured(5);
    story.after(TIMEOUT);
    assert_eq!(story.records().len(), 4);
    join(&mut story, "v");
    assert_eq!(assigned(&story), [vec![1, 2, 3, 4]]);
}

#[test]
fn what_is_left_is_shared_out_among_the_workers() {
    let mut story = Story::of(7);
    join(&mut story, "w");
    join(&mut story, "v");
    story.event(Event::Heartbeat { worker: worker("w"), seen: vec![measures(1, 1)] });
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.1)));
    assert_eq!(assigned(&story), [vec![2, 3, 4]], "half of five, rounded up");
    story.ended("v", &lease(1, 1, 2), AttemptEnd::Completed(result(0.1)));
    assert_eq!(assigned(&story), [vec![5]]);
}

#[test]
fn points_of_another_structure_are_passed_over_and_come_later() {
    let mut story = Story::of(1);
    // The batch size has two values and varies fastest.
    let structure = Structure::new(vec![(0, vec![Digit { stride: 1, base: 2, first: 0 }])]);
    let other = Submission { digest: "another".into(), structure, ..submission("t", 7) };
    story.event(Event::Submitted(other));
    join(&mut story, "w");
    story.event(Event::Heartbeat { worker: worker("w"), seen: vec![measures(1, 200)] });
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Completed(result(0.1)));
    assert_eq!(assigned(&story), [vec![0]], "of this sweep nothing is known yet");
    let of_t =
        |index, term| Lease { trial: TrialId { sweep: SweepId::new("t"), index }, ..lease(index, 1, term) };
    story.event(Event::Heartbeat { worker: worker("w"), seen: vec![measures(2, 200)] });
    story.ended("w", &of_t(0, 2), AttemptEnd::Completed(result(0.1)));
    assert_eq!(assigned(&story), [vec![1, 3, 5]]);
    assert_eq!(story.scheduler.sweeps[1].skipped, [2, 4].into());
    for (index, term) in [(1, 3), (3, 4), (5, 5)] {
        story.ended("w", &of_t(index, term), AttemptEnd::Completed(result(0.1)));
    }
    assert_eq!(assigned(&story), [vec![2, 4, 6]]);
    for (index, term) in [(2, 6), (4, 7), (6, 8)] {
        story.ended("w", &of_t(index, term), AttemptEnd::Completed(result(0.1)));
    }
    assert_eq!(story.scheduler.sweeps[1].state, SweepState::Completed);
}

#[test]
fn a_pack_that_was_too_large_is_split_until_a_trial_alone_does_not_fit() {
    let mut story = measured(5);
    let too_large = |story: &mut Story, leases: &[Lease]| {
        for lease in leases {
            story.ended("w", lease, AttemptEnd::Failed(failure(FailureKind::OutOfMemory)));
        }
    };
    too_large(&mut story, &[lease(1, 1, 2), lease(2, 1, 3), lease(3, 1, 4), lease(4, 1, 5)]);
    assert_eq!(assigned(&story), [vec![1, 2]]);
    too_large(&mut story, &[lease(1, 2, 6), lease(2, 2, 7)]);
    assert_eq!(assigned(&story), [vec![1]]);
    assert_eq!(story.sweep().counts.failed, 0);
    too_large(&mut story, &[lease(1, 3, 8)]);
    assert_eq!(story.sweep().counts.failed, 1, "alone it does not fit either");
    assert_eq!(assigned(&story), [vec![2]]);
}

#[test]
fn after_a_restart_a_pack_still_keeps_its_slot_until_its_last_lane_ended() {
    let mut story = measured(9);
    story.ended("w", &lease(2, 1, 3), AttemptEnd::Completed(result(0.1)));
    story.restart();
    let held = vec![lease(1, 1, 2), lease(3, 1, 4), lease(4, 1, 5)];
    story.event(Event::Joined { worker: worker("w"), slots: 1, room: ROOM, held: held.clone() });
    assert_eq!(story.sent(), [("w", &Message::Welcome(Vec::new()))]);
    story.event(Event::Heartbeat { worker: worker("w"), seen: vec![measures(4, 200)] });
    for lease in &held {
        assert_eq!(assigned(&story), [[0_u64; 0]; 0]);
        story.ended("w", lease, AttemptEnd::Completed(result(0.1)));
    }
    assert_eq!(assigned(&story), [vec![5, 6, 7, 8]]);
}
