//! More values for the parameters of a sweep that is there.

use distilsweep_proto::params::{Parameter, ParameterError};

use super::{
    Space, SpaceError, SweepSpec,
    grid::Axis,
    tree::{Scalar, resolve},
};

/// Why a sweep cannot be extended so.
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// Not of the form that it should have.
    #[error("`{0}` adds nothing, write NAME=VALUE or NAME=VALUE,VALUE: learning_rate=1e-4,2e-4")]
    Form(String),
    /// No such hyperparameter, or a value that it cannot have.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// It makes no space.
    #[error(transparent)]
    Space(#[from] SpaceError),
}

impl SweepSpec {
    /// The same sweep with more values, each given as `NAME=VALUE,VALUE`; those that are there already add nothing.
    ///
    /// # Errors
    /// What is wrong with the first that is.
    pub fn extended(&self, additions: &[String]) -> Result<Self, ExtensionError> {
        let axes: Vec<Axis> = additions.iter().map(|text| axis(text)).collect::<Result<_, _>>()?;
        let space: Space = self.space.extended(&axes)?;
        Ok(Self { space, ..self.clone() })
    }
}

fn axis(text: &str) -> Result<Axis, ExtensionError> {
    let malformed = || ExtensionError::Form(text.to_owned());
    let (name, listed) = text.split_once('=').ok_or_else(malformed)?;
    let parameter = Parameter::named(name.trim())?;
    let mut values = Vec::new();
    for value in listed.split(',') {
        match resolve(value.trim(), true) {
            Scalar::Value(value) => values.push(parameter.check(&value)?),
            Scalar::Nothing => return Err(malformed()),
        }
    }
    Ok(Axis { name: parameter.name.to_owned(), values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec;

    const SWEEP: &str = "\
name: demo
model: ./model
dataset: {train: train.csv, validation: validation.csv}
method: grid
parameters:
  learning_rate: {values: [2e-5, 5e-5]}
  seed: {value: 1}
";

    fn extended(additions: &[&str]) -> Result<SweepSpec, ExtensionError> {
        let spec = spec::parse(SWEEP).unwrap_or_else(|problems| panic!("{}", problems.in_file("sweep.yaml")));
        spec.extended(&additions.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn values_are_added_to_what_is_there() {
        let spec = extended(&["seed=2, 3", "learning_rate=1e-4,5e-5"]).unwrap();
        assert_eq!(spec.space.len(), 9);
        assert_eq!(extended(&["seed=1"]).unwrap().space.len(), 2, "there already");
    }

    #[test]
    fn what_cannot_be_added_is_named_with_what_would_be_right() {
        let message = |addition: &str| extended(&[addition]).unwrap_err().to_string();
        assert!(message("seed").contains("write NAME=VALUE"), "{}", message("seed"));
        assert!(message("seed=").contains("`seed=` adds nothing"), "{}", message("seed="));
        assert!(message("sed=1").contains("did you mean `seed`?"), "{}", message("sed=1"));
        assert!(message("seed=1.5").contains("seed"), "{}", message("seed=1.5"));
        assert!(message("weight_decay=0.1").contains("only those can get more values"));
    }

    #[test]
    fn some_points_of_a_grid_are_not_numbered_anew() {
        for line in ["run_cap: 1", "exclude: [learning_rate>3e-5]"] {
            let spec = spec::parse(&format!("{SWEEP}{line}\n")).unwrap();
            let refusal = spec.extended(&["seed=2".to_owned()]).unwrap_err().to_string();
            assert!(refusal.contains("hand in a file with the values that are missing"), "{refusal}");
        }
    }
}
