//! Rows of text files: CSV, TSV and JSON lines, each with the line on which it begins.

use std::path::{Path, PathBuf};

use crate::{DataError, Place, parquet};

/// Columns that hold the text when the data set names none, best first.
const TEXT_COLUMNS: [&str; 4] = ["text", "sentence", "content", "review"];
/// Columns that hold the label when the data set names none, best first.
const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "target", "class"];

/// The columns that are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Name of the text column; detected when left out.
    pub(crate) text: Option<&'a str>,
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
    /// Text and label, by their names where they are given.
    pub(crate) fn labelled(text: Option<&'a str>, label: Option<&'a str>) -> Self {
        Self { text, label: label.map_or(Label::Detected, Label::Named) }
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

/// A file's rows.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) path: PathBuf,
    pub(crate) unit: &'static str,
    pub(crate) text_column: String,
    /// Whether a row may have no text.
    pub(crate) empty_texts: bool,
    pub(crate) texts: Vec<String>,
    pub(crate) labels: Vec<Cell>,
    /// Where each row is, in `unit`s from 1.
    pub(crate) numbers: Vec<u64>,
    /// Class names that the file itself carries, in class order.
    pub(crate) names: Vec<String>,
}

impl Rows {
    pub(crate) fn new(path: &Path, unit: &'static str, text_column: &str, wanted: Wanted<'_>) -> Self {
        Self {
            path: path.to_owned(),
            unit,
            text_column: text_column.to_owned(),
            empty_texts: wanted.label == Label::Unread,
            texts: Vec::new(),
            labels: Vec::new(),
            numbers: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Adds the row at `number`.
    pub(crate) fn push(&mut self, number: u64, text: &str, label: Cell) -> Result<(), DataError> {
        if text.trim().is_empty() && !self.empty_texts {
            return Err(DataError::EmptyText { place: self.place(number), column: self.text_column.clone() });
        }
        self.texts.push(text.to_owned());
        self.labels.push(label);
        self.numbers.push(number);
        Ok(())
    }

    pub(crate) fn place(&self, number: u64) -> Place {
        Place { path: self.path.clone(), unit: self.unit, number }
    }
}

/// Whether a file of this name can hold rows.
pub(crate) fn is_readable(path: &Path) -> bool {
    matches!(extension(path).as_str(), "csv" | "tsv" | "jsonl" | "ndjson" | "json" | "parquet")
}

fn extension(path: &Path) -> String {
    path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Reads all rows of a file, by its extension.
pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Rows, DataError> {
    match extension(path).as_str() {
        "csv" => delimited(path, b',', wanted),
        "tsv" => delimited(path, b'\t', wanted),
        "jsonl" | "ndjson" | "json" => json_lines(path, wanted),
        "parquet" => parquet::read(path, wanted),
        _ => Err(DataError::Malformed {
            path: path.to_owned(),
            problem: "has an unknown extension, it must be .csv, .tsv, .jsonl or .parquet".to_owned(),
        }),
    }
}

/// The text of a whole file, without a byte order mark.
fn read_text(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|source| open_error(path, source))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(rest) => rest.to_owned(),
            None => text,
        }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let number = 1 + error.as_bytes()[..valid].iter().filter(|b| **b == b'\n').count() as u64;
            Err(DataError::Row {
                place: Place { path: path.to_owned(), unit: "line", number },
                problem: "not UTF-8; save the file in that encoding".to_owned(),
            })
        }
    }
}

/// Why a file cannot be opened.
pub(crate) fn open_error(path: &Path, source: std::io::Error) -> DataError {
    match source.kind() {
        std::io::ErrorKind::NotFound => DataError::Missing {
            path: path.to_owned(),
            wanted: "check the path (relative ones in a sweep file count from it)".to_owned(),
        },
        _ => DataError::Io { path: path.to_owned(), source },
    }
}

/// Index of the text, and of the label where it is read, among `columns`.
pub(crate) fn find_columns(
    path: &Path,
    columns: &[String],
    wanted: Wanted<'_>,
) -> Result<(usize, Option<usize>), DataError> {
    let find = |role: &'static str, named: Option<&str>, usual: &[&str]| {
        let names = named.map_or_else(|| usual.to_vec(), |name| vec![name]);
        let exact = names.iter().find_map(|name| columns.iter().position(|c| c == name));
        let close =
            || names.iter().find_map(|name| columns.iter().position(|c| c.eq_ignore_ascii_case(name)));
        exact.or_else(|| if named.is_none() { close() } else { None }).ok_or_else(|| DataError::Column {
            path: path.to_owned(),
            role,
            wanted: names.iter().map(|name| (*name).to_owned()).collect(),
            columns: columns.to_vec(),
        })
    };
    let text = find("text", wanted.text, &TEXT_COLUMNS)?;
    let label = match wanted.label {
        Label::Detected => Some(find("label", None, &LABEL_COLUMNS)?),
        Label::Named(name) => Some(find("label", Some(name), &LABEL_COLUMNS)?),
        Label::Unread => None,
    };
    Ok((text, label))
}

