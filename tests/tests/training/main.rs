//! Training in this process: against transformers' Trainer, in packs, interrupted and resumed.
#![expect(clippy::unwrap_used, reason = "tests and their helpers")]

mod packs;
mod parity;
mod resume;
mod support;
