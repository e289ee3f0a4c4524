//! Rows of CSV and TSV files, each with the line on which it begins.

use std::path::Path;

use distilsweep_proto::dataset::FileFormat;

use crate::{
    DataError, Place,
    cell::Cell,
    columns::{Wanted, find_columns},
    excerpt::{excerpt, quoted},
    quoting::{encloses_fields, quoted_fields},
    rows::{Row, Rows},
    text::read_text,
};

/// A quoted field of more lines is reported: a stray quote may have opened it.
const LONG_FIELD_LINES: usize = 100;

/// Reads CSV as RFC 4180 has it, or fields separated by another character.
///
/// Quotes of tab-separated files are characters, unless the file is written as pandas writes it.
///
/// # Errors
/// What is wrong with the file, and on which line.
pub(crate) fn read(
    path: &Path,
    usual_separator: u8,
    wanted: Wanted<'_>,
    format: &FileFormat,
) -> Result<Rows, DataError> {
    let content = read_text(path, format.encoding.as_deref())?;
    let separator = format.separator.and_then(|c| u8::try_from(c).ok()).unwrap_or(usual_separator);
    let table = Table {
        path,
        content: &content,
        separator,
        quoting: separator != b'\t' || encloses_fields(&content),
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .quoting(table.quoting)
        .has_headers(format.columns.is_empty())
        .from_reader(content.as_bytes());
    let columns = match &format.columns[..] {
        [] => header(&mut reader, &table)?,
        named => named.to_vec(),
    };
    let at = find_columns(path, &columns, wanted).map_err(|error| table.explain(error, &columns))?;
    let mut rows = Rows::new(path, "line", &columns, at, wanted);
    let mut record = csv::StringRecord::new();
    let mut lines = Lines::new(&content);
    loop {
        let start = reader.position().byte() as usize;
        let more = reader.read_record(&mut record);
        let end = reader.position().byte() as usize;
        let start = start + content[start..].bytes().take_while(|b| matches!(b, b'\n' | b'\r')).count();
        let line = lines.at(start);
        if table.quoting {
            rows.notes.extend(table.check_quotes(start, end, columns.len(), &lines)?);
        }
        match more {
            Ok(true) if record.len() == columns.len() => {}
            Ok(false) => break,
            Ok(true) => return Err(table.unequal(line, record.len(), columns.len())),
            Err(error) => {
                return Err(match error.kind() {
                    csv::ErrorKind::UnequalLengths { len, .. } => {
                        table.unequal(line, usize::try_from(*len).unwrap_or(usize::MAX), columns.len())
                    }
                    _ => table.row_error(line, error.to_string()),
                });
            }
        }
        rows.push(Row {
            number: line,
            text: &record[at.text],
            pair: at.pair.map(|pair| &record[pair]),
            label: at.label.map_or(Cell::Missing, |label| Cell::text(&record[label])),
            name: at.name.map(|name| &record[name]),
        })?;
    }
    Ok(rows)
}

/// Names of the columns, from the first line.
fn header(reader: &mut csv::Reader<&[u8]>, table: &Table<'_>) -> Result<Vec<String>, DataError> {
    let header = reader.headers().map_err(|error| table.row_error(1, error.to_string()))?;
    if header.is_empty() {
        return Err(table.malformed("is empty, its first line must name the columns".to_owned()));
    }
    Ok(header.iter().map(|name| name.trim().to_owned()).collect())
}

/// A file while it is read.
struct Table<'a> {
    path: &'a Path,
    content: &'a str,
    separator: u8,
    /// Whether quotes enclose fields.
    quoting: bool,
}

impl Table<'_> {
    fn row_error(&self, number: u64, problem: String) -> DataError {
        DataError::Row { place: Place { path: self.path.to_owned(), unit: "line", number }, problem }
    }

    fn malformed(&self, problem: String) -> DataError {
        DataError::Malformed { path: self.path.to_owned(), problem }
    }

    fn unequal(&self, line: u64, found: usize, wanted: usize) -> DataError {
        let remedy = if self.quoting {
            format!("a field that holds {} must be in double quotes", shown_separator(self.separator))
        } else {
            "a field can hold no tab, and quotes do not change that".to_owned()
        };
        self.row_error(line, format!("{found} fields where there are {wanted} columns; {remedy}"))
    }

    /// What to do if columns are missing because the fields are separated by another character.
    fn explain(&self, error: DataError, columns: &[String]) -> DataError {
        let [only] = columns else { return error };
        let other = [b';', b'\t', b'|', b',']
            .into_iter()
            .find(|c| *c != self.separator && only.contains(char::from(*c)));
        match (error, other) {
            (DataError::Column { .. }, Some(other)) => self.malformed(format!(
                "has a single column named {}, split at {}: `separator: {}` in the data set (--separator) splits it elsewhere",
                quoted(only),
                shown_separator(self.separator),
                if other == b'\t' { "\"\\t\"".to_owned() } else { format!("\"{}\"", char::from(other)) },
            )),
            (error, _) => error,
        }
    }

    /// Looks for quotes of a record that are never closed, or closed far away.
    fn check_quotes(
        &self,
        start: usize,
        end: usize,
        columns: usize,
        lines: &Lines<'_>,
    ) -> Result<Option<String>, DataError> {
        let record = &self.content[start..end.max(start)];
        let at_end = end == self.content.len();
        let line_ends = record.bytes().filter(|b| matches!(b, b'\n' | b'\r')).count();
        if !at_end && line_ends <= LONG_FIELD_LINES {
            return Ok(None);
        }
        let (fields, open) = quoted_fields(record.as_bytes(), self.separator);
        if open && at_end {
            let opens = fields.last().map_or(0, |field| field.start);
            let line = lines.clone().at(start + opens);
            return Err(self.row_error(line, "a quote is opened here and never closed".to_owned()));
        }
        for field in fields {
            let inside = &record[field.clone()];
            let count = Lines::new(inside).at(inside.len()) as usize - 1;
            if count <= LONG_FIELD_LINES {
                continue;
            }
            let line = lines.clone().at(start + field.start);
            let separators =
                |line: &&str| line.bytes().filter(|b| *b == self.separator).count() + 1 == columns;
            let rows = inside.lines().filter(separators).count();
            if columns > 1 && rows > count / 2 {
                return Err(self.row_error(
                    line,
                    format!(
                        "a quote opens a field of {count} lines here, most of which look like rows: close it, or double \
                         the quote if it is part of the text ({})",
                        excerpt(inside)
                    ),
                ));
            }
            return Ok(Some(format!(
                "{} line {line}: a quoted field has {count} lines; if that is not one text, a quote is missing",
                self.path.display()
            )));
        }
        Ok(None)
    }
}

fn shown_separator(separator: u8) -> String {
    match separator {
        b',' => "commas".to_owned(),
        b'\t' => "tabs".to_owned(),
        b';' => "semicolons".to_owned(),
        other => format!("\"{}\"", char::from(other)),
    }
}

/// Counts lines on the way through a text: `\n`, `\r\n` and a lone `\r` end one.
#[derive(Clone)]
struct Lines<'a> {
    content: &'a str,
    byte: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn new(content: &'a str) -> Self {
        Self { content, byte: 0, line: 1 }
    }

    /// The line of a byte that is not before the last one asked for.
    fn at(&mut self, byte: usize) -> u64 {
        let bytes = self.content.as_bytes();
        for i in self.byte..byte.max(self.byte) {
            let ends_line = bytes[i] == b'\n' || (bytes[i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
            self.line += u64::from(ends_line);
        }
        self.byte = byte.max(self.byte);
        self.line
    }
}
