//! The worker: trains trials under leases from a coordinator, or one without any.

mod backlog;
mod chores;
#[cfg(feature = "torch")]
pub mod classifier;
pub mod cli;
pub mod clock;
pub mod convert;
#[cfg(feature = "torch")]
pub mod devices;
pub mod ledger;
pub mod link;
pub mod live;
pub mod machine;
#[cfg(feature = "torch")]
pub mod model;
pub mod runtime;
pub mod saver;
pub mod scratch;
pub mod scripted;
pub mod session;
pub mod spot;
pub mod store;
mod teller;
#[cfg(feature = "torch")]
pub mod torch;
#[cfg(feature = "torch")]
pub mod train;
pub mod trainer;
pub mod vitals;
pub mod web;
pub mod wire;
