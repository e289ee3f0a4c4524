//! Stories of trials that go on from a checkpoint.

use super::*;

fn files(step: i64) -> StoredFiles {
    StoredFiles { url: format!("file:///s/0/checkpoint-{step}"), step, manifest_sha256: "ab".into() }
}

fn resumed(lease: Lease, step: i64) -> Message {
    Message::Assign(vec![Lane { lease, resume: Some(files(step)), pause: None }])
}

#[test]
fn the_next_attempt_after_a_lost_worker_goes_on_from_the_last_accepted_checkpoint() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    assert_eq!(story.sent()[1], ("w", &assign(lease(0, 1, 1))), "nothing to go on from yet");
    story.report("w", &lease(0, 1, 1), 1, ReportBody::Checkpoint(files(20)));
    story.report("w", &lease(0, 1, 1), 2, ReportBody::Checkpoint(files(40)));
    assert_eq!(story.sent(), [("w", &Message::Acknowledge(lease(0, 1, 1), 2))]);
    story.after(TIMEOUT);
    story.join("v", &[]);
    assert_eq!(story.sent()[1], ("v", &resumed(lease(0, 2, 2), 40)));
}

#[test]
fn a_trial_that_is_handed_back_goes_on_elsewhere_from_what_it_published_last() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.event(Event::Draining { worker: worker("w") });
    story.report("w", &lease(0, 1, 1), 1, ReportBody::Checkpoint(files(30)));
    story.report("w", &lease(0, 1, 1), 2, ReportBody::Ended(AttemptEnd::Stopped));
    story.join("v", &[]);
    assert_eq!(story.sent()[1], ("v", &resumed(lease(0, 2, 2), 30)));
    assert_eq!(story.sweep().trials[&0].failures, 0);
}

#[test]
fn a_checkpoint_under_a_stale_term_is_refused() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    story.report("w", &lease(0, 1, 1), 1, ReportBody::Checkpoint(files(20)));
    story.after(TIMEOUT);
    story.join("v", &[]);
    story.report("w", &lease(0, 1, 1), 2, ReportBody::Checkpoint(files(90)));
    assert!(matches!(story.sent()[..], [("w", Message::Stop(..))]));
    assert!(story.records().is_empty());
    story.after(TIMEOUT);
    story.join("u", &[]);
    assert_eq!(story.sent()[1], ("u", &resumed(lease(0, 3, 3), 20)));
}

#[test]
fn a_checkpoint_of_fewer_steps_is_acknowledged_and_the_trial_keeps_the_one_further_on() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    let held = lease(0, 1, 1);
    story.report("w", &held, 1, ReportBody::Checkpoint(files(40)));
    story.report("w", &held, 2, ReportBody::Checkpoint(files(20)));
    assert_eq!(story.records(), [&Record::Checkpoint(held.clone(), 2, files(40))]);
    assert_eq!(story.sent(), [("w", &Message::Acknowledge(held, 2))]);
    story.after(TIMEOUT);
    story.join("v", &[]);
    assert_eq!(story.sent()[1], ("v", &resumed(lease(0, 2, 2), 40)));
}

#[test]
fn points_replayed_from_a_checkpoint_on_are_not_recorded_twice() {
    let mut story = Story::of(1);
    story.join("w", &[]);
    let points = |steps: &[i64]| ReportBody::Metrics(steps.iter().copied().map(point).collect());
    story.report("w", &lease(0, 1, 1), 1, points(&[10, 20]));
    story.report("w", &lease(0, 1, 1), 2, ReportBody::Checkpoint(files(25)));
    story.report("w", &lease(0, 1, 1), 3, points(&[30, 40]));
    story.after(TIMEOUT);
    story.join("v", &[]);
    let second = lease(0, 2, 2);
    story.report("v", &second, 1, points(&[30]));
    assert_eq!(story.records(), [&Record::Metrics(second.clone(), 1, Vec::new())]);
    story.report("v", &second, 2, points(&[40, 50]));
    assert_eq!(story.records(), [&Record::Metrics(second, 2, vec![point(50)])]);
}
