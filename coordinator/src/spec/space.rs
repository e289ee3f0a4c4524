//! The space of a sweep: every combination of the listed values, as a number system rather than a list.

use distilsweep_proto::params::{Params, Value};
use serde::{Deserialize, Serialize};

/// The most points that a space may have.
pub const MAX_POINTS: u64 = 1 << 63;

/// One hyperparameter with the values that it takes, in the order of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// Hugging Face's name.
    pub name: String,
    /// At least one, all different.
    pub values: Vec<Value>,
}

/// The points of a grid, numbered from 0 and computed when asked for.
///
/// A point's index is a number in mixed radix: each parameter is a digit whose base is the number of its values, the
/// first listed parameter is the most significant digit and the last listed varies fastest. With
/// `learning_rate: [a, b]` before `seed: [1, 2, 3]`, index 4 is `b, 2`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Axis>", into = "Vec<Axis>")]
pub struct Space {
    axes: Vec<Axis>,
    len: u64,
}

/// Why some parameters make no space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// A parameter without a value.
    #[error("`{0}` has no value, it must have at least one")]
    Empty(String),
    /// A parameter listed twice.
    #[error("`{0}` is listed twice, once is enough")]
    Repeated(String),
    /// More points than an index can name. The number is exact below 2^128 and that bound above it.
    #[error("the values combine to {0} points, more than the {MAX_POINTS} (2^63) that a sweep may have")]
    TooLarge(u128),
}

impl Space {
    /// Spans the space of some parameters.
    ///
    /// # Errors
    /// A parameter that is repeated or has no value, or more than [`MAX_POINTS`] points.
    pub fn new(axes: Vec<Axis>) -> Result<Self, SpaceError> {
        for (place, axis) in axes.iter().enumerate() {
            if axis.values.is_empty() {
                return Err(SpaceError::Empty(axis.name.clone()));
            }
            if axes[..place].iter().any(|earlier| earlier.name == axis.name) {
                return Err(SpaceError::Repeated(axis.name.clone()));
            }
        }
        let points =
            axes.iter().fold(1_u128, |points, axis| points.saturating_mul(axis.values.len() as u128));
        match u64::try_from(points) {
            Ok(len) if len <= MAX_POINTS => Ok(Self { axes, len }),
            Ok(_) | Err(_) => Err(SpaceError::TooLarge(points)),
        }
    }

    /// Number of points, from 1 (no parameter varies) to [`MAX_POINTS`].
    #[expect(clippy::len_without_is_empty, reason = "a space has at least one point")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The parameters in the order of the file.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// The point of an index below [`Space::len`]; the numbering is described at [`Space`].
    pub fn point(&self, index: u64) -> Params {
        debug_assert!(index < self.len, "index {index} of a space of {} points", self.len);
        let mut rest = index;
        let mut point = Params::new();
        for axis in self.axes.iter().rev() {
            let base = axis.values.len() as u64;
            point.insert(axis.name.clone(), axis.values[(rest % base) as usize].clone());
            rest /= base;
        }
        point
    }

    /// The index of a point, or nothing where the point is not of this space.
    pub fn index_of(&self, point: &Params) -> Option<u64> {
        if point.len() != self.axes.len() {
            return None;
        }
        self.axes.iter().try_fold(0, |index, axis| {
            let value = point.get(&axis.name)?;
            let digit = axis.values.iter().position(|v| v == value)?;
            Some(index * axis.values.len() as u64 + digit as u64)
        })
    }

    /// Of those of `names` that vary, (stride, base) as a digit of an index: the value's place in the file is
    /// `index / stride % base`.
    pub fn digits(&self, names: &[&str]) -> Vec<(u64, u64)> {
        let mut stride = 1;
        let mut digits = Vec::new();
        for axis in self.axes.iter().rev() {
            let base = axis.values.len() as u64;
            if base > 1 && names.contains(&axis.name.as_str()) {
                digits.push((stride, base));
            }
            // The last product is the number of points.
            stride *= base;
        }
        digits
    }

    /// Names of the parameters with more than one value, in the order of the file.
    pub fn varied(&self) -> impl Iterator<Item = &str> {
        self.axes.iter().filter(|axis| axis.values.len() > 1).map(|axis| axis.name.as_str())
    }

