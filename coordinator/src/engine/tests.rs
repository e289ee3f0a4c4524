//! What the thread does with one batch, without the thread: the order of what goes out, and what waits for the disk.

mod searches;

use distilsweep_proto::ids::Lease;
use tempfile::TempDir;

use super::*;
use crate::{
    scheduler::{ReportBody, Room},
    spec,
};

const SWEEP: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
parameters:
  learning_rate: {values: [2e-5, 5e-5]}
";

fn engine(directory: &TempDir) -> Engine {
    let options = EngineOptions {
        lease_timeout_ms: 60_000,
        hang_timeout_ms: 120_000,
        store_url: "file:///trials".into(),
        user: "tester".into(),
        service: false,
    };
    let store = Store::open(directory.path(), "c0ffee").unwrap();
    let loaded = store.load().unwrap();
    Engine::new(store, loaded, options).unwrap().0
}

/// One batch: what to commit, and what to do after.
fn batch(engine: &mut Engine, commands: Vec<Command>) -> (Vec<Write>, Vec<Act>) {
    let (mut writes, mut acts) = (Vec::new(), Vec::new());
    for command in commands {
        engine.take(Time(1), command, &mut writes, &mut acts);
    }
    (writes, acts)
}

fn join(stream: u64, held: Vec<Lease>) -> (Command, mpsc::UnboundedReceiver<ToWorker>) {
    let (to, messages) = mpsc::unbounded_channel();
    let worker = WorkerId::new("w");
    (
        Command::Join(Joining {
            worker,
            stream: StreamNumber(stream),
            slots: 1,
            room: Room::default(),
            about: About::default(),
            held,
            to,
        }),
        messages,
    )
}

fn submit(force_new: bool) -> (Command, oneshot::Receiver<(SweepId, bool)>) {
    submit_source(SWEEP, force_new)
}

fn submit_source(source: &str, force_new: bool) -> (Command, oneshot::Receiver<(SweepId, bool)>) {
    let (reply, answer) = oneshot::channel();
    let spec = spec::parse(source).unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")));
    let new = NewSweep { spec, source: source.into(), file_name: "sweep.yaml".into(), force_new };
    (Command::Submit(Box::new(new), 7, reply), answer)
}

/// What is in a stream by now, by kind.
fn kinds(messages: &mut mpsc::UnboundedReceiver<ToWorker>) -> Vec<&'static str> {
    std::iter::from_fn(|| messages.try_recv().ok())
        .map(|message| match message {
            ToWorker::Welcome { .. } => "welcome",
            ToWorker::Assign { .. } => "assign",
            ToWorker::Acknowledge(..) => "acknowledge",
            ToWorker::Stop(..) => "stop",
            ToWorker::Drain(_) => "drain",
        })
        .collect()
}

#[test]
fn nothing_leaves_before_its_batch_is_committed() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = engine(&directory);
    let (submit, mut accepted) = submit(false);
    let (join, mut messages) = join(1, Vec::new());
    let (reply, mut shown) = oneshot::channel();
    let show = Command::Snapshot(SweepId::new("demo-000007"), reply);
    let (writes, acts) = batch(&mut engine, vec![submit, join, show]);
    assert!(writes.iter().any(|write| matches!(write, Write::Record(Record::LeaseGranted(..), _))));
    assert_eq!(kinds(&mut messages), [""; 0]);
    assert!(accepted.try_recv().is_err() && shown.try_recv().is_err());
    for act in acts {
        Engine::act(act);
    }
    assert_eq!(kinds(&mut messages), ["welcome", "assign"]);
    assert_eq!(accepted.try_recv().unwrap(), (SweepId::new("demo-000007"), true));
    assert_eq!(shown.try_recv().unwrap().unwrap().running.len(), 1);
}

