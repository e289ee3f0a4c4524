//! What a hyperparameter is drawn from, under W&B's names, as quantile functions: whoever draws brings the share.

use distilsweep_proto::params::{Kind, Parameter, Value};
use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF, Normal};

/// Digits of a drawn number. They are enough for any search, they can be read, and the last bits of an exponential
/// function, in which machines and versions differ, are not among them: a point is the same everywhere.
const DIGITS: usize = 6;

/// Values that a grid lists of one hyperparameter, at most.
const MAX_LISTED: u64 = 100_000;

/// What is left over when a range is divided by its step and comes out even: decimals have no exact quotients.
const QUOTIENT_ERROR: f64 = 1e-9;

/// Why a distribution is no list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoList {
    /// It weighs its values.
    #[error(
        "weighs its values by `probabilities`, and `method: grid` takes each once: remove them, or draw with `method: random`"
    )]
    Weighed,
    /// Between any two values there is another.
    #[error(
        "is any number of a range, and `method: grid` needs them one by one: `values: [V, …]`, two whole numbers as `min` and `max`, or `distribution: q_uniform` with `q`; `method: random` draws"
    )]
    Continuous,
    /// No multiple of its step lies in its range.
    #[error("has no multiple of `q` between `min` and `max`")]
    Empty,
    /// More than [`MAX_LISTED`].
    #[error("has {0} values in its range, and a grid lists {MAX_LISTED} at most: `method: random` draws")]
    TooMany(u64),
}

/// A distribution that makes sense for its hyperparameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// One value.
    Constant(Value),
    /// One of these values; the probabilities add up to 1.
    Categorical {
        /// At least one, all different.
        values: Vec<Value>,
        /// Of each value.
        probabilities: Vec<f64>,
    },
    /// A whole number between two, both included, also of hyperparameters that may be other numbers.
    IntUniform {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number.
    Number {
        /// How it is distributed.
        shape: Shape,
        /// Whole multiples of this alone.
        q: Option<f64>,
    },
}

/// How a number is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Evenly between the bounds.
    Uniform {
        /// The lower one.
        min: f64,
        /// The upper one.
        max: f64,
    },
    /// Its logarithm is uniform between those of the bounds.
    LogUniform {
        /// The lower one, above 0.
        min: f64,
        /// The upper one.
        max: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mu: f64,
        /// Standard deviation, above 0.
        sigma: f64,
    },
    /// Its logarithm is normal.
    LogNormal {
        /// Mean of the logarithm.
        mu: f64,
        /// Its standard deviation, above 0.
        sigma: f64,
    },
    /// From 0 to 1.
    Beta {
        /// First parameter, above 0.
        a: f64,
        /// Second parameter, above 0.
        b: f64,
    },
}

impl Distribution {
    /// Whether it may be more than one value.
    pub fn varies(&self) -> bool {
        match self {
            Distribution::Constant(_) => false,
            Distribution::Categorical { values, .. } => values.len() > 1,
            Distribution::IntUniform { min, max } => min < max,
            Distribution::Number { .. } => true,
        }
    }

    /// The values that a grid takes, where they can be counted: of whole ranges all, of ranges in steps the multiples that
    /// lie within.
    ///
    /// # Errors
    /// Where they cannot, or are too many.
    pub fn listed(&self, parameter: &Parameter) -> Result<Vec<Value>, NoList> {
        let bounded = |count: u64| if count <= MAX_LISTED { Ok(()) } else { Err(NoList::TooMany(count)) };
        match self {
            Distribution::Constant(value) => Ok(vec![value.clone()]),
            Distribution::Categorical { values, probabilities } => {
                let even = probabilities.iter().all(|probability| *probability == probabilities[0]);
                if even { Ok(values.clone()) } else { Err(NoList::Weighed) }
            }
            Distribution::IntUniform { min, max } => {
                bounded(max.abs_diff(*min).saturating_add(1))?;
                Ok((*min..=*max).map(|whole| number(parameter, whole as f64)).collect())
            }
            Distribution::Number { shape: Shape::Uniform { min, max }, q: Some(q) } => {
                let (first, last) = (min / q - QUOTIENT_ERROR, max / q + QUOTIENT_ERROR);
                let (first, last) = (first.ceil(), last.floor());
                if first > last {
                    return Err(NoList::Empty);
                }
                bounded(((last - first) as u64).saturating_add(1))?;
                let multiples = (0..=(last - first) as u64).map(|step| (first + step as f64) * q);
                let mut values: Vec<Value> =
                    multiples.map(|multiple| number(parameter, rounded(multiple))).collect();
                values.dedup();
                Ok(values)
            }
            Distribution::Number { .. } => Err(NoList::Continuous),
        }
    }

