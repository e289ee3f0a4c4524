//! The drainer against a scripted server: what a refusal, a login or a silent server does to which rows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    client, create, curve, finish,
    http::{Request, holds, scripted, serve},
    memory::Memory,
    params, steady, tags,
};
use crate::mlflow::{
    drain::{Drained, drain, drain_until_empty},
    error::MlflowError,
};

fn in_seconds(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_sweep_is_told_parent_first_and_its_end_last() {
    let (address, asked) = scripted(|_| None).await;
    let outbox = Memory::holding([
        create("e", "s"),
        create("e", "s/0"),
        params("s/0", &[("lr", "5e-05")]),
        finish("s/0"),
        finish("s"),
    ]);
    let drained = drain_until_empty(&outbox, &client(&address), steady, in_seconds(20)).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    insta::assert_snapshot!(asked.lock().unwrap().join("\n"), @r"
        experiments/get-by-name -
        runs/search -
        runs/create s
        experiments/get-by-name -
        runs/search -
        runs/create s-0
        runs/log-batch s-0
        runs/update s-0
        runs/update s
        ");
    assert_eq!(outbox.ids("s/0").unwrap().run_id, "s-0");
}

#[tokio::test]
async fn a_refused_row_is_found_among_its_neighbours_and_alone_set_aside() {
    let refusal = r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"bad"}"#;
    let (address, asked) = scripted(move |request| holds(request, "poison").then_some((400, refusal))).await;
    let outbox = Memory::holding([
        create("e", "s"),
        create("e", "s/0"),
        tags("s/0", &[("good", "1")]),
        tags("s/0", &[("poison", "1")]),
        tags("s/0", &[("better", "1")]),
        create("e", "s/1"),
        tags("s/1", &[("unmoved", "1")]),
    ]);
    let drained = drain_until_empty(&outbox, &client(&address), steady, in_seconds(20)).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    let reason = format!("MLflow at {address} refused runs/log-batch (400): INVALID_PARAMETER_VALUE: bad");
    assert_eq!(outbox.aside(), [(4, reason)]);
    let batches = asked.lock().unwrap().iter().filter(|asked| *asked == "runs/log-batch s-0").count();
    assert_eq!(batches, 4, "together, good, poison, better");
}

#[tokio::test]
async fn what_hangs_on_a_refused_run_is_set_aside_with_the_reason() {
    let (address, _) = scripted(|request| {
        (request.call() == "runs/create" && holds(request, r#""run_name":"s""#)).then_some((400, "no"))
    })
    .await;
    let outbox = Memory::holding([create("e", "s"), create("e", "s/0"), finish("s/0"), create("e", "t")]);
    let drained = drain_until_empty(&outbox, &client(&address), steady, in_seconds(20)).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    let aside: Vec<String> =
        outbox.aside().into_iter().map(|(id, reason)| format!("{id} {reason}")).collect();
    insta::assert_snapshot!(aside.join("\n").replace(&address, "ADDRESS"), @r"
        1 MLflow at ADDRESS refused runs/create (400): no
        2 MLflow did not take the creation of run `s`, its parent
        3 MLflow did not take the creation of run `s/0`
        ");
    assert!(outbox.ids("t").is_some());
}

#[tokio::test]
async fn a_wanted_login_keeps_every_row_and_ends_draining_at_once() {
    let (address, _) = scripted(|_| Some((401, "You are not authenticated."))).await;
    let outbox = Memory::holding([create("e", "s"), create("e", "s/0"), finish("s")]);
    let began = Instant::now();
    let drained = drain_until_empty(&outbox, &client(&address), steady, in_seconds(60)).await.unwrap();
    assert_eq!(drained, Drained::Waiting(Some(MlflowError::Unauthorized { address })));
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(outbox.left(), [1, 2, 3]);
}

#[tokio::test]
async fn a_busy_run_keeps_neither_its_rows_from_their_order_nor_others_from_going_on() {
    let (address, asked) = scripted({
        let busy = Mutex::new(2);
        move |request| {
            let mut left = busy.lock().unwrap();
            (*left > 0 && holds(request, "slow")).then(|| {
                *left -= 1;
                (503, r#"{"error_code":"TEMPORARILY_UNAVAILABLE","message":"database is locked"}"#)
            })
        }
    })
    .await;
    let outbox = Memory::holding([
        create("e", "s"),
        create("e", "s/0"),
        tags("s/0", &[("slow", "1")]),
        finish("s/0"),
        create("e", "s/1"),
        finish("s/1"),
    ]);
    let drained = drain_until_empty(&outbox, &client(&address), steady, in_seconds(30)).await.unwrap();
    assert_eq!(drained, Drained::Empty);
    let asked = asked.lock().unwrap();
    let of = |run: &str| -> Vec<&str> {
        asked
            .iter()
            .filter_map(|asked| asked.split_once(' ').filter(|(_, r)| *r == run))
            .map(|(c, _)| c)
            .collect()
    };
    let busy = ["runs/create", "runs/log-batch", "runs/log-batch", "runs/log-batch", "runs/update"];
    assert_eq!(of("s-0"), busy);
    let last = asked.iter().rposition(|asked| asked == "runs/update s-1").unwrap();
    assert!(last < asked.iter().rposition(|asked| asked == "runs/update s-0").unwrap(), "{asked:?}");
}

#[tokio::test]
async fn without_a_server_the_rows_stay_and_the_wait_is_not_a_spin() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let outbox = Memory::holding([create("e", "s"), create("e", "s/0"), finish("s/0"), finish("s")]);
    let client = client(&format!("http://127.0.0.1:{port}"));
    let drained = drain_until_empty(&outbox, &client, steady, in_seconds(2)).await.unwrap();
    assert!(matches!(drained, Drained::Waiting(Some(MlflowError::Unreachable { .. }))), "{drained:?}");
    assert_eq!(outbox.left(), [1, 2, 3, 4]);
    assert!(outbox.batches() < 20, "{} batches in two seconds", outbox.batches());
}

#[tokio::test]
async fn rows_that_come_while_draining_are_told_until_shutdown() {
    let (address, asked) = scripted(|_| None).await;
    let outbox = Memory::holding([create("e", "s")]);
    let client = client(&address);
    let driver = async {
        for step in 0..3 {
            outbox.add([curve("s", step..step + 1, |_| 0.5)]);
            while !outbox.left().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let driver = tokio::time::timeout(Duration::from_secs(30), driver);
    let shutdown = async { driver.await.expect("told in time") };
    drain(&outbox, &client, steady, shutdown).await.unwrap();
    // Rows are told together where they come together, so that there may be fewer calls than rows.
    let batches = asked.lock().unwrap().iter().filter(|asked| asked.starts_with("runs/log-batch")).count();
    assert_eq!(batches, 3);
}

#[tokio::test]
async fn calls_carry_the_login_and_never_an_origin() {
    let headers = Arc::new(Mutex::new(Vec::new()));
    let seen = headers.clone();
    let address = serve(move |request: Request| {
        seen.lock().unwrap().extend(request.headers);
        async { Some((200, br#"{"experiment":{"experiment_id":"0"}}"#.to_vec())) }
    })
    .await;
    for login in [format!("http://ada:secret@{}", &address[7..]), address] {
        client(&login).check().await.unwrap();
    }
    let headers = headers.lock().unwrap();
    let all = |name: &str| -> Vec<&str> {
        headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    };
    assert_eq!(all("authorization"), ["Basic YWRhOnNlY3JldA=="]);
    assert!(all("origin").is_empty() && all("content-encoding").is_empty());
}
