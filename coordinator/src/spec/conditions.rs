//! `when` and `exclude`: which hyperparameters a point has, and which points there are.

use std::collections::BTreeSet;

use distilsweep_data::listed as listed_values;
use distilsweep_proto::params::{Parameter, Params};
use serde::{Deserialize, Serialize};

use super::{
    distributions::Listed,
    filter::{Condition, Filter},
    form,
    problem::{Problem, nearest},
    tree::{Content, Entry, Mark, Node},
};

/// Conditions of a space, whichever way its points come about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Hyperparameters that exist only where something holds, each behind those that its condition names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    when: Vec<(String, Filter)>,
    /// Points for which one of these holds are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    exclude: Vec<Filter>,
}

impl Conditions {
    /// Puts them in an order in which each can be decided.
    ///
    /// # Errors
    /// The names of hyperparameters whose conditions wait for each other.
    pub(super) fn new(
        mut waiting: Vec<(String, Filter)>,
        exclude: Vec<Filter>,
    ) -> Result<Self, BTreeSet<String>> {
        let mut when = Vec::new();
        while !waiting.is_empty() {
            let undecided: BTreeSet<String> = waiting.iter().map(|(name, _)| name.clone()).collect();
            let waits = |(_, filter): &(String, Filter)| filter.names().any(|name| undecided.contains(name));
            let (still, decided): (Vec<_>, Vec<_>) = waiting.into_iter().partition(waits);
            if decided.is_empty() {
                return Err(circle(&still));
            }
            when.extend(decided);
            waiting = still;
        }
        Ok(Self { when, exclude })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.when.is_empty() && self.exclude.is_empty()
    }

    /// Whether points may be left out.
    pub fn excludes(&self) -> bool {
        !self.exclude.is_empty()
    }

    /// Hyperparameters that may be missing, with what must hold for them to be there, each behind those that its
    /// condition names.
    pub fn when(&self) -> &[(String, Filter)] {
        &self.when
    }

    /// What must not hold of a point.
    pub fn exclude(&self) -> &[Filter] {
        &self.exclude
    }

    /// What must hold for a hyperparameter to be there, where that is not always so.
    pub fn of(&self, name: &str) -> Option<&Filter> {
        self.when.iter().find(|(conditional, _)| conditional == name).map(|(_, filter)| filter)
    }

    /// Hyperparameters that conditions name, and those that have one.
    pub fn involved(&self) -> BTreeSet<&str> {
        let conditional = self.when.iter().map(|(name, _)| name.as_str());
        let filters = self.when.iter().map(|(_, filter)| filter).chain(&self.exclude);
        filters.flat_map(Filter::names).chain(conditional).collect()
    }

    /// Takes away what a point has not, and answers whether there is such a point.
    pub fn settle(&self, point: &mut Params) -> bool {
        for (name, filter) in &self.when {
            if !filter.matches(point) {
                point.remove(name);
            }
        }
        !self.exclude.iter().any(|filter| filter.matches(point))
    }
}

/// Of those that wait for each other the ones that are also waited for: the others only stand behind a circle.
fn circle(waiting: &[(String, Filter)]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = waiting.iter().map(|(name, _)| name.clone()).collect();
    loop {
        let inner = waiting.iter().filter(|(name, _)| names.contains(name));
        let waited_for: BTreeSet<&str> = inner.flat_map(|(_, filter)| filter.names()).collect();
        let kept: BTreeSet<String> =
            names.iter().filter(|name| waited_for.contains(name.as_str())).cloned().collect();
        if kept == names {
            return names;
        }
        names = kept;
    }
}

/// Reads a condition: the language of `sweep retry --where`.
pub(super) fn filter(key: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<Filter> {
    let wanted = "a condition: \"learning_rate>1e-4 and per_device_train_batch_size=16\"";
    let text = form::text_of(key, node, wanted, problems)?;
    match text.parse() {
        Ok(filter) => Some(filter),
        Err(error) => {
            problems.push(node.mark.problem(error.to_string()));
            None
        }
    }
}

/// The conditions of a file: its `exclude`, and what stands as `when` beside its parameters.
pub(super) fn read(entries: &[Entry], listed: &[Listed], problems: &mut Vec<Problem>) -> Option<Conditions> {
    let before = problems.len();
    let mut exclude = Vec::new();
    if let Some(entry) = form::find(entries, "exclude") {
        match &entry.value.content {
            Content::List(nodes) => {
                for node in nodes {
                    if let Some(filter) = filter("exclude", node, problems) {
                        check(&filter, node.mark, listed, problems);
                        exclude.push(filter);
                    }
                }
            }
            Content::Scalar { .. } | Content::Map(_) => {
                let found = entry.value.describe();
                let sentence = format!(
                    "`exclude` is {found}, it must be a list of conditions: [\"learning_rate>1e-4 and warmup_ratio=0\"]"
                );
                problems.push(entry.value.mark.problem(sentence));
            }
        }
    }
    let mut when = Vec::new();
    for Listed { dimension, when: condition, .. } in listed {
        let Some((filter, mark)) = condition else { continue };
        check(filter, *mark, listed, problems);
        when.push((dimension.name.clone(), filter.clone()));
    }
    if problems.len() > before {
        return None;
    }
    match Conditions::new(when, exclude) {
        Ok(conditions) => Some(conditions),
        Err(circle) => {
            let first = listed.iter().find(|one| circle.contains(&one.dimension.name));
            let mark = first.and_then(|one| one.when.as_ref()).map_or(Mark::START, |(_, mark)| *mark);
            let names: Vec<String> = circle.iter().map(|name| format!("`{name}`")).collect();
            let sentence = match names.as_slice() {
                [alone] => format!("whether {alone} exists depends on itself, name another parameter"),
                several => format!(
                    "whether {} exist depends on each other in a circle: take one `when` away",
                    several.join(", ")
                ),
            };
            problems.push(mark.problem(sentence));
            None
        }
    }
}

/// Notes where a condition can never be decided, or is about what never comes.
fn check(filter: &Filter, mark: Mark, listed: &[Listed], problems: &mut Vec<Problem>) {
    for condition in filter.conditions() {
        let name = condition.name();
        let Some(found) = listed.iter().find(|one| one.dimension.name == name) else {
            let known = || listed.iter().map(|one| one.dimension.name.as_str());
            let remedy = match nearest(name, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("they are {}", known().collect::<Vec<_>>().join(", ")),
            };
            problems
                .push(mark.problem(format!("`{name}` of the condition is not among `parameters`, {remedy}")));
            continue;
        };
        if let Some(sentence) = never(condition, found) {
            problems.push(mark.problem(sentence));
        }
    }
}

/// That a hyperparameter is never what it is compared with.
fn never(condition: &Condition, listed: &Listed) -> Option<String> {
    let name = condition.name();
    let value = condition.equal_to()?;
    let distribution = &listed.dimension.distribution;
    if distribution.takes(Parameter::named(name).ok()?, value) {
        return None;
    }
    let remedy = match distribution.choices() {
        Some(choices) => {
            let choices: Vec<String> = choices.iter().map(ToString::to_string).collect();
            match nearest(&value.to_string(), choices.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("it is one of {}", listed_values(choices)),
            }
        }
        None => "it is drawn from a range: compare it with < or >".to_owned(),
    };
    Some(format!("`{name}` is never {value}, {remedy}"))
}
