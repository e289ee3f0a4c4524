//! A bad network before MLflow: every request fails when it is seen for the first time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::http::serve;

/// What the network does to a request that it sees for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The server does it and the answer becomes an error.
    AnswerReplaced,
    /// The server does it and the connection breaks.
    AnswerLost,
    /// The connection breaks before the server sees it.
    RequestLost,
}

/// How often each fault befell each call.
pub(super) type Fired = Arc<Mutex<BTreeMap<(String, Fault), usize>>>;

/// Stands before the server at `upstream`; answers its own address.
pub(super) async fn lossy(upstream: &str) -> (String, Fired) {
    let fired = Fired::default();
    let seen: Mutex<BTreeMap<String, Vec<Vec<u8>>>> = Mutex::default();
    let upstream = upstream.to_owned();
    let http = reqwest::Client::new();
    let log = fired.clone();
    let address = serve(move |request| {
        let what = format!("{} {}", request.method, request.call());
        let fault = {
            let mut seen = seen.lock().unwrap();
            let before = seen.entry(what.clone()).or_default();
            let identity = [request.target.as_bytes(), &request.body].concat();
            let first = !before.contains(&identity);
            let faults = [Fault::AnswerReplaced, Fault::AnswerLost, Fault::RequestLost];
            let fault = first.then(|| faults[before.len() % 3]);
            if first {
                before.push(identity);
            }
            fault
        };
        if let Some(fault) = fault {
            *log.lock().unwrap().entry((what, fault)).or_default() += 1;
        }
        let method = request.method.parse().unwrap();
        let mut forward = http.request(method, format!("{upstream}{}", request.target));
        for (name, value) in &request.headers {
            if name == "content-type" {
                forward = forward.header(name, value);
            }
        }
        async move {
            if fault == Some(Fault::RequestLost) {
                return None;
            }
            let answer = forward.body(request.body).send().await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.bytes().await.unwrap().to_vec();
            match fault {
                Some(Fault::AnswerReplaced) => Some((500, b"<!doctype html>".to_vec())),
                Some(Fault::AnswerLost | Fault::RequestLost) => None,
                None => Some((status, body)),
            }
        }
    })
    .await;
    (address, fired)
}
