//! The class names of a classifier, as transformers 4.57.6 reads them from `config.json`.

use distilsweep_data::excerpt;
use serde_json::Value;

use super::{config::Reader, error::ModelError};

/// More classes than any head has, so that a wrong number is rejected before names are made for it.
const MOST: u64 = 1_000_000;

/// The names of `id2label`, else `LABEL_0` and so on for `num_labels` classes, two if neither is there.
///
/// Source: `PretrainedConfig.__init__`. `num_labels` beside `id2label` does not count there.
///
/// # Errors
/// A model for another task, one class alone, ids without a name, two equal names.
pub(super) fn class_names(reader: &Reader) -> Result<Vec<String>, ModelError> {
    match reader.json.get("problem_type") {
        None | Some(Value::Null) => {}
        Some(kind) if kind == "single_label_classification" => {}
        Some(_) => return Err(reader.unsupported("problem_type", "single_label_classification")),
    }
    let named = match reader.json.get("id2label") {
        None | Some(Value::Null) => return numbered(reader),
        Some(named) => named,
    };
    let wanted = "an object of at least two class names by their numbers, from \"0\" on";
    let object = named.as_object().filter(|named| named.len() > 1);
    let object = object.ok_or_else(|| reader.unsupported("id2label", wanted))?;
    let names: Option<Vec<String>> = (0..object.len()).map(|i| name(object.get(&i.to_string())?)).collect();
    let names = names.ok_or_else(|| reader.unsupported("id2label", wanted))?;
    for (second, name) in names.iter().enumerate() {
        if let Some(first) = names[..second].iter().position(|other| other == name) {
            let wanted =
                format!("names that differ: classes {first} and {second} are both `{}`", excerpt(name));
            return Err(reader.unsupported("id2label", &wanted));
        }
    }
    Ok(names)
}

fn numbered(reader: &Reader) -> Result<Vec<String>, ModelError> {
    let count = match reader.json.get("num_labels") {
        None => 2,
        Some(count) => count.as_u64().filter(|count| (2..=MOST).contains(count)).ok_or_else(|| {
            reader.unsupported(
                "num_labels",
                "at least 2: a single output is a score (regression), which is not supported yet",
            )
        })?,
    };
    Ok((0..count).map(|i| format!("LABEL_{i}")).collect())
}

/// A name as Python prints it.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => Some("None".to_owned()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: Value) -> String {
        class_names(&Reader::of(json)).map_or_else(|error| error.to_string(), |names| names.join(" "))
    }

    #[test]
    fn class_names_are_those_of_transformers() {
        let read = [
            read(json!({"id2label": {"1": "no", "0": "yes"}, "label2id": {"yes": 1}})),
            read(json!({})),
            read(json!({"num_labels": 4})),
            read(json!({"num_labels": 3, "id2label": null})),
            read(json!({"num_labels": 3, "id2label": {"0": "a", "1": "b"}})),
            read(json!({"id2label": {"0": 0, "1": 1, "2": 5}})),
            read(json!({"id2label": {"0": null, "1": true}})),
        ];
        insta::assert_snapshot!(read.join("\n"), @"
        yes no
        LABEL_0 LABEL_1
        LABEL_0 LABEL_1 LABEL_2 LABEL_3
        LABEL_0 LABEL_1 LABEL_2
        a b
        0 1 5
        None True
        ");
    }

    #[test]
    fn names_that_name_no_classes_are_rejected() {
        let many: serde_json::Map<String, Value> = (0..700).map(|i| (i.to_string(), "same".into())).collect();
        let read = [
            read(json!({"id2label": {"0": "odd", "1": "even", "2": "odd"}})),
            read(json!({"id2label": many})),
            read(json!({"id2label": {"0": 1, "1": "1"}})),
            read(json!({"id2label": {"0": null, "1": null}})),
            read(json!({"id2label": {"1": "a", "2": "b"}})),
            read(json!({"id2label": {"0": "a"}})),
            read(json!({"id2label": ["a", "b"]})),
            read(json!({"id2label": {"0": ["a"], "1": "b"}})),
            read(json!({"num_labels": 1})),
            read(json!({"num_labels": 1e12})),
            read(json!({"num_labels": null})),
            read(json!({"problem_type": "regression"})),
        ];
        insta::assert_snapshot!(read.join("\n"), @r#"
        m/config.json: `id2label` is {"0":"odd","1":"even","2":"odd"}, it must be names that differ: classes 0 and 2 are both `odd`
        m/config.json: `id2label` is {"0":"same","1":"same","10":"same","100":"same","101":"same…, it must be names that differ: classes 0 and 1 are both `same`
        m/config.json: `id2label` is {"0":1,"1":"1"}, it must be names that differ: classes 0 and 1 are both `1`
        m/config.json: `id2label` is {"0":null,"1":null}, it must be names that differ: classes 0 and 1 are both `None`
        m/config.json: `id2label` is {"1":"a","2":"b"}, it must be an object of at least two class names by their numbers, from "0" on
        m/config.json: `id2label` is {"0":"a"}, it must be an object of at least two class names by their numbers, from "0" on
        m/config.json: `id2label` is ["a","b"], it must be an object of at least two class names by their numbers, from "0" on
        m/config.json: `id2label` is {"0":["a"],"1":"b"}, it must be an object of at least two class names by their numbers, from "0" on
        m/config.json: `num_labels` is 1, it must be at least 2: a single output is a score (regression), which is not supported yet
        m/config.json: `num_labels` is 1000000000000.0, it must be at least 2: a single output is a score (regression), which is not supported yet
        m/config.json: `num_labels` is null, it must be at least 2: a single output is a score (regression), which is not supported yet
        m/config.json: `problem_type` is "regression", it must be single_label_classification
        "#);
    }
}
