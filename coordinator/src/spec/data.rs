//! The `dataset` of a sweep file: where the rows are, which of them are used, and how files are read.

mod format;
mod labels;
mod rows;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use distilsweep_data::{excerpt, quoted};
use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec},
    resource::split_revision,
};

use super::{
    form,
    problem::Problem,
    tree::{Content, Entry},
};

pub(super) const KEYS: &[&str] = &[
    "id",
    "train",
    "validation",
    "test",
    "config",
    "revision",
    "splits",
    "text",
    "text_pair",
    "label",
    "labels",
    "drop_missing",
    "limit",
    "separator",
    "encoding",
    "header",
    "columns",
    "field",
];

/// What a split is used for; keys of `dataset`, of its `splits` and of its `limit`.
pub(super) const ROLES: [&str; 3] = ["train", "validation", "test"];

/// Orders of `limit`.
pub(super) use rows::ORDERS;

/// Extensions of files with rows. A file of another kind is reported by its reader.
const FILE_EXTENSIONS: [&str; 10] =
    ["csv", "tsv", "txt", "json", "jsonl", "ndjson", "parquet", "arrow", "gz", "zst"];

/// Reads `dataset`: a Hub id, a directory, a file, or a mapping.
pub(super) fn read(entry: &Entry, problems: &mut Vec<Problem>) -> Option<DatasetSpec> {
    match &entry.value.content {
        Content::Scalar { .. } => {
            let text = form::text(entry, problems)?;
            Some(DatasetSpec::of(source_named(&text)))
        }
        Content::Map(entries) => read_mapping(entry, entries, problems),
        Content::List(_) => {
            problems.push(entry.value.mark.problem(
                "`dataset` is a list, it must be a Hub id, a directory, a file, or a mapping with `id` or `train`",
            ));
            None
        }
    }
}

/// The source that a text means: a file by its extension, else a Hub id or directory.
pub(crate) fn source_named(text: &str) -> DatasetSource {
    if is_file(text) {
        return DatasetSource::file(PathBuf::from(text));
    }
    let (id, revision) = split_revision(text);
    DatasetSource::Id { id: id.to_owned(), config: None, revision: revision.map(str::to_owned) }
}

fn is_file(text: &str) -> bool {
    let extension = Path::new(text).extension().map(|extension| extension.to_string_lossy().to_lowercase());
    !text.ends_with('/') && extension.is_some_and(|one| FILE_EXTENSIONS.contains(&one.as_str()))
}

fn read_mapping(dataset: &Entry, entries: &[Entry], problems: &mut Vec<Problem>) -> Option<DatasetSpec> {
    let unknown = form::refuse_unknown(entries, KEYS, " in `dataset`", hint, problems);
    let source = read_source(dataset, entries, unknown, problems);
    let column = |key: &str, problems: &mut Vec<Problem>| {
        form::find(entries, key).and_then(|entry| form::text(entry, problems))
    };
    let [text, text_pair, label] = ["text", "text_pair", "label"].map(|key| column(key, problems));
    let splits =
        form::find(entries, "splits").map(|entry| rows::splits(entry, names_files(entries), problems));
    let labels = form::find(entries, "labels").map(|entry| labels::read(entry, problems));
    let limit = form::find(entries, "limit").map(|entry| rows::limit(entry, problems));
    let drop_missing = form::find(entries, "drop_missing").and_then(|entry| form::flag(entry, problems));
    let format = format::read(entries, problems);
    Some(DatasetSpec {
        source: source?,
        splits: splits.unwrap_or_default(),
        format,
        text,
        text_pair,
        label,
        labels: labels.unwrap_or_default(),
        drop_missing: drop_missing.unwrap_or_default(),
        limit: limit.unwrap_or_default(),
    })
}

/// Whether a mapping names files: an `id` that is a file, or no `id` and files by split.
fn names_files(entries: &[Entry]) -> bool {
    match form::find(entries, "id").map(|entry| &entry.value.content) {
        Some(Content::Scalar { text, .. }) => is_file(text),
        Some(Content::List(_) | Content::Map(_)) => false,
        None => ROLES.iter().any(|role| form::find(entries, role).is_some()),
    }
}