    /// The parameters that are the same in every point.
    pub fn constant(&self) -> Params {
        self.axes
            .iter()
            .filter_map(|axis| match axis.values.as_slice() {
                [value] => Some((axis.name.clone(), value.clone())),
                _ => None,
            })
            .collect()
    }
}

impl From<Space> for Vec<Axis> {
    fn from(space: Space) -> Self {
        space.axes
    }
}

impl TryFrom<Vec<Axis>> for Space {
    type Error = SpaceError;

    fn try_from(axes: Vec<Axis>) -> Result<Self, SpaceError> {
        Self::new(axes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn space(bases: &[usize]) -> Space {
        let axes = bases
            .iter()
            .enumerate()
            .map(|(place, base)| Axis {
                name: format!("p{place}"),
                values: (0..*base).map(|v| Value::Integer(v as i64)).collect(),
            })
            .collect();
        Space::new(axes).unwrap()
    }

    #[test]
    fn a_parameter_is_a_digit_of_the_index() {
        let space = space(&[2, 1, 3, 5]);
        assert_eq!(space.digits(&["p0", "p1", "p2", "px"]), [(5, 3), (15, 2)]);
        for index in 0..space.len() {
            let place = |name: &str| match space.point(index)[name] {
                Value::Integer(place) => place as u64,
                _ => panic!("whole numbers"),
            };
            assert_eq!((index / 5 % 3, index / 15 % 2), (place("p2"), place("p0")), "{index}");
        }
    }

    #[test]
    fn the_last_listed_parameter_varies_fastest() {
        let space = space(&[2, 3]);
        let points: Vec<String> = (0..space.len())
            .map(|index| space.point(index).values().map(ToString::to_string).collect::<Vec<_>>().join(""))
            .collect();
        assert_eq!(points, ["00", "01", "02", "10", "11", "12"]);
    }

    #[test]
    fn a_space_without_parameters_has_one_point() {
        let space = space(&[]);
        assert_eq!(
            (space.len(), space.point(0), space.index_of(&Params::new())),
            (1, Params::new(), Some(0))
        );
    }

    #[test]
    fn a_space_of_two_to_the_63_points_is_addressed_to_its_end_and_a_larger_one_refused() {
        let largest = space(&[2; 63]);
        assert_eq!(largest.len(), MAX_POINTS);
        assert_eq!(largest.index_of(&largest.point(MAX_POINTS - 1)), Some(MAX_POINTS - 1));

        let axes = |bases: &[usize]| -> Vec<Axis> {
            let values = |n: usize| (0..n).map(|v| Value::Integer(v as i64)).collect();
            bases
                .iter()
                .enumerate()
                .map(|(i, n)| Axis { name: format!("p{i}"), values: values(*n) })
                .collect()
        };
        assert_eq!(Space::new(axes(&[2; 64])), Err(SpaceError::TooLarge(1 << 64)));
        assert_eq!(Space::new(axes(&[10; 60])), Err(SpaceError::TooLarge(u128::MAX)));
    }

    #[test]
    fn a_point_of_another_space_has_no_index() {
        let space = space(&[2, 2]);
        let mut point = space.point(3);
        point.insert("p1".to_owned(), Value::Integer(9));
        assert_eq!(space.index_of(&point), None);
        point.remove("p1");
        assert_eq!(space.index_of(&point), None);
    }

    #[test]
    fn varied_and_constant_parameters_share_the_axes_out() {
        let space = space(&[1, 2, 3]);
        assert_eq!(space.varied().collect::<Vec<_>>(), ["p1", "p2"]);
        assert_eq!(space.constant(), Params::from([("p0".to_owned(), Value::Integer(0))]));
    }

    proptest! {
        #[test]
        fn every_index_gives_its_own_point_and_is_found_again(bases in prop::collection::vec(1_usize..5, 0..6)) {
            let space = space(&bases);
            let mut seen = BTreeSet::new();
            for index in 0..space.len() {
                let point = space.point(index);
                prop_assert_eq!(space.index_of(&point), Some(index));
                prop_assert!(seen.insert(serde_json::to_string(&point).unwrap()));
            }
        }

        #[test]
        fn indices_of_huge_spaces_are_found_again(index in 0..MAX_POINTS) {
            let space = space(&[8; 21]);
            prop_assert_eq!(space.len(), MAX_POINTS);
            prop_assert_eq!(space.index_of(&space.point(index)), Some(index));
        }
    }
}
