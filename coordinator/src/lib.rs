//! The coordinator: splits sweeps into trials, leases them to workers, records everything.

pub mod access;
pub mod card;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod finite;
mod garbage;
pub mod grpc;
pub mod look;
pub mod mlflow;
pub mod naming;
pub mod published;
pub mod results;
pub mod scheduler;
pub mod search;
pub mod server;
pub mod spec;
pub mod store;
mod supervise;
mod text;
pub mod times;
pub mod web;
