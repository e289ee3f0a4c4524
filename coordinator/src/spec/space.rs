//! The space of a sweep: its points by number.

use distilsweep_proto::params::{self, Parameter, Params};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    chosen::Chosen,
    conditions::Conditions,
    drawn::{Drawn, Sequence},
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
    /// Some of them.
    Chosen(Chosen),
}

impl Space {
    /// Number of points, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a space has at least one point")]
    pub fn len(&self) -> u64 {
        match self {
            Space::Grid(grid) => grid.len(),
            Space::Chosen(chosen) => chosen.len(),
            Space::Drawn(drawn) => drawn.len(),
        }
    }

    /// The point of an index below [`Space::len`]; what it lacks of it has still to be proposed.
    pub fn point(&self, index: u64) -> Params {
        match self {
            Space::Grid(grid) => grid.point(index),
            Space::Chosen(chosen) => chosen.point(index),
            Space::Drawn(drawn) => drawn.point(index),
        }
    }

    /// The draw of a point that has still to be proposed, where a search learns.
    pub fn unproposed(&self, index: u64) -> Option<(&Drawn, u64)> {
        match self {
            Space::Grid(_) | Space::Chosen(_) => None,
            Space::Drawn(drawn) => drawn.unproposed(index).map(|draw| (drawn, draw)),
        }
    }

    /// Takes in the shares that were proposed for a draw.
    pub fn propose(&mut self, draw: u64, shares: Vec<f64>) {
        if let Space::Drawn(drawn) = self {
            drawn.proposed.insert(draw, shares);
        }
    }

    /// Points as they may be, drawn at random, where they are proposed only as trials end: for estimates.
    pub fn guess(&mut self) {
        if let Space::Drawn(drawn) = self
            && drawn.sequence == Sequence::Proposed
        {
            drawn.sequence = Sequence::Random;
        }
    }

    /// Names of the parameters that differ between points, in the order of the file.
    pub fn varied(&self) -> Vec<&str> {
        match self {
            Space::Grid(grid) => grid.varied().collect(),
            Space::Chosen(chosen) => chosen.varied().collect(),
            Space::Drawn(drawn) => drawn.varied().collect(),
        }
    }

    /// Whether a parameter may have a value.
    pub fn takes(&self, name: &str, value: &params::Value) -> bool {
        let listed = |axes: &[Axis]| axes.iter().any(|axis| axis.name == name && axis.values.contains(value));
        match self {
            Space::Grid(grid) => listed(grid.axes()),
            Space::Chosen(chosen) => listed(chosen.axes()),
            Space::Drawn(drawn) => {
                let dimension = drawn.dimensions.iter().find(|dimension| dimension.name == name);
                let parameter = Parameter::named(name);
                dimension
                    .zip(parameter.ok())
                    .is_some_and(|(one, parameter)| one.distribution.takes(parameter, value))
            }
        }
    }

    /// The least and the greatest number that a parameter takes; nothing where it takes none.
    pub fn reach(&self, name: &str) -> Option<(f64, f64)> {
        match self {
            Space::Grid(grid) => reach(grid.axes(), name),
            Space::Chosen(chosen) => reach(chosen.axes(), name),
            Space::Drawn(drawn) => {
                let dimension = drawn.dimensions.iter().find(|dimension| dimension.name == name)?;
                dimension.distribution.reach(Parameter::named(name).ok()?)
            }
        }
    }

    /// The same space with more values of some parameters; see [`Grid::extended`].
    ///
    /// # Errors
    /// As there, and always where points are drawn, so that there are no values to add to, or are some of a grid's.
    pub fn extended(&self, more: &[Axis]) -> Result<Self, SpaceError> {
        match self {
            Space::Grid(grid) => Ok(Space::Grid(grid.extended(more)?)),
            Space::Chosen(_) => Err(SpaceError::Chosen),
            Space::Drawn(_) => Err(SpaceError::Drawn),
        }
    }

    /// What points must have in common to be computed together, of `names`, as digits of their indices; see
    /// [`Grid::digits`]. Drawn points that differ in one of them have nothing in common.
    pub fn digits(&self, names: &[&str]) -> Vec<(u64, Vec<Digit>)> {
        match self {
            Space::Grid(grid) => grid.digits(names),
            Space::Chosen(chosen) => chosen.digits(names),
            Space::Drawn(drawn) if drawn.varied().any(|name| names.contains(&name)) => {
                vec![(0, vec![Digit { stride: 1, base: u64::MAX, first: 0 }])]
            }
            Space::Drawn(_) => vec![(0, Vec::new())],
        }
    }

    /// What a sweep file says about it, but for how points are drawn.
    pub fn document(&self) -> Map<String, Value> {
        let none = Conditions::default();
        let (described, conditions, first): (Vec<(&str, Value)>, _, _) = match self {
            Space::Grid(grid) => (grid.axes().iter().map(listed).collect(), &none, None),
            Space::Chosen(chosen) => {
                (chosen.axes().iter().map(listed).collect(), chosen.conditions(), chosen.first())
            }
            Space::Drawn(drawn) => {
                let dimensions = drawn.dimensions.iter();
                let described = dimensions.map(|one| (one.name.as_str(), json!(one.distribution))).collect();
                (described, &drawn.conditions, None)
            }
        };
        let with_condition = |(name, mut described): (&str, Value)| {
            if let (Some(filter), Some(keys)) = (conditions.of(name), described.as_object_mut()) {
                keys.insert("when".to_owned(), json!(filter));
            }
            (name.to_owned(), described)
        };
        let parameters: Map<String, Value> = described.into_iter().map(with_condition).collect();
        let mut document = Map::from_iter([("parameters".to_owned(), Value::Object(parameters))]);
        if conditions.excludes() {
            document.insert("exclude".to_owned(), json!(conditions.exclude()));
        }
        if let Some(first) = first {
            document.insert("first".to_owned(), json!(first));
        }
        document
    }
}

/// A parameter with its values, as a sweep file has it.
fn listed(axis: &Axis) -> (&str, Value) {
    let values = match axis.values.as_slice() {
        [value] => json!({"value": value}),
        values => json!({"values": values}),
    };
    (&axis.name, values)
}

fn reach(axes: &[Axis], name: &str) -> Option<(f64, f64)> {
    let axis = axes.iter().find(|axis| axis.name == name)?;
    let numbers = || axis.values.iter().filter_map(params::Value::as_number);
    Some((numbers().reduce(f64::min)?, numbers().reduce(f64::max)?))
}
