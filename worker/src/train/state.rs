//! A lane's state as the files of a checkpoint, and back. Tensors and numbers come back to the last bit, so that a
//! training that goes on from them cannot be told from one that was never interrupted.

use std::{collections::BTreeMap, fmt, fs, io, path::Path};

use safetensors::{Dtype, SafeTensors, serialize_to_file};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::metrics::Confusion;
use crate::{model::Stored, trainer::EvaluationRecord};

const TENSORS: &str = "training.safetensors";
const POSITION: &str = "training.json";

/// Raised when the files change their meaning, or the numbers of a trial change: an older checkpoint is then refused.
const FORMAT: u32 = 2;

/// What a checkpoint belongs to, by what can differ: data, model, arguments and so on. A training goes on only from a
/// checkpoint that agrees in all of it.
pub type Identity = BTreeMap<String, String>;

/// Everything that the next step depends on, and the best so far.
#[derive(Debug)]
pub(super) struct State {
    pub(super) position: Position,
    /// By [`parameter`], [`moment`] and [`best`] names, and [`LOSSES`]; on the CPU.
    pub(super) tensors: BTreeMap<String, Tensor>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) format: u32,
    pub(super) identity: Identity,
    pub(super) step: u64,
    pub(super) decay: f64,
    pub(super) samples: u64,
    /// Seconds in steps, and in all, up to here.
    pub(super) stepping: f64,
    pub(super) seconds: f64,
    pub(super) waited: u32,
    /// Whether the evaluation of this step is still to be made; never in the first format.
    #[serde(default)]
    pub(super) owes_evaluation: bool,
    pub(super) best: Option<BestPosition>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BestPosition {
    pub(super) record: EvaluationRecord,
    /// Empty in checkpoints of earlier versions.
    #[serde(default)]
    pub(super) confusion: Confusion,
    pub(super) decay: f64,
    /// The weights of this step are the best's too, and are stored once.
    pub(super) current: bool,
}

/// Losses since the last record of the curve.
pub(super) const LOSSES: &str = "losses";

pub(super) fn parameter(name: &str) -> String {
    format!("parameter/{name}")
}

pub(super) fn moment(name: &str, number: usize) -> String {
    format!("moment{}/{name}", number + 1)
}

pub(super) fn best(name: &str) -> String {
    format!("best/{name}")
}

impl Position {
    pub(super) fn new(identity: Identity, step: u64) -> Self {
        Self {
            format: FORMAT,
            identity,
            step,
            decay: 1.0,
            samples: 0,
            stepping: 0.0,
            seconds: 0.0,
            waited: 0,
            owes_evaluation: false,
            best: None,
        }
    }
}

/// Why a checkpoint is not used.
#[derive(Debug)]
pub(super) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl State {
    /// Writes the files of a checkpoint into an existing directory.
    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let tensors = self
            .tensors
            .iter()
            .map(|(name, tensor)| Ok((name.as_str(), Stored::new(tensor).map_err(io::Error::other)?)))
            .collect::<io::Result<Vec<_>>>()?;
        serialize_to_file(tensors, None, &directory.join(TENSORS)).map_err(io::Error::other)?;
        fs::write(directory.join(POSITION), serde_json::to_vec_pretty(&self.position)?)
    }

    /// Reads the checkpoint of a training of this identity.
    pub(super) fn read(directory: &Path, identity: &Identity) -> Result<Self, Refusal> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read(&path).map_err(|error| Refusal(format!("{} cannot be read: {error}", path.display())))
        };
        let torn = |name: &str, why: &dyn fmt::Display| {
            Refusal(format!("{} is torn: {why}", directory.join(name).display()))
        };
        let position: Position =
            serde_json::from_slice(&read(POSITION)?).map_err(|error| torn(POSITION, &error))?;
        if position.format > FORMAT {
            return Err(Refusal(format!(
                "{} has format {}, this version reads none above {FORMAT}",
                directory.display(),
                position.format
            )));
        }
        let names = identity.keys().chain(position.identity.keys());
        if let Some(name) = names.into_iter().find(|name| identity.get(*name) != position.identity.get(*name))
        {
            return Err(Refusal(format!(
                "{} is of another trial: {name} is not the same",
                directory.display()
            )));
        }
        let bytes = read(TENSORS)?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|error| torn(TENSORS, &error))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in stored.iter() {
            let kind = match view.dtype() {
                Dtype::F32 => Kind::Float,
                Dtype::F64 => Kind::Double,
                other => return Err(torn(TENSORS, &format!("tensor `{name}` is {other:?}"))),
            };
            let shape: Vec<i64> = view.shape().iter().map(|n| *n as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind);
            tensors.insert(name.to_owned(), tensor.map_err(|error| torn(TENSORS, &error))?);
        }
        Ok(Self { position, tensors })
    }

    /// The tensor of this name, where it has the shape and kind of `like`.
    pub(super) fn tensor(&self, name: &str, like: &Tensor) -> Result<&Tensor, Refusal> {
        let tensor = self.tensors.get(name).ok_or_else(|| Refusal(format!("it has no tensor `{name}`")))?;
        if tensor.size() != like.size() || tensor.kind() != like.kind() {
            let (found, expected) = (tensor.size(), like.size());
            return Err(Refusal(format!("its tensor `{name}` has the shape {found:?}, not {expected:?}")));
        }
        Ok(tensor)
    }
}
