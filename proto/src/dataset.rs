//! Which labelled texts a sweep trains on, as its file says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A data set and how to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Where the rows are.
    pub source: DatasetSource,
    /// Name of the column with the text; detected when left out.
    pub text: Option<String>,
    /// Name of the column with the second text of a pair; detected when neither is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<String>,
    /// Name of the column with the label; detected when left out.
    pub label: Option<String>,
    /// Class names in class order; empty where the data says them.
    pub labels: Vec<String>,
    /// How many rows of each split are kept.
    pub limit: Limits,
}

impl DatasetSpec {
    /// All rows of a source, with whatever it says of itself.
    pub fn of(source: DatasetSource) -> Self {
        Self {
            source,
            text: None,
            text_pair: None,
            label: None,
            labels: Vec::new(),
            limit: Limits::default(),
        }
    }

    /// The same, with these columns where they are named.
    #[must_use]
    pub fn with_columns(self, columns: Columns) -> Self {
        let Columns { text_column, text_pair_column, label_column } = columns;
        Self {
            text: text_column.or(self.text),
            text_pair: text_pair_column.or(self.text_pair),
            label: label_column.or(self.label),
            ..self
        }
    }
}

/// Names of columns, as command lines give them; one that is left out is detected.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Columns {
    /// Column with the text [default: text, sentence, content or review]
    #[arg(long, value_name = "COLUMN")]
    pub text_column: Option<String>,
    /// Column with the second text of a pair [default: sentence2 beside sentence1, and the like]
    #[arg(long, value_name = "COLUMN")]
    pub text_pair_column: Option<String>,
    /// Column with the label [default: label, labels, target or class]
    #[arg(long, value_name = "COLUMN")]
    pub label_column: Option<String>,
}

/// Where the rows of a data set are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DatasetSource {
    /// A repository of the Hub, or a local directory laid out like one.
    Id {
        /// Hub id or directory.
        id: String,
        /// Configuration ("split" or "unsplit" of dair-ai/emotion, say).
        config: Option<String>,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
    /// One file a split.
    Files {
        /// Rows to train on.
        train: PathBuf,
        /// Rows that select the best epoch and rank the trials.
        validation: Option<PathBuf>,
        /// Rows that only the chosen epoch sees.
        test: Option<PathBuf>,
    },
}

/// Rows kept of each split, counted from its start; `None` keeps all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of the training split.
    pub train: Option<u64>,
    /// Of the validation split.
    pub validation: Option<u64>,
    /// Of the test split.
    pub test: Option<u64>,
}