    /// The values that it takes by name, where it has such.
    pub fn choices(&self) -> Option<&[Value]> {
        match self {
            Distribution::Constant(value) => Some(std::slice::from_ref(value)),
            Distribution::Categorical { values, .. } => Some(values),
            Distribution::IntUniform { .. } | Distribution::Number { .. } => None,
        }
    }

    /// Whether it may give a value; of a range only multiples of a step can be named.
    pub fn takes(&self, parameter: &Parameter, value: &Value) -> bool {
        if let Some(choices) = self.choices() {
            return choices.contains(value);
        }
        let stepped = !matches!(self, Distribution::Number { q: None, .. });
        let within =
            |(least, most): (f64, f64)| value.as_number().is_some_and(|one| (least..=most).contains(&one));
        stepped && self.reach(parameter).is_some_and(within)
    }

    /// The least and the greatest number that it gives; of a normal one those that nearly all draws lie between.
    pub fn reach(&self, parameter: &Parameter) -> Option<(f64, f64)> {
        let numbers: Vec<f64> = match self {
            Distribution::Constant(value) => value.as_number().into_iter().collect(),
            Distribution::Categorical { values, .. } => values.iter().filter_map(Value::as_number).collect(),
            Distribution::IntUniform { min, max } => vec![*min as f64, *max as f64],
            Distribution::Number {
                shape: Shape::Uniform { min, max } | Shape::LogUniform { min, max },
                ..
            } => {
                vec![*min, *max]
            }
            Distribution::Number { .. } => {
                [0.001, 0.999].iter().filter_map(|share| self.value(parameter, *share).as_number()).collect()
            }
        };
        let first = *numbers.first()?;
        Some(numbers.iter().fold((first, first), |(least, most), one| (least.min(*one), most.max(*one))))
    }

    /// The value below which a `share` of all draws lies, from 0 to 1; of categories in their order. What the
    /// hyperparameter cannot be becomes the nearest that it can be, for a normal distribution has no bounds.
    pub fn value(&self, parameter: &Parameter, share: f64) -> Value {
        match self {
            Distribution::Constant(value) => value.clone(),
            Distribution::Categorical { values, probabilities } => {
                let mut below = 0.0;
                let place = probabilities.iter().position(|probability| {
                    below += probability;
                    share < below
                });
                // Rounding may leave the sum a little below 1; a value that is never drawn is not the last resort.
                let last = probabilities.iter().rposition(|probability| *probability > 0.0).unwrap_or(0);
                values[place.unwrap_or(last)].clone()
            }
            Distribution::IntUniform { min, max } => {
                let count = max.abs_diff(*min) as f64 + 1.0;
                number(parameter, min.saturating_add_unsigned((share * count) as u64).min(*max) as f64)
            }
            Distribution::Number { shape, q } => {
                let drawn = shape.quantile(share);
                let drawn = q.map_or(drawn, |q| (drawn / q).round() * q);
                number(parameter, rounded(drawn))
            }
        }
    }
}

impl Shape {
    fn quantile(self, share: f64) -> f64 {
        let normal = |share| Normal::standard().inverse_cdf(share);
        match self {
            Shape::Uniform { min, max } => min + share * (max - min),
            Shape::LogUniform { min, max } => (min.ln() + share * (max.ln() - min.ln())).exp(),
            Shape::Normal { mu, sigma } => mu + sigma * normal(share),
            Shape::LogNormal { mu, sigma } => (mu + sigma * normal(share)).exp(),
            // The grammar lets positive shapes through alone.
            Shape::Beta { a, b } => Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(share)),
        }
    }
}

