//! The store in temporary directories: what was committed is there again, for the scheduler, for people, for MLflow.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::ids::{Lease, SweepId, Term, TrialId, WorkerId};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::{
    mlflow::op::{Op, RunIds, RunKey, Status},
    scheduler::{
        Best, Counts, Durable, Failure, FailureKind, Pack, Point, Record, Split, StoredFiles, Submission,
        SweepState, Time, TrialEnd, TrialResult,
        tests::{
            random::{Step, World, steps},
            submission,
        },
    },
};

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(directory: &TempDir) -> Store {
    Store::open(directory.path(), "c0ffee").unwrap()
}

fn reader(directory: &TempDir) -> Reader {
    Reader::open(directory.path()).unwrap()
}

fn lease(sweep: &str, trial: u64, attempt: u32, term: u64) -> Lease {
    Lease { trial: TrialId { sweep: SweepId::new(sweep), index: trial }, attempt, term: Term(term) }
}

fn record(record: Record) -> Write {
    Write::Record(record, None)
}

fn submitted(submission: Submission) -> Write {
    let file = SweepFile { name: "sweep.yaml".into(), source: "name: x".into(), spec: "{}".into() };
    Write::Record(Record::SweepSubmitted(submission), Some(file))
}

fn granted(lease: &Lease) -> Write {
    record(Record::LeaseGranted(lease.clone(), WorkerId::new("w"), Pack { first: lease.term, lanes: 1 }))
}

fn point(step: i64, value: f64) -> Point {
    Point { key: "loss".into(), value, timestamp_ms: 5, step }
}

fn result(value: f64) -> TrialResult {
    TrialResult {
        mistakes: Vec::new(),
        metrics: BTreeMap::from([("best_validation_f1".to_owned(), value), ("test_loss".to_owned(), 0.1)]),
        baseline: BTreeMap::from([("test_f1_score".to_owned(), f64::NAN)]),
        model: Some(StoredFiles { url: "file:///m".into(), step: 9, manifest_sha256: "ab".into() }),
        train_seconds: 1.5,
        steps: 9,
        steps_per_second: 6.0,
        tags: BTreeMap::from([("device".to_owned(), "cpu".to_owned())]),
        classes: vec!["no".into(), "yes".into()],
        splits: vec![Split {
            name: "test".into(),
            rows: 4,
            sha256: "ab".into(),
            confusion: vec![vec![2, 0], vec![1, 1]],
        }],
    }
}

fn completed(lease: &Lease, value: f64) -> [Write; 2] {
    [
        record(Record::LeaseEnded(lease.clone(), WorkerId::new("w"), None)),
        record(Record::TrialEnded(lease.trial.clone(), TrialEnd::Completed(result(value)))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn a_scheduler_rebuilt_from_what_was_committed_is_the_one_that_crashed(steps in steps()) {
        let directory = directory();
        let mut store = open(&directory);
        let mut world = World::new();
        for batch in steps.chunks(10) {
            for step in batch {
                world.step(step);
            }
            let records: Vec<(Time, Record)> = world.records.drain(..).collect();
            for at_once in records.chunk_by(|one, other| one.0 == other.0) {
                let writes: Vec<Write> = at_once.iter().map(|(_, r)| record(r.clone())).collect();
                store.commit(at_once[0].0, &writes).unwrap();
            }
            if batch.iter().any(|step| matches!(step, Step::Crash)) {
                drop(store);
                store = open(&directory);
            }
            let loaded = store.load().unwrap();
            prop_assert_eq!(loaded.durable, world.durable());
        }
    }
}

#[test]
fn a_directory_belongs_to_one_coordinator_until_that_is_gone() {
    let directory = directory();
    let first = open(&directory);
    let second = Store::open(directory.path(), "other").unwrap_err();
    assert!(matches!(second, StoreError::InUse(_)), "{second}");
    drop(first);
    assert_eq!(Store::open(directory.path(), "other").unwrap().load().unwrap().coordinator, "c0ffee");
}

#[test]
fn a_database_of_a_later_version_is_refused_and_left_alone() {
    let directory = directory();
    drop(open(&directory));
    let path = directory.path().join(DATABASE);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", SCHEMA_VERSION + 1).unwrap();
    let error = Store::open(directory.path(), "c0ffee").unwrap_err();
    assert!(matches!(error, StoreError::Newer { found, .. } if found == SCHEMA_VERSION + 1), "{error}");
    let error = Reader::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Newer { .. }), "{error}");
}

