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
    config::Config,
    error::{ModelError, TorchError},
    parameters::Parameters,
};

/// Writes a model and its tokenizer (taken from the directory `tokenizer`) into the existing directory `output`.
///
/// # Errors
/// A file that cannot be read or written.
pub fn save(
    parameters: &Parameters,
    config: &Config,
    classes: &[String],
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
    write_json(&config_path, &config.json(classes, kind))?;
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
    // Some tokenizers carry a fixed padding and a cut of their own, which our texts were not encoded with; it does not.
    let tokenizer = TextTokenizer::from_directory(from)?.json()?;
    write_json(&output.join("tokenizer.json"), &tokenizer)?;

    let vocabulary = tokenizer["model"]["vocab"].as_object();
    let mut words: Vec<(&str, u64)> = vocabulary
        .into_iter()
        .flatten()
        .filter_map(|(word, id)| Some((word.as_str(), id.as_u64()?)))
        .collect();
    words.sort_by_key(|(_, id)| *id);
    let lines: String = words.iter().flat_map(|(word, _)| [word, "\n"]).collect();
    write(output.join("vocab.txt"), lines.as_bytes())?;

    let special = ["unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let default = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"];
    let own = read_optional(&from.join("tokenizer_config.json"))?;
    let text_of = |value: &Value| match value {
        Value::Object(token) => token.get("content").and_then(Value::as_str).map(str::to_owned),
        other => other.as_str().map(str::to_owned),
    };
    let mut tokens = serde_json::Map::new();
    for (key, default) in special.iter().zip(default) {
        let text = text_of(&own[*key]).unwrap_or_else(|| default.to_owned());
        tokens.insert((*key).to_owned(), text.into());
    }
    let mut settings = tokens.clone();
    for key in ["do_lower_case", "strip_accents", "tokenize_chinese_chars"] {
        if let Some(value) = own.get(key) {
            settings.insert(key.to_owned(), value.clone());
        }
    }
    settings.insert("model_input_names".to_owned(), serde_json::json!(["input_ids", "attention_mask"]));
    settings.insert("model_max_length".to_owned(), config.max_position_embeddings.into());
    settings.insert("tokenizer_class".to_owned(), "DistilBertTokenizer".into());
    write_json(&output.join("tokenizer_config.json"), &settings.into())?;
    write_json(&output.join("special_tokens_map.json"), &tokens.into())
}

fn read_optional(path: &Path) -> Result<Value, ModelError> {
    match fs::read_to_string(path) {
        Ok(text) => parsed(path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(ModelError::Read { path: path.to_owned(), source }),
    }
}

fn parsed(path: &Path, text: &str) -> Result<Value, ModelError> {
    serde_json::from_str(text).map_err(|error| ModelError::Format {
        path: path.to_owned(),
        format: "JSON",
        reason: error.to_string(),
    })
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
