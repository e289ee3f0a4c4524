//! `labels` of a data set: class names in class order, or the values of the label column that belong to each class.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use distilsweep_data::quoted;
use distilsweep_proto::dataset::Labels;

use crate::spec::{
    form,
    problem::Problem,
    tree::{Content, Entry, Node},
};

/// Reads `labels`. Values and names are trimmed, as labels of files are.
pub(super) fn read(entry: &Entry, problems: &mut Vec<Problem>) -> Labels {
    let (labels, classes) = match &entry.value.content {
        Content::List(nodes) => {
            let names = read_names(nodes, problems);
            (Labels::Names(names), nodes.len())
        }
        Content::Map(entries) => {
            let values = read_values(entries, problems);
            let classes = values.iter().map(|(_, class)| class).collect::<BTreeSet<_>>().len();
            (Labels::Values(values), classes)
        }
        Content::Scalar { .. } => {
            let found = entry.value.describe();
            let sentence = format!(
                "`labels` is {found}, it must be a list of class names in class order, or a mapping of label values to \
                 class names: {{1: bad, 2: good}}"
            );
            problems.push(entry.value.mark.problem(sentence));
            return Labels::Inferred;
        }
    };
    if classes < 2 {
        let sentence = format!("`labels` must name at least 2 classes, it names {classes}");
        problems.push(entry.value.mark.problem(sentence));
    }
    labels
}

fn read_names(nodes: &[Rc<Node>], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut names = Vec::with_capacity(nodes.len());
    let mut different = BTreeSet::new();
    for node in nodes {
        let Some(name) = form::text_of("labels", node, "a list of class names", problems) else { continue };
        let name = name.trim().to_owned();
        if different.insert(name.clone()) {
            names.push(name);
        } else {
            let sentence = format!("`labels` names {} twice, classes differ in name", quoted(&name));
            problems.push(node.mark.problem(sentence));
        }
    }
    names
}

/// Values of the label column with their class names. A key is the value as it is written, whatever type YAML gives it.
fn read_values(entries: &[Entry], problems: &mut Vec<Problem>) -> Vec<(String, String)> {
    let mut values = Vec::with_capacity(entries.len());
    let mut different = BTreeMap::new();
    for entry in entries {
        let value = entry.key.trim();
        let wanted = "a class name, so that `labels` maps values to classes";
        let Some(class) = form::text_of(value, &entry.value, wanted, problems) else { continue };
        let class = class.trim().to_owned();
        if value.is_empty() {
            let sentence =
                "`labels` has an empty key: rows without a label are dropped by `drop_missing: true`";
            problems.push(entry.mark.problem(sentence));
        } else if let Some(first) = different.insert(as_whole_number(value), value) {
            let sentence =
                format!("`labels` maps {} and {}, which are one value", quoted(first), quoted(value));
            problems.push(entry.mark.problem(sentence));
        } else {
            values.push((value.to_owned(), class));
        }
    }
    values
}

/// `1.0` as `1`: in files, whole floats are the integer.
fn as_whole_number(value: &str) -> &str {
    match value.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => {
            if whole.parse::<i64>().is_ok() { whole } else { value }
        }
        _ => value,
    }
}
