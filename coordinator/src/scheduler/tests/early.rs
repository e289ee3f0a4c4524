//! Trials that end or pause early, and what becomes of them.

use super::*;
use crate::search::{Bands, EarlyTerminate, Place, Resource};

const ASHA: EarlyTerminate = EarlyTerminate::Asha { first: Resource::Epochs(1.0), eta: 2.0, brackets: 1 };
const HYPERBAND: EarlyTerminate =
    EarlyTerminate::Hyperband { bands: Bands::From(1), eta: 2.0, strict: false };

fn story(points: u64, early_terminate: EarlyTerminate) -> Story {
    let limits = Limits { early_terminate: Some(early_terminate), ..submission("s", points).limits };
    Story::bounded(points, limits)
}

fn evaluation(step: i64, value: f64) -> ReportBody {
    ReportBody::Metrics(vec![Point { key: "eval_f1_score".into(), value, timestamp_ms: 1, step }])
}

/// What the last event assigned to `w`, with where it pauses.
fn given(story: &Story) -> Vec<(Lease, Option<Resource>)> {
    let lanes = story.sent().into_iter().find_map(|(_, message)| match message {
        Message::Assign(lanes) => Some(lanes.clone()),
        Message::Welcome(_) | Message::Acknowledge(..) | Message::Stop(..) | Message::Drain(_) => None,
    });
    lanes.into_iter().flatten().map(|lane| (lane.lease, lane.pause)).collect()
}

/// The trial of `w` is evaluated and pauses; answers what `w` gets next.
fn pauses(story: &mut Story, lease: &Lease, step: i64, value: f64) -> Vec<(Lease, Option<Resource>)> {
    story.report("w", lease, 1, evaluation(step, value));
    story.report("w", lease, 2, ReportBody::Ended(AttemptEnd::Paused));
    given(story)
}

fn ends(story: &Story) -> Vec<(u64, &TrialEnd)> {
    let ended = story.records().into_iter().filter_map(|record| match record {
        Record::TrialEnded(trial, end) => Some((trial.index, end)),
        _ => None,
    });
    ended.collect()
}

#[test]
fn trials_pause_at_a_rung_and_the_best_of_them_go_on_to_the_next() {
    let mut story = story(4, ASHA);
    story.join("w", &[]);
    let first = Some(Resource::Epochs(1.0));
    let second = Some(Resource::Epochs(2.0));
    assert_eq!(given(&story), [(lease(0, 1, 1), first)]);
    assert_eq!(pauses(&mut story, &lease(0, 1, 1), 10, 0.5), [(lease(1, 1, 2), first)]);
    assert_eq!(pauses(&mut story, &lease(1, 1, 2), 10, 0.7), [(lease(1, 2, 3), second)], "the better of two");
    let place = Place { bracket: 0, rung: 0 };
    let trial = lease(1, 1, 2).trial;
    assert!(story.records().contains(&&Record::Promoted(trial, place)));
    assert_eq!(pauses(&mut story, &lease(1, 2, 3), 20, 0.8), [(lease(2, 1, 4), first)]);
    assert_eq!(pauses(&mut story, &lease(2, 1, 4), 10, 0.4), [(lease(3, 1, 5), first)]);
    assert_eq!(
        pauses(&mut story, &lease(3, 1, 5), 10, 0.6),
        [(lease(3, 2, 6), second)],
        "the second of four"
    );
    let third = Some(Resource::Epochs(4.0));
    assert_eq!(pauses(&mut story, &lease(3, 2, 6), 20, 0.65), [(lease(1, 3, 7), third)]);
    story.ended("w", &lease(1, 3, 7), AttemptEnd::Completed(result(0.9)));
    let why = |text: &str| TrialEnd::EarlyStopped(text.to_owned());
    assert_eq!(
        ends(&story),
        [
            (1, &TrialEnd::Completed(result(0.9))),
            (0, &why("at rung 1 2 of 4 trials were better, of which 2 went on")),
            (2, &why("at rung 1 3 of 4 trials were better, of which 2 went on")),
            (3, &why("at rung 2 1 of 2 trials were better, of which 1 went on")),
        ]
    );
    assert_eq!(story.sweep().state, SweepState::Completed);
    let counts = Counts { completed: 1, early_stopped: 3, ..Counts::default() };
    assert_eq!(story.sweep().counts, counts);
}

#[test]
fn a_promotion_is_the_same_after_a_restart() {
    let life = |restart: bool| {
        let mut story = story(4, ASHA);
        story.join("w", &[]);
        let mut records = Vec::new();
        let mut next = given(&story);
        let mut step = 0;
        while let Some((lease, _)) = next.first().cloned() {
            step += 10;
            let value = [0.5, 0.7, 0.4, 0.6][lease.trial.index as usize];
            if lease.attempt == 3 {
                story.ended("w", &lease, AttemptEnd::Completed(result(value)));
                next = given(&story);
            } else {
                next = pauses(&mut story, &lease, step, value);
            }
            records.extend(story.records().into_iter().cloned());
            if restart {
                let held: Vec<Lease> = next.iter().map(|(lease, _)| lease.clone()).collect();
                story.restart();
                story.join("w", &held);
            }
        }
        assert_eq!(story.sweep().state, SweepState::Completed);
        records
    };
    assert_eq!(life(true), life(false));
}

