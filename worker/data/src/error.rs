//! What can be wrong with data or a model: fragments that name the file, the row and what would be right.

use std::{fmt, io, path::PathBuf};

use crate::excerpt::{quoted, quoted_list};

/// A row of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// What `number` counts: "line" in text files, "row" in Parquet.
    pub unit: &'static str,
    /// From 1; in text files the line on which the row begins.
    pub number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.path.display(), self.unit, self.number)
    }
}

/// Why there is no data set, tokenizer or model.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file or directory is not there.
    #[error("{} does not exist: {wanted}", .path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What would be right.
        wanted: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what its name promises.
    #[error("{} {problem}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A row cannot be read.
    #[error("{place}: {problem}")]
    Row {
        /// The row.
        place: Place,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The text or label column is not there.
    #[error("{} has no column {}; its columns are {}", .path.display(), wanted_column(.role, .wanted), quoted_list(.columns))]
    Column {
        /// The file.
        path: PathBuf,
        /// "text" or "label": the key of the data set that names the column.
        role: &'static str,
        /// The column that the data set names, or those looked for when it names none.
        wanted: Vec<String>,
        /// The columns that are there.
        columns: Vec<String>,
    },
    /// A label is none of the classes.
    #[error("{place}: unknown label {value}{}; the classes are {}",
        .near.as_ref().map(|near| format!(", did you mean {}?", quoted(near))).unwrap_or_default(), quoted_list(.classes))]
    Label {
        /// The row.
        place: Place,
        /// The label as the file has it.
        value: String,
        /// The class with the most similar name, if one is similar.
        near: Option<String>,
        /// Names of all classes, in class order.
        classes: Vec<String>,
    },
    /// The labels make no sensible classes.
    #[error("{}: {problem}", .path.display())]
    Classes {
        /// The training file.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A row has no text.
    #[error("{place}: the text (column {}) is empty; fill it or remove the row", quoted(.column))]
    EmptyText {
        /// The row.
        place: Place,
        /// The text column.
        column: String,
    },
    /// Nothing to tell apart.
    #[error("{}: every training row has the label {}; at least two classes are needed", .path.display(), quoted(.class))]
    OneClass {
        /// The file.
        path: PathBuf,
        /// The only class.
        class: String,
    },
    /// A validation split that makes every score perfect.
    #[error(
        "every validation row has the class {}, so that no score can tell models apart: add rows of other classes, or select \
         by `eval_loss`", quoted(.class)
    )]
    OneClassValidation {
        /// The only class.
        class: String,
    },
    /// The Hub does not have it, or does not give it.
    #[error("{repository}: {problem}")]
    Hub {
        /// Hub id.
        repository: String,
        /// What is wrong and what would be right.
        problem: String,
        /// Whether the same request may succeed later.
        retryable: bool,
    },
    /// The trial's `max_length` leaves no room for text: the point is at fault, not the data.
    #[error("max_length is {max_length}, it must be at least {least} for {}", .path.display())]
    MaxLength {
        /// As given.
        max_length: usize,
        /// One more than the special tokens.
        least: usize,
        /// The tokenizer.
        path: PathBuf,
    },
    /// The tokenizer refuses a text.
    #[error("cannot tokenize: {0}")]
    Tokenize(String),
}

impl DataError {
    /// Whether trying again may help: the network or a disk is at fault, and not the data, the model or their names.
    pub fn is_retryable(&self) -> bool {
        match self {
            DataError::Hub { retryable, .. } => *retryable,
            DataError::Io { source, .. } => !matches!(
                source.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::NotADirectory
                    | io::ErrorKind::InvalidData
            ),
            DataError::Missing { .. }
            | DataError::Malformed { .. }
            | DataError::Row { .. }
            | DataError::Column { .. }
            | DataError::Label { .. }
            | DataError::Classes { .. }
            | DataError::EmptyText { .. }
            | DataError::OneClass { .. }
            | DataError::OneClassValidation { .. }
            | DataError::MaxLength { .. }
            | DataError::Tokenize(_) => false,
        }
    }
}

fn wanted_column(role: &str, wanted: &[String]) -> String {
    match wanted {
        [one] => quoted(one),
        several => format!(
            "for the {role} (looked for {}; `{role}: NAME` in the data set or --{role}-column names it)",
            quoted_list(several)
        ),
    }
}
