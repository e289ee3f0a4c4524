//! The schema against files that are right and wrong, as the parser has it.

use jsonschema::Validator;

use super::{super::grammar::KEYS, parses::TWO, *};
use crate::spec::{
    schema,
    tree::{self, Content, Node, Scalar, resolve},
};

/// A file as an editor's checker sees it.
fn instance(source: &str) -> serde_json::Value {
    fn of(node: &Node) -> serde_json::Value {
        match &node.content {
            Content::Scalar { text, plain } => match resolve(text, *plain) {
                Scalar::Nothing => serde_json::Value::Null,
                Scalar::Value(value) => serde_json::json!(value),
            },
            Content::List(nodes) => nodes.iter().map(|node| of(node)).collect(),
            Content::Map(entries) => {
                let pair = |entry: &tree::Entry| (entry.key.clone(), of(&entry.value));
                serde_json::Value::Object(entries.iter().map(pair).collect())
            }
        }
    }
    of(&tree::read(source, &mut Vec::new()).unwrap())
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

fn refusals(source: &str) -> Vec<String> {
    validator().iter_errors(&instance(source)).map(|error| error.to_string()).collect()
}

const RANDOM: &str = "\
program: train.py
name: 7
model: m@v1
dataset: {id: d, config: c, text: t, label: l, labels: [a, 1], limit: {train: 10}}
method: random
run_cap: 9
repeats: 2
seed: 3
metric: {name: eval_loss, goal: minimize}
exclude: [learning_rate>1e-4]
tags: {team: nlp, round: 2}
resources: {workers: 2, device: cpu}
tracking: http://127.0.0.1:5000
storage: s3://bucket/sweeps
keep_models: {top: 2}
time_budget: 2h 30m
parameters:
  learning_rate: {distribution: log_uniform_values, min: 1e-5, max: 1e-3}
  lr_scheduler_type: {values: [linear, constant_with_warmup], probabilities: [0.5, 0.5]}
  warmup_steps: {min: 0, max: 100, when: lr_scheduler_type = constant_with_warmup}
  group:
    parameters:
      weight_decay: {distribution: q_beta, a: 2, b: 5, q: 0.01}
      deeper: {parameters: {group_by_length: {value: true}, warmup_ratio: {distribution: normal, mu: 0.1, sigma: 0.01}}}
";

#[test]
fn files_that_are_right_are_right_by_the_schema() {
    let datasets = super::datasets::GOOD_DATASETS
        .map(|dataset| GOOD.replace("{train: train.csv, validation: validation.csv}", dataset));
    for source in datasets.iter().map(String::as_str).chain([
        GOOD,
        TWO,
        RANDOM,
        super::conditional::CONDITIONAL,
        super::drawn::RANDOM,
        &format!("{GOOD}early_terminate: {{type: hyperband, min_iter: 3, eta: 2, strict: true}}\n"),
        &format!("{GOOD}early_terminate: {{type: hyperband, max_iter: 27, s: 2}}\n"),
        &format!("{GOOD}early_terminate: {{type: asha, min_epochs: 0.5, brackets: 2}}\n"),
        &format!(
            "{GOOD}early_terminate: {{type: median}}\nmetric: {{name: eval_loss, target: 1, impute: worst}}\n"
        ),
        include_str!("../../../../deploy/examples/sentiment.yaml"),
        include_str!("../../../../deploy/examples/emotion.yaml"),
    ]) {
        good(source);
        assert_eq!(refusals(source), [""; 0], "{source}");
    }
}

#[test]
fn what_the_parser_refuses_is_wrong_by_the_schema() {
    let datasets = super::datasets::WRONG_BY_SCHEMA
        .map(|dataset| GOOD.replace("{train: train.csv, validation: validation.csv}", dataset));
    let wrong = [
        GOOD.replace("name: demo\n", ""),
        GOOD.replace("name: demo", "name: my sweep"),
        GOOD.replace("name: demo", "nmae: demo"),
        GOOD.replace("method: grid", "method: gird"),
        GOOD.replace("method: grid", "method: random"),
        GOOD.replace("values: [2e-5, 5e-5]", "values: []"),
        GOOD.replace("values: [2e-5, 5e-5]", "values: [1, 1]"),
        GOOD.replace("values: [2e-5, 5e-5]", "value: -1"),
        GOOD.replace("values: [2e-5, 5e-5]", "values: ['1e-5']"),
        GOOD.replace("values: [2e-5, 5e-5]", "vlaues: [1e-5]"),
        GOOD.replace("{values: [2e-5, 5e-5]}", "5e-5"),
        GOOD.replace("learning_rate: {values: [2e-5, 5e-5]}", "learning_rte: {values: [1]}"),
        GOOD.replace("learning_rate: {values: [2e-5, 5e-5]}", "lr_scheduler_type: {value: liner}"),
        GOOD.replace("learning_rate: {values: [2e-5, 5e-5]}", "seed: {value: 1.5}"),
        GOOD.replace("train: train.csv, ", ""),
        format!("{GOOD}repeats: 0\n"),
        format!("{GOOD}exclude: learning_rate>1\n"),
        format!("{GOOD}metric: {{name: f1}}\n"),
        format!("{GOOD}resources: {{worker: 2}}\n"),
        format!("{GOOD}register: a/b\n"),
        RANDOM.replace("distribution: log_uniform_values, min: 1e-5", "distribution: log_uniform_values"),
        RANDOM.replace("distribution: log_uniform_values", "distribution: log_uniform_value"),
        RANDOM.replace("{min: 0, max: 100,", "{min: 0, mu: 100,"),
        RANDOM.replace("sigma: 0.01", "sigma: 0"),
        format!("{GOOD}early_terminate: {{type: hyperband, min_iter: 3, max_iter: 9, s: 1}}\n"),
        format!("{GOOD}early_terminate: {{type: asha}}\n"),
        format!("{GOOD}early_terminate: {{type: median, eta: 3}}\n"),
        format!("{GOOD}early_terminate: {{type: hyperband, min_iter: 3, eta: 1}}\n"),
        RANDOM.replace("deeper: {parameters: {", "deeper: {value: 1, parameters: {"),
        RANDOM.replace("weight_decay: {", "wieght_decay: {"),
    ];
    for source in wrong.into_iter().chain(datasets) {
        assert!(parse(&source).is_err(), "{source}");
        assert_ne!(refusals(&source), [""; 0], "{source}");
    }
}

#[test]
fn every_key_and_every_hyperparameter_is_described() {
    let schema = schema();
    for key in KEYS {
        assert!(schema["properties"][key]["description"].is_string(), "{key}");
    }
    let dataset = &schema["properties"]["dataset"]["anyOf"][1]["properties"];
    for key in crate::spec::data::KEYS {
        assert!(dataset[key]["description"].is_string(), "{key}");
    }
    let parameters = &schema["$defs"]["parameters"]["properties"];
    for parameter in distilsweep_proto::params::PARAMETERS {
        assert!(parameters[parameter.name]["description"].is_string(), "{}", parameter.name);
    }
    let described = ["learning_rate", "class_weights", "dropout"];
    let described = described.map(|name| parameters[name]["description"].as_str().unwrap());
    insta::assert_snapshot!(described.join("\n"), @"
    learning_rate: a number from 0 to 1000; 5e-05 when left out
    class_weights: one of none, balanced; none when left out
    dropout: a number from 0 to 0.99
    ");
}
