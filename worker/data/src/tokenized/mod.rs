//! A data set as token ids, made once a machine.
//!
//! What a tokenization depends on is digested into a key: the contents of the files and which split they are, the columns,
//! class names and limits, the tokenizer, and the length that texts are cut to. Under that key its outcome lies in the
//! cache, to be mapped into memory by whoever asks next: another trial, another worker, another day.

mod cache;
mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use distilsweep_proto::{dataset::DatasetSpec, hex::hex};
use sha2::{Digest, Sha256};

use self::cache::Cache;
use crate::{
    DataError, Encoded, Hub, Split, TextDataset, TextTokenizer, dataset,
    locate::{Files, locate},
    numbers::Numbers,
    pins,
    split::majority_class,
};

/// Files of fewer bytes are tokenized anew each time: that takes no longer than to look for what was kept.
const LEAST_BYTES: u64 = 64 << 10;

/// Changes when the same files and settings may yield other ids or labels than before.
const VERSION: u32 = 3;

/// Labelled texts as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedDataset {
    /// Rows to train on.
    pub train: TokenizedSplit,
    /// Rows that select the best epoch.
    pub validation: TokenizedSplit,
    /// Rows that only the chosen epoch sees.
    pub test: Option<TokenizedSplit>,
    /// Names of the classes, in class order.
    pub classes: Vec<String>,
    /// Whether a row is a pair of texts.
    pub pairs: bool,
    /// Whether it was read from the cache: no text had to be tokenized.
    pub cached: bool,
}

/// The rows of one split, in the order of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizedSplit {
    /// The texts.
    pub texts: Encoded,
    labels: Numbers<u32>,
}

impl TokenizedSplit {
    /// Their classes, as indices into [`TokenizedDataset::classes`].
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The commonest of `classes` classes, the first of equals.
    pub fn majority_class(&self, classes: usize) -> u32 {
        majority_class(&self.labels, classes)
    }
}

/// Reads a data set and tokenizes it with the tokenizer of the model directory `model`, each text cut to `max_length`
/// tokens; or takes what an earlier call left in the cache. Blocks.
///
/// The cache is the directory `tokens` in `DISTILSWEEP_CACHE`, else in `distilsweep` in the user's cache directory. It
/// holds 4 GiB, the oldest files go first, and it can be removed at any time.
///
/// # Errors
/// What is wrong with the data or the tokenizer, and where. A cache that cannot be read or written is no error: the
/// texts are tokenized.
pub fn tokenized(
    hub: &Hub,
    model: &Path,
    spec: &DatasetSpec,
    max_length: usize,
) -> Result<TokenizedDataset, DataError> {
    tokenized_in(hub, Cache::of_user(), model, spec, max_length)
}

fn tokenized_in(
    hub: &Hub,
    cache: Option<Cache>,
    model: &Path,
    spec: &DatasetSpec,
    max_length: usize,
) -> Result<TokenizedDataset, DataError> {
    let files = locate(hub, spec)?;
    let tokenize = |files: Files| {
        let data = dataset::read(files, spec)?;
        tracing::info!(texts = data.train.len() + data.validation.len(), max_length, "tokenizing");
        encode(&data, &TextTokenizer::from_directory(model)?, max_length)
    };
    let data = match cache.filter(|_| files.bytes() >= LEAST_BYTES) {
        Some(cache) => {
            let key = key(&files, spec, &TextTokenizer::files(model), max_length)?;
            cache.through(&key, || tokenize(files))?
        }
        None => tokenize(files)?,
    };
    check_pairs(model, data.pairs)?;
    Ok(data)
}

/// Whether a model takes the rows of a data set: what tells BERT the second text of a pair from the first has no place in
/// the DistilBERT that is made of it.
pub fn check_pairs(model: &Path, pairs: bool) -> Result<(), DataError> {
    let path = model.join("config.json");
    let is_bert = || {
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        Some(config.get("model_type")?.as_str()? == "bert")
    };
    if pairs && is_bert() == Some(true) {
        return Err(DataError::Malformed {
            path,
            problem: "is a BERT's, which tells the texts of a pair apart by segments: pairs need a DistilBERT checkpoint, \
                      which does without (distilbert-base-uncased, say)"
                .to_owned(),
        });
    }
    Ok(())
}

fn encode(
    data: &TextDataset,
    tokenizer: &TextTokenizer,
    max_length: usize,
) -> Result<TokenizedDataset, DataError> {
    let encoded = |split: &Split| -> Result<TokenizedSplit, DataError> {
        let texts = tokenizer.encode(split, max_length)?;
        Ok(TokenizedSplit { texts, labels: split.labels.clone().into() })
    };
    Ok(TokenizedDataset {
        train: encoded(&data.train)?,
        validation: encoded(&data.validation)?,
        test: data.test.as_ref().map(encoded).transpose()?,
        classes: data.classes.clone(),
        pairs: data.columns.pair.is_some(),
        cached: false,
    })
}

/// The digest of all that a tokenization depends on, in hexadecimal digits.
fn key(
    files: &Files,
    spec: &DatasetSpec,
    tokenizer: &[PathBuf],
    max_length: usize,
) -> Result<String, DataError> {
    let of_file = |path: &PathBuf| -> Result<serde_json::Value, DataError> {
        // How a file is read follows from its extension, the label of a class folder's file from the folder.
        let folder = path.parent().and_then(Path::file_name).filter(|_| files.class_folders);
        let folder = folder.map(|folder| folder.to_string_lossy());
        Ok(serde_json::json!([crate::text::extension(path).0, folder, digest(path)?]))
    };
    let of_split = |paths: &[PathBuf]| paths.iter().map(of_file).collect::<Result<Vec<_>, _>>();
    let depends = serde_json::json!({
        "version": VERSION,
        "files": [of_split(&files.train)?, of_split(&files.validation)?, of_split(&files.test)?],
        "columns": [spec.text, spec.text_pair, spec.label],
        "format": spec.format,
        "class_names": files.class_names,
        "labels": spec.labels,
        "drop_missing": spec.drop_missing,
        "limit": spec.limit,
        "tokenizer": tokenizer.iter().map(|path| digest(path)).collect::<Result<Vec<_>, _>>()?,
        "max_length": max_length,
        "separator": files.separator,
    });
    Ok(hex(&Sha256::digest(depends.to_string())))
}

/// The SHA-256 of a file's content. A file that is not there has none: reading it will say what is missing.
fn digest(path: &Path) -> Result<Option<String>, DataError> {
    match pins::digest(path) {
        Ok((_, digest)) => Ok(Some(digest)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io { path: path.to_owned(), source }),
    }
}
