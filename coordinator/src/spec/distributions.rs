//! The `parameters` of a sweep file whose points are drawn: W&B's grammar of distributions.

use distilsweep_data::excerpt;
use distilsweep_proto::params::{Kind, Parameter, Value};

use super::{
    conditions,
    distribution::{Distribution, Shape},
    drawn::Dimension,
    filter::Filter,
    form, parameters,
    problem::{Problem, nearest},
    tree::{Content, Entry, Mark, Node, Scalar, resolve},
};

/// Probabilities are written in decimals.
const SUM_ERROR: f64 = 1e-6;

/// What may be said of a hyperparameter.
pub(super) const KEYS: &[&str] =
    &["value", "values", "probabilities", "distribution", "min", "max", "mu", "sigma", "q", "a", "b", "when"];

/// The distributions, with what describes each.
pub(super) const KNOWN: &[(&str, &[&str])] = &[
    ("constant", &["value"]),
    ("categorical", &["values"]),
    ("categorical_w_probabilities", &["values", "probabilities"]),
    ("int_uniform", &["min", "max"]),
    ("uniform", &["min", "max"]),
    ("q_uniform", &["min", "max", "q"]),
    ("log_uniform", &["min", "max"]),
    ("log_uniform_values", &["min", "max"]),
    ("q_log_uniform", &["min", "max", "q"]),
    ("q_log_uniform_values", &["min", "max", "q"]),
    ("inv_log_uniform", &["min", "max"]),
    ("inv_log_uniform_values", &["min", "max"]),
    ("normal", &["mu", "sigma"]),
    ("q_normal", &["mu", "sigma", "q"]),
    ("log_normal", &["mu", "sigma"]),
    ("q_log_normal", &["mu", "sigma", "q"]),
    ("beta", &["a", "b"]),
    ("q_beta", &["a", "b", "q"]),
];

/// What is given of a distribution, and where.
struct Given<'a> {
    parameter: Parameter,
    entry: &'a Entry,
    entries: &'a [Entry],
}

/// A hyperparameter as the file lists it.
pub(super) struct Listed {
    pub(super) dimension: Dimension,
    /// Where its description stands.
    pub(super) mark: Mark,
    /// What must hold for it to exist, and where that stands.
    pub(super) when: Option<(Filter, Mark)>,
}

/// Reads `parameters`; what is right of it comes back even where something is wrong.
pub(super) fn read(entry: &Entry, problems: &mut Vec<Problem>) -> Vec<Listed> {
    let members = parameters::members(entry, problems);
    members.into_iter().filter_map(|entry| listed(entry, problems)).collect()
}

fn listed(entry: &Entry, problems: &mut Vec<Problem>) -> Option<Listed> {
    let (parameter, entries) = parameters::named(entry, problems)?;
    let name = parameter.name;
    let given = Given { parameter, entry, entries };
    if form::refuse_unknown(entries, KEYS, &format!(" in `{name}`"), |_| None, problems) {
        return None;
    }
    let distribution = given.distribution(problems)?;
    let dimension = Dimension { name: name.to_owned(), distribution };
    let when = match form::find(entries, "when") {
        Some(entry) => Some((conditions::filter("when", &entry.value, problems)?, entry.value.mark)),
        None => None,
    };
    Some(Listed { dimension, mark: entry.value.mark, when })
}

/// What a range comes to whose bounds are exponents: whoever writes 1e-5 there means something else.
pub(super) fn exponents(entry: &Entry) -> Option<Problem> {
    let Content::Map(entries) = &entry.value.content else { return None };
    let named = form::find(entries, "distribution")?;
    let Content::Scalar { text, .. } = &named.value.content else { return None };
    let values = match text.as_str() {
        "log_uniform" => "log_uniform_values",
        "q_log_uniform" => "q_log_uniform_values",
        "inv_log_uniform" => "inv_log_uniform_values",
        _ => return None,
    };
    let [min, max] = ["min", "max"].map(|key| Some(as_number(&form::find(entries, key)?.value)?.exp()));
    let sentence = format!(
        "the bounds of {text} are exponents of e: `{}` lies between {:.3e} and {:.3e}; {values} takes the values themselves",
        entry.key, min?, max?
    );
    Some(named.value.mark.problem(sentence))
}

