//! Who may look, and who may order.
//!
//! ```text
//!                      may look     may order
//!   no client tokens   everybody    nobody
//!   on loopback        everybody    who is signed in
//!   elsewhere          signed in    who is signed in
//! ```

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    extract::{Request, State},
    http::{
        HeaderMap, Method, StatusCode, Uri,
        header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, SET_COOKIE},
    },
    middleware::Next,
    response::{Html, IntoResponse, Redirect, Response},
};
use url::form_urlencoded;

use super::{Pages, asked::Refused, pages::shell};
use crate::access::{LOCAL, Tokens};

const SESSION: &str = "distilsweep-session";
/// Browsers that are signed in at a time; the one that was first goes.
const SESSIONS: usize = 256;

/// Who is let in.
#[derive(Debug)]
pub(super) struct Guard {
    clients: Option<Tokens>,
    loopback: bool,
    user: String,
    sessions: Mutex<VecDeque<Tokens>>,
}

/// Who asks, among the extensions of a request; nobody where he is not signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    /// Whose name the journal has.
    pub(super) name: Option<String>,
    /// Whether there is anything to sign in with.
    pub(super) may_sign_in: bool,
}

impl Guard {
    pub(super) fn new(clients: Option<Tokens>, address: SocketAddr, user: String) -> Self {
        let loopback = address.ip().to_canonical().is_loopback();
        Self { clients, loopback, user, sessions: Mutex::default() }
    }

    /// The name behind a cookie of a session, or behind a token.
    fn name(&self, headers: &HeaderMap) -> Option<String> {
        let clients = self.clients.as_ref()?;
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if let Some(name) = bearer.and_then(|token| clients.name_of(token)) {
            return Some(self.own(name));
        }
        let session = cookie(headers, SESSION)?;
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter().find_map(|one| one.name_of(session.as_bytes()).map(ToOwned::to_owned))
    }

    /// The token that was made up for whoever may read the state directory says nothing of who that is.
    fn own(&self, name: &str) -> String {
        if name == LOCAL { self.user.clone() } else { name.to_owned() }
    }

    /// Begins a session for the holder of a token.
    fn begin(&self, token: &str, session: &str) -> bool {
        let Some(name) = self.clients.as_ref().and_then(|clients| clients.name_of(token.as_bytes())) else {
            return false;
        };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS {
            sessions.pop_front();
        }
        sessions.push_back(Tokens::one(&self.own(name), session));
        true
    }

    fn end(&self, headers: &HeaderMap) {
        let Some(session) = cookie(headers, SESSION) else { return };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|one| one.name_of(session.as_bytes()).is_none());
    }

    fn open(&self) -> bool {
        self.clients.is_none() || self.loopback
    }

    /// Whether a request asks for this server by a name of its own: on loopback a page from elsewhere may have had its
    /// name resolved to here.
    fn meant(&self, headers: &HeaderMap) -> bool {
        !self.loopback || headers.get(HOST).and_then(|host| host.to_str().ok()).is_some_and(is_local)
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let all = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Whether a form was sent from a page of this server.
fn from_here(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let fetched = text("sec-fetch-site").is_none_or(|site| site == "same-origin");
    let origin = headers.get(ORIGIN).is_none_or(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.split_once("://").map(|(_, host)| host) == text("host")
    });
    fetched && origin
}

/// Lets a request through, with who makes it.
pub(super) async fn guarded(State(pages): State<Arc<Pages>>, mut request: Request, next: Next) -> Response {
    let guard = &pages.guard;
    let headers = request.headers();
    if !guard.meant(headers) {
        let sentence = "these pages are asked for by another name than this machine's own";
        return Refused::new(StatusCode::MISDIRECTED_REQUEST, sentence).into_response();
    }
    let name = guard.name(headers);
    let changes = request.method() != Method::GET && request.method() != Method::HEAD;
    if changes && !from_here(headers) {
        let sentence = "an order is given from a page of this coordinator alone";
        return Refused::new(StatusCode::FORBIDDEN, sentence).into_response();
    }
    if name.is_none() && (changes || !guard.open()) {
        if guard.clients.is_none() {
            let sentence =
                "without client tokens these pages only show: start the coordinator with --client-token-file";
            return Refused::new(StatusCode::FORBIDDEN, sentence).into_response();
        }
        return Redirect::to(&sign_in_at(request.uri(), changes)).into_response();
    }
    request.extensions_mut().insert(Visitor { name, may_sign_in: guard.clients.is_some() });
    next.run(request).await
}

fn sign_in_at(uri: &Uri, changes: bool) -> String {
    let to = if changes { "/" } else { uri.path_and_query().map_or("/", |path| path.as_str()) };
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("to", to).finish();
    format!("/sign-in?{query}")
}

/// A path of this server, whatever was asked for.
fn local(to: &str) -> &str {
    if to.starts_with('/') && !to.starts_with("//") && !to.contains('\\') { to } else { "/" }
}

