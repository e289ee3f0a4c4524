//! HTTP for a machine's own eyes (`/healthz`, `/readyz`, `/metrics`) and for people's (`/`): sweeps as pages, live, with
//! nothing from elsewhere. It owns no state but signed-in browsers and what it has already drawn; what it changes it orders
//! of the engine, as the services do.

mod asked;
mod guard;
mod live;
mod metrics;
mod orders;
mod pages;
mod process;
mod sections;
mod shown;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{
            CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
        },
    },
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{sync::watch, time::timeout};

use crate::{
    access::Tokens,
    engine::EngineHandle,
    results::html::{CHARTS, STYLE},
};
use guard::Guard;
use shown::Drawn;

/// An engine that does not answer for so long does not commit.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything that a page may load or do: what this server has, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

const APP: &str = include_str!("app.js");
const ICON: &str = include_str!("icon.svg");

/// What the pages need to know besides the engine.
#[derive(Debug)]
pub struct Options {
    /// Tokens of clients; nobody may order anything where there are none.
    pub clients: Option<Tokens>,
    /// Where the pages are served.
    pub address: SocketAddr,
    /// Where runs are recorded; empty where they are not yet.
    pub mlflow_url: String,
    /// Who orders what is ordered with the token that the coordinator made up.
    pub user: String,
}

#[derive(Debug)]
struct Pages {
    engine: EngineHandle,
    stopping: watch::Receiver<bool>,
    guard: Guard,
    drawn: Drawn,
    mlflow_url: String,
}

/// The pages of an engine; `stopping` turns true when it is told to stop.
pub fn pages(engine: EngineHandle, stopping: watch::Receiver<bool>, options: Options) -> Router {
    let Options { clients, address, mlflow_url, user } = options;
    let guard = Guard::new(clients, address, user);
    let pages = Arc::new(Pages { engine, stopping, guard, drawn: Drawn::default(), mlflow_url });
    let for_people = Router::new()
        .route("/", get(pages::sweeps))
        .route("/live", get(live::all))
        .route("/sections/{section}", get(pages::sweeps_section))
        .route("/sweeps/{sweep}", get(pages::sweep))
        .route("/sweeps/{sweep}/live", get(live::one))
        .route("/sweeps/{sweep}/sections/{section}", get(pages::sweep_section))
        .route("/sweeps/{sweep}/trials/{trial}", get(pages::trial))
        .route("/sweeps/{sweep}/trials/{trial}/sections/{section}", get(pages::trial_section))
        .route("/sweeps/{sweep}/{order}", post(orders::sweep))
        .route("/sweeps/{sweep}/trials/{trial}/{order}", post(orders::trial))
        .route("/sign-out", post(guard::sign_out))
        .layer(middleware::from_fn_with_state(Arc::clone(&pages), guard::guarded));
    Router::new()
        .merge(for_people)
        .route("/sign-in", get(guard::sign_in_page).post(guard::sign_in))
        .route("/assets/icon.svg", get(|| async { asset("image/svg+xml", ICON.to_owned()) }))
        .route("/assets/style.css", get(|| async { asset("text/css; charset=utf-8", STYLE.to_owned()) }))
        .route(
            "/assets/app.js",
            get(|| async { asset("text/javascript; charset=utf-8", format!("{CHARTS}\n{APP}")) }),
        )
        .fallback(|| async { asked::Refused::nowhere("there is no such page").into_response() })
        .layer(middleware::map_response(protected))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .with_state(pages)
}

/// A response with what keeps a browser from being led astray.
async fn protected(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Without any a browser names no origin when it sends a form, and orders could not be told from forged ones.
        (REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Assets go with the program: asked for again after an hour at most, so that an upgrade is seen.
fn asset(kind: &'static str, text: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "private, max-age=3600")], text)
}

/// Whether an engine takes commands and commits, and nobody stops it.
pub async fn is_ready(engine: &EngineHandle, stopping: &watch::Receiver<bool>) -> bool {
    !*stopping.borrow() && matches!(timeout(PATIENCE, engine.census()).await, Ok(Ok(_)))
}

async fn ready(State(pages): State<Arc<Pages>>) -> impl IntoResponse {
    if *pages.stopping.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if is_ready(&pages.engine, &pages.stopping).await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the engine does not commit\n")
    }
}

async fn measured(State(pages): State<Arc<Pages>>) -> impl IntoResponse {
    let text = metrics::text(&pages.engine).await;
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
