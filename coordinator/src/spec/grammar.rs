//! The keys of a sweep file.

use std::{collections::BTreeMap, rc::Rc};

use distilsweep_data::{excerpt, quoted};
use distilsweep_proto::{
    names::{SELECTIONS, Selection},
    resource::split_revision,
};

use super::{
    Impute, Limits, Local, MetricSpec, Origin, SweepSpec, data, early, form, local, models, points,
    problem::{Problem, Problems, TOLD, nearest},
    tree::{self, Content, Entry, Mark, Node},
    warnings,
};

/// Keys that every file has.
pub(super) const REQUIRED: &[&str] = &["name", "model", "dataset", "method", "parameters"];

pub(super) const KEYS: &[&str] = &[
    "name",
    "description",
    "model",
    "dataset",
    "method",
    "metric",
    "parameters",
    "exclude",
    "run_cap",
    "repeats",
    "seed",
    "max_retries",
    "max_concurrent_trials",
    "max_failed_trials",
    "time_budget",
    "early_terminate",
    "experiment",
    "keep_models",
    "register",
    "tags",
    "resources",
    "tracking",
    "storage",
];

/// Names go into paths, URLs and MLflow.
const LONGEST_NAME: usize = 100;

/// A sweep file that is right.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What it says.
    pub spec: SweepSpec,
    /// What it says for `run`.
    pub local: Local,
    /// What there is to say about it all the same, in its order.
    pub warnings: Vec<Problem>,
    /// Where its parameters stand: line and column, from 1.
    pub places: BTreeMap<String, (usize, usize)>,
}

/// Reads and checks the text of a sweep file, for those who only want what it says.
///
/// # Errors
/// Everything that is wrong with it, in the order of the file.
pub fn parse(source: &str) -> Result<SweepSpec, Problems> {
    read(source).map(|reading| reading.spec)
}

/// Reads and checks the text of a sweep file.
///
/// # Errors
/// As [`parse`].
pub fn read(source: &str) -> Result<Reading, Problems> {
    let mut problems = Vec::new();
    let root = tree::read(source, &mut problems);
    let reading = match root {
        Some(root) => sweep(&root, &mut problems).map(|(spec, local)| {
            let warnings = warnings::of(&root, &spec);
            Reading { spec, local, warnings, places: warnings::places(&root) }
        }),
        None => {
            if problems.is_empty() {
                problems.push(Mark::START.problem(missing_everything()));
            }
            None
        }
    };
    match (reading, Problems::from_found(problems)) {
        (Some(reading), None) => Ok(reading),
        (_, Some(problems)) => Err(problems),
        (None, None) => unreachable!("a reader that gives nothing has noted why"),
    }
}

fn missing_everything() -> String {
    "the file is empty, a sweep needs `name`, `model`, `dataset`, `method` and `parameters`".to_owned()
}

fn sweep(root: &Rc<Node>, problems: &mut Vec<Problem>) -> Option<(SweepSpec, Local)> {
    let entries = match &root.content {
        Content::Map(entries) => entries.as_slice(),
        Content::Scalar { .. } if root.describe() == "empty" => {
            problems.push(Mark::START.problem(missing_everything()));
            return None;
        }
        Content::Scalar { .. } | Content::List(_) => {
            let found = root.describe();
            let sentence =
                format!("the file is {found}, a sweep is a mapping of keys: `name: …`, `model: …`");
            problems.push(root.mark.problem(sentence));
            return None;
        }
    };
    let meant = entries.iter().filter(|entry| !warnings::is_idle(&entry.key));
    form::refuse_unknown(meant, KEYS, "", elsewhere, problems);

    let name = required(entries, "name", "a name for the sweep", problems).and_then(|e| name(e, problems));
    let model = required(entries, "model", "a Hub id or the directory of a checkpoint", problems)
        .and_then(|entry| form::text(entry, problems));
    let dataset = required(
        entries,
        "dataset",
        "a Hub id, a directory, a file, or a mapping with `train` files",
        problems,
    )
    .and_then(|entry| data::read(entry, problems));
    let method =
        required(entries, "method", "`method: grid` trains every combination of the values", problems)
            .and_then(|entry| points::method(entry, problems));
    let metric = match form::find(entries, "metric") {
        Some(entry) => metric(entry, problems),
        None => Some(MetricSpec::default()),
    };
    let space = required(entries, "parameters", "the hyperparameters with their values", problems)
        .and_then(|entry| points::space(entries, entry, method, problems));
    let limits = limits(entries, problems);
    let early_terminate =
        form::find(entries, "early_terminate").and_then(|entry| early::read(entry, problems));
    let keep_models = form::find(entries, "keep_models").and_then(|entry| models::keep(entry, problems));
    let register = form::find(entries, "register").and_then(|entry| models::register(entry, problems));
    let tags = form::find(entries, "tags").map(|entry| local::tags(entry, problems)).unwrap_or_default();
    let local = local::read(entries, problems);
    let mut text = |key: &str| form::find(entries, key).and_then(|entry| form::text(entry, problems));
    let (experiment, description) = (text("experiment"), text("description"));

    let model = model?;
    let (model, model_revision) = split_revision(&model);
    let spec = SweepSpec {
        name: name?,
        description,
        model: model.to_owned(),
        model_revision: model_revision.map(str::to_owned),
        dataset: dataset?,
        method: method?,
        metric: metric?,
        space: space?,
        limits,
        early_terminate,
        experiment,
        keep_models: keep_models.unwrap_or_default(),
        register,
        origin: Origin { tags, ..Origin::default() },
    };
    Some((spec, local))
}

