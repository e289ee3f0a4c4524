//! A JSON Schema of the sweep file, for editors, made from the tables that the parser goes by.
//!
//! It says what each key may be and which go together. What needs more than one place of the file to be judged, only the
//! parser knows: whether a grid can list a range, whether conditions make sense.

mod dataset;

use distilsweep_proto::{
    names::SELECTIONS,
    params::{self, Kind, PARAMETERS, Parameter, TrainingArguments},
};
use serde_json::{Map, Value, json};

use super::{distributions, early, grammar, local, warnings};

/// The schema, of draft 2020-12.
pub fn schema() -> Value {
    let known = grammar::KEYS.iter().map(|key| ((*key).to_owned(), key_schema(key)));
    let idle = warnings::IDLE.iter().map(|(key, why)| {
        ((*key).to_owned(), json!({"description": format!("Means nothing here: {why}"), "deprecated": true}))
    });
    let properties: Map<String, Value> = known.chain(idle).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Distilsweep sweep file",
        "type": "object",
        "required": grammar::REQUIRED,
        "additionalProperties": false,
        "properties": properties,
        "if": {"properties": {"method": {"enum": ["random", "quasi-random", "bayes"]}}},
        "then": {"required": ["run_cap"]},
        "$defs": {
            "parameters": parameters(),
            "distribution": distribution_rules(),
        },
    })
}

/// What a key may be; a test holds that none is forgotten.
fn key_schema(key: &str) -> Value {
    let text = json!({"type": ["string", "number", "boolean"]});
    let (description, mut schema) = match key {
        "name" => (
            "Name for people, and of the parent run in MLflow",
            json!({"type": ["string", "number"], "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]*$", "maxLength": 100}),
        ),
        "description" => ("What it is about, for people", text),
        "model" => ("Hub id (id@revision) or directory of a DistilBERT or BERT checkpoint", text),
        "dataset" => {
            ("Hub id, directory or file, or a mapping with `id`, or with files by split", dataset::schema())
        }
        "method" => (
            "grid: every combination; random: drawn; quasi-random: drawn from a Sobol sequence; bayes: proposed by what came of the ones before",
            json!({"enum": ["grid", "random", "quasi-random", "bayes"]}),
        ),
        "metric" => ("What selects the best epoch of a trial and ranks the trials", metric()),
        "early_terminate" => ("Ends trials early that are worse than others", early_terminate()),
        "parameters" => (
            "Hyperparameters under Hugging Face's names, each with `value`, `values` or a distribution",
            json!({"$ref": "#/$defs/parameters"}),
        ),
        "exclude" => (
            "Conditions: points for which one of them holds are left out, `learning_rate>1e-4 and warmup_ratio=0`",
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        "run_cap" => ("Points that are trained, at most; of a search, how many are drawn", whole(1)),
        "repeats" => (
            "Trials of each point, with seeds 1 to N, ranked by their mean",
            json!({"type": "integer", "minimum": 1, "maximum": 1000}),
        ),
        "seed" => ("Seed of the drawing: the same file and seed draw the same points", whole(0)),
        "max_retries" => (
            "How often a trial is tried again after an internal failure",
            json!({"type": "integer", "minimum": 0, "maximum": 1000}),
        ),
        "max_concurrent_trials" => ("Trials under way at a time, at most", whole(1)),
        "max_failed_trials" => ("Failed trials that the sweep bears; one more and it has failed", whole(0)),
        "time_budget" => (
            "Time that the sweep may run: 90m, 2h 30m, or seconds",
            json!({"anyOf": [whole(1), {"type": "string"}]}),
        ),
        "experiment" => ("The MLflow experiment; the sweep's name when left out", text),
        "keep_models" => (
            "Whose models MLflow gets",
            json!({"anyOf": [
                {"enum": ["best", "all", "none"]},
                {"type": "object", "required": ["top"], "additionalProperties": false, "properties": {"top": whole(1)}},
            ]}),
        ),
        "register" => (
            "The registered model that they become versions of",
            json!({"type": ["string", "number"], "pattern": "^[^/:'\"`]+$"}),
        ),
        "tags" => (
            "Tags of all runs in MLflow: names, or a mapping",
            json!({"anyOf": [
                {"type": "array", "items": text},
                {"type": "object", "additionalProperties": text},
            ]}),
        ),
        "resources" => ("What `distilsweep run` takes for its workers; its flags come first", resources()),
        "tracking" => (
            "MLflow's tracking server for `distilsweep run`; its flag and MLFLOW_TRACKING_URI come first",
            text,
        ),
        "storage" => {
            ("URL under which the workers of `distilsweep run` publish: file:, s3:, gs: or az:", text)
        }
        _ => return Value::Null,
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), json!(description));
    }
    schema
}

fn whole(minimum: u64) -> Value {
    json!({"type": "integer", "minimum": minimum})
}

fn metric() -> Value {
    let names: Vec<&str> = SELECTIONS.iter().flat_map(|one| [one.best, one.evaluation]).collect();
    json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": {"enum": names},
            "goal": {"enum": ["maximize", "minimize"]},
            "target": {"type": "number", "description": "The sweep ends once a trial reaches it"},
            "impute": {
                "enum": ["best", "worst", "latest"],
                "description": "What `method: bayes` takes for a trial that has no result",
            },
        },
    })
}

