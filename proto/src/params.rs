//! Hyperparameters under Hugging Face's names, with its defaults: which exist, what they may be, and the typed form
//! that a trial trains with.
//!
//! Source: `TrainingArguments` of transformers 4.57; where a default differs it says so.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

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

/// What a hyperparameter may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number of at least this.
    Integer {
        /// Smallest value.
        min: i64,
    },
    /// A finite number between these, both included.
    Number {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// One of these names.
    Name(&'static [&'static str]),
}

/// One hyperparameter that a sweep may set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameter {
    /// Hugging Face's name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
}

const fn number(name: &'static str, min: f64, max: f64) -> Parameter {
    Parameter { name, kind: Kind::Number { min, max } }
}

const fn integer(name: &'static str, min: i64) -> Parameter {
    Parameter { name, kind: Kind::Integer { min } }
}

/// Schedules of the learning rate.
pub const SCHEDULES: &[&str] = &["linear", "cosine", "polynomial", "constant", "constant_with_warmup"];

/// Every hyperparameter, in the order of messages and tables.
pub const PARAMETERS: &[Parameter] = &[
    number("learning_rate", 0.0, 1e3),
    integer("per_device_train_batch_size", 1),
    integer("per_device_eval_batch_size", 1),
    number("num_train_epochs", 0.0, 1e6),
    integer("max_steps", -1),
    number("weight_decay", 0.0, 1e3),
    number("warmup_ratio", 0.0, 1.0),
    integer("warmup_steps", 0),
    Parameter { name: "lr_scheduler_type", kind: Kind::Name(SCHEDULES) },
    integer("gradient_accumulation_steps", 1),
    number("max_grad_norm", 0.0, f64::MAX),
    number("adam_beta1", 0.0, 1.0),
    number("adam_beta2", 0.0, 1.0),
    number("adam_epsilon", 0.0, 1.0),
    number("label_smoothing_factor", 0.0, 1.0),
    integer("seed", 0),
    integer("data_seed", 0),
    integer("max_length", 3),
    integer("logging_steps", 1),
];

/// Hyperparameters that decide the shape of a step: trials that train in one pack agree on them.
pub const STRUCTURAL: &[&str] = &[
    "max_length",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "bf16",
    "dataloader_drop_last",
    "group_by_length",
];

/// What is wrong with a hyperparameter: a fragment that says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// No such hyperparameter.
    #[error("unknown parameter `{name}`{}", .near.map(|n| format!(", did you mean `{n}`?")).unwrap_or_default())]
    Unknown {
        /// As written.
        name: String,
        /// The nearest known one.
        near: Option<&'static str>,
    },
    /// The value is not what the hyperparameter may be.
    #[error("`{name}` is {value}, it must be {wanted}")]
    Value {
        /// Which hyperparameter.
        name: &'static str,
        /// As written.
        value: String,
        /// What would be right.
        wanted: String,
    },
}

