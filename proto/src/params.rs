//! Hyperparameters under Hugging Face's names, with its defaults: which exist, what they may be, and the typed form
//! that a trial trains with.
//!
//! Source: `TrainingArguments` of transformers 4.57; where a default differs it says so.

mod arguments;
mod steps;
mod table;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

pub use self::{
    arguments::{ClassWeights, EvalStrategy, Optim, Schedule, TrainingArguments},
    steps::Steps,
    table::{Kind, PARAMETERS, Parameter, ParameterError, SCHEDULES, STRUCTURAL},
};

/// The value of one hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A name.
    Text(String),
}

impl Value {
    /// The number that it is; nothing of names and flags.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Integer(integer) => Some(*integer as f64),
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Flag(_) => None,
        }
    }
}

impl fmt::Display for Value {
    /// As Python prints it: 5e-05, 0.1, 42, linear, True. Runs of Python programs in the same MLflow read alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Flag(true) => f.write_str("True"),
            Value::Flag(false) => f.write_str("False"),
            Value::Integer(i) => i.fmt(f),
            Value::Number(x) => f.write_str(&python_float(*x)),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// `repr(float)` of Python: the shortest digits that read back the same, exponents of at least two digits, exponent
/// form below 1e-4 and from 1e16.
fn python_float(x: f64) -> String {
    if x == 0.0 || (1e-4..1e16).contains(&x.abs()) || !x.is_finite() {
        return format!("{x:?}");
    }
    let text = format!("{x:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, size) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
            format!("{digits}e{sign}{size:0>2}")
        }
        None => text,
    }
}

/// Hyperparameters by name, in alphabetical order.
pub type Params = BTreeMap<String, Value>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_python_prints_them() {
        let printed: Vec<String> =
            [5e-5, 0.0001, 0.1, 2.0, 1e16, 1.5e-10, 0.0].map(|x| Value::Number(x).to_string()).to_vec();
        assert_eq!(printed, ["5e-05", "0.0001", "0.1", "2.0", "1e+16", "1.5e-10", "0.0"]);
        assert_eq!(Value::Flag(true).to_string(), "True");
    }
}
