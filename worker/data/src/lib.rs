//! Labelled texts and checkpoints as a trial needs them: read, checked, tokenized and put in order; no torch.
//!
//! Everything here reads files or the Hub and owns no state but two caches: the Hub's, which Python programs share, and
//! that of tokenized data sets. A crash leaves at most a partial file in them, which the next process goes on with or
//! ignores.

mod card;
mod cell;
mod class_folders;
mod classes;
mod columns;
mod dataset;
mod delimited;
mod error;
mod excerpt;
mod hub;
mod inspect;
mod json;
mod layout;
mod listing;
mod locate;
mod numbers;
mod order;
mod parquet;
mod pins;
mod quality;
mod quoting;
mod rows;
mod sampling;
mod saved_dataset;
mod schema;
mod split;
mod split_choice;
mod split_names;
mod tables;
mod text;
mod tokenized;
mod tokenizer;

pub use dataset::{FileRows, TextDataset, load, read, read_labelled, read_texts};
pub use error::{DataError, Place};
pub use excerpt::{excerpt, listed, quoted, quoted_list};
pub use hub::{Hub, Kind, Progress, RepoFile, RepoInfo, Safetensors, Settings, Snapshot};
pub use inspect::{Baseline, CUTS, ClassFacts, Example, Inspection, SplitFacts, TokenFacts, inspect};
pub use locate::{Files, locate};
pub use order::shuffled;
pub use pins::{TakenIn, pin, take_in};
pub use quality::{check_metric, unknown_token_note};
pub use rows::ColumnNames;
pub use schema::schema;
pub use split::Split;
pub use tokenized::{TokenizedDataset, TokenizedSplit, check_pairs, tokenized};
pub use tokenizer::{Encoded, TextTokenizer, Token};
