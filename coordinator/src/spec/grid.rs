//! The space of a sweep: every combination of the listed values, as a number system rather than a list.

use std::cmp::Ordering;

use distilsweep_proto::params::{Params, Value};
use serde::{Deserialize, Serialize};

use super::chosen::MAX_COMBINATIONS;

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
///
/// A space that is extended keeps its points and their indices. The new ones come behind them, as one part for each
/// parameter with new values: those values, combined with the old ones of the parameters before it and with all of
/// those after it. A part is a grid again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Grid {
    axes: Vec<Axis>,
    /// How many values each parameter had, at first and after each extension.
    generations: Vec<Vec<usize>>,
    parts: Vec<Part>,
    len: u64,
}

/// A grid among the points of a space.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    /// Index of its first point.
    start: u64,
    /// Values of each parameter: place of the first in the list, and how many.
    ranges: Vec<(usize, usize)>,
}

/// [`Grid`] as stored: a plain grid by its axes alone, so that extensions changed no file's digest.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Plain(Vec<Axis>),
    Extended { axes: Vec<Axis>, generations: Vec<Vec<usize>> },
}

/// A parameter as a digit of the indices of a part, which count from the part's first point: the value's place in the
/// list is `first + index / stride % base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digit {
    /// Points from one value to the next.
    pub stride: u64,
    /// Values in this part.
    pub base: u64,
    /// Place of the first of them.
    pub first: u64,
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
    /// More values for what is no parameter of the space.
    #[error("`{0}` is not among the sweep's parameters: only those can get more values")]
    Absent(String),
    /// Values for a space that has no lists of them.
    #[error(
        "the points of this sweep are drawn, there are no listed values to add to: hand in a file with a larger `run_cap`"
    )]
    Drawn,
    /// Values for a space of which conditions or a bound take some points.
    #[error(
        "the points of this sweep are some of a grid's, by `when`, `exclude` or `run_cap`, and more values would number them anew: hand in a file with the values that are missing"
    )]
    Chosen,
    /// Conditions over more than can be gone through.
    #[error(
        "the parameters that `when` and `exclude` are about have more than {MAX_COMBINATIONS} combinations, the most that are counted: let conditions name fewer parameters, or draw with `method: random`"
    )]
    Uncountable,
    /// Conditions that leave nothing.
    #[error("`exclude` leaves no point: every combination of the values is among what it takes away")]
    NothingLeft,
    /// Stored generations that do not fit the axes.
    #[error("the stored space is damaged: its generations do not fit its parameters")]
    Damaged,
}

