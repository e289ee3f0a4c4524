//! Writes a table of texts and labels in each of the formats.

use std::{fs::File, path::Path, sync::Arc};

use parquet::{
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    file::{metadata::KeyValue, properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

/// A label column, of one type as Parquet has it; `None` is a missing value.
#[derive(Clone, Debug)]
pub(crate) enum Labels {
    Names(Vec<Option<String>>),
    Integers(Vec<Option<i64>>),
    Floats(Vec<Option<f64>>),
}

impl Labels {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Names(labels) => labels.len(),
            Self::Integers(labels) => labels.len(),
            Self::Floats(labels) => labels.len(),
        }
    }

    /// The labels without those of some rows.
    pub(crate) fn without(mut self, is_missing: impl Fn(usize) -> bool) -> Self {
        for row in (0..self.len()).filter(|row| is_missing(*row)) {
            match &mut self {
                Self::Names(labels) => labels[row] = None,
                Self::Integers(labels) => labels[row] = None,
                Self::Floats(labels) => labels[row] = None,
            }
        }
        self
    }

    /// The labels as a text file has them; whole floats as pandas writes them.
    fn fields(&self) -> Vec<String> {
        match self {
            Self::Names(labels) => labels.iter().map(|name| name.clone().unwrap_or_default()).collect(),
            Self::Integers(labels) => {
                labels.iter().map(|label| label.map(|i| i.to_string()).unwrap_or_default()).collect()
            }
            Self::Floats(labels) => {
                labels.iter().map(|label| label.map(|x| format!("{x:?}")).unwrap_or_default()).collect()
            }
        }
    }

    fn json(&self) -> Vec<serde_json::Value> {
        match self {
            Self::Names(labels) => labels.iter().map(|label| serde_json::json!(label)).collect(),
            Self::Integers(labels) => labels.iter().map(|label| serde_json::json!(label)).collect(),
            Self::Floats(labels) => labels.iter().map(|label| serde_json::json!(label)).collect(),
        }
    }
}

pub(crate) const FORMATS: [&str; 4] = ["csv", "tsv", "jsonl", "parquet"];

/// Writes the columns `text` and `label` in the format of the path's extension.
pub(crate) fn write(path: &Path, texts: &[String], labels: &Labels) {
    match path.extension().unwrap().to_str().unwrap() {
        "csv" => delimited(path, b',', texts, labels),
        "tsv" => delimited(path, b'\t', texts, labels),
        "jsonl" => {
            let row = |(text, label): (&String, serde_json::Value)| {
                serde_json::json!({"text": text, "label": label}).to_string() + "\n"
            };
            std::fs::write(path, texts.iter().zip(labels.json()).map(row).collect::<String>()).unwrap();
        }
        _ => parquet(path, texts, labels, None),
    }
}

fn delimited(path: &Path, separator: u8, texts: &[String], labels: &Labels) {
    let mut writer = csv::WriterBuilder::new().delimiter(separator).from_path(path).unwrap();
    writer.write_record(["text", "label"]).unwrap();
    for (text, label) in texts.iter().zip(labels.fields()) {
        writer.write_record([text, &label]).unwrap();
    }
    writer.flush().unwrap();
}

/// Writes Parquet; with `names` as a `ClassLabel` column of the `datasets` library.
pub(crate) fn parquet(path: &Path, texts: &[String], labels: &Labels, names: Option<&[&str]>) {
    let kind = match labels {
        Labels::Names(_) => "binary label (UTF8)",
        Labels::Integers(_) => "int64 label",
        Labels::Floats(_) => "double label",
    };
    let schema =
        parse_message_type(&format!("message m {{ required binary text (UTF8); optional {kind}; }}"));
    let described = names.map(|names| {
        let features = serde_json::json!({"label": {"names": names, "_type": "ClassLabel"}});
        let value = serde_json::json!({"info": {"features": features}}).to_string();
        vec![KeyValue::new("huggingface".to_owned(), value)]
    });
    let properties = WriterProperties::builder().set_key_value_metadata(described).build();
    let file = File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema.unwrap()), Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes: Vec<ByteArray> = texts.iter().map(|text| text.as_str().into()).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<ByteArrayType>().write_batch(&bytes, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    match labels {
        Labels::Names(labels) => {
            let (values, levels) = present(labels.iter().map(|name| name.as_deref().map(ByteArray::from)));
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        }
        Labels::Integers(labels) => {
            let (values, levels) = present(labels.iter().copied());
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
        }
        Labels::Floats(labels) => {
            let (values, levels) = present(labels.iter().copied());
            column.typed::<DoubleType>().write_batch(&values, Some(&levels), None).unwrap();
        }
    }
    column.close().unwrap();
    group.close().unwrap();
    writer.close().unwrap();
}

/// The values that are there, and which rows have one.
fn present<T>(labels: impl Iterator<Item = Option<T>>) -> (Vec<T>, Vec<i16>) {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    for label in labels {
        levels.push(i16::from(label.is_some()));
        values.extend(label);
    }
    (values, levels)
}
