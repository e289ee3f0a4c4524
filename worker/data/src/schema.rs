//! All columns of a file and their types, for a person to look at.

use std::{fs::File, path::Path};

use ::parquet::{
    file::reader::{FileReader, SerializedFileReader},
    schema::types::Type,
};
use serde_json::Value;

use crate::{
    DataError,
    text::{extension, open_error, read_text},
};

/// Names and types of the columns of a file that [`crate::load`] reads: of Parquet as it says, of JSON those of the first
/// row, of CSV and TSV all text.
///
/// # Errors
/// What is wrong with the file.
pub fn schema(path: &Path) -> Result<Vec<(String, String)>, DataError> {
    match extension(path).0.as_str() {
        "parquet" => parquet(path),
        "jsonl" | "ndjson" | "json" => Ok(json(&read_text(path)?)),
        kind => Ok(delimited(&read_text(path)?, if kind == "tsv" { b'\t' } else { b',' })),
    }
}

fn parquet(path: &Path) -> Result<Vec<(String, String)>, DataError> {
    let file = File::open(path).map_err(|source| open_error(path, source))?;
    let reader = SerializedFileReader::new(file).map_err(|error| DataError::Malformed {
        path: path.to_owned(),
        problem: format!("is no readable Parquet file: {error}"),
    })?;
    let kind = |field: &Type| match field {
        Type::PrimitiveType { basic_info, physical_type, .. } => match basic_info.logical_type_ref() {
            Some(logical) => format!("{logical:?}").to_lowercase(),
            None => physical_type.to_string().to_lowercase(),
        },
        Type::GroupType { .. } => "nested".to_owned(),
    };
    let fields = reader.metadata().file_metadata().schema().get_fields().to_vec();
    Ok(fields.iter().map(|field| (field.name().to_owned(), kind(field))).collect())
}

fn json(content: &str) -> Vec<(String, String)> {
    let first = content.trim_start().trim_start_matches('[');
    let mut values = serde_json::Deserializer::from_str(first).into_iter::<Value>();
    let Some(Ok(Value::Object(row))) = values.next() else { return Vec::new() };
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    row.iter().map(|(name, value)| (name.clone(), kind(value).to_owned())).collect()
}

fn delimited(content: &str, delimiter: u8) -> Vec<(String, String)> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .from_reader(content.as_bytes());
    let header = reader.headers().cloned().unwrap_or_default();
    header.iter().map(|name| (name.trim().to_owned(), "string".to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(columns: &[(String, String)]) -> String {
        columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn columns_of_every_format_are_named_with_their_types() {
        let lines = "{\"text\": \"a\", \"label\": 1, \"score\": 0.5, \"tags\": []}\n{}";
        assert_eq!(shown(&json(lines)), "label int, score float, tags list, text string");
        assert_eq!(shown(&json("[{\"a\": null}, 7]")), "a null");
        assert_eq!(shown(&delimited("id, text\n1,a\n", b',')), "id string, text string");
        let emotion = Path::new("tests/fixtures/emotion/split/train-00000-of-00001.parquet");
        assert_eq!(shown(&schema(emotion).unwrap()), "text string, label int64");
    }
}
