//! Rows of Parquet files, as the Hub's data sets are stored.

use std::{fs::File, path::Path, sync::Arc};

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
    rows::{Cell, Row, Rows, Wanted, find_columns},
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
        let text = |column: Option<usize>| match field(column) {
            Some(Field::Str(text)) => Ok(Some(text.as_str())),
            Some(Field::Null) | None => Ok(None),
            Some(other) => Err(DataError::Row {
                place: Place { path: path.to_owned(), unit: "row", number },
                problem: format!(
                    "\"{}\" is {other}, it must be a string",
                    column.map_or("", |column| columns[column].as_str())
                ),
            }),
        };
        rows.push(Row {
            number,
            text: text(Some(at.text))?.unwrap_or_default(),
            pair: text(at.pair)?,
            label: field(at.label).map_or(Cell::Missing, to_cell),
            name: text(at.name)?,
        })?;
    }
    Ok(rows)
}

fn to_cell(field: &Field) -> Cell {
    match field {
        Field::Null => Cell::Missing,
        Field::Bool(flag) => Cell::Text(flag.to_string()),
        Field::Str(name) => Cell::Text(name.clone()),
        Field::Byte(i) => Cell::Integer((*i).into()),
        Field::Short(i) => Cell::Integer((*i).into()),
        Field::Int(i) => Cell::Integer((*i).into()),
        Field::Long(i) => Cell::Integer(*i),
        Field::UByte(i) => Cell::Integer((*i).into()),
        Field::UShort(i) => Cell::Integer((*i).into()),
        Field::UInt(i) => Cell::Integer((*i).into()),
        Field::ULong(i) => i64::try_from(*i).map_or_else(|_| Cell::Odd(i.to_string()), Cell::Integer),
        Field::Float16(_)
        | Field::Float(_)
        | Field::Double(_)
        | Field::Decimal(_)
        | Field::Bytes(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_)
        | Field::Group(_)
        | Field::ListInternal(_)
        | Field::MapInternal(_) => Cell::Odd(field.to_string()),
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
    let Some(described) = described else { return Vec::new() };
    match described.pointer(&format!("/info/features/{label}/names")) {
        Some(serde_json::Value::Array(names)) => {
            names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        }
        _ => Vec::new(),
    }
}
