//! Rows of a file: their texts, their labels as the file has them, and where each row is.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
};

use distilsweep_proto::dataset::FileFormat;

use crate::{
    DataError, Place,
    cell::Cell,
    columns::{Columns, Label, Wanted},
    delimited, json, parquet, text,
};

/// One row as a reader finds it.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// Where it is, in the reader's units from 1.
    pub(crate) number: u64,
    pub(crate) text: &'a str,
    pub(crate) pair: Option<&'a str>,
    pub(crate) label: Cell,
    /// The name of the label that a column beside it gives.
    pub(crate) name: Option<&'a str>,
}

/// A file's rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) path: PathBuf,
    pub(crate) unit: &'static str,
    /// Names of the columns that were read.
    pub(crate) columns: ColumnNames,
    /// What a row without a text is.
    empty_texts: EmptyTexts,
    pub(crate) texts: Vec<String>,
    /// The second text of each row; empty where rows have one.
    pub(crate) pairs: Vec<String>,
    pub(crate) labels: Vec<Cell>,
    /// Where each row is, in `unit`s from 1.
    pub(crate) numbers: Vec<u64>,
    /// Class names that the file's description carries, in class order.
    pub(crate) names: Vec<String>,
    /// What a column beside the labels calls each number; none if there is no such column.
    pub(crate) named: Option<LabelNames>,
    /// Rows left out because they have no text.
    pub(crate) dropped: usize,
    /// What looks wrong in the file, in sentences.
    pub(crate) notes: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
enum EmptyTexts {
    Rejected,
    Dropped,
    Read,
}

/// Names of the classes beside their numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct LabelNames {
    pub(crate) by_number: BTreeMap<i64, String>,
    /// A number with two names.
    pub(crate) contradiction: Option<(i64, [String; 2])>,
}

/// Names of the columns that were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNames {
    /// Of the text.
    pub text: String,
    /// Of the second text of a pair.
    pub pair: Option<String>,
    /// Of the label.
    pub label: Option<String>,
}

impl Rows {
    /// No rows yet, of a file with these columns.
    pub(crate) fn new(
        path: &Path,
        unit: &'static str,
        columns: &[String],
        at: Columns,
        wanted: Wanted<'_>,
    ) -> Self {
        let name = |at: usize| columns[at].clone();
        Self {
            path: path.to_owned(),
            unit,
            columns: ColumnNames { text: name(at.text), pair: at.pair.map(name), label: at.label.map(name) },
            empty_texts: match (wanted.label, wanted.drop_missing) {
                (Label::Unread, _) => EmptyTexts::Read,
                (Label::Detected | Label::Named(_), true) => EmptyTexts::Dropped,
                (Label::Detected | Label::Named(_), false) => EmptyTexts::Rejected,
            },
            texts: Vec::new(),
            pairs: Vec::new(),
            labels: Vec::new(),
            numbers: Vec::new(),
            names: Vec::new(),
            named: at.name.map(|_| LabelNames::default()),
            dropped: 0,
            notes: Vec::new(),
        }
    }

    /// Adds a row. The second text of a pair may be empty.
    ///
    /// # Errors
    /// [`DataError::EmptyText`] if the row has no text and must have one.
    pub(crate) fn push(&mut self, row: Row<'_>) -> Result<(), DataError> {
        if row.text.trim().is_empty() {
            match self.empty_texts {
                EmptyTexts::Read => {}
                EmptyTexts::Dropped => {
                    self.dropped += 1;
                    return Ok(());
                }
                EmptyTexts::Rejected => {
                    let column = self.columns.text.clone();
                    return Err(DataError::EmptyText { place: self.place(row.number), column });
                }
            }
        }
        if let (Some(named), Some(label), Some(name)) = (&mut self.named, row.label.integer(), row.name) {
            named.add(label, name.trim());
        }
        self.texts.push(row.text.to_owned());
        if self.columns.pair.is_some() {
            self.pairs.push(row.pair.unwrap_or_default().to_owned());
        }
        self.labels.push(row.label);
        self.numbers.push(row.number);
        Ok(())
    }

    pub(crate) fn place(&self, number: u64) -> Place {
        Place { path: self.path.clone(), unit: self.unit, number }
    }

    /// The place of row `i` of those read.
    pub(crate) fn place_of(&self, i: usize) -> Place {
        self.place(self.numbers.get(i).copied().unwrap_or_default())
    }
}

impl LabelNames {
    fn add(&mut self, label: i64, name: &str) {
        if name.is_empty() {
            return;
        }
        match self.by_number.entry(label) {
            Entry::Vacant(entry) => _ = entry.insert(name.to_owned()),
            Entry::Occupied(entry) if entry.get() == name => {}
            Entry::Occupied(entry) => {
                let first = entry.get().clone();
                self.contradiction.get_or_insert_with(|| (label, [first, name.to_owned()]));
            }
        }
    }
}

/// Whether a file of this name can hold rows.
pub(crate) fn is_readable(path: &Path) -> bool {
    let (extension, packed) = text::extension(path);
    match extension.as_str() {
        "csv" | "tsv" | "jsonl" | "ndjson" | "json" => true,
        "parquet" => packed.is_none(),
        _ => false,
    }
}

/// Reads all rows of a file, by its extension.
///
/// # Errors
/// What is wrong with the file, and where.
pub(crate) fn read(path: &Path, wanted: Wanted<'_>, format: &FileFormat) -> Result<Rows, DataError> {
    let (extension, packed) = text::extension(path);
    match (extension.as_str(), packed) {
        ("csv", _) => delimited::read(path, b',', wanted, format),
        ("tsv", _) => delimited::read(path, b'\t', wanted, format),
        ("jsonl" | "ndjson" | "json", _) => json::read(path, wanted, format),
        ("parquet", None) => parquet::read(path, wanted),
        _ => Err(DataError::Malformed {
            path: path.to_owned(),
            problem: "has an unknown extension, it must be .csv, .tsv, .jsonl, .json (these also with .gz or .zst) \
                      or .parquet"
                .to_owned(),
        }),
    }
}
