//! The coordinator: splits sweeps into trials, leases them to workers, records everything.

pub mod scheduler;
