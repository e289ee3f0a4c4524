//! To be written.

pub mod mlflow;
