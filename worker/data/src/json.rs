//! Rows of JSON files: one object a line, one array of objects, or such an array under a key of one object.

use std::path::Path;

use distilsweep_proto::dataset::FileFormat;
use serde_json::{Map, Value};

use crate::{
    DataError, Place,
    cell::Cell,
    columns::{Columns, Wanted, find_columns},
    excerpt::{excerpt, quoted, quoted_list},
    rows::{Row, Rows},
    text::read_text,
};

/// Reads a file of any of these forms.
///
/// # Errors
/// What is wrong with the file, and in which line or element.
pub(crate) fn read(path: &Path, wanted: Wanted<'_>, format: &FileFormat) -> Result<Rows, DataError> {
    let content = read_text(path, format.encoding.as_deref())?;
    let mut table = Table { path, wanted, known: None };
    if let Some(field) = &format.field {
        for (number, value) in (1..).zip(elements_of_field(&table, &content, field)?) {
            table.push_value(number, value)?;
        }
    } else if content.trim_start().starts_with('[') {
        let elements: Vec<Value> = serde_json::from_str(&content).map_err(|error| {
            table.error(
                "line",
                error.line() as u64,
                format!("the array of rows ends here ({})", cause(&error)),
            )
        })?;
        for (number, value) in (1..).zip(elements) {
            table.push_value(number, value)?;
        }
    } else {
        read_lines(&mut table, &content)?;
    }
    table.known.map(|known| known.rows).ok_or_else(|| DataError::Malformed {
        path: path.to_owned(),
        problem: "is empty, it must hold one JSON object a line, or an array of them".to_owned(),
    })
}

/// Reads one object a line.
fn read_lines(table: &mut Table<'_>, content: &str) -> Result<(), DataError> {
    // A carriage return within a JSON string is escaped, so that a bare one ends a line too.
    let lines = content.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'));
    for (number, line) in (1..).zip(lines) {
        if line.trim().is_empty() {
            continue;
        }
        let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| {
            envelope(table.path, content).unwrap_or_else(|| {
                let problem = format!("no JSON object; every line must be one ({})", cause(&error));
                table.error("line", number, problem)
            })
        })?;
        if number == 1 && rows_keys(&object).next().is_some() {
            return Err(envelope_error(table.path, &object));
        }
        table.push("line", number, object)?;
    }
    Ok(())
}

/// The rows under a key of the file's object.
fn elements_of_field(table: &Table<'_>, content: &str, field: &str) -> Result<Vec<Value>, DataError> {
    let malformed = |problem: String| DataError::Malformed { path: table.path.to_owned(), problem };
    let mut whole: Value = serde_json::from_str(content).map_err(|error| {
        table.error(
            "line",
            error.line() as u64,
            format!("the object that holds the rows ends here ({})", cause(&error)),
        )
    })?;
    let keys: Vec<String> = whole.as_object().into_iter().flat_map(|object| object.keys().cloned()).collect();
    match find(&mut whole, field).map(Value::take) {
        Some(Value::Array(elements)) => Ok(elements),
        Some(other) => Err(malformed(format!(
            "has {} under {}, it must be an array of objects",
            short(&other),
            quoted(field)
        ))),
        None => Err(malformed(format!("has no key {}; its keys are {}", quoted(field), quoted_list(keys)))),
    }
}

/// That a file is one object with the rows under a key, if it is.
fn envelope(path: &Path, content: &str) -> Option<DataError> {
    match serde_json::from_str(content).ok()? {
        Value::Object(object) => Some(envelope_error(path, &object)),
        _ => None,
    }
}

fn envelope_error(path: &Path, object: &Map<String, Value>) -> DataError {
    let problem = match rows_keys(object).next() {
        Some(key) => format!(
            "is one object with the rows under the key {}: set `field: {}` in the data set (--field)",
            quoted(key),
            excerpt(key)
        ),
        None => {
            "is one object over several lines, it must hold one object a line, or an array of them".to_owned()
        }
    };
    DataError::Malformed { path: path.to_owned(), problem }
}

