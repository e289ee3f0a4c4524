//! The `early_terminate` of a sweep file: W&B's hyperband, and asha and median.

use distilsweep_data::quoted;

use super::{
    form,
    problem::{Problem, nearest},
    tree::{Content, Entry, Scalar, resolve},
};
use crate::search::{Bands, EarlyTerminate, Resource};

const SHAPE: &str = "a mapping: {type: asha, min_epochs: 1, eta: 3}";
/// W&B's.
const DEFAULT_ETA: f64 = 3.0;
/// Below it every other rung is at the same evaluation.
pub(super) const LEAST_ETA: f64 = 1.1;
const MOST: u64 = 1 << 31;
/// Others that a median wants to be one.
const DEFAULT_MIN_TRIALS: u32 = 3;

/// Reads `early_terminate`.
pub(super) fn read(entry: &Entry, problems: &mut Vec<Problem>) -> Option<EarlyTerminate> {
    let entries = form::mapping("early_terminate", &entry.value, SHAPE, problems)?;
    let Some(named) = form::find(entries, "type") else {
        let sentence = "missing key `type` in `early_terminate`: hyperband, asha or median";
        problems.push(entry.mark.problem(sentence));
        return None;
    };
    let known: &[&str] = match form::text(named, problems)?.as_str() {
        "hyperband" => &["type", "min_iter", "max_iter", "s", "eta", "strict"],
        "asha" => &["type", "min_epochs", "min_steps", "eta", "brackets"],
        "median" => &["type", "min_iter", "min_trials"],
        other => {
            let known = ["hyperband", "asha", "median"];
            let remedy = match nearest(other, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it must be one of {}", known.join(", ")),
            };
            problems.push(named.value.mark.problem(format!("`type` is {}, {remedy}", quoted(other))));
            return None;
        }
    };
    if form::refuse_unknown(entries, known, " in `early_terminate`", |_| None, problems) {
        return None;
    }
    let rule = Rule { entry, entries };
    match known[1] {
        "min_epochs" => rule.asha(problems),
        "min_iter" if known.contains(&"min_trials") => rule.median(problems),
        _ => rule.hyperband(problems),
    }
}

struct Rule<'a> {
    entry: &'a Entry,
    entries: &'a [Entry],
}

impl Rule<'_> {
    fn hyperband(&self, problems: &mut Vec<Problem>) -> Option<EarlyTerminate> {
        let eta = self.eta(problems)?;
        let strict = match form::find(self.entries, "strict") {
            Some(entry) => form::flag(entry, problems)?,
            None => false,
        };
        let bands = match (form::find(self.entries, "min_iter"), form::find(self.entries, "max_iter")) {
            (Some(min), None) => {
                if let Some(s) = form::find(self.entries, "s") {
                    problems.push(s.mark.problem(
                        "`s` counts bands below `max_iter`, with `min_iter` there is none: remove it",
                    ));
                    return None;
                }
                Bands::From(small(min, 1, problems)?)
            }
            (None, Some(max)) => {
                let Some(s) = form::find(self.entries, "s") else {
                    problems
                        .push(max.mark.problem("`max_iter` needs `s`: how many bands there are below it"));
                    return None;
                };
                let bands = Bands::Below(small(max, 1, problems)?, small(s, 1, problems)?);
                if bands.list(eta).is_empty() {
                    let sentence = format!(
                        "`max_iter` has no band below it: with an eta of {eta} it must be at least {eta}"
                    );
                    problems.push(max.value.mark.problem(sentence));
                    return None;
                }
                bands
            }
            (Some(_), Some(max)) => {
                problems.push(max.mark.problem("`early_terminate` has `min_iter` and `max_iter`, keep one"));
                return None;
            }
            (None, None) => {
                let sentence =
                    "hyperband needs `min_iter`, the evaluations up to its first band, or `max_iter` and `s`";
                problems.push(self.entry.mark.problem(sentence));
                return None;
            }
        };
        Some(EarlyTerminate::Hyperband { bands, eta, strict })
    }

    fn asha(&self, problems: &mut Vec<Problem>) -> Option<EarlyTerminate> {
        let first = match (form::find(self.entries, "min_epochs"), form::find(self.entries, "min_steps")) {
            (Some(epochs), None) => Resource::Epochs(number(epochs, 0.0, f64::MAX, problems)?),
            (None, Some(steps)) => Resource::Steps(form::whole(steps, 1, MOST, problems)?),
            (Some(_), Some(steps)) => {
                problems
                    .push(steps.mark.problem("`early_terminate` has `min_epochs` and `min_steps`, keep one"));
                return None;
            }
            (None, None) => {
                let sentence = "asha needs `min_epochs` or `min_steps`: how far every trial is trained";
                problems.push(self.entry.mark.problem(sentence));
                return None;
            }
        };
        let brackets = match form::find(self.entries, "brackets") {
            Some(entry) => u32::try_from(form::whole(entry, 1, 16, problems)?).ok()?,
            None => 1,
        };
        Some(EarlyTerminate::Asha { first, eta: self.eta(problems)?, brackets })
    }

    fn median(&self, problems: &mut Vec<Problem>) -> Option<EarlyTerminate> {
        let mut count = |key: &str, default: u32| match form::find(self.entries, key) {
            Some(entry) => small(entry, 1, problems),
            None => Some(default),
        };
        let (min_iter, min_trials) = (count("min_iter", 1), count("min_trials", DEFAULT_MIN_TRIALS));
        Some(EarlyTerminate::Median { min_iter: min_iter?, min_trials: min_trials? })
    }

    fn eta(&self, problems: &mut Vec<Problem>) -> Option<f64> {
        match form::find(self.entries, "eta") {
            Some(entry) => number(entry, LEAST_ETA, 1000.0, problems),
            None => Some(DEFAULT_ETA),
        }
    }
}

fn small(entry: &Entry, min: u64, problems: &mut Vec<Problem>) -> Option<u32> {
    form::whole(entry, min, MOST, problems).and_then(|number| u32::try_from(number).ok())
}

/// A number from `min` to `max`; above 0 where `min` is.
pub(super) fn number(entry: &Entry, min: f64, max: f64, problems: &mut Vec<Problem>) -> Option<f64> {
    if let Content::Scalar { text, plain } = &entry.value.content
        && let Scalar::Value(value) = resolve(text, *plain)
        && let Some(number) = value.as_number().filter(|number| number.is_finite())
        && (min..=max).contains(&number)
        && (min != 0.0 || number > 0.0)
    {
        return Some(number);
    }
    let range = match (min, max) {
        (f64::MIN, f64::MAX) => String::new(),
        (0.0, f64::MAX) => " above 0".to_owned(),
        _ => format!(" from {min} to {max}"),
    };
    let found = entry.value.describe();
    problems
        .push(entry.value.mark.problem(format!("`{}` is {found}, it must be a number{range}", entry.key)));
    None
}
