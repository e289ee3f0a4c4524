//! The part of the JSON Schema that describes `dataset`.

use serde_json::{Map, Value, json};

use super::whole;
use crate::spec::data;

/// The schema of `dataset`.
pub(super) fn schema() -> Value {
    let properties: Map<String, Value> =
        data::KEYS.iter().map(|key| ((*key).to_owned(), dataset_key(key))).collect();
    json!({"anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
            "oneOf": [{"required": ["id"]}, {"required": ["train"]}],
            "dependentRequired": {
                "config": ["id"],
                "revision": ["id"],
                "splits": ["id"],
                "validation": ["train"],
                "test": ["train"],
                "columns": ["header"],
            },
            "if": {"required": ["header"], "properties": {"header": {"const": false}}},
            "then": {"required": ["columns"]},
            "else": {"not": {"required": ["columns"]}},
        },
    ]})
}

/// What a key of `dataset` may be; a test holds that none is forgotten.
fn dataset_key(key: &str) -> Value {
    let text = json!({"type": ["string", "number", "boolean"]});
    let several =
        |minimum: u64| json!({"type": "array", "items": text, "minItems": minimum, "uniqueItems": true});
    let paths = json!([text, several(1)]);
    let by_role = |schemas: [Value; 3]| -> Map<String, Value> {
        data::ROLES.map(str::to_owned).into_iter().zip(schemas).collect()
    };
    let (description, mut schema) = match key {
        "id" => ("Hub id (id@revision), or a directory", text),
        "train" => ("Files with the rows to train on", json!({"anyOf": paths})),
        "validation" => (
            "Files with the rows that select the best epoch and rank the trials; cut from `train` when left out",
            json!({"anyOf": [text, several(1), {"type": "null"}]}),
        ),
        "test" => (
            "Files with the rows that only the chosen epoch sees",
            json!({"anyOf": [text, several(1), {"type": "null"}]}),
        ),
        "config" => ("Configuration of a Hub id or directory", text),
        "revision" => ("Branch, tag or commit of a Hub id", text),
        "splits" => {
            let optional = json!({"type": ["string", "number", "boolean", "null"]});
            let roles = by_role([text, optional.clone(), optional]);
            (
                "Split of the id that each role takes; null leaves it out",
                json!({"type": "object", "additionalProperties": false, "properties": roles}),
            )
        }
        "text" => ("Column with the text; detected when left out", text),
        "text_pair" => ("Column with the second text of a pair", text),
        "label" => ("Column with the label; detected when left out", text),
        "labels" => (
            "Class names in class order, or label values with their class names",
            json!({"anyOf": [several(2), {"type": "object", "minProperties": 2, "additionalProperties": text}]}),
        ),
        "drop_missing" => {
            ("Drop rows without a label or text, which are an error otherwise", json!({"type": "boolean"}))
        }
        "limit" => {
            let mut properties = by_role([whole(1), whole(1), whole(1)]);
            let order =
                json!({"enum": data::ORDERS, "description": "Rows that are used; stratified when left out"});
            properties.insert("order".to_owned(), order);
            (
                "Rows used of each split",
                json!({
                    "type": "object",
                    "additionalProperties": false,
                    "properties": properties,
                    "if": {"required": ["order"]},
                    "then": {"minProperties": 2},
                }),
            )
        }
        "separator" => (
            "Character between the fields of CSV files; by the extension when left out",
            json!({"type": "string", "minLength": 1, "maxLength": 3}),
        ),
        "encoding" => ("Character encoding of text files; utf-8 when left out", text),
        "header" => ("Whether the first line of CSV files names the columns", json!({"type": "boolean"})),
        "columns" => ("Column names of CSV files without a header line, in order", several(1)),
        "field" => ("Key of a JSON file's top-level object that holds the rows", text),
        _ => return Value::Null,
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(description));
    }
    schema
}
