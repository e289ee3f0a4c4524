//! What to try next and what to stop. Pure: results come in as numbers, and nothing is asked for twice.

mod early;
mod rungs;

pub use early::{Bands, EarlyTerminate, Resource};
pub use rungs::{Arrival, Place, Rungs};
