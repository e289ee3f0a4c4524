//! What a directory of published files holds: written by workers after the files, read by whoever takes them.

use serde::{Deserialize, Serialize};

use crate::ids::Lease;

/// Name of the manifest beside the parts.
pub const MANIFEST: &str = "manifest.json";

/// How the directory of a checkpoint begins, below `SWEEP/TRIAL/TERM/`; its step follows.
pub const CHECKPOINT: &str = "checkpoint-";

/// What the manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The lease that the files were made under.
    pub lease: Lease,
    /// Optimizer steps behind them.
    pub step: u64,
    /// Every file, by name.
    pub parts: Vec<Part>,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Name in the directory.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}
