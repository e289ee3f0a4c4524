//! The wording of every problem.

mod conditional;
mod datasets;
mod drawn;
mod early;
mod hostile;
mod parses;
mod said;
mod schema;

use distilsweep_proto::{
    dataset::{DatasetSource, Limits as RowLimits},
    names,
    params::Value,
};

use proptest::prelude::*;

use super::{KeepModels, MetricSpec, Origin, Space, SweepSpec, parse};

const GOOD: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
parameters:
  learning_rate: {values: [2e-5, 5e-5]}
";

/// The problems of a source, as the command line prints them.
fn problems(source: &str) -> String {
    parse(source).unwrap_err().in_file("sweep.yaml")
}

/// The problems of [`GOOD`] with one of its lines, named by its key, replaced or removed.
fn with(key: &str, line: &str) -> String {
    let lines = GOOD.lines().map(|old| if old.trim_start().starts_with(key.trim()) { line } else { old });
    problems(&lines.collect::<Vec<_>>().join("\n"))
}

/// The problems of [`GOOD`] with more at its end.
fn and(more: &str) -> String {
    problems(&format!("{GOOD}{more}\n"))
}

fn good(source: &str) -> SweepSpec {
    parse(source).unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")))
}

#[test]
fn several_problems_come_at_once_in_the_order_of_the_file() {
    let source = "\
nmae: demo
model: ./model
dataset: {train: train.csv, lables: [a, b]}
method: grid
metric: {name: best_validation_f2}
parameters:
  learning_rte: {values: [1e-5]}
  seed: {values: []}
  warmup_ratio: {value: 1.5}
";
    insta::assert_snapshot!(problems(source), @r"
    sweep.yaml:1:1: unknown key `nmae`, did you mean `name`?
    sweep.yaml:3:29: unknown key `lables` in `dataset`, did you mean `labels`?
    sweep.yaml:5:16: unknown metric `best_validation_f2`, did you mean `best_validation_f1`?
    sweep.yaml:7:3: unknown parameter `learning_rte`, did you mean `learning_rate`?
    sweep.yaml:8:18: `values` of `seed` is empty, list at least one value
    sweep.yaml:9:25: `warmup_ratio` is 1.5, it must be a number from 0 to 1
    ");
}

#[test]
fn keys_that_are_unknown_or_missing_are_named() {
    let cases = [
        and("max_retires: 3"),
        and("colour: blue"),
        with("name", ""),
        with("model", ""),
        with("dataset", ""),
        with("method", ""),
        with("parameters", "description: |"),
        and("model: again"),
        and("metric: {goal: maximize}"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @"
    sweep.yaml:7:1: unknown key `max_retires`, did you mean `max_retries`?
    sweep.yaml:7:1: unknown key `colour`, known are name, description, model, dataset, method, metric, parameters, exclude, run_cap, repeats, seed, max_retries, max_concurrent_trials, max_failed_trials, time_budget, early_terminate, experiment, keep_models, register, tags, resources, tracking, storage
    sweep.yaml:1:1: missing key `name`: a name for the sweep
    sweep.yaml:1:1: missing key `model`: a Hub id or the directory of a checkpoint
    sweep.yaml:1:1: missing key `dataset`: a Hub id, a directory, a file, or a mapping with `train` files
    sweep.yaml:1:1: missing key `method`: `method: grid` trains every combination of the values
    sweep.yaml:1:1: missing key `parameters`: the hyperparameters with their values
    sweep.yaml:7:1: `model` stands here again, it is set at line 2: keep one
    sweep.yaml:7:1: missing key `name` in `metric`: what ranks the trials, best_validation_f1 say
    ");
}

#[test]
fn keys_of_other_programs_say_what_is_there_instead() {
    let cases = [
        and("model_revision: main"),
        and("<<: {}"),
        with("method", "method: gird"),
        with("  learning_rate", "  learning_rate: {min: 1e-5, max: 1e-4}"),
        with("  learning_rate", "  learning_rate: {distribution: uniform, values: [1]}"),
        with("dataset", "dataset: {path: d}"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r#"
    sweep.yaml:7:1: `model_revision` is written with the model here: `model: id@revision`
    sweep.yaml:7:1: `<<` merges mappings in YAML 1.1, sweep files have `*alias` alone: write the keys out
    sweep.yaml:4:9: `method` is "gird", it must be grid, random, quasi-random or bayes
    sweep.yaml:6:18: `learning_rate` is any number of a range, and `method: grid` needs them one by one: `values: [V, …]`, two whole numbers as `min` and `max`, or `distribution: q_uniform` with `q`; `method: random` draws
    sweep.yaml:6:42: `values` has no part in uniform, it has `min`, `max`
    sweep.yaml:3:11: `path` is written `id` (a Hub id or directory) or `train`, `validation`, `test` (files) here
    "#);
}

#[test]
fn values_of_a_wrong_type_say_what_would_be_right() {
    let cases = [
        with("name", "name: my sweep"),
        with("name", "name: [a]"),
        with("name", "name:"),
        with("name", &format!("name: {}", "n".repeat(101))),
        with("name", "name: -n"),
        with("model", "model: {id: m}"),
        problems("name: n\nmodel: m\ndataset: d\nmethod: grid\nparameters: 5\n"),
        and("max_retries: -1"),
        and("max_retries: two"),
        and("metric: best_validation_f1"),
        and("metric: {name: f1}"),
        and("metric: {name: eval_f1_scor}"),
        and("metric: {name: eval_loss, goal: max}"),
        and("experiment: ''"),
        and("keep_models: most"),
        and("keep_models: {top: 0}"),
        and("keep_models: {best: 3}"),
        and("keep_models: {}"),
        and("register: a/b"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r#"
    sweep.yaml:1:7: `name` holds ' ', it may hold letters, digits, `.`, `_` and `-`
    sweep.yaml:1:7: `name` is a list, it must be a text
    sweep.yaml:1:5: `name` is empty, it must be a text
    sweep.yaml:1:7: `name` has 101 characters, it may have 100
    sweep.yaml:1:7: `name` must start with a letter, a digit or `_`
    sweep.yaml:2:8: `model` is a mapping, it must be a text
    sweep.yaml:5:13: `parameters` is 5, it must be a mapping of hyperparameters, each with `value`, `values`, or `min` and `max`
    sweep.yaml:7:14: `max_retries` is -1, it must be a whole number from 0 to 1000
    sweep.yaml:7:14: `max_retries` is "two", it must be a whole number from 0 to 1000
    sweep.yaml:7:9: `metric` is "best_validation_f1", it must be a mapping: {name: best_validation_f1, goal: maximize}
    sweep.yaml:7:16: unknown metric `f1`, known are best_validation_f1, best_eval_f1_macro, best_eval_accuracy, best_eval_precision, best_eval_recall, best_eval_matthews_correlation, best_eval_loss
    sweep.yaml:7:16: unknown metric `eval_f1_scor`, did you mean `eval_f1_score`?
    sweep.yaml:7:33: `goal` is "max", it must be maximize or minimize
    sweep.yaml:7:13: `experiment` is empty, it must be a text
    sweep.yaml:7:14: `keep_models` is "most", it must be best, all, none or {top: N}
    sweep.yaml:7:20: `top` is 0, it must be a whole number of at least 1
    sweep.yaml:7:15: unknown key `best` in `keep_models`, known are top
    sweep.yaml:7:14: missing key `top` in `keep_models`: how many, {top: 3} say
    sweep.yaml:7:11: `register` holds '/', a registered model's name may not
    "#);
}

#[test]
fn parameters_say_what_they_may_be() {
    let rate = |line: &str| with("  learning_rate", line);
    let cases = [
        rate("  learning_rate: 5e-5"),
        rate("  learning_rate: [1e-5, 5e-5]"),
        rate("  learning_rate:"),
        rate("  learning_rate: {}"),
        rate("  learning_rate: {value: 1, values: [1]}"),
        rate("  learning_rate: {vlaue: 1}"),
        rate("  learning_rate: {values: []}"),
        rate("  learning_rate: {values: 5e-5}"),
        rate("  learning_rate: {values: [1e-5, 0.00001]}"),
        rate("  weight_decay: {values: [0, -0.0]}"),
        rate("  learning_rate: {values: [\"5e-5\", fast, true, .nan, .inf, -1]}"),
        rate("  learning_rate: {values: [[1e-5]]}"),
        rate("  learning_rate: {value: }"),
        rate("  per_device_train_batch_size: {values: [0, 16.5, 16]}"),
        rate("  max_length: {value: 9223372036854775808}"),
        rate("  lr_scheduler_type: {value: liner}"),
        rate("  fp16: {value: true}"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r#"
    sweep.yaml:6:18: `learning_rate` is 5e-5, write `learning_rate: {value: 5e-5}`
    sweep.yaml:6:18: `learning_rate` is a list, write `learning_rate: {values: […]}`
    sweep.yaml:6:16: `learning_rate` is empty, write `learning_rate: {value: 0.1}`
    sweep.yaml:6:18: `learning_rate` needs `value: V`, `values: [V, …]`, or `min` and `max`
    sweep.yaml:6:29: `learning_rate` has `value` and `values`, keep one of them
    sweep.yaml:6:19: unknown key `vlaue` in `learning_rate`, did you mean `value`?
    sweep.yaml:6:27: `values` of `learning_rate` is empty, list at least one value
    sweep.yaml:6:27: `values` of `learning_rate` is 5e-5, it must be a list: [V, …]
    sweep.yaml:6:34: `values` of `learning_rate` lists 1e-05 twice, keep one
    sweep.yaml:6:30: `values` of `weight_decay` lists -0.0 twice, keep one
    sweep.yaml:6:28: `learning_rate` is "5e-5", it must be a number from 0 to 1000
    sweep.yaml:6:36: `learning_rate` is "fast", it must be a number from 0 to 1000
    sweep.yaml:6:42: `learning_rate` is True, it must be a number from 0 to 1000
    sweep.yaml:6:48: `learning_rate` is NaN, it must be a number from 0 to 1000
    sweep.yaml:6:54: `learning_rate` is inf, it must be a number from 0 to 1000
    sweep.yaml:6:60: `learning_rate` is -1, it must be a number from 0 to 1000
    sweep.yaml:6:28: `learning_rate` is a list, it must be a number from 0 to 1000
    sweep.yaml:6:24: `learning_rate` is empty, it must be a number from 0 to 1000
    sweep.yaml:6:42: `per_device_train_batch_size` is 0, it must be a whole number of at least 1
    sweep.yaml:6:45: `per_device_train_batch_size` is 16.5, it must be a whole number of at least 1
    sweep.yaml:6:23: `max_length` is 9.223372036854776e+18, it must be a whole number of at least 3
    sweep.yaml:6:30: `lr_scheduler_type` is "liner", it must be one of linear, cosine, polynomial, constant, constant_with_warmup
    sweep.yaml:6:3: `fp16` of TrainingArguments cannot be set here: mixed precision here is `bf16`
    "#);
}

#[test]
fn parameters_may_stand_in_groups_that_only_group() {
    let grouped = GOOD.replace(
        "  learning_rate: {values: [2e-5, 5e-5]}",
        "  optimizer:\n    parameters:\n      learning_rate: {values: [2e-5, 5e-5]}\n      decay: {parameters: {weight_decay: {value: 0}}}\n  seed: {value: 1}",
    );
    let flat = GOOD.to_owned() + "  weight_decay: {value: 0}\n  seed: {value: 1}\n";
    assert_eq!(good(&grouped), good(&flat));
    let cases = [
        grouped.replace("decay: {", "decay: {values: [1], "),
        grouped.replace("weight_decay", "learning_rate"),
        grouped.replace("weight_decay", "wieght_decay"),
        grouped.replace("{parameters: {weight_decay: {value: 0}}}", "{parameters: 5}"),
        grouped.replace("parameters: {weight", "params: {weight"),
    ];
    insta::assert_snapshot!(cases.map(|case| problems(&case)).join("\n"), @"
    sweep.yaml:9:15: `values` stands beside the `parameters` of `decay`, which only groups: keep one
    sweep.yaml:9:56: `weight_decay` has `value` and `values`, keep one of them
    sweep.yaml:9:28: `learning_rate` stands here again, it is set at line 8: keep one, for groups only group
    sweep.yaml:9:28: unknown parameter `wieght_decay`, did you mean `weight_decay`?
    sweep.yaml:9:27: `parameters` is 5, it must be a mapping of hyperparameters, each with `value`, `values`, or `min` and `max`
    sweep.yaml:9:7: unknown parameter `decay`
    ");
}

#[test]
fn a_grid_lists_what_can_be_counted_of_a_range() {
    let values = |range: &str| {
        let spec = good(&GOOD.replace("  learning_rate: {values: [2e-5, 5e-5]}", range));
        let name = spec.space.varied()[0].to_owned();
        let values = (0..spec.space.len()).map(|index| spec.space.point(index)[&name].to_string());
        values.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(values("  num_train_epochs: {min: 2, max: 4}"), "2.0 3.0 4.0");
    assert_eq!(values("  warmup_steps: {distribution: int_uniform, min: 9, max: 11}"), "9 10 11");
    let tenths = "  weight_decay: {distribution: q_uniform, min: 0.0, max: 0.3, q: 0.1}";
    assert_eq!(values(tenths), "0.0 0.1 0.2 0.3");
    let batches = "  per_device_train_batch_size: {distribution: q_uniform, min: 10, max: 40, q: 16}";
    assert_eq!(values(batches), "16 32");
    let even = "  lr_scheduler_type: {values: [linear, cosine], probabilities: [0.5, 0.5]}";
    assert_eq!(values(even), "linear cosine");
    let rate = |line: &str| with("  learning_rate", &format!("  learning_rate: {line}"));
    let cases = [
        rate("{values: [1, 2], probabilities: [0.9, 0.1]}"),
        rate("{min: 1e-5, max: 1e-4}"),
        rate("{distribution: q_log_uniform_values, min: 1e-5, max: 1e-4, q: 1e-5}"),
        rate("{distribution: q_uniform, min: 0.2, max: 0.9, q: 1}"),
        rate("{distribution: q_uniform, min: 0.0, max: 1.0, q: 1e-9}"),
        with("  learning_rate", "  warmup_steps: {min: 0, max: 9223372036854775807}"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @"
    sweep.yaml:6:18: `learning_rate` weighs its values by `probabilities`, and `method: grid` takes each once: remove them, or draw with `method: random`
    sweep.yaml:6:18: `learning_rate` is any number of a range, and `method: grid` needs them one by one: `values: [V, …]`, two whole numbers as `min` and `max`, or `distribution: q_uniform` with `q`; `method: random` draws
    sweep.yaml:6:18: `learning_rate` is any number of a range, and `method: grid` needs them one by one: `values: [V, …]`, two whole numbers as `min` and `max`, or `distribution: q_uniform` with `q`; `method: random` draws
    sweep.yaml:6:18: `learning_rate` has no multiple of `q` between `min` and `max`
    sweep.yaml:6:18: `learning_rate` has 1000000000 values in its range, and a grid lists 100000 at most: `method: random` draws
    sweep.yaml:6:17: `warmup_steps` has 9223372036854775808 values in its range, and a grid lists 100000 at most: `method: random` draws
    ");
}

#[test]
fn what_is_no_single_yaml_mapping_is_refused_with_its_place() {
    let cases = [
        problems(""),
        problems("# only a comment\n"),
        problems("---\n"),
        problems("- a\n- b\n"),
        problems("just text"),
        problems("name: demo\nparameters:\n\tseed: {value: 1}\n"),
        problems("name: demo\nmodel: [unclosed\n"),
        problems("name: 'unclosed\n"),
        problems("name: a: b\n"),
        problems("model: *missing\n"),
        problems("model: &m [*m]\n"),
        problems("[a, b]: c\n"),
        problems(&"[".repeat(100)),
        and("---\nname: second"),
    ];
    insta::assert_snapshot!(cases.join("\n"), @r#"
    sweep.yaml:1:1: the file is empty, a sweep needs `name`, `model`, `dataset`, `method` and `parameters`
    sweep.yaml:1:1: the file is empty, a sweep needs `name`, `model`, `dataset`, `method` and `parameters`
    sweep.yaml:1:1: the file is empty, a sweep needs `name`, `model`, `dataset`, `method` and `parameters`
    sweep.yaml:1:1: the file is a list, a sweep is a mapping of keys: `name: …`, `model: …`
    sweep.yaml:1:1: the file is "just text", a sweep is a mapping of keys: `name: …`, `model: …`
    sweep.yaml:3:1: a tab indents this line, YAML wants spaces
    sweep.yaml:3:1: this is not YAML: while parsing a flow sequence, expected ',' or ']'
    sweep.yaml:1:7: this is not YAML: while scanning a quoted scalar, found unexpected end of stream
    sweep.yaml:1:8: this is not YAML: mapping values are not allowed in this context
    sweep.yaml:1:8: this is not YAML: while parsing node, found unknown anchor
    sweep.yaml:1:12: this alias stands inside what it repeats, put it after its anchor
    sweep.yaml:1:1: a list as a key, a key is a plain name
    sweep.yaml:1:33: nested deeper than 32 levels, a sweep file needs 4
    sweep.yaml:7:1: a second document starts here, a sweep file holds one: remove it or the `---`
    "#);
}

#[test]
fn a_space_beyond_the_limit_is_refused_with_its_size() {
    let values: Vec<String> = (1..=4096).map(|value| value.to_string()).collect();
    let names = ["seed", "data_seed", "max_length", "logging_steps", "warmup_steps", "max_grad_norm"];
    let parameters: Vec<String> =
        names.iter().map(|name| format!("  {name}: {{values: [{}]}}", values[3..].join(","))).collect();
    let source =
        format!("name: n\nmodel: m\ndataset: d\nmethod: grid\nparameters:\n{}\n", parameters.join("\n"));
    insta::assert_snapshot!(problems(&source), @"sweep.yaml:5:1: the values combine to 4701651857820438815449 points, more than the 9223372036854775808 (2^63) that a sweep may have");
}

/// What random files are made of.
const PIECES: &[&str] = &[
    "name",
    "model",
    "dataset",
    "metric",
    "parameters",
    "learning_rate",
    "values",
    "value",
    "train",
    "id",
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "'",
    "\"",
    "#",
    " #",
    "|",
    ">",
    "---\n",
    "...",
    "1e-5",
    "5",
    "~",
    "!!str ",
    "%",
    "@",
    "? ",
    "é",
    "\r\n",
    "<<",
];

proptest! {
    #[test]
    fn any_text_is_read_or_refused_with_places_in_it(
        pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24),
        cut in 0..GOOD.len(),
    ) {
        let text = pieces.concat();
        for source in [text.clone(), format!("{}{text}{}", &GOOD[..cut], &GOOD[cut..])] {
            if let Err(problems) = parse(&source) {
                prop_assert!(problems.iter().len() > 0);
                let last = source.lines().count() + 1;
                prop_assert!(problems.iter().all(|p| (1..=last).contains(&p.line) && p.column > 0), "{problems}");
            }
        }
    }
}
