//! What goes wrong with a checkpoint, and what libtorch says.

use std::{io, path::PathBuf};

/// An operation of libtorch failed.
#[derive(Debug, thiserror::Error)]
pub enum TorchError {
    /// Through tch.
    #[error("{0}")]
    Tch(#[from] tch::TchError),
    /// Through the shim.
    #[error("{0}")]
    Native(#[from] distilsweep_native::NativeError),
}

impl TorchError {
    /// Whether the device's memory was at fault.
    pub fn out_of_memory(&self) -> bool {
        // libtorch has no codes: these are the allocators' words on CUDA and on the CPU, and oneDNN's where it finds no
        // room for the code that it makes.
        let text = self.to_string();
        let words = [
            "out of memory",
            "can't allocate memory",
            "not enough memory",
            "bad_alloc",
            "could not create a primitive",
            "could not execute a primitive",
        ];
        words.iter().any(|words| text.contains(words))
    }
}

/// A checkpoint cannot be read, used or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is missing or unreadable.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no JSON, or no safetensors.
    #[error("{path} is no {format} file: {reason}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What it should be.
        format: &'static str,
        /// What the parser says.
        reason: String,
    },
    /// `config.json` says something that a DistilBERT cannot be.
    #[error("{path}: `{key}` is {value}, it must be {wanted}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Key in it.
        key: &'static str,
        /// Its value, or "missing".
        value: String,
        /// What would be right.
        wanted: String,
    },
    /// A weight is missing.
    #[error("{path} has no tensor `{name}`")]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The weight's name in it.
        name: String,
    },
    /// A weight does not have the shape that `config.json` says.
    #[error("{path}: tensor `{name}` has the shape {found:?}, config.json makes it {expected:?}")]
    Shape {
        /// The file.
        path: PathBuf,
        /// The weight's name in it.
        name: String,
        /// By the configuration.
        expected: Vec<i64>,
        /// In the file.
        found: Vec<i64>,
    },
    /// A weight is not stored as floating point numbers.
    #[error("{path}: tensor `{name}` is stored as {found}, it must be F16, BF16, F32 or F64")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The weight's name in it.
        name: String,
        /// As stored.
        found: String,
    },
    /// A weight is NaN or infinite.
    #[error("{path}: tensor `{name}` holds NaN or an infinite number, every weight must be finite")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The weight's name in it.
        name: String,
    },
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] distilsweep_data::DataError),
    /// libtorch failed.
    #[error(transparent)]
    Torch(#[from] TorchError),
}

impl From<tch::TchError> for ModelError {
    fn from(error: tch::TchError) -> Self {
        Self::Torch(error.into())
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn memory_that_is_not_there_is_told_from_other_faults() {
        let huge = Tensor::f_zeros([1 << 50], (Kind::Float, Device::Cpu)).unwrap_err();
        assert!(TorchError::from(huge).out_of_memory());
        let misshapen = Tensor::from_slice(&[1.0, 2.0]).f_reshape([3]).unwrap_err();
        assert!(!TorchError::from(misshapen).out_of_memory());
    }
}