/// A number in as many digits as are drawn.
pub(super) fn rounded(number: f64) -> f64 {
    format!("{number:.*e}", DIGITS - 1).parse().unwrap_or(number)
}

fn number(parameter: &Parameter, drawn: f64) -> Value {
    match parameter.kind {
        Kind::Integer { min } => Value::Integer((drawn.round() as i64).max(min)),
        Kind::Number { min, max } => Value::Number(drawn.clamp(min, max)),
        // The grammar gives these categories alone.
        Kind::Name(_) | Kind::Flag => Value::Number(drawn),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(distribution: &Distribution, name: &str, shares: &[f64]) -> Vec<String> {
        let parameter = Parameter::named(name).unwrap();
        shares.iter().map(|share| distribution.value(parameter, *share).to_string()).collect()
    }

    fn shaped(shape: Shape, q: Option<f64>) -> Distribution {
        Distribution::Number { shape, q }
    }

    #[test]
    fn quantiles_are_those_of_the_distributions() {
        let quarters = [0.0, 0.25, 0.5, 0.75, 1.0];
        let uniform = shaped(Shape::Uniform { min: 0.0, max: 0.1 }, None);
        assert_eq!(at(&uniform, "weight_decay", &quarters), ["0.0", "0.025", "0.05", "0.075", "0.1"]);
        let log = shaped(Shape::LogUniform { min: 1e-5, max: 1e-3 }, None);
        assert_eq!(
            at(&log, "learning_rate", &quarters),
            ["1e-05", "3.16228e-05", "0.0001", "0.000316228", "0.001"]
        );
        // From scipy.stats: norm.ppf([0.025, 0.5, 0.975]), beta(2, 5).ppf([0.1, 0.5]).
        let normal = shaped(Shape::Normal { mu: 0.1, sigma: 0.01 }, None);
        assert_eq!(at(&normal, "weight_decay", &[0.025, 0.5, 0.975]), ["0.0804004", "0.1", "0.1196"]);
        let log_normal = shaped(Shape::LogNormal { mu: -10.0, sigma: 0.5 }, None);
        assert_eq!(at(&log_normal, "learning_rate", &[0.5]), ["4.53999e-05"]);
        let beta = shaped(Shape::Beta { a: 2.0, b: 5.0 }, None);
        assert_eq!(at(&beta, "warmup_ratio", &[0.1, 0.5]), ["0.0925953", "0.26445"]);
    }

    #[test]
    fn multiples_and_whole_numbers_stay_what_they_are() {
        let q = shaped(Shape::Uniform { min: 8.0, max: 64.0 }, Some(8.0));
        assert_eq!(at(&q, "per_device_train_batch_size", &[0.0, 0.1, 0.5, 0.99]), ["8", "16", "40", "64"]);
        let whole = Distribution::IntUniform { min: 1, max: 4 };
        assert_eq!(at(&whole, "warmup_steps", &[0.0, 0.24, 0.25, 0.99, 1.0]), ["1", "1", "2", "4", "4"]);
    }

    #[test]
    fn categories_come_by_their_probabilities_and_never_without_one() {
        let values = ["linear", "cosine", "constant"].map(|name| Value::Text(name.to_owned())).to_vec();
        let weighed = Distribution::Categorical { values, probabilities: vec![0.25, 0.75, 0.0] };
        let drawn = at(&weighed, "lr_scheduler_type", &[0.0, 0.24, 0.25, 0.99, 1.0]);
        assert_eq!(drawn, ["linear", "linear", "cosine", "cosine", "cosine"]);
    }

    #[test]
    fn draws_beyond_what_a_hyperparameter_may_be_become_its_bound() {
        let normal = shaped(Shape::Normal { mu: 0.0, sigma: 1.0 }, None);
        assert_eq!(at(&normal, "weight_decay", &[0.01]), ["0.0"]);
    }
}
