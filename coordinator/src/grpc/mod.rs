//! The gRPC services: they validate, ask the engine and convert; they decide nothing.

pub mod convert;
pub mod detail;
mod gate;
pub mod limits;
mod orders;
mod rate;
pub mod results;
pub mod scaler;
mod sweeps;
#[cfg(test)]
mod tests;
mod workers;

use distilsweep_proto::{
    dial::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
    limits::UP_BYTES,
    v1::{self, sweeps_server::SweepsServer, workers_server::WorkersServer},
};
use tonic::transport::{Server, server::Router};
use tonic_health::server::HealthReporter;
use tower_layer::{Identity, Stack};

pub use gate::{Caller, GateLayer};
pub(crate) use orders::changed;
pub use rate::Rate;
pub use sweeps::is_final;

use crate::{
    access::{Access, TlsError, TlsFiles},
    engine::EngineHandle,
};

/// Calls and streams that are under way on one connection, at most.
const STREAMS: u32 = 256;
/// Bytes of a call's headers, at most.
const HEADER_BYTES: u32 = 16 << 10;

/// What the services need to know besides the engine.
#[derive(Debug)]
pub struct Options {
    /// Where runs are recorded; empty where they are not yet.
    pub mlflow_url: String,
    /// URL under which workers publish.
    pub store_url: String,
    /// Who may call.
    pub access: Access,
    /// Files for TLS; `None` serves plain text.
    pub tls: Option<TlsFiles>,
    /// What one worker may send.
    pub rate: Rate,
    /// Workers that are connected at a time.
    pub max_workers: usize,
}

/// All services over one engine, ready to be served on any kind of connection, and what tells of their health.
///
/// # Errors
/// Where TLS cannot be served with the files.
pub fn router(
    engine: EngineHandle,
    options: Options,
) -> Result<(Router<Stack<GateLayer, Identity>>, HealthReporter), TlsError> {
    let Options { mlflow_url, store_url, access, tls, rate, max_workers } = options;
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(STREAMS)
        .http2_max_header_list_size(HEADER_BYTES);
    if let Some(tls) = tls {
        server = tls.serve(server)?;
    }
    let workers = workers::WorkersService::new(engine.clone(), store_url, rate, max_workers);
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut router = server
        .layer(GateLayer::new(access))
        .add_service(WorkersServer::new(workers).max_decoding_message_size(UP_BYTES))
        .add_service(
            SweepsServer::new(sweeps::SweepsService::new(engine, mlflow_url))
                .max_decoding_message_size(UP_BYTES),
        )
        .add_service(health);
    // Our own build made the description: it is well-formed.
    if let Ok(reflection) = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(v1::DESCRIPTION)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
    {
        router = router.add_service(reflection);
    }
    Ok((router, reporter))
}