fn early_terminate() -> Value {
    let eta = json!({"type": "number", "minimum": early::LEAST_ETA});
    let of = |kind: &str, properties: Value, required: Value| {
        let mut properties = properties;
        properties["type"] = json!({"const": kind});
        json!({
            "type": "object",
            "required": ["type"],
            "additionalProperties": false,
            "properties": properties,
            "oneOf": required,
        })
    };
    json!({"oneOf": [
        of(
            "hyperband",
            json!({"min_iter": whole(1), "max_iter": whole(1), "s": whole(1), "eta": eta, "strict": {"type": "boolean"}}),
            json!([{"required": ["min_iter"]}, {"required": ["max_iter", "s"]}]),
        ),
        of(
            "asha",
            json!({"min_epochs": {"type": "number", "exclusiveMinimum": 0}, "min_steps": whole(1), "eta": eta, "brackets": whole(1)}),
            json!([{"required": ["min_epochs"]}, {"required": ["min_steps"]}]),
        ),
        of("median", json!({"min_iter": whole(1), "min_trials": whole(1)}), json!([{}])),
    ]})
}

fn resources() -> Value {
    let property = |key: &&str| {
        let schema = match *key {
            "device" => json!({"type": "string", "description": "auto, cpu or cuda:N"}),
            _ => json!({"type": "integer", "minimum": 1, "maximum": 1024}),
        };
        ((*key).to_owned(), schema)
    };
    let properties: Map<String, Value> = local::RESOURCES.iter().map(property).collect();
    json!({"type": "object", "additionalProperties": false, "properties": properties})
}

/// Hyperparameters by name, and groups of them under any other.
fn parameters() -> Value {
    let defaults = serde_json::to_value(TrainingArguments::default()).unwrap_or_default();
    let property = |parameter: &Parameter| (parameter.name.to_owned(), described(parameter, &defaults));
    let properties: Map<String, Value> = PARAMETERS.iter().map(property).collect();
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": {
            "type": "object",
            "required": ["parameters"],
            "additionalProperties": false,
            "properties": {"parameters": {"$ref": "#/$defs/parameters"}},
        },
    })
}

/// A hyperparameter, with what it may be and what it is when left out.
fn described(parameter: &Parameter, defaults: &Value) -> Value {
    let Parameter { name, kind } = parameter;
    // Null where the model or the device decides.
    let default = serde_json::from_value(defaults[*name].clone());
    let default = default.map(|value: params::Value| format!("; {value} when left out")).unwrap_or_default();
    let is_number = matches!(kind, Kind::Integer { .. } | Kind::Number { .. });
    let listed = |keys: &[&str]| !keys.contains(&"min") && !keys.contains(&"mu") && !keys.contains(&"a");
    let distributions: Vec<&str> = distributions::KNOWN
        .iter()
        .filter(|(_, keys)| is_number || listed(keys))
        .map(|(distribution, _)| *distribution)
        .collect();
    let value = value_of(*kind);
    let property = |key: &&str| {
        let schema = match *key {
            "value" => value.clone(),
            "values" => json!({"type": "array", "items": value, "minItems": 1, "uniqueItems": true}),
            "probabilities" => {
                json!({"type": "array", "items": {"type": "number", "minimum": 0, "maximum": 1}, "minItems": 1})
            }
            "distribution" => json!({"enum": distributions}),
            "when" => json!({
                "type": "string",
                "description": "Condition under which it exists: `lr_scheduler_type = constant_with_warmup`",
            }),
            "sigma" | "q" | "a" | "b" => json!({"type": "number", "exclusiveMinimum": 0}),
            _ => json!({"type": "number"}),
        };
        ((*key).to_owned(), schema)
    };
    let allowed = |key: &&&str| {
        is_number || ["value", "values", "probabilities", "distribution", "when"].contains(*key)
    };
    let properties: Map<String, Value> = distributions::KEYS.iter().filter(allowed).map(property).collect();
    json!({
        "description": format!("{name}: {kind}{default}"),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "allOf": [{"$ref": "#/$defs/distribution"}],
    })
}

fn value_of(kind: Kind) -> Value {
    match kind {
        Kind::Integer { min } => json!({"type": "integer", "minimum": min}),
        Kind::Number { min, max } => json!({"type": "number", "minimum": min, "maximum": max}),
        Kind::Name(names) => json!({"enum": names}),
        Kind::Flag => json!({"type": "boolean"}),
    }
}

/// Which keys go together, by the distribution that is named; where none is, by what is there.
fn distribution_rules() -> Value {
    let rule = |(distribution, keys): &(&str, &[&str])| {
        let names: Vec<&str> = keys.iter().copied().chain(["distribution", "when"]).collect();
        json!({
            "if": {"required": ["distribution"], "properties": {"distribution": {"const": distribution}}},
            "then": {"required": keys, "propertyNames": {"enum": names}},
        })
    };
    let rules: Vec<Value> = distributions::KNOWN.iter().map(rule).collect();
    json!({
        "allOf": rules,
        "anyOf": [
            {"required": ["distribution"]},
            {"required": ["value"], "propertyNames": {"enum": ["value", "when"]}},
            {"required": ["values"], "propertyNames": {"enum": ["values", "probabilities", "when"]}},
            {"required": ["min", "max"], "propertyNames": {"enum": ["min", "max", "when"]}},
        ],
    })
}
