//! Faults: planned ones while real trials train, and seeded ones over a sweep that follows a script.

mod seeds;
mod training;
