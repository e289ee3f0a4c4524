//! All columns of a file and their types, for a person to look at.

use std::{fs::File, path::Path};

use ::parquet::{
    file::reader::{FileReader, SerializedFileReader},
    schema::types::Type,
};
use distilsweep_proto::dataset::FileFormat;
use serde_json::Value;

use crate::{
    DataError,
    text::{extension, open_error, read_text},
};

/// Names and types of the columns of a file that [`crate::load`] reads: of Parquet as its schema has them, of JSON those of
/// the first row, of CSV and TSV all text.
///
/// # Errors
/// What is wrong with the file.
pub fn schema(path: &Path, format: &FileFormat) -> Result<Vec<(String, String)>, DataError> {
    let text = || read_text(path, format.encoding.as_deref());
    match extension(path).0.as_str() {
        "parquet" => parquet(path),
        "jsonl" | "ndjson" | "json" => Ok(json(&text()?, format.field.as_deref())),
        "csv" | "tsv" if !format.columns.is_empty() => Ok(strings(&format.columns)),
        kind @ ("csv" | "tsv") => {
            let usual = if kind == "tsv" { '\t' } else { ',' };
            Ok(delimited(&text()?, format.separator.unwrap_or(usual)))
        }
        _ => Ok(strings(&["text".to_owned(), "label".to_owned()])),
    }
}

fn strings(columns: &[String]) -> Vec<(String, String)> {
    columns.iter().map(|name| (name.clone(), "string".to_owned())).collect()
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

fn json(content: &str, field: Option<&str>) -> Vec<(String, String)> {
    let first = content.trim_start().trim_start_matches('[');
    let mut values = serde_json::Deserializer::from_str(first).into_iter::<Value>();
    let mut value = values.next().and_then(Result::ok);
    if let (Some(field), Some(Value::Object(object))) = (field, &mut value) {
        value = object.remove(field).and_then(|rows| rows.get(0).cloned());
    }
    let Some(Value::Object(row)) = value else { return Vec::new() };
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

fn delimited(content: &str, separator: char) -> Vec<(String, String)> {
    let separator = u8::try_from(separator).unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(content.as_bytes());
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
        assert_eq!(shown(&json(lines, None)), "label int, score float, tags list, text string");
        assert_eq!(shown(&json("[{\"a\": null}, 7]", None)), "a null");
        let envelope = "{\n \"data\": [{\"a\": 1.5}]}";
        assert_eq!(shown(&json(envelope, Some("data"))), "a float");
        assert_eq!(shown(&delimited("id, text\n1,a\n", ',')), "id string, text string");
        let emotion = Path::new("tests/fixtures/emotion/split/train-00000-of-00001.parquet");
        assert_eq!(shown(&schema(emotion, &FileFormat::default()).unwrap()), "text string, label int64");
    }
}
