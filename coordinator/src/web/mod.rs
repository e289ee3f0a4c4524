//! Plain HTTP for a machine's own eyes: `/healthz`, `/readyz` and `/metrics`. Nothing that is secret is in it, and it
//! changes nothing; it owns no state.

mod metrics;
mod process;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::{sync::watch, time::timeout};

use crate::engine::EngineHandle;

/// An engine that does not answer for so long does not commit.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Pages {
    engine: EngineHandle,
    stopping: watch::Receiver<bool>,
}

/// The pages of an engine; `stopping` turns true when it is told to stop.
pub fn pages(engine: EngineHandle, stopping: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(measured))
        .with_state(Arc::new(Pages { engine, stopping }))
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
