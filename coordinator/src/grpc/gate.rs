//! The gate before every service: it asks for the token that the service needs, and gives each call an id under which it
//! is found in the logs of both sides.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use distilsweep_proto::v1::workers_server;
use futures::future::{BoxFuture, FutureExt, ready};
use http::{HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use tonic::{Status, body::Body};
use tower_layer::Layer;
use tower_service::Service;
use tracing::Instrument;

use crate::access::{Access, LOCAL, Need, Refusal};

/// The header with a call's id: taken over where the caller gives one, and returned.
pub(super) const REQUEST_ID: &str = "x-request-id";

/// Bytes of an id that is taken over.
const ID_BYTES: usize = 64;

/// Who makes a call, among the extensions of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name of the token that it shows, where one is needed.
    pub name: Option<String>,
    /// The call's id.
    pub request: String,
}

impl Caller {
    /// Who makes this call, by the name of the token; `None` where none is needed, or where the one says no more than
    /// that the caller may read the state directory.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<String> {
        let name = request.extensions().get::<Self>().and_then(|caller| caller.name.clone());
        name.filter(|name| name != LOCAL)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing(_) | Refusal::Unknown(_) => Status::unauthenticated(refusal.to_string()),
            Refusal::Other(_) => Status::permission_denied(refusal.to_string()),
        }
    }
}

/// Puts the gate before a service.
#[derive(Clone, Debug)]
pub struct GateLayer(Arc<Access>);

impl GateLayer {
    /// A gate for these tokens.
    pub fn new(access: Access) -> Self {
        Self(Arc::new(access))
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { inner, access: Arc::clone(&self.0) }
    }
}

/// A service behind the gate.
#[derive(Clone, Debug)]
pub struct Gate<S> {
    inner: S,
    access: Arc<Access>,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = request_id(&request);
        // Only characters that a header may have are in it.
        let header = HeaderValue::from_str(&id).ok();
        let path = request.uri().path().to_owned();
        let name = match self.access.check(need(&path), token(&request)) {
            Ok(name) => name.map(ToOwned::to_owned),
            Err(refusal) => {
                tracing::warn!(request = id, method = path, %refusal, "refused a call");
                let mut response = Status::from(refusal).into_http();
                response.headers_mut().extend(header.map(|id| (HeaderName::from_static(REQUEST_ID), id)));
                return ready(Ok(response)).boxed();
            }
        };
        let span = tracing::info_span!("call", request = id, method = path.rsplit('/').next(), caller = name);
        request.extensions_mut().insert(Caller { name, request: id });
        let answer = self.inner.call(request).instrument(span);
        async move {
            let mut response = answer.await?;
            response.headers_mut().extend(header.map(|id| (HeaderName::from_static(REQUEST_ID), id)));
            Ok(response)
        }
        .boxed()
    }
}

/// Which token a path needs. What is not known needs a client's.
fn need(path: &str) -> Need {
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((workers_server::SERVICE_NAME, _)) => Need::Worker,
        // A machine's own checks carry no token, and learn nothing but that the coordinator serves.
        Some(("grpc.health.v1.Health", _)) => Need::Nothing,
        Some(_) | None => Need::Client,
    }
}

fn token(request: &Request<Body>) -> Option<&[u8]> {
    let value = request.headers().get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

fn request_id(request: &Request<Body>) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let sound = |id: &&str| {
        (1..=ID_BYTES).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given.filter(sound).map_or_else(|| format!("{:016x}", rand::random::<u64>()), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    #[test]
    fn only_health_needs_no_token_and_only_workers_a_workers() {
        assert_eq!(need("/distilsweep.v1.Workers/Session"), Need::Worker);
        assert_eq!(need("/distilsweep.v1.Sweeps/ListSweeps"), Need::Client);
        assert_eq!(need("/grpc.health.v1.Health/Check"), Need::Nothing);
        assert_eq!(need("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"), Need::Client);
        for odd in [
            "",
            "/",
            "//distilsweep.v1.Workers/Session",
            "/grpc.health.v1.Health",
            "/distilsweep.v1.workers/Session",
        ] {
            assert_eq!(need(odd), Need::Client, "{odd}");
        }
    }

    #[test]
    fn a_token_comes_after_bearer() {
        assert_eq!(token(&request(&[("authorization", "Bearer abc")])), Some(&b"abc"[..]));
        assert_eq!(token(&request(&[("authorization", "bearer abc")])), Some(&b"abc"[..]));
        for wrong in ["abc", "Basic abc", "Bearer"] {
            assert_eq!(token(&request(&[("authorization", wrong)])), None, "{wrong}");
        }
        assert_eq!(token(&request(&[])), None);
    }

    #[test]
    fn an_id_is_taken_over_unless_it_could_forge_a_line_of_the_log() {
        assert_eq!(request_id(&request(&[(REQUEST_ID, "ci-42.a_b")])), "ci-42.a_b");
        for odd in ["", "a b", "a\tb", "{\"x\":1}", &"x".repeat(65)] {
            let id = request_id(&request(&[(REQUEST_ID, odd)]));
            assert!(id.len() == 16 && id != odd, "{id}");
        }
    }
}