/// Keys under which an array of objects lies.
fn rows_keys(object: &Map<String, Value>) -> impl Iterator<Item = &String> {
    let holds_rows = |value: &Value| {
        value.as_array().is_some_and(|elements| elements.first().is_some_and(Value::is_object))
    };
    object.iter().filter(move |(_, value)| holds_rows(value)).map(|(key, _)| key)
}

/// The value under a key, or at a path of keys separated by dots.
fn find<'a>(value: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    if value.as_object()?.contains_key(path) {
        return value.as_object_mut()?.get_mut(path);
    }
    path.split('.').try_fold(value, |value, key| value.as_object_mut()?.get_mut(key))
}

struct Table<'a> {
    path: &'a Path,
    wanted: Wanted<'a>,
    /// Since the first object: its keys are the columns.
    known: Option<Known>,
}

struct Known {
    rows: Rows,
    /// Keys, and the paths of keys that were asked for.
    columns: Vec<String>,
    at: Columns,
}

impl Table<'_> {
    fn error(&self, unit: &'static str, number: u64, problem: String) -> DataError {
        DataError::Row { place: Place { path: self.path.to_owned(), unit, number }, problem }
    }

    fn push_value(&mut self, number: u64, value: Value) -> Result<(), DataError> {
        match value {
            Value::Object(object) => self.push("element", number, object),
            other => {
                let problem = format!("{} is no JSON object; every element must be one", short(&other));
                Err(self.error("element", number, problem))
            }
        }
    }

    fn push(&mut self, unit: &'static str, number: u64, object: Map<String, Value>) -> Result<(), DataError> {
        let mut object = Value::Object(object);
        let known = match self.known.take() {
            Some(known) => known,
            None => {
                let mut columns: Vec<String> =
                    object.as_object().into_iter().flat_map(|object| object.keys().cloned()).collect();
                for path in self.wanted.named() {
                    if !columns.iter().any(|column| column == path) && find(&mut object, path).is_some() {
                        columns.push(path.to_owned());
                    }
                }
                let at = find_columns(self.path, &columns, self.wanted)?;
                Known { rows: Rows::new(self.path, unit, &columns, at, self.wanted), columns, at }
            }
        };
        let Known { rows, columns, at } = self.known.insert(known);
        let place = rows.place(number);
        let mut take = |column: usize| find(&mut object, &columns[column]).map(Value::take);
        let text = |value: Option<Value>, column: usize| match value {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Null) | None => Ok(String::new()),
            Some(other) => {
                let problem =
                    format!("{} is {}, it must be a string", quoted(&columns[column]), short(&other));
                Err(DataError::Row { place: place.clone(), problem })
            }
        };
        let first = text(take(at.text), at.text)?;
        let pair = at.pair.map(|pair| text(take(pair), pair)).transpose()?;
        let label = at.label.and_then(&mut take).map_or(Cell::Missing, |value| to_cell(&value));
        let name = at.name.and_then(&mut take);
        let name = name.as_ref().and_then(Value::as_str);
        rows.push(Row { number, text: &first, pair: pair.as_deref(), label, name })
    }
}

fn to_cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Missing,
        Value::String(name) => Cell::text(name),
        Value::Bool(flag) => Cell::Text(flag.to_string()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Cell::Integer(integer),
            (None, Some(float)) => Cell::float(float),
            (None, None) => Cell::Other(number.to_string()),
        },
        Value::Array(_) => Cell::List(short(value)),
        Value::Object(_) => Cell::Other(short(value)),
    }
}

/// A value for a message.
fn short(value: &Value) -> String {
    excerpt(&value.to_string())
}

/// What JSON's parser reports, without its line.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((cause, _)) => format!("{}, column {}", excerpt(cause), error.column()),
        None => excerpt(&text),
    }
}
