//! Rows of JSON files: one object a line, or one array of objects.

use std::path::Path;

use serde_json::{Map, Value};

use crate::{
    DataError, Place,
    rows::{Cell, Columns, Row, Rows, Wanted, find_columns},
    text::read_text,
};

/// Reads a file of either form; which it is its first character says.
pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Rows, DataError> {
    let content = read_text(path)?;
    let mut table = Table { path, wanted, known: None };
    if content.trim_start().starts_with('[') {
        let objects: Vec<Value> = serde_json::from_str(&content).map_err(|error| {
            table.error(
                "line",
                error.line() as u64,
                format!("the array of rows ends here ({})", cause(&error)),
            )
        })?;
        for (number, value) in (1..).zip(objects) {
            match value {
                Value::Object(object) => table.push("element", number, object)?,
                other => {
                    let problem = format!("{} is no JSON object; every element must be one", short(&other));
                    return Err(table.error("element", number, problem));
                }
            }
        }
    } else {
        for (number, line) in (1..).zip(content.lines()) {
            if line.trim().is_empty() {
                continue;
            }
            let object = serde_json::from_str(line).map_err(|error| {
                let problem = format!("no JSON object; every line must be one ({})", cause(&error));
                table.error("line", number, problem)
            })?;
            table.push("line", number, object)?;
        }
    }
    table.known.map(|known| known.rows).ok_or_else(|| DataError::Malformed {
        path: path.to_owned(),
        problem: "is empty, it must hold one JSON object a line, or an array of them".to_owned(),
    })
}

struct Table<'a> {
    path: &'a Path,
    wanted: Wanted<'a>,
    /// Since the first object: its keys are the columns.
    known: Option<Known>,
}

struct Known {
    rows: Rows,
    columns: Vec<String>,
    at: Columns,
}

impl Table<'_> {
    fn error(&self, unit: &'static str, number: u64, problem: String) -> DataError {
        DataError::Row { place: Place { path: self.path.to_owned(), unit, number }, problem }
    }

    fn push(
        &mut self,
        unit: &'static str,
        number: u64,
        mut object: Map<String, Value>,
    ) -> Result<(), DataError> {
        let known = match self.known.take() {
            Some(known) => known,
            None => {
                let columns: Vec<String> = object.keys().cloned().collect();
                let at = find_columns(self.path, &columns, self.wanted)?;
                Known { rows: Rows::new(self.path, unit, &columns, at, self.wanted), columns, at }
            }
        };
        let Known { rows, columns, at } = self.known.insert(known);
        let place = rows.place(number);
        let text = |value: Option<Value>, column: usize| match value {
            Some(Value::String(text)) => Ok(text),
            Some(Value::Null) | None => Ok(String::new()),
            Some(other) => {
                let problem = format!("\"{}\" is {}, it must be a string", columns[column], short(&other));
                Err(DataError::Row { place: place.clone(), problem })
            }
        };
        let mut take = |column: usize| object.remove(&columns[column]);
        let first = text(take(at.text), at.text)?;
        let pair = at.pair.map(|pair| text(take(pair), pair)).transpose()?;
        let label = match at.label.and_then(&mut take) {
            None | Some(Value::Null) => Cell::Missing,
            Some(Value::String(name)) => Cell::Text(name),
            Some(Value::Bool(flag)) => Cell::Text(flag.to_string()),
            Some(Value::Number(n)) => n.as_i64().map_or_else(|| Cell::Odd(n.to_string()), Cell::Integer),
            Some(other) => Cell::Odd(short(&other)),
        };
        let name = at.name.and_then(&mut take);
        let name = name.as_ref().and_then(Value::as_str);
        rows.push(Row { number, text: &first, pair: pair.as_deref(), label, name })
    }
}

/// A value for a message, cut where it is long.
fn short(value: &Value) -> String {
    const SHOWN: usize = 40;
    let shown = value.to_string();
    match shown.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &shown[..cut]),
        None => shown,
    }
}

/// What JSON's parser says, without its line.
fn cause(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((cause, _)) => format!("{cause}, column {}", error.column()),
        None => text,
    }
}
