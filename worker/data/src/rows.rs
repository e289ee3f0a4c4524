//! Rows of files: which columns hold what, and where each row is.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    path::{Path, PathBuf},
};

use crate::{DataError, Place, delimited, json, parquet, text};

/// Columns that hold the text when the data set names none, best first.
const TEXT_COLUMNS: [&str; 4] = ["text", "sentence", "content", "review"];
/// Columns that hold a pair of texts where both are there and the data set names none.
const PAIRS: [(&str, &str); 6] = [
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
    ("text", "text_pair"),
];
/// Columns that hold the label when the data set names none, best first.
const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "target", "class"];
/// Column with the names of the numbers in the label column, as SetFit's data sets have it.
const NAME_COLUMN: &str = "label_text";

/// The columns that are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Name of the text column; detected when left out.
    pub(crate) text: Option<&'a str>,
    /// Name of the column with the second text of a pair; detected when neither is named.
    pub(crate) pair: Option<&'a str>,
    pub(crate) label: Label<'a>,
}

/// The label column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label<'a> {
    /// The first of the usual ones that is there.
    Detected,
    /// The one of this name.
    Named(&'a str),
    /// None is read: the texts are to be classified, and one may be empty.
    Unread,
}

impl<'a> Wanted<'a> {
    /// Texts and label, by their names where they are given.
    pub(crate) fn labelled(text: Option<&'a str>, pair: Option<&'a str>, label: Option<&'a str>) -> Self {
        Self { text, pair, label: label.map_or(Label::Detected, Label::Named) }
    }
}

/// One value of a label column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Text(String),
    Integer(i64),
    Missing,
    /// A value that can be no label, for the message.
    Odd(String),
}

impl Cell {
    /// The label as a whole number, if it is one.
    pub(crate) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(i) => Some(*i),
            Self::Text(text) => text.parse().ok(),
            Self::Missing | Self::Odd(_) => None,
        }
    }
}

/// Where the wanted columns are among those of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    pub(crate) text: usize,
    pub(crate) pair: Option<usize>,
    pub(crate) label: Option<usize>,
    /// Names beside the numbers of classes.
    pub(crate) name: Option<usize>,
}

/// One row as a reader finds it.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// Where it is, in the reader's units from 1.
    pub(crate) number: u64,
    pub(crate) text: &'a str,
    pub(crate) pair: Option<&'a str>,
    pub(crate) label: Cell,
    pub(crate) name: Option<&'a str>,
}

