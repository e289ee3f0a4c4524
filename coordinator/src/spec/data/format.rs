//! How text files are read: `separator`, `encoding`, `header` with `columns`, and `field`.

use std::collections::BTreeSet;

use distilsweep_data::quoted;
use distilsweep_proto::dataset::{FileFormat, encoding, separator};

use crate::spec::{
    form,
    problem::Problem,
    tree::{Content, Entry},
};

pub(super) fn read(entries: &[Entry], problems: &mut Vec<Problem>) -> FileFormat {
    let find = |key: &str| form::find(entries, key);
    FileFormat {
        separator: find("separator").and_then(|entry| read_separator(entry, problems)),
        encoding: find("encoding").and_then(|entry| read_encoding(entry, problems)),
        columns: read_columns(find("header"), find("columns"), problems),
        field: find("field").and_then(|entry| form::text(entry, problems)),
    }
}

/// A separator may be white space, which is no text elsewhere.
fn read_separator(entry: &Entry, problems: &mut Vec<Problem>) -> Option<char> {
    let found = entry.value.describe();
    let read = match &entry.value.content {
        Content::Scalar { text, .. } => separator(text),
        Content::List(_) | Content::Map(_) => separator(""),
    };
    let quotes = if found == "empty" { ", in quotes" } else { "" };
    noted(entry, read.map_err(|wanted| format!("`separator` is {found}, {wanted}{quotes}")), problems)
}

fn read_encoding(entry: &Entry, problems: &mut Vec<Problem>) -> Option<String> {
    let name = form::text(entry, problems)?;
    let read =
        encoding(&name).map_err(|wanted| format!("`encoding` is {}, {wanted}", entry.value.describe()));
    noted(entry, read, problems)
}

fn noted<T>(entry: &Entry, read: Result<T, String>, problems: &mut Vec<Problem>) -> Option<T> {
    read.map_err(|sentence| problems.push(entry.value.mark.problem(sentence))).ok()
}

/// Column names of files without a header line; none if their first line names the columns.
fn read_columns(header: Option<&Entry>, columns: Option<&Entry>, problems: &mut Vec<Problem>) -> Vec<String> {
    let has_header = header.map(|entry| form::flag(entry, problems));
    let names = columns.map(|entry| column_names(entry, problems));
    let wrong = match (header, has_header, columns) {
        (Some(header), Some(Some(false)), None) => Some((
            header,
            "`header: false` needs `columns`, the column names in order: `columns: [label, text]`",
        )),
        (None, _, Some(columns)) => Some((
            columns,
            "`columns` names the columns of files without a header line, add `header: false`; `text` and `label` \
             choose columns of a header",
        )),
        (Some(_), Some(Some(true)), Some(columns)) => {
            Some((columns, "`columns` contradicts `header: true`, remove one of them"))
        }
        _ => None,
    };
    problems.extend(wrong.map(|(entry, sentence)| entry.mark.problem(sentence)));
    names.unwrap_or_default()
}

fn column_names(entry: &Entry, problems: &mut Vec<Problem>) -> Vec<String> {
    let wanted = "a list of column names in their order: [label, text]";
    let nodes = match &entry.value.content {
        Content::List(nodes) if !nodes.is_empty() => nodes,
        content => {
            let found = if matches!(content, Content::List(_)) {
                "an empty list".to_owned()
            } else {
                entry.value.describe()
            };
            problems.push(entry.value.mark.problem(format!("`columns` is {found}, it must be {wanted}")));
            return Vec::new();
        }
    };
    let mut different = BTreeSet::new();
    let mut names = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(name) = form::text_of("columns", node, wanted, problems) else { continue };
        if different.insert(name.clone()) {
            names.push(name);
        } else {
            problems.push(node.mark.problem(format!("`columns` names {} twice, keep one", quoted(&name))));
        }
    }
    names
}
