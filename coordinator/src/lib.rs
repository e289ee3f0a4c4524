//! The coordinator: splits sweeps into trials, leases them to workers, records everything.

pub mod clock;
pub mod engine;
pub mod finite;
pub mod mlflow;
pub mod scheduler;
pub mod spec;
pub mod store;