/// A file's rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) path: PathBuf,
    pub(crate) unit: &'static str,
    /// Names of the columns that were read.
    pub(crate) columns: ColumnNames,
    /// Whether a row may have no text.
    empty_texts: bool,
    pub(crate) texts: Vec<String>,
    /// The second text of each row; empty where rows have one.
    pub(crate) pairs: Vec<String>,
    pub(crate) labels: Vec<Cell>,
    /// Where each row is, in `unit`s from 1.
    pub(crate) numbers: Vec<u64>,
    /// Class names that the file's description carries, in class order.
    pub(crate) names: Vec<String>,
    /// What a column beside the labels calls each number; none where there is no such column, or it contradicts itself.
    pub(crate) named: Option<BTreeMap<i64, String>>,
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
            empty_texts: wanted.label == Label::Unread,
            texts: Vec::new(),
            pairs: Vec::new(),
            labels: Vec::new(),
            numbers: Vec::new(),
            names: Vec::new(),
            named: at.name.map(|_| BTreeMap::new()),
        }
    }

    /// Adds a row. The second text of a pair may be empty.
    pub(crate) fn push(&mut self, row: Row<'_>) -> Result<(), DataError> {
        if row.text.trim().is_empty() && !self.empty_texts {
            let column = self.columns.text.clone();
            return Err(DataError::EmptyText { place: self.place(row.number), column });
        }
        if let (Some(label), Some(name)) = (row.label.integer(), row.name) {
            self.name(label, name);
        }
        self.texts.push(row.text.to_owned());
        if self.columns.pair.is_some() {
            self.pairs.push(row.pair.unwrap_or_default().to_owned());
        }
        self.labels.push(row.label);
        self.numbers.push(row.number);
        Ok(())
    }

    fn name(&mut self, label: i64, name: &str) {
        let Some(named) = &mut self.named else { return };
        match named.entry(label) {
            Entry::Vacant(entry) => _ = entry.insert(name.to_owned()),
            Entry::Occupied(entry) if entry.get() == name => {}
            Entry::Occupied(_) => self.named = None,
        }
    }

    pub(crate) fn place(&self, number: u64) -> Place {
        Place { path: self.path.clone(), unit: self.unit, number }
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
pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Rows, DataError> {
    let (extension, packed) = text::extension(path);
    match (extension.as_str(), packed) {
        ("csv", _) => delimited::read(path, b',', wanted),
        ("tsv", _) => delimited::read(path, b'\t', wanted),
        ("jsonl" | "ndjson" | "json", _) => json::read(path, wanted),
        ("parquet", None) => parquet::read(path, wanted),
        _ => Err(DataError::Malformed {
            path: path.to_owned(),
            problem: "has an unknown extension, it must be .csv, .tsv, .jsonl, .json (these also with .gz or .zst) \
                      or .parquet"
                .to_owned(),
        }),
    }
}

/// Where the wanted columns are among `columns`.
pub(crate) fn find_columns(
    path: &Path,
    columns: &[String],
    wanted: Wanted<'_>,
) -> Result<Columns, DataError> {
    let exact = |name: &str| columns.iter().position(|column| column == name);
    let close = |name: &str| columns.iter().position(|column| column.eq_ignore_ascii_case(name));
    let find = |role: &'static str, named: Option<&str>, usual: &[&str]| {
        let names = named.map_or_else(|| usual.to_vec(), |name| vec![name]);
        let found = names.iter().find_map(|name| exact(name));
        let found = found.or_else(|| names.iter().filter(|_| named.is_none()).find_map(|name| close(name)));
        found.ok_or_else(|| DataError::Column {
            path: path.to_owned(),
            role,
            wanted: names.iter().map(|name| (*name).to_owned()).collect(),
            columns: columns.to_vec(),
        })
    };
    let usual_pair = || PAIRS.iter().find_map(|(text, pair)| exact(text).zip(exact(pair)));
    let (text, pair) = match (wanted.text, wanted.pair) {
        (None, None) if wanted.label != Label::Unread && usual_pair().is_some() => {
            usual_pair().map(|(text, pair)| (text, Some(pair))).unwrap_or_default()
        }
        (text, pair) => {
            let pair = pair.map(|name| find("text_pair", Some(name), &[])).transpose()?;
            (find("text", text, &TEXT_COLUMNS)?, pair)
        }
    };
    let label = match wanted.label {
        Label::Detected => Some(find("label", None, &LABEL_COLUMNS)?),
        Label::Named(name) => Some(find("label", Some(name), &LABEL_COLUMNS)?),
        Label::Unread => None,
    };
    let name = label.filter(|label| columns[*label] == LABEL_COLUMNS[0]).and_then(|_| exact(NAME_COLUMN));
    Ok(Columns { text, pair, label, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(columns: &[&str], text: Option<&str>, pair: Option<&str>) -> String {
        let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
        match find_columns(Path::new("f"), &columns, Wanted::labelled(text, pair, None)) {
            Ok(Columns { text, pair, label, name }) => {
                let shown = [Some(text), pair, label, name];
                shown.map(|at| at.map_or("-", |at| columns[at].as_str())).join(" ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn usual_columns_are_found_pairs_before_single_ones() {
        insta::assert_snapshot!(
            [
                found(&["label", "text", "label_text"], None, None),
                found(&["Sentence", "Label"], None, None),
                found(&["idx", "sentence1", "sentence2", "label"], None, None),
                found(&["question", "sentence", "label"], None, None),
                found(&["sentence1", "sentence2", "label"], Some("sentence2"), None),
                found(&["a", "b", "label"], Some("a"), Some("b")),
                found(&["premise", "label"], None, None),
                found(&["text", "label"], None, Some("other")),
            ]
            .join("\n"),
            @r#"
        text - label label_text
        Sentence - Label -
        sentence1 sentence2 label -
        question sentence label -
        sentence2 - label -
        a b label -
        f has no column for the text (looked for "text", "sentence", "content", "review"; `text: NAME` in the data set or --text-column names it); its columns are "premise", "label"
        f has no column "other"; its columns are "text", "label"
        "#
        );
    }
}
