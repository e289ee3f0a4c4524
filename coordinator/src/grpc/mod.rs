//! The gRPC services: they validate, ask the engine and convert; they decide nothing.

pub mod convert;
mod sweeps;
#[cfg(test)]
mod tests;
mod workers;

use distilsweep_proto::v1::{sweeps_server::SweepsServer, workers_server::WorkersServer};
use tonic::transport::{Server, server::Router};

pub use sweeps::is_final;

use crate::engine::EngineHandle;

/// Both services over one engine, ready to be served on any kind of connection.
pub fn router(engine: EngineHandle, mlflow_url: String) -> Router {
    Server::builder()
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(10)))
        .add_service(WorkersServer::new(workers::WorkersService::new(engine.clone())))
        .add_service(SweepsServer::new(sweeps::SweepsService::new(engine, mlflow_url)))
}
