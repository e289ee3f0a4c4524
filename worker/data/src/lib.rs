//! Labelled texts and checkpoints as a trial needs them: read, checked, tokenized and put in order; no torch.
//!
//! Everything here reads files or the Hub and owns no state. What a crash leaves is at most a partial download in the
//! Hub's cache, which the next download goes on with.

mod classes;
mod dataset;
mod error;
mod hub;
mod layout;
mod order;
mod parquet;
mod rows;
mod tokenizer;

pub use dataset::{Split, TextDataset, load};
pub use error::{DataError, Place};
pub use hub::{model_directory, model_directory_async};
pub use order::shuffled;
pub use tokenizer::{Encoded, TextTokenizer};
