//! The `dataset` of a sweep file.

use std::path::PathBuf;

use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec, Labels, Limits},
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
    "text",
    "text_pair",
    "label",
    "labels",
    "limit",
];

/// Endings of files with rows: as a dataset's id they are a mistake with a known remedy.
const FILE_ENDINGS: &[&str] = &[".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz", ".zst"];

/// Reads `dataset`: a Hub id or directory, or a mapping.
pub(super) fn read(entry: &Entry, problems: &mut Vec<Problem>) -> Option<DatasetSpec> {
    match &entry.value.content {
        Content::Scalar { .. } => {
            let id = form::text(entry, problems)?;
            source_of_id(entry, &id, problems).map(DatasetSpec::of)
        }
        Content::Map(entries) => described(entry, entries, problems),
        Content::List(_) => {
            problems.push(entry.value.mark.problem(
                "`dataset` is a list, it must be a Hub id, a directory, or a mapping with `id` or `train`",
            ));
            None
        }
    }
}

fn source_of_id(entry: &Entry, id: &str, problems: &mut Vec<Problem>) -> Option<DatasetSource> {
    if FILE_ENDINGS.iter().any(|ending| id.ends_with(ending)) {
        let sentence = format!(
            "`{}` is the file {id}, name files by split: `dataset: {{train: {id}, validation: …}}`",
            entry.key
        );
        problems.push(entry.value.mark.problem(sentence));
        return None;
    }
    let (id, revision) = split_revision(id);
    Some(DatasetSource::Id { id: id.to_owned(), config: None, revision: revision.map(str::to_owned) })
}

fn described(dataset: &Entry, entries: &[Entry], problems: &mut Vec<Problem>) -> Option<DatasetSpec> {
    let unknown = form::refuse_unknown(entries, KEYS, " in `dataset`", elsewhere, problems);
    let text = |key: &str, problems: &mut Vec<Problem>| {
        form::find(entries, key).and_then(|entry| form::text(entry, problems))
    };
    let source = source(dataset, entries, unknown, problems);
    let [text, text_pair, label] = ["text", "text_pair", "label"].map(|key| text(key, problems));
    let labels = form::find(entries, "labels").map(|entry| labels(entry, problems)).unwrap_or_default();
    let limit = form::find(entries, "limit").map(|entry| limit(entry, problems)).unwrap_or_default();
    let labels = if labels.is_empty() { Labels::Inferred } else { Labels::Names(labels) };
    Some(DatasetSpec { text, text_pair, label, labels, limit, ..DatasetSpec::of(source?) })
}

fn source(
    dataset: &Entry,
    entries: &[Entry],
    unknown: bool,
    problems: &mut Vec<Problem>,
) -> Option<DatasetSource> {
    let id = form::find(entries, "id");
    let file = ["train", "validation", "test"].into_iter().find_map(|split| form::find(entries, split));
    match (id, file) {
        (Some(id), None) => {
            let text = form::text(id, problems)?;
            let source = source_of_id(id, &text, problems)?;
            let DatasetSource::Id { id: name, config: _, revision } = source else { return Some(source) };
            let option = |key: &str, problems: &mut Vec<Problem>| {
                form::find(entries, key).and_then(|entry| form::text(entry, problems))
            };
            if let (Some(entry), Some(_)) = (form::find(entries, "revision"), &revision) {
                problems
                    .push(entry.mark.problem(format!("the revision also stands in `id: {text}`, keep one")));
            }
            let config = option("config", problems);
            let revision = revision.or_else(|| option("revision", problems));
            Some(DatasetSource::Id { id: name, config, revision })
        }
        (None, Some(_)) => {
            for key in ["config", "revision"] {
                if let Some(entry) = form::find(entries, key) {
                    let sentence =
                        format!("`{key}` belongs to a dataset with `id`, files have none: remove it");
                    problems.push(entry.mark.problem(sentence));
                }
            }
            let path = |split: &str, problems: &mut Vec<Problem>| {
                let entry = form::find(entries, split)?;
                form::text_of(split, &entry.value, "the path of a file", problems).map(PathBuf::from)
            };
            let (train, validation, test) =
                (path("train", problems), path("validation", problems), path("test", problems));
            if form::find(entries, "train").is_none() {
                let sentence = "missing key `train` in `dataset`: the file with the rows to train on";
                problems.push(dataset.mark.problem(sentence));
            }
            let list = |path: Option<PathBuf>| path.into_iter().collect();
            Some(DatasetSource::Files { train: vec![train?], validation: list(validation), test: list(test) })
        }
        (Some(id), Some(file)) => {
            let later = if id.mark.line >= file.mark.line { id } else { file };
            let sentence = format!("`dataset` has `id` and `{}`, keep the id or the files", file.key);
            problems.push(later.mark.problem(sentence));
            None
        }
        (None, None) => {
            if !unknown {
                let sentence = "`dataset` needs `id` (a Hub id or directory) or `train` (a file)";
                problems.push(dataset.mark.problem(sentence));
            }
            None
        }
    }
}

fn labels(entry: &Entry, problems: &mut Vec<Problem>) -> Vec<String> {
    let Content::List(nodes) = &entry.value.content else {
        let found = entry.value.describe();
        let sentence = format!("`labels` is {found}, it must be a list of class names in class order");
        problems.push(entry.value.mark.problem(sentence));
        return Vec::new();
    };
    let mut labels: Vec<String> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let Some(label) = form::text_of("labels", node, "a list of class names", problems) else { continue };
        if labels.contains(&label) {
            problems.push(node.mark.problem(format!("`labels` names {label} twice, classes differ in name")));
        } else {
            labels.push(label);
        }
    }
    if nodes.len() < 2 {
        let sentence = format!("`labels` must name at least 2 classes, it names {}", nodes.len());
        problems.push(entry.value.mark.problem(sentence));
    }
    labels
}

fn limit(entry: &Entry, problems: &mut Vec<Problem>) -> Limits {
    let shape = "a mapping of splits to rows kept: {train: N, validation: N, test: N}";
    let Some(entries) = form::mapping("limit", &entry.value, shape, problems) else {
        return Limits::default();
    };
    form::refuse_unknown(entries, &["train", "validation", "test"], " in `limit`", |_| None, problems);
    let mut rows =
        |split: &str| form::find(entries, split).and_then(|entry| form::whole(entry, 1, u64::MAX, problems));
    Limits { train: rows("train"), validation: rows("validation"), test: rows("test"), ..Limits::default() }
}

/// Spellings of the datasets library.
fn elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "path" | "data_files" => {
            Some("is written `id` (a Hub id or directory) or `train`, `validation`, `test` (files) here")
        }
        "name" => Some("is written `config` here"),
        _ => None,
    }
}
