//! Who is let in, over real gRPC: tokens, TLS, health and reflection.

use distilsweep_proto::{
    dial::{Bearer, Coordinator as Dialled, Dial, DialError},
    exit::Exit,
};
use tonic::{Request, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::{access::Tokens, server::token_of};

const CLIENT: &str = "client-0123456789abcdef";
const WORKER: &str = "worker-0123456789abcdef";

fn guarded(state: &Path) -> ServerOptions {
    let access =
        Access { clients: Some(Tokens::one("anna", CLIENT)), workers: Some(Tokens::one("gpus", WORKER)) };
    let entry = Entry::Shared { access, tls: None, insecure: false };
    ServerOptions { entry, ..options(state, LONG) }
}

fn dialled(url: &str, token: Option<&str>) -> Dialled {
    let bearer = token.map(|token| Bearer::named(token, "test").unwrap()).unwrap_or_default();
    Dialled { bearer, ..Dial::default().coordinator(url, |_| None).unwrap() }
}

/// What a client with this token hears to a list of sweeps.
async fn list(url: &str, token: Option<&str>) -> Result<usize, Status> {
    let line = dialled(url, token).connect().await.unwrap();
    let listed = SweepsClient::new(line).list_sweeps(v1::ListSweepsRequest {}).await?;
    Ok(listed.into_inner().sweeps.len())
}

/// What a worker with this token hears to its greeting.
async fn join(url: &str, token: Option<&str>) -> Result<v1::CoordinatorMessage, Status> {
    let line = dialled(url, token).connect().await.unwrap();
    let hello = v1::Hello { worker: "w".into(), ..v1::Hello::default() };
    let greeting = tokio_stream::iter([v1::WorkerMessage { body: Some(Up::Hello(hello)) }]);
    let mut down = WorkersClient::new(line).session(greeting).await?.into_inner();
    Ok(down.message().await?.expect("a welcome"))
}

#[tokio::test]
async fn each_token_opens_its_own_service() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(guarded(state.path())).await.unwrap();
    let url = &server.url;
    assert_eq!(list(url, Some(CLIENT)).await.unwrap(), 0);
    assert!(matches!(join(url, Some(WORKER)).await.unwrap().body, Some(Down::Welcome(_))));
    for (refused, code) in [
        (list(url, None).await.unwrap_err(), Code::Unauthenticated),
        (list(url, Some("guess-0123456789abcdef")).await.unwrap_err(), Code::Unauthenticated),
        (list(url, Some(WORKER)).await.unwrap_err(), Code::PermissionDenied),
        (join(url, None).await.unwrap_err(), Code::Unauthenticated),
        (join(url, Some(CLIENT)).await.unwrap_err(), Code::PermissionDenied),
    ] {
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains("DISTILSWEEP_TOKEN"), "{refused}");
        assert!(!refused.message().contains("0123456789"), "{refused}");
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_private_coordinator_lets_in_whom_it_hands_a_token_alone() {
    let state = tempfile::tempdir().unwrap();
    let options = ServerOptions::private(state.path().to_owned(), "tester".into());
    let server = Server::start(options).await.unwrap();
    assert_eq!(list(&server.url, None).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(join(&server.url, None).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(list(&server.url, server.client.expose()).await.unwrap(), 0);
    assert!(join(&server.url, server.worker.expose()).await.is_ok());
    assert_ne!(server.client.expose(), server.worker.expose());
    assert_eq!(token_of(state.path()).unwrap().expose(), server.client.expose());
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(state.path().join("client-token")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600, "nobody else may read the token");
    server.stop().await.unwrap();
    assert!(token_of(state.path()).is_none(), "the token goes with its coordinator");
}

#[tokio::test]
async fn who_cancels_a_sweep_is_on_record() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(guarded(state.path())).await.unwrap();
    let line = dialled(&server.url, Some(CLIENT)).connect().await.unwrap();
    let mut sweeps = SweepsClient::new(line);
    let request = v1::SubmitSweepRequest {
        source: SWEEP.into(),
        file_name: "sweep.yaml".into(),
        base_directory: "/base".into(),
        ..Default::default()
    };
    sweeps.submit_sweep(request).await.unwrap();
    let status = sweeps
        .cancel_sweep(v1::CancelSweepRequest { sweep: "demo".into(), by: "root".into() })
        .await
        .unwrap();
    assert_eq!(status.into_inner().reason, "cancelled by anna");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_call_keeps_its_id_or_gets_one() {
    let coordinator = Coordinator::start(LONG).await;
    let answered = async |given: Option<&str>| {
        let mut request = Request::new(v1::ListSweepsRequest {});
        if let Some(id) = given {
            request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        }
        let answer = coordinator.sweeps.clone().list_sweeps(request).await.unwrap();
        answer.metadata().get("x-request-id").unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(answered(Some("ci-42")).await, "ci-42");
    let made_up = answered(None).await;
    assert_eq!(made_up.len(), 16);
    assert_ne!(answered(None).await, made_up);
}

#[tokio::test]
async fn health_is_told_without_a_token() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(guarded(state.path())).await.unwrap();
    let channel = Endpoint::from_shared(server.url.clone()).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    for service in ["", "distilsweep.v1.Sweeps", "distilsweep.v1.Workers"] {
        let request = HealthCheckRequest { service: service.into() };
        let mut watched = health.watch(request).await.unwrap().into_inner();
        // Before the engine was looked at for the first time it is not known.
        let serving = async {
            loop {
                let status = watched.message().await.unwrap().expect("goes on").status();
                if status == ServingStatus::Serving {
                    return;
                }
            }
        };
        timeout(PATIENCE, serving).await.expect("it serves");
    }
    let request = HealthCheckRequest { service: "other".into() };
    assert_eq!(health.check(request).await.unwrap_err().code(), Code::NotFound);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_services_describe_themselves() {
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let coordinator = Coordinator::start(LONG).await;
    let channel = Endpoint::from_shared(coordinator.server.url.clone()).unwrap().connect().await.unwrap();
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    let names: Vec<String> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["distilsweep.v1.Sweeps", "distilsweep.v1.Workers", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{name} is not among {names:?}");
    }
}

#[tokio::test]
async fn off_loopback_nothing_is_served_without_tokens_and_tls() {
    let state = tempfile::tempdir().unwrap();
    let everywhere = ServerOptions { listen: ([0, 0, 0, 0], 0).into(), ..options(state.path(), LONG) };
    let error = Server::start(everywhere).await.unwrap_err();
    insta::assert_snapshot!(error, @"0.0.0.0:0 can be reached from other machines and --client-token-file, --worker-token-file and --tls-cert with --tls-key are missing: without, strangers could start sweeps, join as workers or read along; --insecure serves it so all the same");
    let everywhere = ServerOptions { listen: ([0, 0, 0, 0], 0).into(), ..guarded(state.path()) };
    let error = Server::start(everywhere).await.unwrap_err();
    insta::assert_snapshot!(error, @"0.0.0.0:0 can be reached from other machines and --tls-cert with --tls-key is missing: without, strangers could start sweeps, join as workers or read along; --insecure serves it so all the same");
    let entry = Entry::Shared { access: Access::default(), tls: None, insecure: true };
    let insecure = ServerOptions { listen: ([0, 0, 0, 0], 0).into(), entry, ..options(state.path(), LONG) };
    let server = Server::start(insecure).await.unwrap();
    let near = server.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(list(&near, None).await.unwrap(), 0);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn plain_text_to_a_plain_port_is_unreachable_when_nobody_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = dialled(&format!("http://{free}"), None).connect().await.unwrap_err();
    assert!(matches!(error, DialError::Unreachable { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Unreachable);
}
