//! Some points of a grid: those that conditions leave, or the first of them.

use std::sync::Arc;

use distilsweep_proto::params::Params;
use serde::{Deserialize, Serialize};

use super::{
    conditions::Conditions,
    filter::{Condition, Filter},
    grid::{Axis, Digit, Grid, MAX_POINTS, SpaceError},
};

/// Combinations of the hyperparameters that conditions are about, at most: they are gone through once, so that points
/// are counted exactly, whatever the others multiply them to.
pub const MAX_COMBINATIONS: usize = 1_000_000;

/// A grid of which not every point is there, numbered from 0 and computed when asked for.
///
/// The hyperparameters that conditions name or that have one are *involved*, the others *free*. The valid combinations of
/// the involved are known as numbers in mixed radix, in order; each stands for a whole grid of the free. A point's index
/// is its combination's place times the number of points of that grid, and its index there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Chosen {
    axes: Vec<Axis>,
    conditions: Conditions,
    /// Points that are taken from the start, at most.
    first: Option<u64>,
    free: Grid,
    /// A digit for each involved hyperparameter in the order of the file: the place of its value, and where it is
    /// missing the number of its values.
    combinations: Arc<[u128]>,
}

/// [`Chosen`] as stored.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    axes: Vec<Axis>,
    conditions: Conditions,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<u64>,
}

impl Chosen {
    /// The points of a grid that `conditions` leave, or the `first` of them.
    ///
    /// # Errors
    /// Where there is none, or where they are too many to count or to number.
    pub fn new(axes: Vec<Axis>, conditions: Conditions, first: Option<u64>) -> Result<Self, SpaceError> {
        let involved = conditions.involved();
        let is_involved = |axis: &&Axis| involved.contains(axis.name.as_str());
        let combinations = combinations(&axes.iter().filter(is_involved).collect::<Vec<_>>(), &conditions)?;
        let free = Grid::new(axes.iter().filter(|axis| !is_involved(axis)).cloned().collect())?;
        let points = combinations.len() as u128 * u128::from(free.len());
        if points == 0 {
            return Err(SpaceError::NothingLeft);
        }
        if points > u128::from(MAX_POINTS) {
            return Err(SpaceError::TooLarge(points));
        }
        Ok(Self { axes, conditions, first, free, combinations: combinations.into() })
    }

    /// Number of points, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a space has at least one point")]
    pub fn len(&self) -> u64 {
        self.whole().min(self.first.unwrap_or(u64::MAX))
    }

    /// Number of points that conditions leave, of which only the first may be taken.
    pub fn whole(&self) -> u64 {
        self.combinations.len() as u64 * self.free.len()
    }

    /// The parameters in the order of the file.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// What decides which points there are.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Points that are taken from the start, where not all are.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// The point of an index below [`Chosen::len`].
    pub fn point(&self, index: u64) -> Params {
        debug_assert!(index < self.len(), "index {index} of a space of {} points", self.len());
        let mut point = self.free.point(index % self.free.len());
        let mut code = self.combinations[(index / self.free.len()) as usize];
        for axis in self.involved().rev() {
            let base = axis.values.len() as u128 + 1;
            if let Some(value) = axis.values.get((code % base) as usize) {
                point.insert(axis.name.clone(), value.clone());
            }
            code /= base;
        }
        point
    }

    /// The index of a point, or nothing where the point is not of this space.
    pub fn index_of(&self, point: &Params) -> Option<u64> {
        let mut rest = point.clone();
        let mut code = 0;
        for axis in self.involved() {
            let place = match rest.remove(&axis.name) {
                Some(value) => axis.values.iter().position(|known| *known == value)?,
                None => axis.values.len(),
            };
            code = code * (axis.values.len() as u128 + 1) + place as u128;
        }
        let combination = self.combinations.binary_search(&code).ok()? as u64;
        let index = combination * self.free.len() + self.free.index_of(&rest)?;
        (index < self.len()).then_some(index)
    }

    /// As [`Grid::digits`]. Where one of `names` is involved, points of the same combination alone are known to agree
    /// in it.
    pub fn digits(&self, names: &[&str]) -> Vec<(u64, Vec<Digit>)> {
        let mut parts = self.free.digits(names);
        if self.involved().any(|axis| names.contains(&axis.name.as_str())) {
            for (_, digits) in &mut parts {
                digits.push(Digit { stride: self.free.len(), base: u64::MAX, first: 0 });
            }
        }
        parts
    }

