//! The `parameters` of a sweep file: names with the values that they take.

use std::collections::BTreeSet;

use distilsweep_proto::params::{Parameter, Value};

use super::{
    form,
    grid::Axis,
    problem::Problem,
    tree::{Content, Entry, Node, Scalar, resolve},
};

/// Reads `parameters`; what is right of it comes back even where something is wrong.
pub(super) fn read(entry: &Entry, problems: &mut Vec<Problem>) -> Vec<Axis> {
    let shape = "a mapping of hyperparameters, each with `value: V` or `values: [V, …]`";
    let entries = form::mapping("parameters", &entry.value, shape, problems).unwrap_or_default();
    entries.iter().filter_map(|entry| axis(entry, problems)).collect()
}

/// A hyperparameter by its name, with what is said of it.
pub(super) fn named<'a>(entry: &'a Entry, problems: &mut Vec<Problem>) -> Option<(Parameter, &'a [Entry])> {
    let parameter = match Parameter::named(&entry.key) {
        Ok(parameter) => parameter,
        Err(error) => {
            problems.push(entry.mark.problem(error.to_string()));
            return None;
        }
    };
    let name = parameter.name;
    let mark = entry.value.mark;
    match &entry.value.content {
        Content::Map(entries) => Some((*parameter, entries)),
        Content::Scalar { .. } => {
            let found = entry.value.describe();
            let remedy = if found == "empty" { "0.1" } else { &found };
            problems.push(mark.problem(format!("`{name}` is {found}, write `{name}: {{value: {remedy}}}`")));
            None
        }
        Content::List(_) => {
            problems.push(mark.problem(format!("`{name}` is a list, write `{name}: {{values: […]}}`")));
            None
        }
    }
}

fn axis(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Axis> {
    let (parameter, entries) = named(entry, problems)?;
    let parameter = &parameter;
    let name = parameter.name;
    let mark = entry.value.mark;
    let unknown =
        form::refuse_unknown(entries, &["value", "values"], &format!(" in `{name}`"), elsewhere, problems);
    match (form::find(entries, "value"), form::find(entries, "values")) {
        (Some(value), None) => {
            let value = checked(parameter, &value.value, problems)?;
            Some(Axis { name: name.to_owned(), values: vec![value] })
        }
        (None, Some(listed)) => values(parameter, listed, problems),
        (Some(_), Some(second)) => {
            problems
                .push(second.mark.problem(format!("`{name}` has `value` and `values`, keep one of them")));
            None
        }
        (None, None) => {
            if !unknown {
                problems.push(mark.problem(format!("`{name}` needs `value: V` or `values: [V, …]`")));
            }
            None
        }
    }
}

/// The values that are listed for a hyperparameter, all different.
pub(super) fn values(parameter: &Parameter, listed: &Entry, problems: &mut Vec<Problem>) -> Option<Axis> {
    let name = parameter.name;
    let nodes = match &listed.value.content {
        Content::List(nodes) if !nodes.is_empty() => nodes,
        Content::List(_) => {
            problems.push(
                listed.value.mark.problem(format!("`values` of `{name}` is empty, list at least one value")),
            );
            return None;
        }
        Content::Scalar { .. } | Content::Map(_) => {
            let found = listed.value.describe();
            problems.push(
                listed
                    .value
                    .mark
                    .problem(format!("`values` of `{name}` is {found}, it must be a list: [V, …]")),
            );
            return None;
        }
    };
    let mut values: Vec<Value> = Vec::with_capacity(nodes.len());
    let mut seen = BTreeSet::new();
    for node in nodes {
        let Some(value) = checked(parameter, node, problems) else { continue };
        // Checked values are of one kind, so that their texts differ where they do; but for the zero with a sign.
        let text = if value == Value::Number(0.0) { "0.0".to_owned() } else { value.to_string() };
        if !seen.insert(text) {
            problems.push(node.mark.problem(format!("`values` of `{name}` lists {value} twice, keep one")));
        } else {
            values.push(value);
        }
    }
    (!values.is_empty()).then(|| Axis { name: name.to_owned(), values })
}

/// A value that the hyperparameter may have.
pub(super) fn checked(parameter: &Parameter, node: &Node, problems: &mut Vec<Problem>) -> Option<Value> {
    let problem = match &node.content {
        Content::Scalar { text, plain } => match resolve(text, *plain) {
            Scalar::Value(value) => match parameter.check(&value) {
                Ok(value) => return Some(value),
                Err(error) => error.to_string(),
            },
            Scalar::Nothing => format!("`{}` is empty, it must be {}", parameter.name, parameter.kind),
        },
        Content::List(_) | Content::Map(_) => {
            format!("`{}` is {}, it must be {}", parameter.name, node.describe(), parameter.kind)
        }
    };
    problems.push(node.mark.problem(problem));
    None
}

/// Keys of W&B that describe what a grid has not.
fn elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "distribution" | "min" | "max" | "mu" | "sigma" | "q" => Some(
            "describes a range to draw from, `method: grid` needs the values themselves, `values: [V, …]`; `method: random` draws",
        ),
        "probabilities" => {
            Some("weighs random draws, `method: grid` takes every value of `values` once: remove it")
        }
        "parameters" => Some("nests parameters, here they stand side by side under Hugging Face's names"),
        _ => None,
    }
}