fn limits(entries: &[Entry], problems: &mut Vec<Problem>) -> Limits {
    let mut whole = |key: &str, min: u64, max: u64| {
        form::find(entries, key).and_then(|entry| form::whole(entry, min, max, problems))
    };
    let default = Limits::default();
    let retries = whole("max_retries", 0, 1000).and_then(|retries| u32::try_from(retries).ok());
    Limits {
        max_retries: retries.unwrap_or(default.max_retries),
        max_concurrent_trials: whole("max_concurrent_trials", 1, u64::MAX),
        max_failed_trials: whole("max_failed_trials", 0, u64::MAX),
        time_budget: form::find(entries, "time_budget").and_then(|entry| form::duration(entry, problems)),
    }
}

/// The entry of a key that must be there; a misspelt one has been reported with what it should be.
fn required<'a>(
    entries: &'a [Entry],
    key: &str,
    what: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'a Entry> {
    let entry = form::find(entries, key);
    let misspelt = || {
        let mut unknown = entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())).take(TOLD);
        unknown.any(|entry| nearest(&entry.key, KEYS.iter().copied()) == Some(key))
    };
    if entry.is_none() && !misspelt() {
        problems.push(Mark::START.problem(format!("missing key `{key}`: {what}")));
    }
    entry
}

fn name(entry: &Entry, problems: &mut Vec<Problem>) -> Option<String> {
    let name = form::text(entry, problems)?;
    let usable = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let wrong = match name.chars().find(|c| !usable(*c)) {
        Some(c) => format!("`name` holds {c:?}, it may hold letters, digits, `.`, `_` and `-`"),
        None if name.len() > LONGEST_NAME => {
            format!("`name` has {} characters, it may have {LONGEST_NAME}", name.len())
        }
        None if name.starts_with(['.', '-']) => "`name` must start with a letter, a digit or `_`".to_owned(),
        None => return Some(name),
    };
    problems.push(entry.value.mark.problem(wrong));
    None
}

fn metric(entry: &Entry, problems: &mut Vec<Problem>) -> Option<MetricSpec> {
    let shape = "a mapping: {name: best_validation_f1, goal: maximize}";
    let entries = form::mapping("metric", &entry.value, shape, problems)?;
    form::refuse_unknown(entries, &["name", "goal", "target", "impute"], " in `metric`", |_| None, problems);
    let target = match form::find(entries, "target") {
        Some(entry) => Some(early::number(entry, f64::MIN, f64::MAX, problems)?),
        None => None,
    };
    let impute = match form::find(entries, "impute") {
        Some(entry) => impute(entry, problems)?,
        None => Impute::default(),
    };
    let goal = match form::find(entries, "goal") {
        Some(goal) => match form::text(goal, problems)?.as_str() {
            "maximize" => Some(true),
            "minimize" => Some(false),
            other => {
                let sentence = format!("`goal` is {}, it must be maximize or minimize", quoted(other));
                problems.push(goal.value.mark.problem(sentence));
                return None;
            }
        },
        None => None,
    };
    let Some(entry) = form::find(entries, "name") else {
        problems.push(
            entry
                .mark
                .problem("missing key `name` in `metric`: what ranks the trials, best_validation_f1 say"),
        );
        return None;
    };
    let name = form::text(entry, problems)?;
    let Some(selection) = Selection::named(&name) else {
        let names = || SELECTIONS.iter().flat_map(|s| [s.best, s.evaluation]);
        let remedy = match nearest(&name, names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", SELECTIONS.map(|s| s.best).join(", ")),
        };
        problems.push(entry.value.mark.problem(format!("unknown metric `{}`, {remedy}", excerpt(&name))));
        return None;
    };
    Some(MetricSpec { selection, maximize: goal.unwrap_or(selection.maximize), target, impute })
}

fn impute(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Impute> {
    match form::text(entry, problems)?.as_str() {
        "best" => Some(Impute::Best),
        "worst" => Some(Impute::Worst),
        "latest" => Some(Impute::Latest),
        other => {
            let sentence = format!("`impute` is {}, it must be best, worst or latest", quoted(other));
            problems.push(entry.value.mark.problem(sentence));
            None
        }
    }
}

/// Keys of W&B and their likes, with what there is here instead.
fn elsewhere(key: &str) -> Option<&'static str> {
    match key {
        "model_revision" | "revision" => Some("is written with the model here: `model: id@revision`"),
        "<<" => Some("merges mappings in YAML 1.1, sweep files have `*alias` alone: write the keys out"),
        _ => None,
    }
}
