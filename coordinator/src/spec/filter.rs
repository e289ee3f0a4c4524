//! Which trials an order or a table is about: conditions on their hyperparameters, and on what came of them.

use std::{cmp::Ordering, str::FromStr};

use distilsweep_proto::params::{Parameter, ParameterError, Params, Value};

use super::tree::{Scalar, resolve};

/// Conditions that all have to hold: `learning_rate>1e-4`, joined by ` and `.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    name: String,
    operator: Operator,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longer ones first: `>=` begins with `>`.
const OPERATORS: [(&str, Operator); 7] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// Why a text is no filter.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No comparison.
    #[error(
        "`{0}` is no condition, write NAME OPERATOR VALUE with one of = != < <= > >=: learning_rate>1e-4"
    )]
    Form(String),
    /// No such hyperparameter, or a value that it cannot have.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Texts and flags have no order.
    #[error("`{0}` is neither less nor greater than anything, compare it with = or !=")]
    Unordered(&'static str),
}

impl Filter {
    /// Whether a point is meant; a parameter that it does not have never is.
    pub fn matches(&self, point: &Params) -> bool {
        self.holds(|name| point.get(name).cloned())
    }

    /// Whether all conditions hold of what `lookup` finds by name; what it does not find never does.
    pub fn holds(&self, lookup: impl Fn(&str) -> Option<Value>) -> bool {
        self.conditions.iter().all(|condition| {
            lookup(&condition.name).is_some_and(|value| condition.operator.holds(&value, &condition.value))
        })
    }

    /// Reads conditions that may also be about what came of a trial: one of `others` by name.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn of_results(text: &str, others: &[&str]) -> Result<Self, FilterError> {
        let conditions = text.split(" and ").map(|text| condition(text, others)).collect::<Result<_, _>>()?;
        Ok(Self { conditions })
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::of_results(text, &[])
    }
}

fn condition(text: &str, others: &[&str]) -> Result<Condition, FilterError> {
    let malformed = || FilterError::Form(text.trim().to_owned());
    let start = text.find(['=', '!', '<', '>']).ok_or_else(malformed)?;
    let (name, rest) = text.split_at(start);
    let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
    let (operator, value) = found.ok_or_else(malformed)?;
    let Scalar::Value(value) = resolve(value.trim(), true) else { return Err(malformed()) };
    if let Some(other) = others.iter().find(|other| **other == name.trim()) {
        return Ok(Condition { name: (*other).to_owned(), operator, value });
    }
    let parameter = Parameter::named(name.trim())?;
    let value = parameter.check(&value)?;
    let ordered = matches!(value, Value::Integer(_) | Value::Number(_));
    if !ordered && !matches!(operator, Operator::Equal | Operator::NotEqual) {
        return Err(FilterError::Unordered(parameter.name));
    }
    Ok(Condition { name: parameter.name.to_owned(), operator, value })
}

impl Operator {
    fn holds(self, left: &Value, right: &Value) -> bool {
        let order = match (left.as_number(), right.as_number()) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => (left == right).then_some(Ordering::Equal),
        };
        match self {
            Operator::Equal => order == Some(Ordering::Equal),
            Operator::NotEqual => order != Some(Ordering::Equal),
            Operator::Less => order == Some(Ordering::Less),
            Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order == Some(Ordering::Greater),
            Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(rate: f64, seed: i64) -> Params {
        Params::from([
            ("learning_rate".to_owned(), Value::Number(rate)),
            ("seed".to_owned(), Value::Integer(seed)),
            ("lr_scheduler_type".to_owned(), Value::Text("cosine".to_owned())),
        ])
    }

    fn matches(filter: &str, point: &Params) -> bool {
        filter.parse::<Filter>().unwrap().matches(point)
    }

    #[test]
    fn conditions_compare_numbers_as_numbers_and_texts_as_texts() {
        let point = point(1e-4, 3);
        assert!(matches("learning_rate>5e-5", &point) && !matches("learning_rate > 1e-4", &point));
        assert!(matches("learning_rate>=1e-4 and seed != 2", &point));
        assert!(!matches("learning_rate>=1e-4 and seed=2", &point));
        assert!(matches("seed<=3", &point) && matches("seed==3", &point) && !matches("seed<3", &point));
        assert!(matches("lr_scheduler_type=cosine", &point) && !matches("lr_scheduler_type!=cosine", &point));
        assert!(!matches("weight_decay<1", &point), "it has none");
        assert!(Filter::default().matches(&point));
    }

    #[test]
    fn what_is_no_filter_is_named_with_what_would_be_right() {
        let message = |filter: &str| filter.parse::<Filter>().unwrap_err().to_string();
        assert!(message("learning_rate").contains("write NAME OPERATOR VALUE"));
        assert!(message("seed!3").contains("`seed!3` is no condition"));
        assert!(message("learning_rte>1").contains("did you mean `learning_rate`?"));
        assert!(message("lr_scheduler_type>linear").contains("compare it with = or !="));
        assert!(message("").contains("is no condition"));
    }
}
