//! What a sweep file says about where it is trained and recorded: defaults of `run`, and no part of what is computed.

use std::collections::BTreeMap;

use distilsweep_data::quoted;

use super::{
    form,
    problem::Problem,
    tree::{Content, Entry, Mark},
};

/// Numbers that `run` takes for its workers, at most.
const MOST: u64 = 1024;

/// Longest name of a tag in MLflow.
const LONGEST_TAG: usize = 250;

/// What stands for a tag that has only a name.
const SET: &str = "true";

/// What a sweep file says for `run`, whose flags come first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Worker processes.
    pub workers: Option<u16>,
    /// Threads of each.
    pub threads: Option<u16>,
    /// Trials that may train in one pack.
    pub lanes: Option<u32>,
    /// Where trials are trained: `auto`, `cpu` or `cuda:N`.
    pub device: Option<String>,
    /// MLflow's tracking server.
    pub tracking: Option<String>,
    /// URL under which workers publish.
    pub storage: Option<String>,
    /// That whoever hands the sweep in to others does not decide this, once for each key that is there.
    pub unheeded: Vec<Problem>,
}

/// Keys of `resources`.
pub(super) const RESOURCES: &[&str] = &["workers", "threads", "lanes", "device"];

/// Reads `resources`, `tracking` and `storage`.
pub(super) fn read(entries: &[Entry], problems: &mut Vec<Problem>) -> Local {
    let decided = [
        ("resources", "a worker is told when it joins"),
        ("tracking", "the coordinator records where it was told to"),
        ("storage", "the coordinator says where workers publish"),
    ];
    let unheeded = decided.iter().filter_map(|(key, who)| {
        let sentence = format!("`{key}` is for `distilsweep run`, here {who}");
        Some(form::find(entries, key)?.mark.problem(sentence))
    });
    let mut local = Local { unheeded: unheeded.collect(), ..Local::default() };
    let mut text = |key: &str| form::find(entries, key).and_then(|entry| form::text(entry, problems));
    (local.tracking, local.storage) = (text("tracking"), text("storage"));
    let shape = "a mapping for `distilsweep run`: {workers: 2, threads: 4, lanes: 8, device: auto}";
    let resources = form::find(entries, "resources");
    let resources = resources.and_then(|entry| form::mapping("resources", &entry.value, shape, problems));
    let resources = resources.unwrap_or_default();
    form::refuse_unknown(resources, RESOURCES, " in `resources`", |_| None, problems);
    let mut whole = |key: &str| {
        let number = form::whole(form::find(resources, key)?, 1, MOST, problems)?;
        u16::try_from(number).ok()
    };
    (local.workers, local.threads) = (whole("workers"), whole("threads"));
    local.lanes = whole("lanes").map(u32::from);
    local.device = form::find(resources, "device").and_then(|entry| form::text(entry, problems));
    local
}

/// Reads `tags`, W&B's list of names or a mapping.
pub(super) fn tags(entry: &Entry, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let wanted = "a list of names, or a mapping: {team: nlp}";
    let mut tags = BTreeMap::new();
    let mut take = |name: &str, value: String, place: Mark, problems: &mut Vec<Problem>| {
        let usable = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
        let rooted = name.starts_with('/') || name.split('/').any(|part| part == "..");
        let wrong = if let Some(c) = name.chars().find(|c| !usable(*c)) {
            format!("holds {c:?}, MLflow takes letters, digits, spaces and any of _ - . : /")
        } else if name.is_empty() || name.len() > LONGEST_TAG || rooted {
            format!("is no name for MLflow: 1 to {LONGEST_TAG} bytes, and no path out of its place")
        } else {
            tags.insert(name.to_owned(), value);
            return;
        };
        problems.push(place.problem(format!("tag {} {wrong}", quoted(name))));
    };
    match &entry.value.content {
        Content::List(nodes) => {
            for node in nodes {
                if let Some(name) = form::text_of("tags", node, wanted, problems) {
                    take(&name, SET.to_owned(), node.mark, problems);
                }
            }
        }
        Content::Map(entries) => {
            for entry in entries {
                if let Some(value) = form::text(entry, problems) {
                    take(&entry.key, value, entry.mark, problems);
                }
            }
        }
        Content::Scalar { .. } => {
            let sentence = format!("`tags` is {}, it must be {wanted}", entry.value.describe());
            problems.push(entry.value.mark.problem(sentence));
        }
    }
    tags
}
