//! Stories of what people order while sweeps run.

use super::*;

fn done(story: &mut Story, trial: u64, attempt: u32, term: u64) {
    story.ended("w", &lease(trial, attempt, term), AttemptEnd::Completed(result(0.5)));
}

#[test]
fn a_paused_sweep_leases_nothing_and_keeps_what_is_under_way() {
    let mut story = Story::of(3);
    story.join("w", &[]);
    story.order(Order::Pause);
    assert_eq!(story.answer(), &Answer::Done(1));
    let paused = Record::SweepChanged(SweepId::new("s"), Change::Paused, "ada".into());
    assert_eq!(story.records(), [&paused]);
    story.order(Order::Pause);
    assert_eq!((story.answer(), story.records().len()), (&Answer::Done(0), 0), "twice is once");
    done(&mut story, 0, 1, 1);
    assert_eq!((story.assigned(), story.sweep().counts.completed), (vec![], 1));
    story.restart();
    story.join("w", &[]);
    assert_eq!(story.assigned(), []);
    story.order(Order::Resume);
    assert_eq!(story.assigned(), [("w", 1)]);
}

#[test]
fn orders_about_a_sweep_that_has_ended_say_what_would_be_right() {
    let mut story = Story::of(1);
    story.order(Order::Cancel("enough".into()));
    let refused = |story: &Story| match story.answer() {
        Answer::Refused(refusal) => refusal.to_string(),
        Answer::Done(_) => panic!("{:?}", story.effects),
    };
    story.order(Order::Pause);
    assert_eq!(
        refused(&story),
        "sweep s is cancelled: only a sweep that has not ended can be paused and resumed"
    );
    let extension =
        Extension { size: 2, structure: Structure::default(), spec: "{}".into(), what: "x".into() };
    story.order(Order::Extend(extension));
    assert_eq!(refused(&story), "sweep s is cancelled: a running or completed sweep can be extended");
    story.order(Order::Stop(1));
    assert_eq!(refused(&story), "sweep s has no trial 1: its trials are 0 to 0");
    story.event(Event::Ordered { sweep: SweepId::new("t"), order: Order::Pause, by: "ada".into() });
    assert_eq!(refused(&story), "there is no sweep `t`");
    story.event(Event::DrainOrdered { worker: worker("w"), by: "ada".into() });
    assert!(refused(&story).starts_with("there is no worker `w`"));
}

#[test]
fn an_extended_sweep_trains_the_missing_points_and_no_other_even_after_its_end() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    done(&mut story, 0, 1, 1);
    assert_eq!(story.sweep().state, SweepState::Completed);
    let extension =
        Extension { size: 3, structure: Structure::default(), spec: "{}".into(), what: "x".into() };
    story.order(Order::Extend(extension.clone()));
    assert_eq!((story.answer(), story.assigned()), (&Answer::Done(2), vec![("w", 1)]));
    story.order(Order::Extend(extension));
    assert_eq!(story.answer(), &Answer::Done(0));
    done(&mut story, 1, 1, 2);
    done(&mut story, 2, 1, 3);
    assert_eq!((story.sweep().state, story.sweep().counts.completed), (SweepState::Completed, 3));
}

/// A trial that has failed, as the store would hand it back.
fn failed(index: u64, attempts: u32) -> Ended {
    Ended { index, how: EndedHow::Failed, trial: Trial { attempts, failures: 2, ..Trial::default() } }
}

#[test]
fn a_failed_trial_gets_another_chance_with_its_budget_and_its_sweep_goes_on() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Failed(failure(FailureKind::BadPoint)));
    assert_eq!(story.sweep().state, SweepState::Completed);
    story.order(Order::Retry(vec![failed(0, 1)]));
    assert_eq!((story.answer(), story.assigned()), (&Answer::Done(1), vec![("w", 0)]));
    assert_eq!((story.sweep().state, story.sweep().counts), (SweepState::Running, Counts::default()));
    assert_eq!(story.sweep().trials[&0].failures, 0);
    done(&mut story, 0, 2, 2);
    assert_eq!(story.sweep().counts, Counts { completed: 1, ..Counts::default() });
    story.order(Order::Retry(Vec::new()));
    assert_eq!((story.answer(), story.sweep().state), (&Answer::Done(0), SweepState::Completed));
}