impl Parameter {
    /// Finds a hyperparameter, or the nearest to suggest.
    ///
    /// # Errors
    /// [`ParameterError::Unknown`] where there is none of this name.
    pub fn named(name: &str) -> Result<&'static Parameter, ParameterError> {
        PARAMETERS.iter().find(|p| p.name == name).ok_or_else(|| ParameterError::Unknown {
            name: name.to_owned(),
            near: PARAMETERS
                .iter()
                .map(|p| (strsim::normalized_damerau_levenshtein(p.name, name), p.name))
                .filter(|(likeness, _)| *likeness >= 0.5)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, name)| name),
        })
    }

    /// Checks a value and brings it to the parameter's kind: 3 becomes 3.0 where any number may stand, 3.0 becomes 3
    /// where a whole one must.
    ///
    /// # Errors
    /// [`ParameterError::Value`] with what would be right.
    pub fn check(&self, value: &Value) -> Result<Value, ParameterError> {
        let checked = match (self.kind, value) {
            (Kind::Integer { min }, Value::Integer(i)) if *i >= min => Some(Value::Integer(*i)),
            (Kind::Integer { min }, Value::Number(x)) if x.fract() == 0.0 && x.abs() < 2f64.powi(53) => {
                let whole = *x as i64;
                (whole >= min).then_some(Value::Integer(whole))
            }
            (Kind::Number { min, max }, Value::Integer(i)) => {
                let x = *i as f64;
                (min..=max).contains(&x).then_some(Value::Number(x))
            }
            (Kind::Number { min, max }, Value::Number(x)) => {
                (min..=max).contains(x).then_some(Value::Number(*x))
            }
            (Kind::Name(names), Value::Text(text)) => {
                names.contains(&text.as_str()).then(|| Value::Text(text.clone()))
            }
            (Kind::Integer { .. } | Kind::Number { .. } | Kind::Name(_), _) => None,
        };
        checked.ok_or_else(|| ParameterError::Value {
            name: self.name,
            value: match value {
                Value::Text(text) => format!("\"{text}\""),
                Value::Flag(_) | Value::Integer(_) | Value::Number(_) => value.to_string(),
            },
            wanted: self.kind.to_string(),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Integer { min } => write!(f, "a whole number of at least {min}"),
            Kind::Number { min, max } if *max == f64::MAX => write!(f, "a number of at least {min}"),
            Kind::Number { min, max } => write!(f, "a number from {min} to {max}"),
            Kind::Name(names) => write!(f, "one of {}", names.join(", ")),
        }
    }
}

/// Schedule of the learning rate, as `lr_scheduler_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are Hugging Face's")]
pub enum Schedule {
    Linear,
    Cosine,
    Polynomial,
    Constant,
    ConstantWithWarmup,
}

/// The hyperparameters of one trial, complete and checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingArguments {
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Examples a micro-batch.
    pub per_device_train_batch_size: usize,
    /// Examples a batch of evaluations; results do not depend on it (default 64; the Trainer's is 8).
    pub per_device_eval_batch_size: usize,
    /// Passes over the training split; may be a fraction.
    pub num_train_epochs: f64,
    /// Optimizer steps, overriding epochs where positive.
    pub max_steps: i64,
    /// AdamW's decoupled decay, on everything but biases and LayerNorms.
    pub weight_decay: f64,
    /// Share of the steps that warm up, rounded up.
    pub warmup_ratio: f64,
    /// Steps that warm up, overriding the ratio where positive.
    pub warmup_steps: usize,
    /// Schedule after the warm-up.
    pub lr_scheduler_type: Schedule,
    /// Micro-batches an optimizer step; their gradients' mean is taken.
    pub gradient_accumulation_steps: usize,
    /// Largest global L2 norm of the gradients; 0 does not clip.
    pub max_grad_norm: f64,
    /// Decay of AdamW's first moment.
    pub adam_beta1: f64,
    /// Decay of AdamW's second moment.
    pub adam_beta2: f64,
    /// AdamW's denominator term.
    pub adam_epsilon: f64,
    /// Share of the target spread over all classes.
    pub label_smoothing_factor: f64,
    /// Seed of head initialisation, dropout and, unless `data_seed` is set, data order.
    pub seed: u64,
    /// Seed of the data order.
    pub data_seed: Option<u64>,
    /// Tokens a text is cut to, special ones included (default 128; the Trainer leaves this to the tokenizer).
    pub max_length: usize,
    /// Optimizer steps between two points of the loss curve (default 10; the Trainer's is 500).
    pub logging_steps: usize,
}

impl Default for TrainingArguments {
    fn default() -> Self {
        Self {
            learning_rate: 5e-5,
            per_device_train_batch_size: 8,
            per_device_eval_batch_size: 64,
            num_train_epochs: 3.0,
            max_steps: -1,
            weight_decay: 0.0,
            warmup_ratio: 0.0,
            warmup_steps: 0,
            lr_scheduler_type: Schedule::Linear,
            gradient_accumulation_steps: 1,
            max_grad_norm: 1.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            label_smoothing_factor: 0.0,
            seed: 42,
            data_seed: None,
            max_length: 128,
            logging_steps: 10,
        }
    }
}

