//! Calls that look first, against a scripted server.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    client, create,
    http::{holds, scripted},
    memory::Memory,
    steady,
};
use crate::mlflow::{
    drain::{Drained, drain_until_empty},
    error::MlflowError,
    op::{NewRun, Op, RunIds, RunKey},
    outbox::Outbox,
};

const TAKEN: &str = r#"{"error_code":"RESOURCE_ALREADY_EXISTS","message":"Experiment 'e' already exists"}"#;
const ABSENT: &str = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"not found"}"#;

fn new_run(run: &str) -> NewRun {
    match create("e", run).1 {
        Op::CreateRun(new) => new,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_experiment_that_somebody_else_makes_meanwhile_is_found() {
    let taken = AtomicBool::new(false);
    let (address, asked) = scripted(move |request| match request.call() {
        "experiments/get-by-name" => (!taken.load(Ordering::SeqCst)).then_some((404, ABSENT)),
        "experiments/create" => {
            taken.store(true, Ordering::SeqCst);
            Some((400, TAKEN))
        }
        _ => None,
    })
    .await;
    let ids = client(&address).create_run(&new_run("s"), None).await.unwrap();
    assert_eq!(ids, RunIds { experiment_id: "1".into(), run_id: "s".into() });
    insta::assert_snapshot!(asked.lock().unwrap().join("\n"), @r"
        experiments/get-by-name -
        experiments/create -
        experiments/get-by-name -
        runs/search -
        runs/create s
        ");
}

#[tokio::test]
async fn a_deleted_experiment_keeps_its_rows_and_says_how_to_restore_it() {
    let deleted = r#"{"experiment":{"experiment_id":"7","lifecycle_stage":"deleted"}}"#;
    let (address, _) =
        scripted(move |request| (request.call() == "experiments/get-by-name").then_some((200, deleted)))
            .await;
    let outbox = Memory::holding([create("e", "s"), create("e", "s/0")]);
    let deadline = Instant::now() + Duration::from_secs(60);
    let drained = drain_until_empty(&outbox, &client(&address), steady, deadline).await.unwrap();
    let Drained::Waiting(Some(error @ MlflowError::ExperimentDeleted { .. })) = drained else {
        panic!("{drained:?}")
    };
    insta::assert_snapshot!(error.to_string().replace(&address, "ADDRESS"), @r"experiment `e` is deleted in MLflow at ADDRESS; restore it (`mlflow experiments restore --experiment-id 7`) or record under another name");
    assert_eq!(outbox.left(), [1, 2]);
}

#[tokio::test]
async fn a_run_found_by_its_identity_is_taken_and_a_second_one_deleted() {
    let found = r#"{"runs":[{"info":{"run_id":"r2"}},{"info":{"run_id":"r1"}}]}"#;
    let (address, asked) =
        scripted(move |request| (request.call() == "runs/search").then_some((200, found))).await;
    let ids = client(&address).create_run(&new_run("s"), None).await.unwrap();
    assert_eq!(ids.run_id, "r1");
    insta::assert_snapshot!(asked.lock().unwrap().join("\n"), @r"
        experiments/get-by-name -
        runs/search -
        runs/delete r2
        ");
}

#[tokio::test]
async fn a_sweep_that_goes_on_with_an_empty_server_gets_new_runs_there() {
    let (address, _) = scripted(|request| {
        (request.call() == "runs/update" && holds(request, "old")).then_some((404, ABSENT))
    })
    .await;
    let outbox = Memory::holding([create("e", "s"), create("e", "s/0")]);
    let old = |run: &str| (RunKey::new(run), RunIds { experiment_id: "9".into(), run_id: "old".into() });
    outbox.done(&[], &[old("s"), old("s/0")]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let drained = drain_until_empty(&outbox, &client(&address), steady, deadline).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    assert_eq!(outbox.ids("s/0").unwrap(), RunIds { experiment_id: "1".into(), run_id: "s-0".into() });
    assert_eq!(outbox.ids("s").unwrap().run_id, "s");
}

#[tokio::test]
async fn a_known_run_is_set_running_again_and_not_created() {
    let (address, asked) = scripted(|_| None).await;
    let outbox = Memory::holding([create("e", "s")]);
    let known = RunIds { experiment_id: "1".into(), run_id: "known".into() };
    outbox.done(&[], &[(RunKey::new("s"), known)]).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    drain_until_empty(&outbox, &client(&address), steady, deadline).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), ["runs/update known"]);
}

#[tokio::test]
async fn a_parent_whose_name_looks_like_a_child_s_is_still_made_first() {
    let (address, asked) = scripted(|_| None).await;
    let sweep = NewRun { parent: None, ..new_run("a/b") };
    let outbox = Memory::holding([
        (RunKey::new("a/b"), Op::CreateRun(sweep)),
        create("e", "a/b/0"),
        create("e", "a/b/1"),
    ]);
    let deadline = Instant::now() + Duration::from_secs(20);
    let drained = drain_until_empty(&outbox, &client(&address), steady, deadline).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    assert!(outbox.aside().is_empty(), "{:?}", outbox.aside());
    let asked = asked.lock().unwrap();
    let made: Vec<&String> = asked.iter().filter(|asked| asked.starts_with("runs/create")).collect();
    assert_eq!(made[0], "runs/create a-b");
    assert_eq!(made.len(), 3);
}
