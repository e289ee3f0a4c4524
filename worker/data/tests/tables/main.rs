//! The same tables in all file formats: options of the formats, class names that files carry, random tables.

#![expect(clippy::unwrap_used, reason = "a failing set-up fails the test")]

mod class_names;
mod formats;
mod random;
mod writer;

use std::path::{Path, PathBuf};

use distilsweep_data::{DataError, Hub, TextDataset};
use distilsweep_proto::dataset::{DatasetSource, DatasetSpec};

/// A data set of a training and a validation file.
fn files(train: &Path, validation: &Path) -> DatasetSpec {
    let source = DatasetSource::Files {
        train: vec![train.to_owned()],
        validation: vec![validation.to_owned()],
        test: Vec::new(),
    };
    DatasetSpec::of(source)
}

fn load(spec: &DatasetSpec) -> Result<TextDataset, DataError> {
    distilsweep_data::load(&Hub::from_environment(), spec)
}

/// An error without the directory of its file.
fn shown(error: &DataError, directory: &Path) -> String {
    error.to_string().replace(&format!("{}/", directory.display()), "")
}

/// A file with this content.
fn write(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}
