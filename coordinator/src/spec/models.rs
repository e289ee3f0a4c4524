//! Which models of a sweep MLflow gets, and under which name they are registered.

use serde::{Deserialize, Serialize};

use super::{
    form,
    problem::Problem,
    tree::{Content, Entry},
};

/// Which trials' models become logged models of MLflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepModels {
    /// The best trial's.
    #[default]
    Best,
    /// Those of so many best trials.
    Top(u64),
    /// Every completed trial's.
    All,
    /// No one's.
    None,
}

impl KeepModels {
    /// How many of the best trials that are.
    pub fn count(self) -> u64 {
        match self {
            Self::Best => 1,
            Self::Top(count) => count,
            Self::All => u64::MAX,
            Self::None => 0,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn keep(entry: &Entry, problems: &mut Vec<Problem>) -> Option<KeepModels> {
    if let Content::Map(entries) = &entry.value.content {
        let misspelt = form::refuse_unknown(entries, &["top"], " in `keep_models`", |_| None, problems);
        let Some(top) = form::find(entries, "top") else {
            if !misspelt {
                let sentence = "missing key `top` in `keep_models`: how many, {top: 3} say";
                problems.push(entry.value.mark.problem(sentence));
            }
            return None;
        };
        return form::whole(top, 1, u64::MAX, problems).map(KeepModels::Top);
    }
    let right = "best, all, none or {top: N}";
    let text = form::text_of(&entry.key, &entry.value, right, problems)?;
    match text.as_str() {
        "best" => Some(KeepModels::Best),
        "all" => Some(KeepModels::All),
        "none" => Some(KeepModels::None),
        _ => {
            let sentence = format!("`keep_models` is {}, it must be {right}", entry.value.describe());
            problems.push(entry.value.mark.problem(sentence));
            None
        }
    }
}

/// A name of a registered model: MLflow takes any but these.
pub(super) fn register(entry: &Entry, problems: &mut Vec<Problem>) -> Option<String> {
    let name = form::text(entry, problems)?;
    if let Some(wrong) = name.chars().find(|c| matches!(c, '/' | ':' | '\'' | '"' | '`')) {
        let sentence = format!("`register` holds {wrong:?}, a registered model's name may not");
        problems.push(entry.value.mark.problem(sentence));
        return None;
    }
    Some(name)
}
