//! DistilBERT for sequence classification: read from a checkpoint, run, written back.
//!
//! Structs are named as in the checkpoint. The model owns no state but its parameters; a forward pass is a function
//! of them, a batch and a dropout key.

mod batch;
mod config;
mod distilbert;
mod error;
mod head;
mod labels;
mod lanes;
mod parameters;
mod save;
mod weights;

pub use batch::{Batch, Example};
pub use config::{Activation, Config, Rates, Task};
pub use distilbert::{DistilBertForSequenceClassification, Dropout};
pub use error::{ModelError, TorchError};
pub use lanes::{LaneBatch, LaneStack};
pub use parameters::{Parameters, WORD_EMBEDDINGS};
pub(crate) use save::Stored;
pub use save::save;
