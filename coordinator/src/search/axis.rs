//! Hyperparameters as the search sees them: shares of their distributions, each from 0 to 1 and evenly spread before
//! anything is known, whatever logarithm, normal or probability stands behind it.

use distilsweep_proto::params::Value;

use crate::spec::{Dimension, Distribution};

/// Whole numbers up to this many are told apart one by one.
const COUNTED: u64 = 64;

/// The share of one hyperparameter.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// The hyperparameter.
    pub(super) name: String,
    /// Which shares are alike.
    pub(super) kind: Kind,
}

/// Which shares of a hyperparameter are alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// Each is a value of its own, and near ones are alike.
    Continuous,
    /// Each part is one value, and neighbours are alike.
    Ordered(Parts),
    /// Each part is one value, unlike all others.
    Choices(Parts),
}

/// The parts of the way from 0 to 1, by where each ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parts(Vec<f64>);

impl Parts {
    /// Parts as large as these probabilities, which add up to 1.
    fn sized(probabilities: impl Iterator<Item = f64>) -> Self {
        let mut ends: Vec<f64> = probabilities
            .scan(0.0, |end, probability| {
                *end += probability;
                Some(*end)
            })
            .collect();
        // Probabilities are written in decimals; parts that nothing follows but empty ones end with the way.
        let sum = ends.last().copied().unwrap_or_default();
        ends.iter_mut().filter(|end| **end >= sum).for_each(|end| *end = 1.0);
        Self(ends)
    }

    /// Number of parts, empty ones included.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Where the part of a share begins and ends.
    pub(super) fn around(&self, share: f64) -> (f64, f64) {
        let place = self.0.partition_point(|end| *end <= share).min(self.0.len() - 1);
        (if place == 0 { 0.0 } else { self.0[place - 1] }, self.0[place])
    }
}

impl Axis {
    /// The axis of a hyperparameter.
    pub(super) fn of(dimension: &Dimension) -> Self {
        let even = |count: usize| Parts::sized((0..count).map(|_| 1.0 / count as f64));
        let kind = match &dimension.distribution {
            Distribution::Constant(_) => Kind::Choices(even(1)),
            Distribution::Categorical { values, probabilities } => {
                let parts = Parts::sized(probabilities.iter().copied());
                if are_ordered(values) { Kind::Ordered(parts) } else { Kind::Choices(parts) }
            }
            Distribution::IntUniform { min, max } => match max.abs_diff(*min).saturating_add(1) {
                count @ ..=COUNTED => Kind::Ordered(even(count as usize)),
                _ => Kind::Continuous,
            },
            Distribution::Number { .. } => Kind::Continuous,
        };
        Self { name: dimension.name.clone(), kind }
    }

    /// The share that stands for all that are the same value: the middle of their part.
    pub(super) fn settled(&self, share: f64) -> f64 {
        match &self.kind {
            Kind::Continuous => share,
            Kind::Ordered(parts) | Kind::Choices(parts) => {
                let (start, end) = parts.around(share);
                (start + end) / 2.0
            }
        }
    }

    /// Whether two shares are certainly the same value.
    pub(super) fn same(&self, one: f64, other: f64) -> bool {
        match &self.kind {
            Kind::Continuous => one == other,
            Kind::Ordered(parts) | Kind::Choices(parts) => parts.around(one) == parts.around(other),
        }
    }
}

/// Whether values are numbers that only grow or only fall.
fn are_ordered(values: &[Value]) -> bool {
    let numbers: Option<Vec<f64>> = values.iter().map(Value::as_number).collect();
    numbers.is_some_and(|numbers| numbers.is_sorted() || numbers.iter().rev().is_sorted())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn categories(values: Vec<Value>, probabilities: &[f64]) -> Axis {
        let distribution = Distribution::Categorical { values, probabilities: probabilities.to_vec() };
        Axis::of(&Dimension { name: "x".into(), distribution })
    }

    #[test]
    fn numbers_in_order_have_neighbours_and_names_have_none() {
        let numbers = |list: &[i64]| list.iter().copied().map(Value::Integer).collect::<Vec<_>>();
        let thirds = [1.0 / 3.0; 3];
        assert!(matches!(categories(numbers(&[8, 16, 32]), &thirds).kind, Kind::Ordered(_)));
        assert!(matches!(categories(numbers(&[32, 16, 8]), &thirds).kind, Kind::Ordered(_)));
        assert!(matches!(categories(numbers(&[8, 32, 16]), &thirds).kind, Kind::Choices(_)));
        let names = ["linear", "cosine"].map(|name| Value::Text(name.into())).to_vec();
        assert!(matches!(categories(names, &[0.5, 0.5]).kind, Kind::Choices(_)));
        let whole = |max| {
            let distribution = Distribution::IntUniform { min: 1, max };
            Axis::of(&Dimension { name: "x".into(), distribution }).kind
        };
        assert!(matches!(whole(4), Kind::Ordered(parts) if parts.count() == 4));
        assert_eq!((whole(i64::MAX), whole(1000)), (Kind::Continuous, Kind::Continuous));
    }

    #[test]
    fn a_category_is_the_middle_of_its_part_and_one_without_probability_is_never_one() {
        let numbers = [1, 2, 3, 4].map(Value::Integer).to_vec();
        let axis = categories(numbers, &[0.0, 0.25, 0.7499999, 0.0]);
        let settled = [1e-9, 0.2, 0.3, 0.9999, 1.0 - 1e-9].map(|share| axis.settled(share));
        assert_eq!(settled, [0.125, 0.125, 0.625, 0.625, 0.625]);
        assert!(axis.same(0.01, 0.24) && !axis.same(0.24, 0.26));
    }
}
