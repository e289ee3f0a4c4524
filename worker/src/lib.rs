//! The worker: trains trials under leases from a coordinator, or one without any.

pub mod cli;
pub mod clock;
pub mod convert;
pub mod ledger;
pub mod link;
pub mod publish;
pub mod runtime;
pub mod scripted;
pub mod session;
pub mod trainer;
pub mod wire;