#[test]
fn a_stream_begins_with_its_welcome_though_an_older_one_of_the_worker_was_still_owed_an_answer() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = engine(&directory);
    let (first, mut old) = join(1, Vec::new());
    let (_, acts) = batch(&mut engine, vec![submit(false).0, first]);
    acts.into_iter().for_each(Engine::act);
    let Some(ToWorker::Assign { lanes, .. }) = [old.try_recv(), old.try_recv()].into_iter().flatten().last()
    else {
        panic!("no assignment")
    };
    let lease = lanes[0].0.lease.clone();
    let report = Report { lease: lease.clone(), sequence: 1, body: ReportBody::Metrics(Vec::new()) };
    let report = Command::Report(WorkerId::new("w"), report);
    let (second, mut new) = join(2, vec![lease]);
    let (_, acts) = batch(&mut engine, vec![report, second]);
    acts.into_iter().for_each(Engine::act);
    assert_eq!(kinds(&mut old), ["acknowledge"]);
    assert_eq!(kinds(&mut new), ["welcome"]);
    assert_eq!(new.try_recv().unwrap_err(), mpsc::error::TryRecvError::Empty, "the new stream stays open");
}

#[test]
fn the_end_of_an_old_stream_says_nothing_about_the_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = engine(&directory);
    let (late, _old) = join(1, Vec::new());
    let (early, mut new) = join(2, Vec::new());
    let leave = Command::Leave(WorkerId::new("w"), StreamNumber(1));
    let (_, acts) = batch(&mut engine, vec![early, late, leave, submit(false).0]);
    acts.into_iter().for_each(Engine::act);
    assert_eq!(kinds(&mut new), ["welcome", "assign"]);
}

#[tokio::test]
async fn an_engine_that_panicked_says_so_when_it_is_stopped() {
    let (commands, _queue) = mpsc::channel(1);
    let (changes, growth) = (watch::channel(0).1, watch::channel(0).1);
    let handle =
        EngineHandle::new(commands, changes, growth, Meters::default(), Readers::new("state".into()));
    let handle = handle.on(thread::spawn(|| panic!("a broken invariant")));
    let error = handle.stop().await.unwrap_err();
    assert!(matches!(error, EngineError::Panicked(_)), "{error}");
    assert!(error.to_string().contains("a broken invariant"), "{error}");
}

#[test]
fn sweeps_with_the_same_random_digits_get_ids_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = engine(&directory);
    let (first, mut one) = submit(false);
    let (second, mut two) = submit(true);
    let (writes, acts) = batch(&mut engine, vec![first, second]);
    engine.store.commit(Time(1), &writes).unwrap();
    acts.into_iter().for_each(Engine::act);
    assert_eq!(one.try_recv().unwrap().0, SweepId::new("demo-000007"));
    assert_eq!(two.try_recv().unwrap().0, SweepId::new("demo-000008"));
}

#[test]
fn progress_of_a_lease_that_is_over_or_anothers_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = engine(&directory);
    let heartbeat = |worker: &str, term: u64| {
        Command::Heartbeat(WorkerId::new(worker), vec![(Term(term), Progress::default())])
    };
    let commands = vec![submit(false).0, join(1, Vec::new()).0, heartbeat("w", 9), heartbeat("v", 1)];
    batch(&mut engine, commands);
    assert!(engine.progress.is_empty());
    batch(&mut engine, vec![heartbeat("w", 1)]);
    assert_eq!(engine.progress.keys().collect::<Vec<_>>(), [&Term(1)]);
}

#[test]
fn a_clock_set_back_a_day_before_a_restart_moves_no_deadline_and_times_keep_growing() {
    let directory = tempfile::tempdir().unwrap();
    let mut before = engine(&directory);
    // What is on record is a day ahead of the clock that the next start finds.
    let tomorrow = before.clock.now().plus(86_400_000);
    let (mut writes, mut acts) = (Vec::new(), Vec::new());
    for command in [submit(false).0, join(1, Vec::new()).0] {
        before.take(tomorrow, command, &mut writes, &mut acts);
    }
    before.store.commit(tomorrow, &writes).unwrap();
    drop((before, acts));

    let mut after = engine(&directory);
    let start = after.clock.now();
    assert!(start >= tomorrow, "{start:?} {tomorrow:?}");
    assert!(after.clock.now() >= start);
    let mut ended_at = |seconds: i64| {
        let (mut writes, mut acts) = (Vec::new(), Vec::new());
        after.take(start.plus(seconds * 1000), Command::Tick, &mut writes, &mut acts);
        writes.iter().any(|write| matches!(write, Write::Record(Record::LeaseEnded(..), _)))
    };
    let ended: Vec<i64> = (0..=62).filter(|second| ended_at(*second)).collect();
    assert!(matches!(ended[..], [60 | 61]), "the lease timeout after the restart: {ended:?}");
}
