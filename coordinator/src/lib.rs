//! To be written.

pub mod spec;
