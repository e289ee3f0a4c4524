//! Which trials an order or a table is about: conditions on their hyperparameters, and on what came of them.

use std::{cmp::Ordering, fmt, str::FromStr};

use distilsweep_data::excerpt;
use distilsweep_proto::params::{Parameter, ParameterError, Params, Value};
use serde::{Deserialize, Serialize};

use super::{
    problem::with_short_value,
    tree::{Scalar, resolve},
};

/// Conditions that all have to hold: `learning_rate>1e-4`, joined by ` and `.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Filter {
    conditions: Vec<Condition>,
}

/// A comparison of one hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
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
        self.conditions
            .iter()
            .all(|condition| lookup(&condition.name).is_some_and(|value| condition.holds(&value)))
    }

    /// Hyperparameters that it is about; one may come twice.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.conditions.iter().map(Condition::name)
    }

    pub(super) fn conditions(&self) -> &[Condition] {
        &self.conditions
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

impl Condition {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it holds of a value.
    pub(super) fn holds(&self, value: &Value) -> bool {
        self.operator.holds(value, &self.value)
    }

    /// What it asks to be equal to, or not.
    pub(super) fn equal_to(&self) -> Option<&Value> {
        matches!(self.operator, Operator::Equal | Operator::NotEqual).then_some(&self.value)
    }
}

impl fmt::Display for Filter {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, Condition { name, operator, value }) in self.conditions.iter().enumerate() {
            let and = if place == 0 { "" } else { " and " };
            // The first sign of an operator is not the only one.
            let sign = OPERATORS.iter().rfind(|(_, known)| known == operator).map_or("", |(sign, _)| *sign);
            write!(f, "{and}{name} {sign} {value}")?;
        }
        Ok(())
    }
}

impl From<Filter> for String {
    fn from(filter: Filter) -> Self {
        filter.to_string()
    }
}

impl TryFrom<String> for Filter {
    type Error = FilterError;

    fn try_from(text: String) -> Result<Self, FilterError> {
        text.parse()
    }
}

fn condition(text: &str, others: &[&str]) -> Result<Condition, FilterError> {
    let malformed = || FilterError::Form(excerpt(text.trim()));
    let start = text.find(['=', '!', '<', '>']).ok_or_else(malformed)?;
    let (name, rest) = text.split_at(start);
    let found = OPERATORS.iter().find_map(|(sign, operator)| Some((*operator, rest.strip_prefix(sign)?)));
    let (operator, value) = found.ok_or_else(malformed)?;
    let Scalar::Value(value) = resolve(value.trim(), true) else { return Err(malformed()) };
    if let Some(other) = others.iter().find(|other| **other == name.trim()) {
        return Ok(Condition { name: (*other).to_owned(), operator, value });
    }
    let parameter = Parameter::named(name.trim()).map_err(with_short_value)?;
    let value = parameter.check(&value).map_err(with_short_value)?;
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
    fn a_filter_is_stored_as_it_is_read() {
        for text in
            ["learning_rate > 1e-05 and seed != 3", "lr_scheduler_type = cosine", "group_by_length = True"]
        {
            let filter: Filter = text.parse().unwrap();
            assert_eq!(filter.to_string(), text);
            let stored = serde_json::to_string(&filter).unwrap();
            assert_eq!(serde_json::from_str::<Filter>(&stored).unwrap(), filter);
        }
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
