//! What a sweep takes in: which model and data exactly, so that it can be taken again.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use distilsweep_proto::{
    dataset::{DatasetSource, DatasetSpec},
    hex::hex,
    resource::{Resource, ResourceFile, ResourceKind},
};
use sha2::{Digest, Sha256};

use crate::{
    DataError, Hub, Kind, Snapshot, TextTokenizer, class_folders,
    dataset::read,
    locate::locate,
    quality::{check_metric, unknown_token_note},
    tokenized::check_pairs,
};

/// A model and a data set that were looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenIn {
    /// The model, then the data set, with the digests of their files.
    pub resources: Vec<Resource>,
    /// What was chosen, and what looks wrong, in sentences.
    pub notes: Vec<String>,
}

/// Finds a model and reads a data set, downloading what is of the Hub. `is_loss` says whether the metric that selects
/// epochs is a loss. Blocks.
///
/// # Errors
/// What is wrong with them, and where.
pub fn take_in(
    hub: &Hub,
    model: (&str, Option<&str>),
    dataset: &DatasetSpec,
    is_loss: bool,
) -> Result<TakenIn, DataError> {
    let found = hub.model(model.0, model.1)?;
    let data = locate(hub, dataset)?;
    let of_model = found.used().map(|name| (name.to_owned(), found.directory.join(name)));
    let root = data.directory.clone();
    let relative = |path: &Path| {
        let relative = root.as_deref().and_then(|root| path.strip_prefix(root).ok()).unwrap_or(path);
        relative.display().to_string()
    };
    let splits = [&data.train, &data.validation, &data.test].into_iter();
    let of_data: Vec<ResourceFile> = if data.class_folders {
        let splits = splits.filter(|files| !files.is_empty());
        splits.map(|files| combined_fingerprint(files, relative)).collect::<Result<_, _>>()?
    } else {
        fingerprints(splits.flatten().map(|path| (relative(path), path.clone())))?
    };
    let resources = vec![
        Resource {
            files: fingerprints(of_model)?,
            ..resource(hub, Kind::Model, model.0, found.commit.as_ref(), found.license.as_ref())
        },
        Resource {
            files: of_data,
            ..resource(
                hub,
                Kind::Dataset,
                &dataset.source.name(),
                data.commit.as_ref(),
                data.license.as_ref(),
            )
        },
    ];
    let mut data = read(data, dataset)?;
    check_pairs(&found.directory, data.columns.pair.is_some())?;
    check_metric(&data.classes, &data.validation.labels, is_loss)?;
    let tokenizer = TextTokenizer::from_directory(&found.directory)?;
    data.notes.extend(unknown_token_note(&data, &tokenizer)?);
    Ok(TakenIn { resources, notes: data.notes })
}

/// Where a model and a data set of the Hub stand, without their files: for who hands a sweep in to machines elsewhere.
/// Those that are no repositories are left out. Blocks.
///
/// # Errors
/// There is no such repository, or the Hub cannot be reached.
pub fn pin(
    hub: &Hub,
    model: (&str, Option<&str>),
    dataset: &DatasetSpec,
) -> Result<Vec<Resource>, DataError> {
    let data = match &dataset.source {
        DatasetSource::Id { id, revision, .. } => Some((Kind::Dataset, id.as_str(), revision.as_deref())),
        DatasetSource::Files { .. } => None,
    };
    let of_hub = [Some((Kind::Model, model.0, model.1)), data].into_iter().flatten();
    of_hub
        .filter(|(_, id, _)| Hub::is_id(id) && !Path::new(id).exists())
        .map(|(kind, id, revision)| {
            let found = hub.stand(kind, id, revision)?;
            Ok(resource(hub, kind, id, found.commit.as_ref(), found.license.as_ref()))
        })
        .collect()
}

fn resource(hub: &Hub, kind: Kind, id: &str, commit: Option<&String>, license: Option<&String>) -> Resource {
    Resource {
        kind: match kind {
            Kind::Model => ResourceKind::Model,
            Kind::Dataset => ResourceKind::Dataset,
        },
        id: id.to_owned(),
        commit: commit.cloned(),
        license: license.cloned(),
        page: commit.map(|_| hub.page(kind, id)),
        files: Vec::new(),
    }
}

/// One fingerprint of all text files of a split, of which there may be thousands: bytes, and a digest of the names and
/// digests of the files.
fn combined_fingerprint(
    files: &[PathBuf],
    relative: impl Fn(&Path) -> String,
) -> Result<ResourceFile, DataError> {
    let mut hash = Sha256::new();
    let mut total = 0;
    for file in files {
        let (bytes, sha256) = digest(file).map_err(|source| crate::text::open_error(file, source))?;
        total += bytes;
        hash.update(format!("{}\0{sha256}\n", relative(file)));
    }
    let folder = relative(&class_folders::common_folder(files));
    let path = if folder.is_empty() { "**.txt".to_owned() } else { format!("{folder}/**.txt") };
    Ok(ResourceFile { path, bytes: total, sha256: hex(&hash.finalize()) })
}

fn fingerprints(files: impl IntoIterator<Item = (String, PathBuf)>) -> Result<Vec<ResourceFile>, DataError> {
    let fingerprint = |(path, file): (String, PathBuf)| {
        let (bytes, sha256) = digest(&file).map_err(|source| crate::text::open_error(&file, source))?;
        Ok(ResourceFile { path, bytes, sha256 })
    };
    files.into_iter().map(fingerprint).collect()
}

/// Bytes and SHA-256 of a file's content.
pub(crate) fn digest(path: &Path) -> std::io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex(&hash.finalize()))),
            read => {
                hash.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

impl Snapshot {
    /// Files of a model that are used.
    pub fn used(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str).filter(|name| self.wants(name))
    }
}
