//! To be written.

pub mod results;
pub mod spec;