#[test]
fn the_best_of_few_trials_goes_to_its_end() {
    let mut story = story(1, EarlyTerminate::Asha { first: Resource::Steps(10), eta: 4.0, brackets: 1 });
    story.join("w", &[]);
    let next = pauses(&mut story, &lease(0, 1, 1), 10, 0.5);
    assert_eq!(next, [(lease(0, 2, 2), Some(Resource::Steps(40)))], "though one in four goes on");
    story.ended("w", &lease(0, 2, 2), AttemptEnd::Completed(result(0.5)));
    assert_eq!(story.sweep().state, SweepState::Completed);
}

#[test]
fn a_trial_that_is_lost_on_the_way_to_its_rung_pauses_there_all_the_same() {
    let mut story = story(2, ASHA);
    story.join("w", &[]);
    story.report("w", &lease(0, 1, 1), 1, evaluation(10, 0.5));
    story.after(TIMEOUT + 200);
    story.join("w", &[]);
    assert_eq!(given(&story), [(lease(0, 2, 2), Some(Resource::Epochs(1.0)))]);
    story.report("w", &lease(0, 2, 2), 1, evaluation(10, 0.5));
    assert_eq!(story.sweep().trials[&0].evaluations, 1, "what was replayed is no second evaluation");
    story.report("w", &lease(0, 2, 2), 2, ReportBody::Ended(AttemptEnd::Paused));
    assert!(story.sweep().paused.contains(&0));
}

#[test]
fn a_band_stops_what_is_not_among_the_best_and_a_last_evaluation_stops_nothing() {
    let mut story = story(5, HYPERBAND);
    for (trial, value) in [(0, 0.9), (1, 0.8)] {
        story.join("w", &[lease(trial, 1, trial + 1)]);
        story.report("w", &lease(trial, 1, trial + 1), 1, evaluation(10, value));
        assert_eq!(ends(&story), [], "the first two");
        story.report(
            "w",
            &lease(trial, 1, trial + 1),
            2,
            ReportBody::Ended(AttemptEnd::Completed(result(value))),
        );
    }
    let third = lease(2, 1, 3);
    story.report("w", &third, 1, evaluation(10, 0.7));
    let why = "after 1 evaluations 2 of 3 trials were better, of which 1 go on";
    assert_eq!(ends(&story), [(2, &TrialEnd::EarlyStopped(why.into()))]);
    assert!(story.sent().contains(&("w", &Message::Stop(third, why.into()))));
    assert_eq!(story.assigned(), [("w", 3)], "its worker goes on with the next");
    let fourth = lease(3, 1, 4);
    let seen =
        Seen { term: fourth.term, step: 10, total_steps: 10, phase: Phase::Training, lane_bytes: None };
    story.event(Event::Heartbeat { worker: worker("w"), seen: vec![seen] });
    story.report("w", &fourth, 1, evaluation(10, 0.1));
    assert_eq!(ends(&story), [], "it has trained to its end");
}

#[test]
fn a_trial_that_was_ended_early_goes_to_its_end_when_somebody_wants_it() {
    let mut story = story(2, ASHA);
    story.join("w", &[]);
    pauses(&mut story, &lease(0, 1, 1), 10, 0.5);
    pauses(&mut story, &lease(1, 1, 2), 10, 0.7);
    story.ended("w", &lease(1, 2, 3), AttemptEnd::Completed(result(0.8)));
    assert_eq!(story.sweep().state, SweepState::Completed);
    let how = EndedHow::EarlyStopped;
    let trial = Trial { attempts: 1, ..Trial::default() };
    story.order(Order::Retry(vec![Ended { index: 0, how, trial }]));
    assert_eq!(given(&story), [(lease(0, 2, 4), None)]);
    story.ended("w", &lease(0, 2, 4), AttemptEnd::Completed(result(0.6)));
    assert_eq!(story.sweep().counts, Counts { completed: 2, ..Counts::default() });
}

#[test]
fn a_sweep_begins_nothing_more_once_it_has_reached_its_target() {
    let limits = Limits { target: Some(0.8), ..Limits::default() };
    let mut story = Story::bounded(9, limits);
    story.join("v", &[]);
    story.join("w", &[]);
    story.ended("v", &lease(0, 1, 1), AttemptEnd::Completed(result(0.7)));
    assert_eq!(story.assigned(), [("v", 2)]);
    story.ended("v", &lease(2, 1, 3), AttemptEnd::Completed(result(0.85)));
    assert_eq!((story.assigned(), story.sweep().state), (vec![], SweepState::Running), "one is under way");
    story.ended("w", &lease(1, 1, 2), AttemptEnd::Completed(result(0.1)));
    let reason = "trial 2 reached the target, with best_validation_f1 0.8500".to_owned();
    let ended = Record::SweepEnded(SweepId::new("s"), SweepState::Completed, Some(reason));
    assert!(story.records().contains(&&ended), "{:?}", story.records());
}
