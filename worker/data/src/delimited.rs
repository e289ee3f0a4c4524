//! Rows of CSV and TSV files, each with the line on which it begins.

use std::path::Path;

use crate::{
    DataError, Place,
    rows::{Cell, Row, Rows, Wanted, find_columns},
    text::read_text,
};

/// CSV as RFC 4180 has it, or TSV, where tabs and line ends part fields and quotes are ordinary characters.
pub(crate) fn read(path: &Path, delimiter: u8, wanted: Wanted<'_>) -> Result<Rows, DataError> {
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
    let at = find_columns(path, &columns, wanted)?;
    let mut rows = Rows::new(path, "line", &columns, at, wanted);
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
        let value = at.label.map_or("", |label| record[label].trim());
        let label = if value.is_empty() { Cell::Missing } else { Cell::Text(value.to_owned()) };
        rows.push(Row {
            number: line,
            text: &record[at.text],
            pair: at.pair.map(|pair| &record[pair]),
            label,
            name: at.name.map(|name| record[name].trim()),
        })?;
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
