//! The worker: trains trials under leases from a coordinator, or one without any.

pub mod trainer;
