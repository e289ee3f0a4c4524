//! Finds the files of a data set: named ones, those of a directory, those of a repository of the Hub.

use std::path::{Path, PathBuf};

use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec, FileFormat, SplitSelection},
    resource::is_path,
};

use crate::{
    DataError, Hub, Snapshot,
    card::{Card, ClassNames},
    layout::{self, Chosen},
    listing,
    rows::is_readable,
};

/// The files of each split, and what is known of them before they are read.
#[derive(Debug, Default)]
pub struct Files {
    /// With rows to train on.
    pub train: Vec<PathBuf>,
    /// With rows that select the best epoch; none where they are cut from those to train on.
    pub validation: Vec<PathBuf>,
    /// With rows that only the chosen epoch sees.
    pub test: Vec<PathBuf>,
    /// The commit of a repository of the Hub.
    pub commit: Option<String>,
    /// Its licence, where that is known.
    pub license: Option<String>,
    /// What the files lie in; none where each is named.
    pub directory: Option<PathBuf>,
    /// Where class names are, if the files carry none.
    pub(crate) class_names: ClassNames,
    pub(crate) config: Option<String>,
    /// Character between the fields of CSV files, if the card sets it and the data set does not.
    pub(crate) separator: Option<char>,
    /// Whether each file is one row, labelled by its folder.
    pub(crate) class_folders: bool,
    pub(crate) notes: Vec<String>,
}

impl Files {
    /// How its text files are read: as `given`, and by the card where that says nothing.
    pub fn format(&self, given: &FileFormat) -> FileFormat {
        FileFormat { separator: given.separator.or(self.separator), ..given.clone() }
    }

    /// Bytes of all files; one that is not there has none.
    pub(crate) fn bytes(&self) -> u64 {
        let all = [&self.train, &self.validation, &self.test].into_iter().flatten();
        all.filter_map(|path| std::fs::metadata(path).ok()).map(|metadata| metadata.len()).sum()
    }
}

/// Finds the files of a data set; those of the Hub are downloaded. Blocks.
///
/// # Errors
/// There is no such data set, or the Hub cannot be reached.
pub fn locate(hub: &Hub, spec: &DatasetSpec) -> Result<Files, DataError> {
    let (id, config, revision) = match &spec.source {
        DatasetSource::Files { train, validation, test } => {
            return Ok(Files {
                train: train.clone(),
                validation: validation.clone(),
                test: test.clone(),
                ..Files::default()
            });
        }
        DatasetSource::Id { id, config, revision } => (id, config.as_deref(), revision.as_deref()),
    };
    let directory = Path::new(id);
    if directory.is_dir() {
        let files = listing::list(directory)?;
        let card = Card::of_directory(directory)?;
        let chosen = layout::choose(&files, &card, spec).map_err(|problem| DataError::Malformed {
            path: directory.to_owned(),
            problem: format!("cannot be used as a data set: {problem}"),
        })?;
        return Ok(Files::new(directory.to_owned(), chosen));
    }
    if directory.is_file() {
        if config.is_some() || spec.splits != SplitSelection::default() {
            return Err(DataError::Malformed {
                path: directory.to_owned(),
                problem: "is one file, it has neither configurations nor splits: remove `config:` and `splits:`, or \
                          name files with `train:`, `validation:` and `test:`"
                    .to_owned(),
            });
        }
        return Ok(Files { train: vec![directory.to_owned()], ..Files::default() });
    }
    // What else looks like a path may still be an id.
    if is_path(id) || !Hub::is_id(id) || (is_readable(directory) && !id.contains('/')) {
        return Err(DataError::Missing {
            path: directory.to_owned(),
            wanted: "it must be a file, a directory or an id of the Hub (owner/name)".to_owned(),
        });
    }
    let found = hub.dataset(id, revision, spec).map_err(|error| match error {
        DataError::Hub { repository, problem, retryable } if is_readable(directory) => {
            DataError::Hub { repository, problem: format!("there is no such file, and {problem}"), retryable }
        }
        other => other,
    });
    let (Snapshot { directory, commit, license, .. }, chosen) = found?;
    Ok(Files { commit, license, ..Files::new(directory, chosen) })
}

impl Files {
    fn new(directory: PathBuf, chosen: Chosen) -> Self {
        let Chosen { splits, config, class_names, separator, class_folders, notes } = chosen;
        let place = |files: Vec<String>| files.into_iter().map(|file| directory.join(file)).collect();
        Self {
            train: place(splits.train),
            validation: place(splits.validation),
            test: place(splits.test),
            directory: Some(directory),
            class_names,
            config,
            separator,
            class_folders,
            notes,
            ..Self::default()
        }
    }
}