#[test]
fn a_database_of_schema_1_is_brought_forward_with_its_sweeps_and_leases() {
    let directory = directory();
    std::fs::create_dir_all(directory.path()).unwrap();
    let old = Connection::open(directory.path().join(DATABASE)).unwrap();
    old.execute_batch(include_str!("tests/schema-1.sql")).unwrap();
    old.execute_batch(
        "INSERT INTO coordinator VALUES ('c0ffee');
         INSERT INTO sweeps (number, id, name, digest, file_name, source, spec, size, max_retries, metric, maximize, state,
             created_ms) VALUES (1, 's', 'sweep', 'd', 'f', '', '{}', 2, 1, 'best_validation_f1', 1, 'running', 7);
         INSERT INTO trials (sweep, trial, state, attempts, worker, started_ms) VALUES (1, 0, 'running', 1, 'w', 8);
         INSERT INTO leases (term, sweep, trial, attempt, worker, granted_ms) VALUES (1, 1, 0, 1, 'w', 8);
         INSERT INTO metric_blocks (sweep, trial, term, sequence, points) VALUES
             (1, 0, 1, 1, '[{\"key\":\"loss\",\"value\":1.0,\"timestamp_ms\":8,\"step\":10},
                            {\"key\":\"grad_norm\",\"value\":\"NaN\",\"timestamp_ms\":8,\"step\":10}]'),
             (1, 0, 1, 2, '[{\"key\":\"loss\",\"value\":0.5,\"timestamp_ms\":9,\"step\":20}]');
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(old);
    let mut store = open(&directory);
    store.commit(Time(20), &[granted(&lease("s", 1, 1, 2))]).unwrap();
    let Durable { sweeps, leases, .. } = store.load().unwrap().durable;
    let packs: Vec<Pack> = leases.iter().map(|active| active.pack).collect();
    assert_eq!(packs, [1, 2].map(|term| Pack { first: Term(term), lanes: 1 }));
    assert_eq!((sweeps[0].priority, sweeps[0].running_since), (1, Time(7)));
    let marks = [("grad_norm".to_owned(), 10), ("loss".to_owned(), 20)];
    assert_eq!(sweeps[0].trials[&0].marks, BTreeMap::from(marks));
    let columns = |connection: &Connection| -> Vec<(String, String)> {
        let mut tables = connection
            .prepare("SELECT m.name, c.name FROM sqlite_schema m, pragma_table_info(m.name) c ORDER BY 1, 2")
            .unwrap();
        tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    let fresh = Connection::open_in_memory().unwrap();
    fresh.execute_batch(SCHEMA).unwrap();
    assert_eq!(columns(&store.connection), columns(&fresh), "as if it had been made so");
}

#[test]
fn a_reader_of_nothing_is_told_how_to_begin() {
    let error = Reader::open(directory().path()).unwrap_err().to_string();
    assert!(error.contains("holds no sweeps: start one with `distilsweep run"), "{error}");
}

#[test]
fn readers_see_each_commit_beside_the_writer_and_after_it() {
    let directory = directory();
    let mut store = open(&directory);
    let early = reader(&directory);
    assert_eq!(early.sweeps().unwrap(), []);
    store.commit(Time(7), &[submitted(submission("s", 3))]).unwrap();
    assert_eq!(early.sweeps().unwrap().len(), 1);
    drop(store);
    assert_eq!(reader(&directory).sweep(&SweepId::new("s")).unwrap().created_ms, 7);
}

#[test]
fn a_batch_that_fails_leaves_nothing_behind() {
    let directory = directory();
    let mut store = open(&directory);
    let twice = [submitted(submission("s", 3)), submitted(submission("s", 3))];
    let error = store.commit(Time(7), &twice).unwrap_err().to_string();
    assert!(error.contains("UNIQUE") && error.contains(DATABASE), "{error}");
    assert_eq!(reader(&directory).sweeps().unwrap(), []);
}

#[test]
fn sweeps_are_found_by_id_by_the_latest_of_their_name_by_how_one_alone_begins_and_as_the_latest_of_all() {
    let directory = directory();
    let mut store = open(&directory);
    let named = |id: &str, name: &str| submitted(Submission { name: name.into(), ..submission(id, 1) });
    let batch = [named("a-1", "a"), named("a-2", "a"), named("b-1", "b"), named("a", "c"), named("d", "b")];
    store.commit(Time(1), &batch).unwrap();
    let reader = reader(&directory);
    let find = |text: &str| reader.find(text).unwrap().map(|id| id.as_str().to_owned()).ok();
    assert_eq!(find("a-1").as_deref(), Some("a-1"));
    assert_eq!(find("a").as_deref(), Some("a"), "an id goes before a name");
    assert_eq!(find("b").as_deref(), Some("d"));
    assert_eq!(find("").as_deref(), Some("d"));
    assert_eq!(find("b-").as_deref(), Some("b-1"), "as much as tells it apart");
    assert_eq!(find("a-"), None, "that may be one or the other");
    assert_eq!(find("B-1"), None);
    assert_eq!(find("%"), None);
}

#[test]
fn the_largest_space_and_its_last_point_survive() {
    let directory = directory();
    let mut store = open(&directory);
    let last = lease("s", (1 << 63) - 1, 1, 1);
    store.commit(Time(1), &[submitted(submission("s", 1 << 63))]).unwrap();
    assert_eq!(store.load().unwrap().durable.sweeps[0].size, 1 << 63);
    assert_eq!(reader(&directory).sweep(&SweepId::new("s")).unwrap().size, 1 << 63);
    store.commit(Time(1), &[granted(&last)]).unwrap();
    let trials = reader(&directory).trials(&SweepId::new("s"), 0, 9).unwrap();
    assert_eq!(trials[0].trial, last.trial.index);
}

#[test]
fn trials_are_shown_as_they_ended() {
    let directory = directory();
    let mut store = open(&directory);
    let leases: Vec<Lease> = (0..5).map(|index| lease("s", index, 1, index + 1)).collect();
    let failure = |kind| Failure { kind, message: "why".into() };
    let ended = |index: usize, kind: FailureKind, end: TrialEnd| {
        [
            record(Record::LeaseEnded(leases[index].clone(), WorkerId::new("w"), Some(failure(kind)))),
            record(Record::TrialEnded(leases[index].trial.clone(), end)),
        ]
    };
    store.commit(Time(10), &[submitted(submission("s", 9))]).unwrap();
    store.commit(Time(20), &leases.iter().map(granted).collect::<Vec<_>>()).unwrap();
    store.commit(Time(30), &completed(&leases[0], 0.25)).unwrap();
    let diverged = failure(FailureKind::Diverged);
    store.commit(Time(30), &ended(1, FailureKind::Diverged, TrialEnd::Diverged(diverged.clone()))).unwrap();
    let bad = failure(FailureKind::BadPoint);
    store.commit(Time(30), &ended(2, FailureKind::BadPoint, TrialEnd::Failed(bad.clone()))).unwrap();
    let lost =
        Record::LeaseEnded(leases[3].clone(), WorkerId::new("w"), Some(failure(FailureKind::WorkerLost)));
    store.commit(Time(40), &[record(lost)]).unwrap();

    let reader = reader(&directory);
    let rows = reader.trials(&SweepId::new("s"), 0, 9).unwrap();
    let states: Vec<&str> = rows.iter().map(|row| row.state.as_str()).collect();
    assert_eq!(states, ["completed", "diverged", "failed", "waiting", "running"]);
    let first = rows[0].result.as_ref().unwrap();
    let wanted = result(0.25);
    assert_eq!((&first.metrics, &first.model, &first.tags), (&wanted.metrics, &wanted.model, &wanted.tags));
    assert!(first.baseline["test_f1_score"].is_nan());
    assert_eq!((rows[1].failure.as_ref(), rows[2].failure.as_ref()), (Some(&diverged), Some(&bad)));
    assert_eq!((rows[0].started_ms, rows[0].finished_ms), (20, Some(30)));
    assert_eq!((rows[4].worker.as_str(), rows[4].attempts, rows[4].finished_ms), ("w", 1, None));

    let ended = Record::SweepEnded(SweepId::new("s"), SweepState::Cancelled, Some("enough".into()));
    store.commit(Time(50), &[record(ended)]).unwrap();
    let row = reader.sweep(&SweepId::new("s")).unwrap();
    assert_eq!((row.state, row.reason.as_deref()), (SweepState::Cancelled, Some("enough")));
    assert_eq!((row.created_ms, row.finished_ms), (10, Some(50)));
    let sweep = &store.load().unwrap().durable.sweeps[0];
    assert_eq!(sweep.counts, Counts { completed: 1, diverged: 1, failed: 1, ..Counts::default() });
    assert_eq!(sweep.best, Some(Best { trial: 0, value: 0.25 }));
    let part: Vec<u64> = reader.trials(&sweep.id, 1, 2).unwrap().iter().map(|row| row.trial).collect();
    assert_eq!(part, [1, 2]);
}

#[test]
fn the_best_value_comes_back_to_the_bit_and_what_is_not_finite_is_none() {
    let directory = directory();
    let mut store = open(&directory);
    // SQLite reads some decimal texts to the neighbour of what was written.
    let values = [f64::NAN, f64::INFINITY, 0.1 + 0.2, 0.932_584_269_662_921_4, 5e-324];
    store.commit(Time(1), &[submitted(submission("s", 9))]).unwrap();
    let best = |store: &mut Store, trial: u64, value: f64| {
        let held = lease("s", trial, 1, trial + 1);
        store.commit(Time(1), &[&[granted(&held)][..], &completed(&held, value)].concat()).unwrap();
        store.load().unwrap().durable.sweeps[0].best
    };
    let bests: Vec<_> = (0..).zip(values).map(|(trial, value)| best(&mut store, trial, value)).collect();
    let third = Some(Best { trial: 2, value: values[2] });
    let fourth = Some(Best { trial: 3, value: values[3] });
    assert_eq!(bests, [None, None, third, fourth, fourth]);
}

#[test]
fn points_wait_in_the_outbox_by_reference_and_come_out_whole() {
    let directory = directory();
    let mut store = open(&directory);
    let held = lease("s", 0, 1, 1);
    let points =
        vec![point(1, f64::NAN), point(2, f64::INFINITY), point(3, f64::NEG_INFINITY), point(4, 0.1 + 0.2)];
    let batch = [
        submitted(submission("s", 1)),
        granted(&held),
        record(Record::Metrics(held.clone(), 1, points.clone())),
        record(Record::Metrics(held, 2, Vec::new())),
    ];
    store.commit(Time(1), &batch).unwrap();
    let rows = reader(&directory).outbox(10, &BTreeSet::new()).unwrap();
    assert_eq!(rows.len(), 1, "an empty block tells nothing");
    assert_eq!(rows[0].run, RunKey::new("s/0"));
    let Op::Metrics(back) = &rows[0].op else { panic!("{:?}", rows[0].op) };
    assert!(back[0].value.is_nan());
    assert_eq!(back[1..], points[1..]);
    assert_eq!(store.load().unwrap().durable.leases[0].sequence, 2);
    assert_eq!(
        store.load().unwrap().durable.sweeps[0].trials[&0].marks,
        BTreeMap::from([("loss".to_owned(), 4)])
    );
}

#[test]
fn the_outbox_gives_rows_in_order_without_those_told_refused_or_excepted() {
    let directory = directory();
    let mut store = open(&directory);
    let finish = |end_ms| Op::Finish { status: Status::Finished, end_ms };
    let (sweep, trial, other) = (RunKey::new("a_b"), RunKey::new("a_b/0"), RunKey::new("axb/0"));
    store
        .commit(
            Time(1),
            &[
                submitted(submission("a_b", 1)),
                Write::Tell(sweep.clone(), finish(1)),
                Write::Tell(trial.clone(), finish(2)),
                Write::Tell(other.clone(), finish(3)),
                Write::Tell(trial.clone(), finish(4)),
                Write::Tell(sweep.clone(), finish(5)),
            ],
        )
        .unwrap();
    let reader = reader(&directory);
    let waiting = |limit: usize, except: &[&RunKey]| -> Vec<i64> {
        let except = except.iter().map(|run| (*run).clone()).collect();
        reader.outbox(limit, &except).unwrap().iter().map(|row| row.id).collect()
    };
    assert_eq!(waiting(10, &[]), [1, 2, 3, 4, 5]);
    assert_eq!(waiting(2, &[]), [1, 2]);
    assert_eq!(waiting(10, &[&trial, &other]), [1, 5]);
    let of_sweep = || reader.outbox_of(&SweepId::new("a_b")).unwrap();
    assert_eq!((of_sweep().rows, of_sweep().runs), (4, 2), "`_` is no wildcard");
    assert_eq!((of_sweep().refused, of_sweep().refusal), (0, None));

    let ids = |run_id: &str| RunIds { experiment_id: "7".into(), run_id: run_id.into() };
    let told = |row, run: &str| Write::Told { rows: vec![row], runs: vec![(trial.clone(), ids(run))] };
    store.commit(Time(2), &[told(2, "old"), told(4, "new")]).unwrap();
    store.commit(Time(2), &[Write::Refused { rows: vec![1], reason: "too long".into() }]).unwrap();
    assert_eq!(waiting(10, &[]), [3, 5]);
    assert_eq!(reader.run_ids(&trial).unwrap(), Some(ids("new")));
    assert_eq!(reader.run_ids(&sweep).unwrap(), None);
    assert_eq!((of_sweep().rows, of_sweep().runs), (1, 1));
    assert_eq!((of_sweep().refused, of_sweep().refusal.as_deref()), (1, Some("too long")));

    store.commit(Time(3), &[Write::Told { rows: vec![3, 5], runs: Vec::new() }]).unwrap();
    store.commit(Time(3), &[Write::Tell(sweep, finish(6))]).unwrap();
    assert_eq!(waiting(10, &[]), [6], "ids are never used twice");
}

#[test]
fn a_trial_that_mlflow_shows_says_where() {
    let directory = directory();
    let mut store = open(&directory);
    let ids = RunIds { experiment_id: "7".into(), run_id: "f00".into() };
    let batch = [
        submitted(submission("s", 2)),
        granted(&lease("s", 0, 1, 1)),
        granted(&lease("s", 1, 1, 2)),
        Write::Told { rows: Vec::new(), runs: vec![(RunKey::new("s/1"), ids.clone())] },
    ];
    store.commit(Time(1), &batch).unwrap();
    let rows = reader(&directory).trials(&SweepId::new("s"), 0, 9).unwrap();
    assert_eq!((rows[0].mlflow.as_ref(), rows[1].mlflow.as_ref()), (None, Some(&ids)));
}
