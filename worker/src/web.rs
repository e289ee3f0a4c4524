//! Plain HTTP for a machine's own eyes: `/healthz` and `/readyz`. It reads how the session stands, and changes nothing.

use std::{io, net::SocketAddr};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::{net::TcpListener, sync::watch};

use crate::session::Standing;

/// Its address is taken, or not of this machine.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}: choose another with --http HOST:PORT, port 0 takes a free one"
)]
pub struct WebError {
    address: SocketAddr,
    source: io::Error,
}

/// Answers on `address` from now on, until the runtime ends.
///
/// # Errors
/// The address cannot be used.
pub async fn serve(address: SocketAddr, standing: watch::Receiver<Standing>) -> Result<(), WebError> {
    let unusable = |source| WebError { address, source };
    let listener = TcpListener::bind(address).await.map_err(unusable)?;
    let http = format!("http://{}", listener.local_addr().map_err(unusable)?);
    tracing::info!(http, "answering for health");
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, pages(standing)).await {
            tracing::error!(%error, "health ended");
        }
    });
    Ok(())
}

/// A worker lives though its coordinator may not: probes that restarted it for that would throw its training away.
fn pages(standing: watch::Receiver<Standing>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(standing)
}

async fn ready(State(standing): State<watch::Receiver<Standing>>) -> (StatusCode, &'static str) {
    match *standing.borrow() {
        Standing::Connecting => (StatusCode::SERVICE_UNAVAILABLE, "connecting\n"),
        Standing::Ready => (StatusCode::OK, "ready\n"),
        Standing::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}