impl Grid {
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
        let all = axes.iter().map(|axis| axis.values.len()).collect();
        Self::built(axes, vec![all])
    }

    fn built(axes: Vec<Axis>, generations: Vec<Vec<usize>>) -> Result<Self, SpaceError> {
        let points =
            axes.iter().fold(1_u128, |points, axis| points.saturating_mul(axis.values.len() as u128));
        let len = u64::try_from(points).ok().filter(|len| *len <= MAX_POINTS);
        let len = len.ok_or(SpaceError::TooLarge(points))?;
        let mut parts = Vec::new();
        let mut start = 0;
        let mut before: Option<&Vec<usize>> = None;
        for counts in &generations {
            for ranges in added(before.map_or(&[], Vec::as_slice), counts) {
                parts.push(Part { start, ranges: ranges.clone() });
                // Each is a part of the whole, which has no more than `MAX_POINTS`.
                start += ranges.iter().map(|(_, count)| *count as u64).product::<u64>();
            }
            before = Some(counts);
        }
        Ok(Self { axes, generations, parts, len })
    }

    /// The same space with more values of some parameters; those that are there already add nothing.
    ///
    /// # Errors
    /// A parameter that is none of this space, or more than [`MAX_POINTS`] points.
    pub fn extended(&self, more: &[Axis]) -> Result<Self, SpaceError> {
        let mut axes = self.axes.clone();
        for Axis { name, values } in more {
            let axis = axes.iter_mut().find(|axis| axis.name == *name);
            let axis = axis.ok_or_else(|| SpaceError::Absent(name.clone()))?;
            for value in values {
                if !axis.values.contains(value) {
                    axis.values.push(value.clone());
                }
            }
        }
        if axes == self.axes {
            return Ok(self.clone());
        }
        let mut generations = self.generations.clone();
        generations.push(axes.iter().map(|axis| axis.values.len()).collect());
        Self::built(axes, generations)
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

    /// The point of an index below [`Grid::len`]; the numbering is described at [`Grid`].
    pub fn point(&self, index: u64) -> Params {
        debug_assert!(index < self.len, "index {index} of a space of {} points", self.len);
        let at = self.parts.partition_point(|part| part.start <= index);
        // The first part starts at 0.
        let part = &self.parts[at - 1];
        let mut rest = index - part.start;
        let mut point = Params::new();
        for (axis, (first, count)) in self.axes.iter().zip(&part.ranges).rev() {
            let base = *count as u64;
            point.insert(axis.name.clone(), axis.values[first + (rest % base) as usize].clone());
            rest /= base;
        }
        point
    }

    /// The index of a point, or nothing where the point is not of this space.
    pub fn index_of(&self, point: &Params) -> Option<u64> {
        if point.len() != self.axes.len() {
            return None;
        }
        let place = |axis: &Axis| axis.values.iter().position(|value| Some(value) == point.get(&axis.name));
        let places: Vec<usize> = self.axes.iter().map(place).collect::<Option<_>>()?;
        self.parts.iter().find_map(|part| {
            let digits = places.iter().zip(&part.ranges);
            let offset = digits.into_iter().try_fold(0, |index, (place, (first, count))| {
                let digit = place.checked_sub(*first).filter(|digit| digit < count)?;
                Some(index * *count as u64 + digit as u64)
            })?;
            Some(part.start + offset)
        })
    }

    /// Those of `names` that are parameters of this space, as digits of the indices of each part, which is named by the
    /// index of its first point.
    pub fn digits(&self, names: &[&str]) -> Vec<(u64, Vec<Digit>)> {
        let of_part = |part: &Part| {
            let mut stride = 1;
            let mut digits = Vec::new();
            for (axis, (first, count)) in self.axes.iter().zip(&part.ranges).rev() {
                let base = *count as u64;
                if names.contains(&axis.name.as_str()) {
                    digits.push(Digit { stride, base, first: *first as u64 });
                }
                // The last product is the number of points.
                stride *= base;
            }
            (part.start, digits)
        };
        self.parts.iter().map(of_part).collect()
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

/// The parts that an extension adds, by the numbers of values before and after; before the first there were none.
fn added(before: &[usize], after: &[usize]) -> Vec<Vec<(usize, usize)>> {
    if before.is_empty() {
        return vec![after.iter().map(|count| (0, *count)).collect()];
    }
    let grown = (0..after.len()).filter(|at| after[*at] > before[*at]);
    let part = |at: usize| {
        (0..after.len())
            .map(|axis| match axis.cmp(&at) {
                Ordering::Less => (0, before[axis]),
                Ordering::Equal => (before[axis], after[axis] - before[axis]),
                Ordering::Greater => (0, after[axis]),
            })
            .collect()
    };
    grown.map(part).collect()
}

impl From<Grid> for Stored {
    fn from(space: Grid) -> Self {
        let Grid { axes, generations, .. } = space;
        match generations.len() {
            1 => Stored::Plain(axes),
            _ => Stored::Extended { axes, generations },
        }
    }
}

impl TryFrom<Stored> for Grid {
    type Error = SpaceError;

    fn try_from(stored: Stored) -> Result<Self, SpaceError> {
        let (axes, generations) = match stored {
            Stored::Plain(axes) => return Self::new(axes),
            Stored::Extended { axes, generations } => (axes, generations),
        };
        let all: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        let fits = |counts: &Vec<usize>| counts.len() == axes.len() && counts.iter().all(|count| *count > 0);
        let grows = |pair: &[Vec<usize>]| pair[0].iter().zip(&pair[1]).all(|(before, after)| before <= after);
        if generations.last() != Some(&all)
            || !generations.iter().all(fits)
            || !generations.windows(2).all(grows)
        {
            return Err(SpaceError::Damaged);
        }
        Self::built(axes, generations)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn space(bases: &[usize]) -> Grid {
        let axes = bases
            .iter()
            .enumerate()
            .map(|(place, base)| Axis {
                name: format!("p{place}"),
                values: (0..*base).map(|v| Value::Integer(v as i64)).collect(),
            })
            .collect();
        Grid::new(axes).unwrap()
    }

    #[test]
    fn a_parameter_is_a_digit_of_the_index() {
        let space = space(&[2, 1, 3, 5]);
        let digit = |stride, base| Digit { stride, base, first: 0 };
        let digits = space.digits(&["p0", "p1", "p2", "px"]);
        assert_eq!(digits, [(0, vec![digit(5, 3), digit(15, 1), digit(15, 2)])]);
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
        assert_eq!(Grid::new(axes(&[2; 64])), Err(SpaceError::TooLarge(1 << 64)));
        assert_eq!(Grid::new(axes(&[10; 60])), Err(SpaceError::TooLarge(u128::MAX)));
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

    #[test]
    fn an_extended_space_keeps_its_points_and_adds_the_missing_ones() {
        let first = space(&[2, 3]);
        let more = |name: &str, values: &[i64]| Axis {
            name: name.to_owned(),
            values: values.iter().map(|v| Value::Integer(*v)).collect(),
        };
        let larger = first.extended(&[more("p1", &[2, 3]), more("p0", &[7])]).unwrap();
        assert_eq!(larger.len(), 12);
        assert!((0..6).all(|index| larger.point(index) == first.point(index)));
        assert_eq!(
            larger.point(6),
            Params::from([("p0".into(), Value::Integer(7)), ("p1".into(), Value::Integer(0))])
        );
        assert_eq!(larger.extended(&[more("p1", &[0])]).unwrap(), larger, "nothing new");
        assert_eq!(larger.extended(&[more("px", &[0])]), Err(SpaceError::Absent("px".into())));
        let stored = serde_json::to_string(&larger).unwrap();
        assert_eq!(serde_json::from_str::<Grid>(&stored).unwrap(), larger);
        let damaged = stored.replace("[3,4]", "[3,5]");
        assert!(serde_json::from_str::<Grid>(&damaged).unwrap_err().to_string().contains("damaged"));
    }

    proptest! {
        #[test]
        fn extensions_keep_every_index_and_reach_every_point(
            bases in prop::collection::vec(1_usize..4, 1..5),
            more in prop::collection::vec(prop::collection::vec(0_usize..3, 5), 0..4),
        ) {
            let mut now = space(&bases);
            for round in &more {
                let before = now.clone();
                let axes: Vec<Axis> = now.axes().iter().zip(round).map(|(axis, new)| {
                    let count = axis.values.len();
                    let values = (count..count + new).map(|v| Value::Integer(v as i64)).collect();
                    Axis { name: axis.name.clone(), values }
                }).collect();
                now = now.extended(&axes).unwrap();
                for index in 0..before.len() {
                    prop_assert_eq!(now.point(index), before.point(index));
                }
            }
            let mut seen = BTreeSet::new();
            let names: Vec<&str> = now.axes().iter().map(|axis| axis.name.as_str()).collect();
            let digits = now.digits(&names);
            for index in 0..now.len() {
                let point = now.point(index);
                prop_assert_eq!(now.index_of(&point), Some(index));
                let (start, digits) = digits.iter().rev().find(|(start, _)| *start <= index).unwrap();
                for (name, digit) in names.iter().rev().zip(digits) {
                    let place = digit.first + (index - start) / digit.stride % digit.base;
                    prop_assert_eq!(&point[*name], &Value::Integer(place as i64));
                }
                prop_assert!(seen.insert(serde_json::to_string(&point).unwrap()));
            }
        }

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
