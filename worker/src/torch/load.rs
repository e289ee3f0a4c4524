//! What trials share: the checkpoint, the data set, and what becomes of them at the end.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
};

use distilsweep_data::{DataError, Hub, TextTokenizer, TokenizedSplit};
use distilsweep_proto::{dataset::DatasetSpec, hex::hex, limits};
use sha2::{Digest, Sha256};
use tch::{Device, Tensor};

use crate::{
    model::{Config, ModelError, Parameters, TorchError, WORD_EMBEDDINGS},
    train::{Mistake, Prepared, Tokenized},
    trainer::{self, Ended, Job},
};

/// The local directory of a job's checkpoint.
pub(super) fn locate(job: &Job) -> Result<PathBuf, Ended> {
    find_model(&job.model, job.model_revision.as_deref())
}

/// The local directory of a checkpoint: `model` itself, or the Hub's files of that id.
pub(crate) fn find_model(model: &str, revision: Option<&str>) -> Result<PathBuf, Ended> {
    Ok(Hub::from_environment().model(model, revision)?.directory)
}

/// Reads and tokenizes a data set. The second value says whether a row is a pair of texts.
pub(super) fn prepare(
    directory: &Path,
    dataset: &DatasetSpec,
    max_length: usize,
) -> Result<(Prepared, bool), Ended> {
    let dataset = distilsweep_data::tokenized(&Hub::from_environment(), directory, dataset, max_length)?;
    let splits = [Some(&dataset.train), Some(&dataset.validation), dataset.test.as_ref()];
    let truncated: u64 = splits.iter().flatten().map(|split| split.texts.truncated()).sum();
    if truncated > 0 {
        let texts: usize = splits.iter().flatten().map(|split| split.texts.len()).sum();
        tracing::info!(truncated, texts, max_length, "texts are longer than max_length and were truncated");
    }
    let examples = |split: &TokenizedSplit| {
        let mut examples = Tokenized::default();
        for (i, label) in split.labels().iter().enumerate() {
            examples.push(split.texts.example(i), *label);
        }
        examples
    };
    let majority = dataset.train.majority_class(dataset.classes.len());
    let (train, validation) = (examples(&dataset.train), examples(&dataset.validation));
    let test = dataset.test.as_ref().map(examples);
    Ok((Prepared::new(dataset.classes, majority, train, validation, test), dataset.pairs))
}

/// Mistakes on the test split with their texts.
pub(super) fn told(
    directory: &Path,
    data: &Prepared,
    mistakes: &[Mistake],
) -> Result<Vec<trainer::Mistake>, Ended> {
    if mistakes.is_empty() {
        return Ok(Vec::new());
    }
    let tokenizer = TextTokenizer::from_directory(directory)?;
    let with_text = |mistake: &Mistake| {
        let text = tokenizer.decode(&data.test_row(mistake.row))?;
        let text = limits::shortened_to(text, limits::ROW_BYTES);
        let Mistake { truth, taken, probability, .. } = *mistake;
        Ok(trainer::Mistake { text, truth, taken, probability })
    };
    mistakes.iter().map(with_text).collect()
}

pub(super) fn check_vocabulary(data: &Prepared, config: &Config, directory: &Path) -> Result<(), Ended> {
    match data.vocabulary.last() {
        Some(largest) if i64::from(*largest) >= config.vocab_size => {
            Err(unknown_token(directory, *largest, config.vocab_size))
        }
        _ => Ok(()),
    }
}

/// A model's tokenizer knows a token that its embeddings do not.
pub(crate) fn unknown_token(directory: &Path, token: u32, vocab_size: i64) -> Ended {
    Ended::BadInput(format!(
        "{} yields token {token}, but `vocab_size` in its config.json is {vocab_size}",
        directory.join("tokenizer.json").display()
    ))
}

/// Puts the trained word embeddings, `rows` of the checkpoint's, back among the others. No gradient reached those:
/// AdamW only decayed them.
pub(super) fn expand(
    parameters: &mut Parameters,
    start: &Parameters,
    rows: &Tensor,
    decay: f64,
) -> Result<(), Ended> {
    let _guard = tch::no_grad_guard();
    let trained = parameters.get(WORD_EMBEDDINGS).f_detach()?.f_to_device(Device::Cpu)?;
    let mut all = start.get(WORD_EMBEDDINGS).f_mul_scalar(decay)?;
    let _same = all.f_index_copy_(0, rows, &trained)?;
    parameters.replace(WORD_EMBEDDINGS, all);
    Ok(())
}

/// SHA-256 over all weights, in hexadecimal.
pub(super) fn digest(parameters: &Parameters) -> Result<String, TorchError> {
    let mut hash = Sha256::new();
    for (name, tensor) in parameters.names().iter().zip(parameters.tensors()) {
        let count = tensor.numel();
        let mut bytes = vec![0; count * tensor.f_kind()?.elt_size_in_bytes()];
        tensor.f_copy_data_u8(&mut bytes, count)?;
        hash.update(name);
        hash.update(bytes);
    }
    Ok(hex(&hash.finalize()))
}

impl From<DataError> for Ended {
    fn from(error: DataError) -> Self {
        match error {
            DataError::MaxLength { .. } => Self::BadPoint(error.to_string()),
            _ if error.is_retryable() => Self::Internal(error.to_string()),
            _ => Self::BadInput(error.to_string()),
        }
    }
}

impl From<ModelError> for Ended {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Torch(error) => error.into(),
            ModelError::Write { .. } => Self::Internal(error.to_string()),
            ModelError::Read { .. }
            | ModelError::Format { .. }
            | ModelError::Unsupported { .. }
            | ModelError::MissingTensor { .. }
            | ModelError::Shape { .. }
            | ModelError::Kind { .. }
            | ModelError::NotFinite { .. }
            | ModelError::Tokenizer(_) => Self::BadInput(error.to_string()),
        }
    }
}

/// How many data sets, and how many models, are kept between trials.
const KEPT: usize = 2;

/// The last few values made, by key.
pub(super) struct Kept<K, V>(Vec<(K, Rc<V>)>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: PartialEq, V> Kept<K, V> {
    pub(super) fn get(&mut self, key: K, make: impl FnOnce(&K) -> Result<V, Ended>) -> Result<Rc<V>, Ended> {
        if let Some((_, value)) = self.0.iter().find(|(k, _)| *k == key) {
            return Ok(Rc::clone(value));
        }
        // Room first: two large models need not be in memory beside a third.
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        let value = Rc::new(make(&key)?);
        self.0.push((key, Rc::clone(&value)));
        Ok(value)
    }
}
