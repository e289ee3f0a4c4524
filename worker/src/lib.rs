//! The worker: trains trials under leases from a coordinator, or one without any.

#[cfg(feature = "torch")]
pub mod cli;
#[cfg(feature = "torch")]
pub mod model;
#[cfg(feature = "torch")]
pub mod torch;
#[cfg(feature = "torch")]
pub mod train;
pub mod trainer;
