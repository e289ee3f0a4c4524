//! Which labelled texts a sweep trains on, as its file says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A data set and how to read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetSpec {
    /// Where the rows are.
    pub source: DatasetSource,
    /// Which splits of a repository or directory are used.
    #[serde(default)]
    pub splits: SplitSelection,
    /// How text files are read where they do not say it themselves.
    #[serde(default)]
    pub format: FileFormat,
    /// Name of the column with the text; detected when left out.
    pub text: Option<String>,
    /// Name of the column with the second text of a pair; detected when neither is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_pair: Option<String>,
    /// Name of the column with the label; detected when left out.
    pub label: Option<String>,
    /// The classes and which values of the label column belong to each.
    pub labels: Labels,
    /// Drop rows without a label or without a text instead of rejecting the file.
    #[serde(default)]
    pub drop_missing: bool,
    /// How many rows of each split are used.
    pub limit: Limits,
}

impl DatasetSpec {
    /// All rows of a source, read by what the source says of itself.
    pub fn of(source: DatasetSource) -> Self {
        Self {
            source,
            splits: SplitSelection::default(),
            format: FileFormat::default(),
            text: None,
            text_pair: None,
            label: None,
            labels: Labels::Inferred,
            drop_missing: false,
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

/// How a text file is read, as command lines give it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FormatOptions {
    /// Character between the fields of a CSV file [default: by the extension]
    #[arg(long, value_name = "CHARACTER", value_parser = separator)]
    pub separator: Option<char>,
    /// Character encoding of a text file: utf-8, utf-16, latin-1, ... [default: utf-8]
    #[arg(long, value_parser = encoding)]
    pub encoding: Option<String>,
    /// Column names of a CSV file without a header line
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub columns: Vec<String>,
    /// Key of a JSON file's top-level object that holds the rows
    #[arg(long, value_name = "KEY")]
    pub field: Option<String>,
}

impl From<FormatOptions> for FileFormat {
    fn from(options: FormatOptions) -> Self {
        let FormatOptions { separator, encoding, columns, field } = options;
        Self { separator, encoding, columns, field }
    }
}

/// Reads a field separator: one ASCII character, or an escape or a name for a tab.
///
/// # Errors
/// What would be right.
pub fn separator(text: &str) -> Result<char, String> {
    match text {
        "\\t" | "tab" => return Ok('\t'),
        _ => {}
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(c), None) if c.is_ascii() && !c.is_ascii_alphanumeric() && !matches!(c, '"' | '\n' | '\r') => {
            Ok(c)
        }
        _ => Err("it must be one character such as `;`, `|` or a tab".to_owned()),
    }
}

/// Reads the name of a character encoding.
///
/// # Errors
/// What would be right.
pub fn encoding(name: &str) -> Result<String, String> {
    let spelt = match name.to_ascii_lowercase().as_str() {
        "latin-1" | "latin_1" => "latin1".to_owned(),
        "utf16" => "utf-16".to_owned(),
        other => other.replace('_', "-"),
    };
    encoding_rs::Encoding::for_label(spelt.as_bytes())
        .map(|encoding| encoding.name().to_owned())
        .ok_or_else(|| "it must be an encoding such as utf-8, utf-16, latin-1 or cp1252".to_owned())
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
    /// Files by split.
    Files {
        /// Rows to train on; at least one file.
        train: Vec<PathBuf>,
        /// Rows that select the best epoch and rank the trials; cut from the training rows if empty.
        validation: Vec<PathBuf>,
        /// Rows that only the chosen epoch sees.
        test: Vec<PathBuf>,
    },
}

impl DatasetSource {
    /// One file of training rows, from which the other splits are cut.
    pub fn file(path: PathBuf) -> Self {
        Self::Files { train: vec![path], validation: Vec::new(), test: Vec::new() }
    }

    /// What the data set is called: its id, or the first file to train on.
    pub fn name(&self) -> String {
        match self {
            Self::Id { id, .. } => id.clone(),
            Self::Files { train, .. } => match &train[..] {
                [] => String::new(),
                [one] => one.display().to_string(),
                [first, rest @ ..] => format!("{} and {} more", first.display(), rest.len()),
            },
        }
    }
}

/// The classes of a data set and how label values map to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Labels {
    /// As the files, their card or the label values themselves define them.
    #[default]
    Inferred,
    /// Class names in class order. The label column holds these names, or indices into this list.
    Names(Vec<String>),
    /// Values of the label column and the class name of each, in class order. Several values may share a class.
    Values(Vec<(String, String)>),
}

impl Labels {
    /// Class names in class order; none if they are inferred.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Inferred => Vec::new(),
            Self::Names(names) => names.clone(),
            Self::Values(values) => {
                let mut names: Vec<String> = Vec::new();
                for (_, name) in values {
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
                names
            }
        }
    }
}

/// Which split of a repository or directory each role takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitSelection {
    /// Rows to train on.
    pub train: SplitChoice,
    /// Rows that select the best epoch and rank the trials.
    pub validation: SplitChoice,
    /// Rows that only the chosen epoch sees.
    pub test: SplitChoice,
}

/// The split that a role takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SplitChoice {
    /// The one whose name says this role.
    #[default]
    Detected,
    /// The one of this name.
    Named(String),
    /// None, even if there is one.
    LeftOut,
}

/// How text files are read where they do not say it themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFormat {
    /// Character between the fields of CSV and TSV files; by the extension, or the card, when left out.
    pub separator: Option<char>,
    /// Character encoding of CSV, TSV and JSON files by its WHATWG name; UTF-8 when left out.
    pub encoding: Option<String>,
    /// Column names of CSV and TSV files without a header line; empty if the first line names the columns.
    pub columns: Vec<String>,
    /// Key of a JSON file's top-level object that holds the rows.
    pub field: Option<String>,
}

/// Rows used of each split; `None` uses all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Of the training split.
    pub train: Option<u64>,
    /// Of the validation split.
    pub validation: Option<u64>,
    /// Of the test split.
    pub test: Option<u64>,
    /// Which rows these are.
    #[serde(default)]
    pub order: LimitOrder,
}

impl Limits {
    /// Whether any split is limited.
    pub fn is_any(&self) -> bool {
        self.train.is_some() || self.validation.is_some() || self.test.is_some()
    }
}

/// Which rows a limit keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitOrder {
    /// A sample in which every class keeps its share, by a fixed seed.
    #[default]
    Stratified,
    /// The first rows of the split.
    First,
}
