//! Rows of Parquet files, as the Hub's data sets are stored.

use std::{borrow::Cow, fs::File, path::Path, sync::Arc};

use parquet::{
    errors::ParquetError,
    file::{
        metadata::FileMetaData,
        reader::{FileReader, SerializedFileReader},
    },
    record::Field,
    schema::types::Type,
};

use crate::{
    DataError, Place,
    cell::Cell,
    columns::{Wanted, find_columns},
    excerpt::{excerpt, quoted},
    rows::{Row, Rows},
    text::open_error,
};

/// Reads the text and the label column of a file.
pub(crate) fn read(path: &Path, wanted: Wanted<'_>) -> Result<Rows, DataError> {
    let malformed = |error: ParquetError| DataError::Malformed {
        path: path.to_owned(),
        problem: format!("is no readable Parquet file: {error}"),
    };
    let file = File::open(path).map_err(|source| open_error(path, source))?;
    let reader = SerializedFileReader::new(file).map_err(malformed)?;
    let metadata = reader.metadata().file_metadata();
    let schema = metadata.schema();
    let columns: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let at = find_columns(path, &columns, wanted)?;
    let read: Vec<Arc<Type>> = [Some(at.text), at.pair, at.label, at.name]
        .into_iter()
        .flatten()
        .map(|i| schema.get_fields()[i].clone())
        .collect();
    let projection = Type::group_type_builder(schema.name()).with_fields(read).build().map_err(malformed)?;

    let mut rows = Rows::new(path, "row", &columns, at, wanted);
    rows.names = at.label.map_or_else(Vec::new, |label| class_names(metadata, &columns[label]));
    for (number, row) in (1..).zip(reader.get_row_iter(Some(projection)).map_err(malformed)?) {
        // The pages of a column are read when their rows are asked for.
        let row = row.map_err(|error| DataError::Row {
            place: Place { path: path.to_owned(), unit: "row", number },
            problem: format!("cannot be read: {error}; the file is damaged, fetch it again"),
        })?;
        let field = |column: Option<usize>| {
            let name = column.map(|column| &columns[column])?;
            row.get_column_iter().find(|(found, _)| *found == name).map(|(_, field)| field)
        };
        let text = |column: Option<usize>| match field(column).map(to_text) {
            Some(Ok(text)) => Ok(text),
            None => Ok(None),
            Some(Err(found)) => Err(DataError::Row {
                place: Place { path: path.to_owned(), unit: "row", number },
                problem: format!(
                    "{} is {found}, it must be a string",
                    quoted(column.map_or("", |column| columns[column].as_str()))
                ),
            }),
        };
        rows.push(Row {
            number,
            text: &text(Some(at.text))?.unwrap_or_default(),
            pair: text(at.pair)?.as_deref(),
            label: field(at.label).map_or(Cell::Missing, to_cell),
            name: text(at.name)?.as_deref(),
        })?;
    }
    Ok(rows)
}

/// A string, or what else a value is. Bytes that are UTF-8 are a string: some programs write strings without saying so.
fn to_text(field: &Field) -> Result<Option<Cow<'_, str>>, String> {
    match field {
        Field::Null => Ok(None),
        Field::Str(text) => Ok(Some(text.into())),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(Some(text.into())),
            Err(_) => Err(format!("{} bytes that are not UTF-8", bytes.len())),
        },
        Field::ListInternal(list) => Err(format!("a list of {} values", list.len())),
        Field::Group(_) => Err("a structure".to_owned()),
        Field::MapInternal(_) => Err("a map".to_owned()),
        other => Err(excerpt(&other.to_string())),
    }
}

fn to_cell(field: &Field) -> Cell {
    match field {
        Field::Null => Cell::Missing,
        Field::Bool(flag) => Cell::Text(flag.to_string()),
        Field::Str(_) | Field::Bytes(_) => match to_text(field) {
            Ok(text) => Cell::text(&text.unwrap_or_default()),
            Err(found) => Cell::Other(found),
        },
        Field::Byte(i) => Cell::Integer((*i).into()),
        Field::Short(i) => Cell::Integer((*i).into()),
        Field::Int(i) => Cell::Integer((*i).into()),
        Field::Long(i) => Cell::Integer(*i),
        Field::UByte(i) => Cell::Integer((*i).into()),
        Field::UShort(i) => Cell::Integer((*i).into()),
        Field::UInt(i) => Cell::Integer((*i).into()),
        Field::ULong(i) => i64::try_from(*i).map_or_else(|_| Cell::Other(i.to_string()), Cell::Integer),
        Field::Float16(value) => Cell::float(value.to_f64()),
        // By its decimal form: 0.1 is no 0.10000000149.
        Field::Float(value) => value.to_string().parse().map_or(Cell::Missing, Cell::float),
        Field::Double(value) => Cell::float(*value),
        Field::Decimal(_) => Cell::text(&field.to_string()),
        Field::ListInternal(_) => Cell::List(excerpt(&field.to_string())),
        Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)
        | Field::Group(_)
        | Field::MapInternal(_) => Cell::Other(excerpt(&field.to_string())),
    }
}

/// Names of a `ClassLabel` column, which the `datasets` library writes as JSON beside the schema.
fn class_names(metadata: &FileMetaData, label: &str) -> Vec<String> {
    let described = metadata
        .key_value_metadata()
        .into_iter()
        .flatten()
        .find(|entry| entry.key == "huggingface")
        .and_then(|entry| entry.value.as_deref())
        .and_then(|value| serde_json::from_str::<serde_json::Value>(value).ok());
    let names = described
        .as_ref()
        .and_then(|described| described.get("info")?.get("features")?.get(label)?.get("names"));
    match names {
        Some(serde_json::Value::Array(names)) => {
            names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}