#[test]
fn a_stopped_trial_ends_wherever_it_is_and_does_not_come_back_by_itself() {
    let mut story = Story::of(4);
    story.join("w", &[]);
    story.order(Order::Stop(0));
    assert_eq!(story.sent()[0], ("w", &Message::Stop(lease(0, 1, 1), "stopped by ada".into())));
    assert_eq!(story.assigned(), [("w", 1)], "the worker is free for the next");
    story.order(Order::Stop(2));
    assert_eq!(
        story.records(),
        [&Record::TrialExcluded(TrialId { sweep: SweepId::new("s"), index: 2 }, "ada".into())]
    );
    story.order(Order::Stop(2));
    assert_eq!(story.answer(), &Answer::Done(0));
    done(&mut story, 1, 1, 2);
    assert_eq!(story.assigned(), [("w", 3)], "2 is left out");
    let left_out = Ended { index: 2, how: EndedHow::Cancelled, trial: Trial::default() };
    story.order(Order::Retry(vec![left_out]));
    done(&mut story, 3, 1, 3);
    assert_eq!(story.assigned(), [("w", 2)]);
    done(&mut story, 2, 1, 4);
    assert_eq!(story.sweep().state, SweepState::Completed);
    assert_eq!(story.sweep().counts, Counts { completed: 3, cancelled: 1, ..Counts::default() });
}

#[test]
fn a_sweep_of_which_everything_is_left_out_has_ended() {
    let mut story = Story::of(2);
    story.order(Order::Stop(1));
    story.order(Order::Stop(0));
    assert_eq!(story.sweep().state, SweepState::Completed);
}

#[test]
fn sweeps_share_the_workers_by_priority() {
    let mut story = Story::of(100);
    let other = Submission { digest: "another".into(), ..submission("t", 100) };
    story.event(Event::Submitted(other));
    story.order(Order::Priority(3));
    for number in 0..8 {
        story.join(&format!("w{number}"), &[]);
    }
    let held: Vec<u64> = story.scheduler.sweeps.iter().map(|sweep| sweep.packs).collect();
    assert_eq!(held, [6, 2]);
}

#[test]
fn no_more_trials_run_at_a_time_than_the_file_allows() {
    let limits = Limits { max_concurrent_trials: Some(2), ..Limits::default() };
    let mut story = Story::bounded(9, limits);
    for name in ["u", "v", "w"] {
        story.join(name, &[]);
    }
    assert_eq!(story.scheduler.leases.len(), 2);
    story.ended("u", &lease(0, 1, 1), AttemptEnd::Completed(result(0.5)));
    assert_eq!(story.assigned(), [("u", 2)]);
}

#[test]
fn one_failure_more_than_is_borne_fails_the_sweep() {
    let limits = Limits { max_failed_trials: Some(1), ..Limits::default() };
    let mut story = Story::bounded(9, limits);
    story.join("w", &[]);
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Failed(failure(FailureKind::BadPoint)));
    assert_eq!(story.sweep().state, SweepState::Running);
    story.ended("w", &lease(1, 1, 2), AttemptEnd::Failed(failure(FailureKind::BadPoint)));
    assert_eq!(story.sweep().state, SweepState::Failed);
    let ended = story.records().into_iter().find_map(|record| match record {
        Record::SweepEnded(_, _, reason) => reason.clone(),
        _ => None,
    });
    assert_eq!(ended.as_deref(), Some("more than 1 trials failed, which is its max_failed_trials"));
}

#[test]
fn a_sweep_ends_when_its_time_is_spent_and_pauses_do_not_count() {
    let limits = Limits { time_budget_ms: Some(60_000), ..Limits::default() };
    let mut story = Story::bounded(9, limits);
    story.after(40_000);
    story.order(Order::Pause);
    story.after(100_000);
    story.order(Order::Resume);
    story.after(19_800);
    assert_eq!(story.sweep().state, SweepState::Running);
    story.after(200);
    assert_eq!(story.sweep().state, SweepState::Cancelled);
}

#[test]
fn a_worker_that_is_told_to_drain_is_told_again_after_a_restart_and_gets_nothing() {
    let mut story = Story::of(3);
    story.join("w", &[]);
    story.event(Event::DrainOrdered { worker: worker("w"), by: "ada".into() });
    assert_eq!(story.answer(), &Answer::Done(1));
    assert_eq!(story.sent(), [("w", &Message::Drain("told to by ada".into()))]);
    story.event(Event::DrainOrdered { worker: worker("w"), by: "ada".into() });
    assert_eq!((story.answer(), story.sent()), (&Answer::Done(0), vec![]));
    story.restart();
    story.join("w", &[lease(0, 1, 1)]);
    assert!(matches!(story.sent()[..], [("w", Message::Welcome(_)), ("w", Message::Drain(_))]));
    story.ended("w", &lease(0, 1, 1), AttemptEnd::Stopped);
    assert_eq!(story.assigned(), []);
}
