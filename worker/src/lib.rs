//! The worker: trains trials under leases from a coordinator, or one without any.

pub mod cli;
pub mod clock;
pub mod convert;
#[cfg(feature = "torch")]
pub mod devices;
pub mod ledger;
pub mod link;
#[cfg(feature = "torch")]
pub mod model;
pub mod publish;
pub mod runtime;
pub mod scripted;
pub mod session;
#[cfg(feature = "torch")]
pub mod torch;
#[cfg(feature = "torch")]
pub mod train;
pub mod trainer;
pub mod wire;