impl Given<'_> {
    fn distribution(&self, problems: &mut Vec<Problem>) -> Option<Distribution> {
        let has = |key| form::find(self.entries, key).is_some();
        if let (true, Some(second)) = (has("value"), form::find(self.entries, "values")) {
            let name = self.parameter.name;
            problems
                .push(second.mark.problem(format!("`{name}` has `value` and `values`, keep one of them")));
            return None;
        }
        let named = match form::find(self.entries, "distribution") {
            Some(entry) => form::text(entry, problems)?,
            None if has("value") => "constant".to_owned(),
            None if has("probabilities") => "categorical_w_probabilities".to_owned(),
            None if has("values") => "categorical".to_owned(),
            None if has("min") && has("max") => match (self.scalar("min"), self.scalar("max")) {
                (Some(Value::Integer(_)), Some(Value::Integer(_))) => "int_uniform".to_owned(),
                _ => "uniform".to_owned(),
            },
            None => {
                let name = self.parameter.name;
                problems.push(
                    self.entry
                        .value
                        .mark
                        .problem(format!("`{name}` needs `value: V`, `values: [V, …]`, or `min` and `max`")),
                );
                return None;
            }
        };
        self.of(&named, problems)
    }

    fn of(&self, named: &str, problems: &mut Vec<Problem>) -> Option<Distribution> {
        let Some((_, keys)) = KNOWN.iter().find(|(known, _)| *known == named) else {
            return self.unknown(named, problems);
        };
        let strange = |entry: &&Entry| {
            let key = entry.key.as_str();
            !keys.contains(&key) && !["distribution", "when"].contains(&key)
        };
        if let Some(entry) = self.entries.iter().find(strange) {
            let list = keys.join("`, `");
            let sentence = format!("`{}` has no part in {named}, it has `{list}`", entry.key);
            problems.push(entry.mark.problem(sentence));
            return None;
        }
        match named {
            "constant" => {
                let value = self.required("value", problems)?;
                parameters::checked(&self.parameter, &value.value, problems).map(Distribution::Constant)
            }
            "categorical" | "categorical_w_probabilities" => self.categorical(problems),
            "int_uniform" => self.whole_range(problems),
            _ => {
                let plain = named.strip_prefix("q_").unwrap_or(named);
                self.number(plain, plain.len() < named.len(), problems)
            }
        }
    }

    fn unknown(&self, named: &str, problems: &mut Vec<Problem>) -> Option<Distribution> {
        let known = || KNOWN.iter().map(|(known, _)| *known);
        let remedy = match nearest(named, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are {}", known().collect::<Vec<_>>().join(", ")),
        };
        let at = form::find(self.entries, "distribution").map_or(self.entry.mark, |entry| entry.value.mark);
        problems.push(at.problem(format!("unknown distribution `{}`, {remedy}", excerpt(named))));
        None
    }

    fn categorical(&self, problems: &mut Vec<Problem>) -> Option<Distribution> {
        let listed = self.required("values", problems)?;
        let values = parameters::values(&self.parameter, listed, problems)?;
        let Some(entry) = form::find(self.entries, "probabilities") else {
            let probabilities = vec![1.0 / values.len() as f64; values.len()];
            return Some(Distribution::Categorical { values, probabilities });
        };
        let Content::List(nodes) = &entry.value.content else {
            let found = entry.value.describe();
            problems.push(entry.value.mark.problem(format!("`probabilities` is {found}, it must be a list")));
            return None;
        };
        let probability = |node: &Node| as_number(node).filter(|p| (0.0..=1.0).contains(p));
        let probabilities: Option<Vec<f64>> = nodes.iter().map(|node| probability(node)).collect();
        let sum = probabilities.as_ref().map_or(f64::NAN, |all| all.iter().sum::<f64>());
        let wrong = match probabilities {
            Some(all) if all.len() != values.len() => {
                format!("has {} entries for {} values, it must have one for each", all.len(), values.len())
            }
            Some(all) if (sum - 1.0).abs() <= SUM_ERROR => {
                let probabilities = all.iter().map(|probability| probability / sum).collect();
                return Some(Distribution::Categorical { values, probabilities });
            }
            Some(_) => format!("adds up to {sum}, it must add up to 1"),
            None => "must be a list of numbers from 0 to 1".to_owned(),
        };
        problems.push(entry.value.mark.problem(format!("`probabilities` {wrong}")));
        None
    }

    fn whole_range(&self, problems: &mut Vec<Problem>) -> Option<Distribution> {
        let [min, max] = ["min", "max"].map(|key| self.required(key, problems));
        let (min, max) = (min?, max?);
        let whole = |entry: &Entry| match as_number(&entry.value).filter(|end| end.fract() == 0.0) {
            // Refuses what the hyperparameter cannot be.
            Some(end) => parameters::checked(&self.parameter, &entry.value, problems).map(|_| end as i64),
            None => {
                let found = entry.value.describe();
                problems.push(
                    entry
                        .value
                        .mark
                        .problem(format!("`{}` is {found}, it must be a whole number", entry.key)),
                );
                None
            }
        };
        let [low, high] = [min, max].map(whole);
        let (low, high) = (low?, high?);
        if low > high {
            problems.push(
                max.value.mark.problem(format!("`max` is {high}, it must be above `min`, which is {low}")),
            );
            return None;
        }
        Some(Distribution::IntUniform { min: low, max: high })
    }

    fn number(&self, plain: &str, quantized: bool, problems: &mut Vec<Problem>) -> Option<Distribution> {
        let name = self.parameter.name;
        match self.parameter.kind {
            Kind::Name(_) | Kind::Flag => {
                let kind = self.parameter.kind;
                problems
                    .push(self.entry.mark.problem(format!("`{name}` is {kind}, list them as `values: […]`")));
                return None;
            }
            Kind::Integer { .. } if !quantized => {
                problems.push(self.entry.mark.problem(format!(
                    "`{name}` is a whole number: write whole `min` and `max`, `values: […]`, or `distribution: q_{plain}` with `q: 1`"
                )));
                return None;
            }
            Kind::Integer { .. } | Kind::Number { .. } => {}
        }
        let q = if quantized { Some(self.positive("q", problems)?) } else { None };
        let shape = match plain {
            "normal" | "log_normal" => {
                let (mu, sigma) = (self.finite("mu", problems)?, self.positive("sigma", problems)?);
                if plain == "normal" { Shape::Normal { mu, sigma } } else { Shape::LogNormal { mu, sigma } }
            }
            "beta" => Shape::Beta { a: self.positive("a", problems)?, b: self.positive("b", problems)? },
            _ => self.range(plain, problems)?,
        };
        Some(Distribution::Number { shape, q })
    }

    /// A range within what the hyperparameter may be.
    fn range(&self, plain: &str, problems: &mut Vec<Problem>) -> Option<Shape> {
        let [low, high] = [self.finite("min", problems), self.finite("max", problems)];
        let exponents = matches!(plain, "log_uniform" | "inv_log_uniform");
        let of = |end: f64| if exponents { end.exp() } else { end };
        let (min, max) = (of(low?), of(high?));
        let mark = form::find(self.entries, "max").map_or(self.entry.mark, |entry| entry.value.mark);
        let (least, most) = match self.parameter.kind {
            Kind::Integer { min } => (min as f64, f64::MAX),
            Kind::Number { min, max } => (min, max),
            Kind::Name(_) | Kind::Flag => (f64::MIN, f64::MAX),
        };
        let logarithmic = plain != "uniform";
        let wrong = if min >= max {
            format!("`max` must be above `min`, they are {max} and {min}")
        } else if logarithmic && min <= 0.0 {
            format!("`min` is {min}, a logarithm needs it above 0")
        } else if min < least || max > most {
            let (name, kind) = (self.parameter.name, self.parameter.kind);
            let hint = if exponents {
                ": the bounds of log_uniform are exponents of e, `distribution: log_uniform_values` takes the values"
            } else {
                ""
            };
            format!("`{name}` would lie between {min} and {max}, it must be {kind}{hint}")
        } else if plain == "uniform" {
            return Some(Shape::Uniform { min, max });
        } else {
            return Some(Shape::LogUniform { min, max });
        };
        problems.push(mark.problem(wrong));
        None
    }

    fn scalar(&self, key: &str) -> Option<Value> {
        match &form::find(self.entries, key)?.value.content {
            Content::Scalar { text, plain } => match resolve(text, *plain) {
                Scalar::Value(value) => Some(value),
                Scalar::Nothing => None,
            },
            Content::List(_) | Content::Map(_) => None,
        }
    }

    fn required(&self, key: &str, problems: &mut Vec<Problem>) -> Option<&Entry> {
        let found = form::find(self.entries, key);
        if found.is_none() {
            let name = self.parameter.name;
            problems.push(self.entry.value.mark.problem(format!("missing key `{key}` in `{name}`")));
        }
        found
    }

    fn finite(&self, key: &str, problems: &mut Vec<Problem>) -> Option<f64> {
        let entry = self.required(key, problems)?;
        let number = as_number(&entry.value).filter(|number| number.is_finite());
        if number.is_none() {
            let found = entry.value.describe();
            problems
                .push(entry.value.mark.problem(format!("`{key}` is {found}, it must be a finite number")));
        }
        number
    }

    fn positive(&self, key: &str, problems: &mut Vec<Problem>) -> Option<f64> {
        let number = self.finite(key, problems)?;
        if number <= 0.0 {
            let entry = self.required(key, problems)?;
            problems.push(entry.value.mark.problem(format!("`{key}` is {number}, it must be above 0")));
            return None;
        }
        Some(number)
    }
}

fn as_number(node: &Node) -> Option<f64> {
    let Content::Scalar { text, plain } = &node.content else { return None };
    match resolve(text, *plain) {
        Scalar::Value(Value::Integer(integer)) => Some(integer as f64),
        Scalar::Value(Value::Number(number)) => Some(number),
        Scalar::Value(Value::Text(_) | Value::Flag(_)) | Scalar::Nothing => None,
    }
}