    /// Names of the parameters with more than one value, or that not every point has, in the order of the file.
    pub fn varied(&self) -> impl Iterator<Item = &str> {
        let varies = |axis: &&Axis| axis.values.len() > 1 || self.conditions.of(&axis.name).is_some();
        self.axes.iter().filter(varies).map(|axis| axis.name.as_str())
    }

    fn involved(&self) -> impl DoubleEndedIterator<Item = &Axis> {
        self.axes.iter().filter(|axis| !self.free.axes().iter().any(|free| free.name == axis.name))
    }
}

/// A condition on hyperparameters by their places, and for each value of them whether it holds; of one that is missing it
/// does not.
type Table = Vec<(usize, Vec<bool>)>;

/// Goes through the combinations of hyperparameters, each decided after those that its condition names.
struct Walk {
    /// Values of each, and what one place of its digit is worth.
    counts: Vec<(usize, u128)>,
    when: Vec<Option<Table>>,
    /// What must not hold, at the last hyperparameter that it is about.
    exclude: Vec<Vec<Table>>,
    digits: Vec<usize>,
    found: Vec<u128>,
    /// Combinations that were left out.
    refused: usize,
}

/// The valid combinations of hyperparameters, in order.
fn combinations(axes: &[&Axis], conditions: &Conditions) -> Result<Vec<u128>, SpaceError> {
    let mut weight = 1_u128;
    let mut weighed: Vec<(&Axis, u128)> = Vec::new();
    for axis in axes.iter().rev() {
        weighed.push((axis, weight));
        let next = weight.checked_mul(axis.values.len() as u128 + 1);
        weight = next.ok_or(SpaceError::Uncountable)?;
    }
    weighed.reverse();
    let always = weighed.iter().filter(|(axis, _)| conditions.of(&axis.name).is_none());
    let conditional =
        conditions.when().iter().filter_map(|(name, _)| weighed.iter().find(|(axis, _)| axis.name == *name));
    let order: Vec<(&Axis, u128)> = always.chain(conditional).copied().collect();
    let table = |filter: &Filter| -> Table {
        let of = |condition: &Condition| {
            let place = order.iter().position(|(axis, _)| axis.name == condition.name())?;
            let values = order[place].0.values.iter().map(|value| condition.holds(value));
            Some((place, values.chain([false]).collect()))
        };
        filter.conditions().iter().filter_map(of).collect()
    };
    let mut exclude = vec![Vec::new(); order.len()];
    for filter in conditions.exclude() {
        let table = table(filter);
        if let Some(last) = table.iter().map(|(place, _)| *place).max() {
            exclude[last].push(table);
        }
    }
    let mut walk = Walk {
        counts: order.iter().map(|(axis, weight)| (axis.values.len(), *weight)).collect(),
        when: order.iter().map(|(axis, _)| conditions.of(&axis.name).map(table)).collect(),
        exclude,
        digits: vec![0; order.len()],
        found: Vec::new(),
        refused: 0,
    };
    walk.from(0, 0)?;
    walk.found.sort_unstable();
    Ok(walk.found)
}

impl Walk {
    /// All that the hyperparameters from a place on add to what is decided before it, which is worth `code`.
    fn from(&mut self, place: usize, code: u128) -> Result<(), SpaceError> {
        if self.found.len() + self.refused > MAX_COMBINATIONS {
            return Err(SpaceError::Uncountable);
        }
        let Some((count, weight)) = self.counts.get(place).copied() else {
            self.found.push(code);
            return Ok(());
        };
        let exists = self.when[place].as_ref().is_none_or(|table| self.holds(table));
        for digit in if exists { 0..count } else { count..count + 1 } {
            self.digits[place] = digit;
            if self.exclude[place].iter().any(|table| self.holds(table)) {
                self.refused += 1;
            } else {
                self.from(place + 1, code + digit as u128 * weight)?;
            }
        }
        Ok(())
    }

    fn holds(&self, table: &Table) -> bool {
        table.iter().all(|(place, holds)| holds[self.digits[*place]])
    }
}

impl From<Chosen> for Stored {
    fn from(chosen: Chosen) -> Self {
        let Chosen { axes, conditions, first, .. } = chosen;
        Self { axes, conditions, first }
    }
}

impl TryFrom<Stored> for Chosen {
    type Error = SpaceError;

    fn try_from(Stored { axes, conditions, first }: Stored) -> Result<Self, SpaceError> {
        Self::new(axes, conditions, first)
    }
}
