//! The space of a sweep: its points by number.

use distilsweep_proto::params::Params;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    drawn::Drawn,
    grid::{Axis, Digit, Grid, SpaceError},
};

/// The points of a sweep, numbered from 0 and computed when asked for: which are trained depends on the file alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Space {
    /// Drawn from distributions.
    Drawn(Drawn),
    /// Every combination of listed values.
    Grid(Grid),
}

impl Space {
    /// Number of points, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a space has at least one point")]
    pub fn len(&self) -> u64 {
        match self {
            Space::Grid(grid) => grid.len(),
            Space::Drawn(drawn) => drawn.len(),
        }
    }

    /// The point of an index below [`Space::len`]; what it lacks of it has still to be proposed.
    pub fn point(&self, index: u64) -> Params {
        match self {
            Space::Grid(grid) => grid.point(index),
            Space::Drawn(drawn) => drawn.point(index),
        }
    }

    /// The draw of a point that has still to be proposed, where a search learns.
    pub fn unproposed(&self, index: u64) -> Option<(&Drawn, u64)> {
        match self {
            Space::Grid(_) => None,
            Space::Drawn(drawn) => drawn.unproposed(index).map(|draw| (drawn, draw)),
        }
    }

    /// Takes in the shares that were proposed for a draw.
    pub fn propose(&mut self, draw: u64, shares: Vec<f64>) {
        if let Space::Drawn(drawn) = self {
            drawn.proposed.insert(draw, shares);
        }
    }

    /// Names of the parameters that differ between points, in the order of the file.
    pub fn varied(&self) -> Vec<&str> {
        match self {
            Space::Grid(grid) => grid.varied().collect(),
            Space::Drawn(drawn) => drawn.varied().collect(),
        }
    }

    /// The same space with more values of some parameters; see [`Grid::extended`].
    ///
    /// # Errors
    /// As there, and always where points are drawn: there are no values to add to.
    pub fn extended(&self, more: &[Axis]) -> Result<Self, SpaceError> {
        match self {
            Space::Grid(grid) => Ok(Space::Grid(grid.extended(more)?)),
            Space::Drawn(_) => Err(SpaceError::Drawn),
        }
    }

    /// What points must have in common to be computed together, of `names`, as digits of their indices; see
    /// [`Grid::digits`]. Drawn points that differ in one of them have nothing in common.
    pub fn digits(&self, names: &[&str]) -> Vec<(u64, Vec<Digit>)> {
        match self {
            Space::Grid(grid) => grid.digits(names),
            Space::Drawn(drawn) if drawn.varied().any(|name| names.contains(&name)) => {
                vec![(0, vec![Digit { stride: 1, base: u64::MAX, first: 0 }])]
            }
            Space::Drawn(_) => vec![(0, Vec::new())],
        }
    }

    /// The parameters as a sweep file has them.
    pub fn document(&self) -> Value {
        let listed = |axis: &Axis| match axis.values.as_slice() {
            [value] => json!({"value": value}),
            values => json!({"values": values}),
        };
        let parameters: Map<String, Value> = match self {
            Space::Grid(grid) => grid.axes().iter().map(|axis| (axis.name.clone(), listed(axis))).collect(),
            Space::Drawn(drawn) => drawn
                .dimensions
                .iter()
                .map(|dimension| (dimension.name.clone(), json!(dimension.distribution)))
                .collect(),
        };
        Value::Object(parameters)
    }
}
