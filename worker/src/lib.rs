//! The worker: trains trials under leases from a coordinator, or one without any.

#[cfg(feature = "torch")]
pub mod model;
pub mod trainer;
