//! What answers mean, and that each cloud is asked as it wants to be: by services of the loopback that insist on it.

use axum::{
    Router,
    http::HeaderMap,
    routing::{get, put},
};
use tokio::net::TcpListener;

use super::*;

fn answer(status: StatusCode, body: &str) -> Answer {
    Answer { url: Url::parse("http://here/notice").unwrap(), status, body: body.to_owned() }
}

#[test]
fn a_source_is_a_cloud_a_path_or_a_page() {
    let parse = |text: &str| text.parse::<Source>();
    assert!(matches!(parse("aws"), Ok(Source::Aws(base)) if base.as_str() == "http://169.254.169.254/"));
    assert!(
        matches!(parse("gcp"), Ok(Source::Google(base)) if base.as_str() == "http://metadata.google.internal/")
    );
    assert!(matches!(parse("azure"), Ok(Source::Azure(base)) if base.as_str() == "http://169.254.169.254/"));
    assert_eq!(parse("./notice"), Ok(Source::File("./notice".into())));
    assert!(matches!(parse("http://127.0.0.1:1/x"), Ok(Source::Page(_))));
    for wrong in ["awz", "", "https://here/notice", "http://"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_page_gives_notice_by_having_something_to_say() {
    for nothing in ["", "FALSE", "None", "NONE"] {
        assert_eq!(answer(StatusCode::OK, nothing).notice().unwrap(), None, "{nothing}");
    }
    assert_eq!(answer(StatusCode::NOT_FOUND, "no such page").notice().unwrap(), None);
    let action = r#"{"action": "terminate", "time": "2026-11-28T08:22:00Z"}"#;
    let noticed = answer(StatusCode::OK, action).notice().unwrap();
    assert_eq!(noticed.unwrap(), format!("http://here/notice says {action}"));
}

#[test]
fn an_answer_that_is_a_fault_is_no_notice() {
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::UNAUTHORIZED, StatusCode::FOUND] {
        let why = answer(status, "TRUE").notice().unwrap_err();
        assert_eq!(why.to_string(), format!("http://here/notice answers {status}"));
    }
    assert!(answer(StatusCode::OK, "<html>").preempts("vm_0").is_err());
}

/// Azure's list with one event for `vm_1`.
fn events(kind: &str) -> String {
    format!(
        r#"{{"DocumentIncarnation": 2, "Events": [{{"EventId": "f0", "EventType": "{kind}", "ResourceType":
        "VirtualMachine", "Resources": ["vm_1"], "EventStatus": "Scheduled", "NotBefore":
        "Sat, 28 Nov 2026 08:22:00 GMT", "EventSource": "Platform"}}]}}"#
    )
}

#[test]
fn azure_preempts_the_machine_that_its_event_names_and_no_other() {
    let noticed = |body: &str, machine: &str| answer(StatusCode::OK, body).preempts(machine).unwrap();
    assert_eq!(noticed(r#"{"DocumentIncarnation": 1, "Events": []}"#, "vm_1"), None);
    assert_eq!(noticed(&events("Preempt"), "vm_0"), None);
    assert_eq!(noticed(&events("Freeze"), "vm_1"), None);
    let words = "vm_1 is preempted, not before Sat, 28 Nov 2026 08:22:00 GMT";
    assert_eq!(noticed(&events("Preempt"), "VM_1").unwrap().to_lowercase(), words.to_lowercase());
}

/// A service on the loopback, for as long as the test's runtime.
async fn service(pages: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, pages).await });
    url.parse().unwrap()
}

/// `body` for who shows this header, and a refusal for everybody else.
fn for_who_shows(headers: &HeaderMap, name: &str, value: &str, body: &str) -> (StatusCode, String) {
    match headers.get(name).is_some_and(|shown| shown == value) {
        true => (StatusCode::OK, body.to_owned()),
        false => (StatusCode::FORBIDDEN, String::new()),
    }
}

async fn ask(source: Source) -> Option<String> {
    source.ask(&plain::client(PATIENCE).unwrap()).await.unwrap()
}

#[tokio::test]
async fn amazon_is_asked_with_a_token_of_its_own() {
    const ACTION: &str = r#"{"action": "stop", "time": "2026-11-28T08:22:00Z"}"#;
    let token = put(async |headers: HeaderMap| {
        for_who_shows(&headers, "x-aws-ec2-metadata-token-ttl-seconds", "60", "sesame")
    });
    let calm = service(Router::new().route("/latest/api/token", token.clone())).await;
    assert_eq!(ask(Source::Aws(calm)).await, None);
    let action =
        get(async |headers: HeaderMap| for_who_shows(&headers, "x-aws-ec2-metadata-token", "sesame", ACTION));
    let pages = Router::new()
        .route("/latest/api/token", token)
        .route("/latest/meta-data/spot/instance-action", action);
    assert!(ask(Source::Aws(service(pages).await)).await.unwrap().ends_with(ACTION));
}

#[tokio::test]
async fn google_is_asked_in_its_flavour() {
    for (body, noticed) in [("FALSE", false), ("TRUE", true)] {
        let preempted =
            get(async move |headers: HeaderMap| for_who_shows(&headers, "metadata-flavor", "Google", body));
        let base = service(Router::new().route("/computeMetadata/v1/instance/preempted", preempted)).await;
        assert_eq!(ask(Source::Google(base)).await.is_some(), noticed, "{body}");
    }
}

#[tokio::test]
async fn azure_is_asked_for_the_machines_name_and_its_events() {
    for (name, noticed) in [("vm_0", false), ("vm_1", true)] {
        let named = get(async move |headers: HeaderMap| for_who_shows(&headers, "metadata", "true", name));
        let scheduled =
            get(async |headers: HeaderMap| for_who_shows(&headers, "metadata", "true", &events("Preempt")));
        let pages = Router::new()
            .route("/metadata/instance/compute/name", named)
            .route("/metadata/scheduledevents", scheduled);
        assert_eq!(ask(Source::Azure(service(pages).await)).await.is_some(), noticed, "{name}");
    }
}
