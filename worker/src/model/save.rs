//! A checkpoint that `AutoModelForSequenceClassification` and `pipeline` of transformers load.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use distilsweep_data::TextTokenizer;
use safetensors::{Dtype, View, serialize_to_file};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use super::{
    config::{Config, Task},
    error::{ModelError, TorchError},
    parameters::Parameters,
};

/// Writes a model and its tokenizer (taken from the directory `tokenizer`) into the existing directory `output`; an
/// encoder without a head if there is no task.
///
/// # Errors
/// A file that cannot be read or written.
pub fn save(
    parameters: &Parameters,
    config: &Config,
    task: Option<Task<'_>>,
    tokenizer: &Path,
    output: &Path,
) -> Result<(), ModelError> {
    let tensors = parameters
        .names()
        .iter()
        .zip(parameters.tensors())
        .map(|(name, tensor)| Ok((name.as_str(), Stored::new(tensor)?)))
        .collect::<Result<Vec<_>, TorchError>>()?;
    let kind = match tensors.first().map(|(_, stored)| stored.dtype()) {
        Some(Dtype::F64) => "float64",
        _ => "float32",
    };
    let config_path = output.join("config.json");
    write_json(&config_path, &config.json(task, kind))?;
    let path = output.join("model.safetensors");
    // transformers refuses a file that does not say which framework wrote it.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    serialize_to_file(tensors, Some(metadata), &path)
        .map_err(|error| ModelError::Write { path: path.clone(), source: std::io::Error::other(error) })?;
    // The safetensors crate makes a file that only its owner reads; a model is for whoever may read its directory.
    fs::metadata(&config_path)
        .and_then(|model| fs::set_permissions(&path, model.permissions()))
        .map_err(|source| ModelError::Write { path, source })?;
    save_tokenizer(config, tokenizer, output)
}

fn save_tokenizer(config: &Config, from: &Path, output: &Path) -> Result<(), ModelError> {
    let tokenizer = TextTokenizer::from_directory(from)?;
    for (name, text) in tokenizer.export(config.max_position_embeddings)? {
        write(output.join(name), text.as_bytes())?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &Value) -> Result<(), ModelError> {
    write(path.to_owned(), format!("{value:#}\n").as_bytes())
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), ModelError> {
    fs::write(&path, bytes).map_err(|source| ModelError::Write { path, source })
}

/// A weight as a file of safetensors holds it: in single or double precision, read from its tensor when it is written.
pub(crate) struct Stored<'a> {
    tensor: &'a Tensor,
    kind: Kind,
    shape: Vec<usize>,
}

impl<'a> Stored<'a> {
    pub(crate) fn new(tensor: &'a Tensor) -> Result<Self, TorchError> {
        let kind = match tensor.f_kind()? {
            kind @ (Kind::Double | Kind::Int64) => kind,
            _ => Kind::Float,
        };
        let shape = tensor.size().iter().map(|n| n.unsigned_abs() as usize).collect();
        Ok(Self { tensor, kind, shape })
    }

    fn bytes(&self) -> Result<Vec<u8>, TorchError> {
        let tensor = self.tensor.f_detach()?.f_to_device_(Device::Cpu, self.kind, false, false)?;
        let tensor = tensor.f_contiguous()?;
        let count = tensor.numel();
        let mut bytes = vec![0; count * self.kind.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, count)?;
        Ok(bytes)
    }
}

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.kind {
            Kind::Double => Dtype::F64,
            Kind::Int64 => Dtype::I64,
            _ => Dtype::F32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        // The trait has no way to fail. A short tensor makes a file whose header does not fit it, which no reader takes.
        Cow::Owned(self.bytes().unwrap_or_default())
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.kind.elt_size_in_bytes()
    }
}