/// CSV as RFC 4180 has it, or TSV, where tabs and line ends part fields and quotes are ordinary characters.
fn delimited(path: &Path, delimiter: u8, wanted: Wanted<'_>) -> Result<Rows, DataError> {
    let content = read_text(path)?;
    let row_error = |number: u64, problem: String| DataError::Row {
        place: Place { path: path.to_owned(), unit: "line", number },
        problem,
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .from_reader(content.as_bytes());
    let header = reader.headers().map_err(|error| row_error(1, error.to_string()))?.clone();
    if header.is_empty() {
        return Err(DataError::Malformed {
            path: path.to_owned(),
            problem: "is empty, its first line must name the columns".to_owned(),
        });
    }
    let columns: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
    let (text, label) = find_columns(path, &columns, wanted)?;
    let mut rows = Rows::new(path, "line", &columns[text], wanted);
    let mut record = csv::StringRecord::new();
    loop {
        let start = reader.position().clone();
        let more = reader.read_record(&mut record);
        let (start, line) = skip_blank_lines(&content, start.byte() as usize, start.line());
        // A quote that is never closed swallows the rest of the file into one field.
        let at_end = reader.position().byte() as usize == content.len();
        if delimiter == b',' && at_end && content[start..].matches('"').count() % 2 == 1 {
            return Err(row_error(line, "a quote is opened here and never closed".to_owned()));
        }
        match more {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                let problem = match error.kind() {
                    csv::ErrorKind::UnequalLengths { len, .. } => format!(
                        "the fields number {len} where the header has {}; {}",
                        columns.len(),
                        if delimiter == b',' {
                            "a field that holds commas must be in double quotes"
                        } else {
                            "a field can hold no tab, and quotes do not change that"
                        },
                    ),
                    _ => error.to_string(),
                };
                return Err(row_error(line, problem));
            }
        }
        let value = label.map_or("", |label| record[label].trim());
        let cell = if value.is_empty() { Cell::Missing } else { Cell::Text(value.to_owned()) };
        rows.push(line, &record[text], cell)?;
    }
    Ok(rows)
}

/// The byte and the line where the next record really begins: the reader's own position may lie before the second half
/// of a line end, or before blank lines.
fn skip_blank_lines(content: &str, byte: usize, line: u64) -> (usize, u64) {
    let ends = content.as_bytes()[byte..].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
    let lines = content[byte..byte + ends].matches('\n').count();
    (byte + ends, line + lines as u64)
}

/// What JSON's parser says, without its line, which is always 1.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((cause, _)) => format!("{cause}, column {}", error.column()),
        None => text,
    }
}

/// One JSON object a line; blank lines are skipped.
fn json_lines(path: &Path, wanted: Wanted<'_>) -> Result<Rows, DataError> {
    let content = read_text(path)?;
    let mut rows: Option<(Rows, String, Option<String>)> = None;
    for (number, line) in (1..).zip(content.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let row_error = |problem: String| DataError::Row {
            place: Place { path: path.to_owned(), unit: "line", number },
            problem,
        };
        let mut object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|error| {
                row_error(format!("no JSON object; every line must be one ({})", cause(&error)))
            })?;
        let (rows, text, label) = match &mut rows {
            Some(known) => known,
            None => {
                let columns: Vec<String> = object.keys().cloned().collect();
                let (text, label) = find_columns(path, &columns, wanted)?;
                rows.insert((
                    Rows::new(path, "line", &columns[text], wanted),
                    columns[text].clone(),
                    label.map(|label| columns[label].clone()),
                ))
            }
        };
        let value = match object.remove(text.as_str()) {
            Some(serde_json::Value::String(value)) => value,
            Some(serde_json::Value::Null) | None => String::new(),
            Some(other) => return Err(row_error(format!("\"{text}\" is {other}, it must be a string"))),
        };
        let cell = match label.as_ref().and_then(|label| object.remove(label)) {
            None | Some(serde_json::Value::Null) => Cell::Missing,
            Some(serde_json::Value::String(name)) => Cell::Text(name),
            Some(serde_json::Value::Bool(flag)) => Cell::Text(flag.to_string()),
            Some(serde_json::Value::Number(n)) => {
                n.as_i64().map_or_else(|| Cell::Odd(n.to_string()), Cell::Integer)
            }
            Some(other) => Cell::Odd(other.to_string()),
        };
        rows.push(number, &value, cell)?;
    }
    rows.map(|(rows, _, _)| rows).ok_or_else(|| DataError::Malformed {
        path: path.to_owned(),
        problem: "is empty, it must hold one JSON object a line".to_owned(),
    })
}