impl TrainingArguments {
    /// Completes checked hyperparameters with the defaults.
    ///
    /// # Errors
    /// The first hyperparameter, by name, that is unknown or has a value that it may not have.
    pub fn from_params(params: &Params) -> Result<Self, ParameterError> {
        let mut object = serde_json::Map::new();
        for (name, value) in params {
            let parameter = Parameter::named(name)?;
            let checked = match parameter.check(value)? {
                Value::Flag(flag) => flag.into(),
                Value::Integer(i) => i.into(),
                Value::Number(x) => x.into(),
                Value::Text(text) => text.into(),
            };
            object.insert(parameter.name.to_owned(), checked);
        }
        // Every kind of the table fits its field, which a test holds for all of them.
        serde_json::from_value(object.into()).map_err(|error| ParameterError::Value {
            name: "parameters",
            value: error.to_string(),
            wanted: "as the table of parameters says".to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(entries: &[(&str, Value)]) -> Params {
        entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn values_print_as_python_prints_them() {
        let printed: Vec<String> =
            [5e-5, 0.0001, 0.1, 2.0, 1e16, 1.5e-10, 0.0].map(|x| Value::Number(x).to_string()).to_vec();
        assert_eq!(printed, ["5e-05", "0.0001", "0.1", "2.0", "1e+16", "1.5e-10", "0.0"]);
        assert_eq!(Value::Flag(true).to_string(), "True");
    }

    #[test]
    fn defaults_are_hugging_face_s_but_for_those_that_say_so() {
        let arguments = TrainingArguments::from_params(&Params::new()).unwrap();
        assert_eq!(arguments, TrainingArguments::default());
        assert_eq!(arguments.learning_rate, 5e-5);
        assert_eq!(arguments.per_device_train_batch_size, 8);
    }

    #[test]
    fn every_parameter_of_the_table_has_a_field_of_its_kind() {
        for parameter in PARAMETERS {
            let value = match parameter.kind {
                Kind::Integer { min } => Value::Integer(min.max(1)),
                Kind::Number { .. } => Value::Number(0.5),
                Kind::Name(names) => Value::Text(names[0].to_owned()),
            };
            let given = TrainingArguments::from_params(&params(&[(parameter.name, value)]));
            assert!(given.is_ok(), "{}: {given:?}", parameter.name);
        }
    }

    #[test]
    fn whole_numbers_and_fractions_are_brought_to_the_parameter_s_kind() {
        let given = params(&[("num_train_epochs", Value::Integer(2)), ("seed", Value::Number(7.0))]);
        let arguments = TrainingArguments::from_params(&given).unwrap();
        assert_eq!(arguments.num_train_epochs, 2.0);
        assert_eq!(arguments.seed, 7);
    }

    #[test]
    fn errors_say_what_would_be_right() {
        let wrong = |name: &str, value: Value| {
            TrainingArguments::from_params(&params(&[(name, value)])).unwrap_err().to_string()
        };
        insta::assert_snapshot!(
            [
                wrong("learning_rte", Value::Number(1e-5)),
                wrong("fp16_opt_level", Value::Text("O1".into())),
                wrong("seed", Value::Text("one".into())),
                wrong("per_device_train_batch_size", Value::Integer(0)),
                wrong("warmup_ratio", Value::Number(1.5)),
                wrong("lr_scheduler_type", Value::Text("liner".into())),
                wrong("learning_rate", Value::Number(f64::NAN)),
            ]
            .join("\n"),
            @r#"
        unknown parameter `learning_rte`, did you mean `learning_rate`?
        unknown parameter `fp16_opt_level`
        `seed` is "one", it must be a whole number of at least 0
        `per_device_train_batch_size` is 0, it must be a whole number of at least 1
        `warmup_ratio` is 1.5, it must be a number from 0 to 1
        `lr_scheduler_type` is "liner", it must be one of linear, cosine, polynomial, constant, constant_with_warmup
        `learning_rate` is NaN, it must be a number from 0 to 1000
        "#
        );
    }
}