fn field(text: &[u8], wanted: &str) -> String {
    let found = form_urlencoded::parse(text).find(|(key, _)| key == wanted);
    found.map_or_else(String::new, |(_, value)| value.trim().to_owned())
}

fn form(to: &str, wrong: bool) -> Html<String> {
    let wrong = if wrong {
        "<p class=\"wrong\" role=\"alert\">This is no client's token of this coordinator.</p>\n"
    } else {
        ""
    };
    let to = crate::results::html::escaped(to);
    let body = format!(
        "<h1>Sign in</h1>\n{wrong}<form class=\"narrow\" method=\"post\" action=\"/sign-in\">\n\
         <input type=\"hidden\" name=\"to\" value=\"{to}\">\n<label for=\"token\">A client's token</label>\n\
         <input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"current-password\" required autofocus>\n\
         <button>Sign in</button>\n</form>\n<p class=\"dim\">The one that <code>--client-token-file</code> or \
         <code>DISTILSWEEP_CLIENT_TOKEN</code> gave; of <code>distilsweep run</code> it is in the file \
         <code>client-token</code> of the state directory.</p>\n"
    );
    Html(shell("Sign in", None, "", &body))
}

/// Asks for a token.
pub(super) async fn sign_in_page(uri: Uri) -> Html<String> {
    form(local(&field(uri.query().unwrap_or_default().as_bytes(), "to")), false)
}

/// Takes a token and begins a session.
pub(super) async fn sign_in(State(pages): State<Arc<Pages>>, headers: HeaderMap, body: Bytes) -> Response {
    if !from_here(&headers) || !pages.guard.meant(&headers) {
        return Refused::new(StatusCode::FORBIDDEN, "sign in from this coordinator's own page")
            .into_response();
    }
    let to = field(&body, "to");
    let to = local(&to);
    let session = distilsweep_proto::hex::hex(&rand::random::<[u8; 32]>());
    if !pages.guard.begin(&field(&body, "token"), &session) {
        tracing::warn!("refused to sign a browser in");
        return (StatusCode::UNAUTHORIZED, form(to, true)).into_response();
    }
    let cookie = format!("{SESSION}={session}; HttpOnly; SameSite=Strict; Path=/");
    ([(SET_COOKIE, cookie)], Redirect::to(to)).into_response()
}

/// Ends a session.
pub(super) async fn sign_out(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    pages.guard.end(&headers);
    let cookie = format!("{SESSION}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "client-0123456789abcdef";

    fn guard(address: &str) -> Guard {
        let clients = Tokens::parse(&format!("anna: {TOKEN}"), "tokens").unwrap();
        Guard::new(Some(clients), address.parse().unwrap(), "ada".to_owned())
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_session_begins_with_a_token_and_ends() {
        let guard = guard("10.0.0.1:7071");
        assert!(!guard.open() && !guard.begin("guess", "session-1"));
        assert!(guard.begin(TOKEN, "session-1"));
        let signed_in = headers(&[("cookie", "a=b; distilsweep-session=session-1")]);
        assert_eq!(guard.name(&signed_in).as_deref(), Some("anna"));
        assert_eq!(guard.name(&headers(&[("cookie", "distilsweep-session=session-2")])), None);
        guard.end(&signed_in);
        assert_eq!(guard.name(&signed_in), None);
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let guard = guard("127.0.0.1:7071");
        for session in 0..=SESSIONS {
            assert!(guard.begin(TOKEN, &format!("session-{session}")));
        }
        let of = |session: usize| headers(&[("cookie", &format!("distilsweep-session=session-{session}"))]);
        assert_eq!((guard.name(&of(0)), guard.name(&of(SESSIONS)).as_deref()), (None, Some("anna")));
    }

    #[test]
    fn a_form_of_another_site_is_told_apart() {
        assert!(from_here(&headers(&[])));
        assert!(from_here(&headers(&[
            ("host", "a:1"),
            ("origin", "http://a:1"),
            ("sec-fetch-site", "same-origin")
        ])));
        assert!(!from_here(&headers(&[("host", "a:1"), ("origin", "http://evil")])));
        assert!(!from_here(&headers(&[("host", "a:1"), ("origin", "null")])));
        assert!(!from_here(&headers(&[("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn on_loopback_only_its_own_names_are_answered() {
        for own in ["localhost:7071", "127.0.0.1:7071", "[::1]:7071", "localhost"] {
            assert!(is_local(own), "{own}");
        }
        for other in ["evil.example:7071", "10.0.0.1", "localhost.evil.example", ""] {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn nobody_is_led_elsewhere_by_signing_in() {
        assert_eq!(
            ["/sweeps/a", "//evil", "https://evil", "/\\evil"].map(local),
            ["/sweeps/a", "/", "/", "/"]
        );
    }
}
