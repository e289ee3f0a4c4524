//! The `parameters` of a sweep file: names with the values that they take.

use std::collections::BTreeSet;

use distilsweep_data::excerpt;
use distilsweep_proto::params::{Parameter, Value};

use super::{
    form,
    problem::{Problem, with_short_value},
    tree::{Content, Entry, Node, Scalar, resolve},
};

/// The hyperparameters below `parameters`. W&B's groups, mappings with `parameters` of their own, only group: names here
/// are Hugging Face's, which are flat.
pub(super) fn members<'a>(entry: &'a Entry, problems: &mut Vec<Problem>) -> Vec<&'a Entry> {
    let mut found: Vec<&Entry> = Vec::new();
    collect(entry, &mut found, problems);
    found
}

fn collect<'a>(group: &'a Entry, found: &mut Vec<&'a Entry>, problems: &mut Vec<Problem>) {
    let shape = "a mapping of hyperparameters, each with `value`, `values`, or `min` and `max`";
    for entry in form::mapping(&group.key, &group.value, shape, problems).unwrap_or_default() {
        if let Content::Map(inner) = &entry.value.content
            && let Some(nested) = form::find(inner, "parameters")
        {
            let beside = inner.iter().filter(|other| other.key != "parameters");
            problems.extend(beside.map(|other| {
                let (key, group) = (excerpt(&other.key), excerpt(&entry.key));
                other.mark.problem(format!(
                    "`{key}` stands beside the `parameters` of `{group}`, which only groups: keep one"
                ))
            }));
            collect(nested, found, problems);
        } else if let Some(first) = found.iter().find(|first| first.key == entry.key) {
            problems.push(entry.mark.problem(format!(
                "`{}` stands here again, it is set at line {}: keep one, for groups only group",
                excerpt(&entry.key),
                first.mark.line
            )));
        } else {
            found.push(entry);
        }
    }
}

/// A hyperparameter by its name, with what is said of it.
pub(super) fn named<'a>(entry: &'a Entry, problems: &mut Vec<Problem>) -> Option<(Parameter, &'a [Entry])> {
    let parameter = match Parameter::named(&entry.key) {
        Ok(parameter) => parameter,
        Err(error) => {
            problems.push(entry.mark.problem(with_short_value(error).to_string()));
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

/// The values that are listed for a hyperparameter, all different.
pub(super) fn values(
    parameter: &Parameter,
    listed: &Entry,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Value>> {
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
    (!values.is_empty()).then_some(values)
}

/// A value that the hyperparameter may have.
pub(super) fn checked(parameter: &Parameter, node: &Node, problems: &mut Vec<Problem>) -> Option<Value> {
    let problem = match &node.content {
        Content::Scalar { text, plain } => match resolve(text, *plain) {
            Scalar::Value(value) => match parameter.check(&value) {
                Ok(value) => return Some(value),
                Err(error) => with_short_value(error).to_string(),
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