fn read_source(
    dataset: &Entry,
    entries: &[Entry],
    unknown: bool,
    problems: &mut Vec<Problem>,
) -> Option<DatasetSource> {
    let id = form::find(entries, "id");
    let file = ROLES.into_iter().find_map(|role| form::find(entries, role));
    if names_files(entries) {
        for key in ["config", "revision"] {
            if let Some(entry) = form::find(entries, key) {
                let sentence = format!("`{key}` belongs to a dataset with `id`, files have none: remove it");
                problems.push(entry.mark.problem(sentence));
            }
        }
    }
    match (id, file) {
        (Some(id), None) => read_id(id, entries, problems),
        (None, Some(_)) => read_files(dataset, entries, problems),
        (Some(id), Some(file)) => {
            let later = if id.mark.line >= file.mark.line { id } else { file };
            let role = &file.key;
            let sentence = format!(
                "`dataset` has `id` and `{role}`, keep the id or the files; `splits: {{{role}: NAME}}` chooses a split of \
                 an id"
            );
            problems.push(later.mark.problem(sentence));
            None
        }
        (None, None) => {
            if !unknown {
                let sentence = "`dataset` needs `id` (a Hub id or directory) or `train` (files)";
                problems.push(dataset.mark.problem(sentence));
            }
            None
        }
    }
}

fn read_id(id: &Entry, entries: &[Entry], problems: &mut Vec<Problem>) -> Option<DatasetSource> {
    let text = form::text(id, problems)?;
    let source = source_named(&text);
    let DatasetSource::Id { id: name, config: _, revision } = source else { return Some(source) };
    let option = |key: &str, problems: &mut Vec<Problem>| {
        form::find(entries, key).and_then(|entry| form::text(entry, problems))
    };
    if let (Some(entry), Some(_)) = (form::find(entries, "revision"), &revision) {
        let sentence = format!("the revision is also part of `id: {}`, keep one", excerpt(&text));
        problems.push(entry.mark.problem(sentence));
    }
    let config = option("config", problems);
    let revision = revision.or_else(|| option("revision", problems));
    Some(DatasetSource::Id { id: name, config, revision })
}

fn read_files(dataset: &Entry, entries: &[Entry], problems: &mut Vec<Problem>) -> Option<DatasetSource> {
    let [train, validation, test] = ROLES.map(|role| match form::find(entries, role) {
        Some(entry) => read_paths(entry, problems),
        None => Some(Vec::new()),
    });
    if form::find(entries, "train").is_none() {
        let sentence = "missing key `train` in `dataset`: the files with the rows to train on";
        problems.push(dataset.mark.problem(sentence));
    }
    Some(DatasetSource::Files { train: train?, validation: validation?, test: test? })
}

/// The files of a split: one path, a list, or null for a split that is left out.
fn read_paths(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Vec<PathBuf>> {
    let Entry { key: role, value: node, .. } = entry;
    let nodes = match &node.content {
        Content::List(nodes) => nodes,
        Content::Scalar { .. } if node.is_null() && role != "train" => return Some(Vec::new()),
        Content::Scalar { .. } | Content::Map(_) => {
            let path = form::text_of(role, node, "the path of a file, or a list of paths", problems)?;
            return Some(vec![PathBuf::from(path)]);
        }
    };
    let mut different = BTreeSet::new();
    let mut paths = Vec::with_capacity(nodes.len());
    for node in nodes {
        let path = form::text_of(role, node, "a list of paths", problems)?;
        if !different.insert(path.clone()) {
            problems.push(node.mark.problem(format!("`{role}` lists {} twice, keep one", quoted(&path))));
        }
        paths.push(PathBuf::from(path));
    }
    if paths.is_empty() {
        problems.push(node.mark.problem(format!("`{role}` is an empty list, name at least one file")));
    }
    Some(paths)
}

/// Spellings of the datasets library and of pandas, with the keys here.
fn hint(key: &str) -> Option<&'static str> {
    match key {
        "path" | "data_files" => {
            Some("is written `id` (a Hub id or directory) or `train`, `validation`, `test` (files) here")
        }
        "name" => Some("is written `config` here"),
        "data_dir" => Some("is no key here: name the directory with `id`, and its splits with `splits`"),
        "split" => Some("is written `splits` here: `splits: {validation: NAME, test: null}`"),
        "sep" | "delimiter" => Some("is written `separator` here"),
        "names" => Some("is written `columns` here, with `header: false`"),
        "skip_missing" | "dropna" => Some("is written `drop_missing: true` here"),
        _ => None,
    }
}
