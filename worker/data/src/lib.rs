//! Labelled texts and checkpoints as a trial needs them: read, checked, tokenized and put in order; no torch.
//!
//! Everything here reads files or the Hub and owns no state but two caches: the Hub's, which Python programs share, and
//! that of tokenized data sets. A crash leaves at most a partial file in them, which the next process goes on with or
//! ignores.

mod classes;
mod dataset;
mod error;
mod hub;
mod layout;
mod numbers;
mod order;
mod parquet;
mod rows;
mod tokenized;
mod tokenizer;

pub use dataset::{Split, TextDataset, load, read_labelled, read_texts};
pub use error::{DataError, Place};
pub use hub::{model_directory, model_directory_async};
pub use order::shuffled;
pub use tokenized::{TokenizedDataset, TokenizedSplit, tokenized};
pub use tokenizer::{Encoded, TextTokenizer};
