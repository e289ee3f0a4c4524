//! `config.json` of a `distilbert` or `bert` checkpoint.

use std::{
    fs,
    path::{Path, PathBuf},
};

use distilsweep_data::excerpt;
use serde_json::{Map, Value};

use super::{error::ModelError, labels};

/// Nonlinearity of the feed-forward layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x Φ(x), by the error function, not its tanh approximation.
    Gelu,
    /// max(x, 0).
    Relu,
}

/// Share of the units that dropout drops, from 0 to below 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// After the embeddings and after each feed-forward.
    pub hidden: f64,
    /// On attention probabilities.
    pub attention: f64,
    /// Before the classifier.
    pub classifier: f64,
}

impl Rates {
    /// The same rate everywhere.
    pub fn uniform(rate: f64) -> Self {
        Self { hidden: rate, attention: rate, classifier: rate }
    }
}

/// Which names a checkpoint gives its weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    DistilBert,
    Bert,
}

/// The shape of a model and its dropout rates.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rows of the word embeddings.
    pub vocab_size: i64,
    /// Rows of the position embeddings: the most tokens that a text may have.
    pub max_position_embeddings: i64,
    /// Width of the hidden states.
    pub dim: i64,
    /// Width inside the feed-forward.
    pub hidden_dim: i64,
    /// Transformer blocks.
    pub n_layers: i64,
    /// Attention heads; they divide `dim`.
    pub n_heads: i64,
    /// Nonlinearity of the feed-forward.
    pub activation: Activation,
    /// Dropout.
    pub rates: Rates,
    /// Token whose embedding gets no gradient.
    pub pad_token_id: Option<i64>,
    pub(super) family: Family,
}

/// Of every LayerNorm; DistilBERT has no key for it.
pub(super) const LAYER_NORM_EPSILON: f64 = 1e-12;

impl Config {
    /// Reads `config.json` of a checkpoint's directory.
    ///
    /// # Errors
    /// A missing or malformed file; a `model_type`, activation or number that a DistilBERT cannot have.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        Self::parse(&Reader::open(directory)?)
    }

    /// Reads the class names of a classifier's `config.json`, in class order.
    ///
    /// # Errors
    /// A missing or malformed file; a model for another task, one class alone, ids without a name, two equal names.
    pub fn class_names(directory: &Path) -> Result<Vec<String>, ModelError> {
        labels::class_names(&Reader::open(directory)?)
    }

    /// How many texts a row of the training data had, 1 or 2; none if `config.json` does not record it.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn text_columns(directory: &Path) -> Result<Option<u64>, ModelError> {
        Ok(Reader::open(directory)?.json[OWN][TEXT_COLUMNS].as_u64())
    }

    fn parse(reader: &Reader) -> Result<Self, ModelError> {
        let family = match reader.json.get("model_type").and_then(Value::as_str) {
            Some("distilbert") => Family::DistilBert,
            Some("bert") => Family::Bert,
            _ => return Err(reader.unsupported("model_type", "distilbert or bert")),
        };
        let config = match family {
            Family::DistilBert => Self {
                vocab_size: reader.count("vocab_size", 30522)?,
                max_position_embeddings: reader.count("max_position_embeddings", 512)?,
                dim: reader.count("dim", 768)?,
                hidden_dim: reader.count("hidden_dim", 3072)?,
                n_layers: reader.count("n_layers", 6)?,
                n_heads: reader.count("n_heads", 12)?,
                activation: reader.activation("activation")?,
                rates: Rates {
                    hidden: reader.rate("dropout", 0.1)?,
                    attention: reader.rate("attention_dropout", 0.1)?,
                    classifier: reader.rate("seq_classif_dropout", 0.2)?,
                },
                pad_token_id: reader.pad()?,
                family,
            },
            Family::Bert => {
                reader.epsilon("layer_norm_eps")?;
                if !matches!(
                    reader.json.get("position_embedding_type").map(Value::as_str),
                    None | Some(Some("absolute"))
                ) {
                    return Err(reader.unsupported("position_embedding_type", "absolute"));
                }
                Self {
                    vocab_size: reader.count("vocab_size", 30522)?,
                    max_position_embeddings: reader.count("max_position_embeddings", 512)?,
                    dim: reader.count("hidden_size", 768)?,
                    hidden_dim: reader.count("intermediate_size", 3072)?,
                    n_layers: reader.count("num_hidden_layers", 12)?,
                    n_heads: reader.count("num_attention_heads", 12)?,
                    activation: reader.activation("hidden_act")?,
                    rates: Rates {
                        hidden: reader.rate("hidden_dropout_prob", 0.1)?,
                        attention: reader.rate("attention_probs_dropout_prob", 0.1)?,
                        // BERT has no such site; this is DistilBERT's default.
                        classifier: 0.2,
                    },
                    pad_token_id: reader.pad()?,
                    family,
                }
            }
        };
        if config.dim % config.n_heads != 0 {
            let key = if family == Family::Bert { "num_attention_heads" } else { "n_heads" };
            return Err(reader.unsupported(key, &format!("a divisor of the hidden size {}", config.dim)));
        }
        Ok(config)
    }

    /// The configuration as transformers reads it, for a classifier, or for an encoder without a head. `kind` is the
    /// storage type of the weights as transformers names it, such as "float32".
    pub(super) fn json(&self, task: Option<Task<'_>>, kind: &str) -> Value {
        let activation = match self.activation {
            Activation::Gelu => "gelu",
            Activation::Relu => "relu",
        };
        let mut json = serde_json::json!({
            "activation": activation,
            "architectures": ["DistilBertModel"],
            "attention_dropout": self.rates.attention,
            "dim": self.dim,
            "dropout": self.rates.hidden,
            "dtype": kind,
            "hidden_dim": self.hidden_dim,
            "initializer_range": 0.02,
            "max_position_embeddings": self.max_position_embeddings,
            "model_type": "distilbert",
            "n_heads": self.n_heads,
            "n_layers": self.n_layers,
            "pad_token_id": self.pad_token_id,
            "seq_classif_dropout": self.rates.classifier,
            "sinusoidal_pos_embds": false,
            "tie_weights_": true,
            "vocab_size": self.vocab_size,
        });
        if let Some(Task { classes, pairs }) = task {
            let classes = || classes.iter().enumerate();
            let id2label: Map<String, Value> =
                classes().map(|(i, name)| (i.to_string(), name.as_str().into())).collect();
            let label2id: Map<String, Value> = classes().map(|(i, name)| (name.clone(), i.into())).collect();
            json["architectures"] = serde_json::json!(["DistilBertForSequenceClassification"]);
            json["id2label"] = id2label.into();
            json["label2id"] = label2id.into();
            json["problem_type"] = "single_label_classification".into();
            json[OWN] = serde_json::json!({TEXT_COLUMNS: if pairs { 2 } else { 1 }});
        }
        json
    }
}

/// What a classifier was trained for.
#[derive(Clone, Copy, Debug)]
pub struct Task<'a> {
    /// Class names, in class order.
    pub classes: &'a [String],
    /// Whether a row was a pair of texts.
    pub pairs: bool,
}

/// The object with what transformers has no key for. It keeps unknown keys.
const OWN: &str = "distilsweep";
/// Texts of a row of the training data.
const TEXT_COLUMNS: &str = "text_columns";

pub(super) struct Reader {
    path: PathBuf,
    pub(super) json: Value,
}

impl Reader {
    fn open(directory: &Path) -> Result<Self, ModelError> {
        let path = directory.join("config.json");
        let text =
            fs::read_to_string(&path).map_err(|source| ModelError::Read { path: path.clone(), source })?;
        let json = serde_json::from_str(&text).map_err(|error| ModelError::Format {
            path: path.clone(),
            format: "JSON",
            reason: error.to_string(),
        })?;
        Ok(Self { path, json })
    }

    pub(super) fn unsupported(&self, key: &'static str, wanted: &str) -> ModelError {
        ModelError::Unsupported {
            path: self.path.clone(),
            key,
            value: self
                .json
                .get(key)
                .map_or_else(|| "missing".to_owned(), |value| excerpt(&value.to_string())),
            wanted: wanted.to_owned(),
        }
    }

    #[cfg(test)]
    pub(super) fn of(json: Value) -> Self {
        Self { path: "m/config.json".into(), json }
    }

    fn count(&self, key: &'static str, default: i64) -> Result<i64, ModelError> {
        match self.json.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_i64()
                .filter(|n| (1..=1 << 32).contains(n))
                .ok_or_else(|| self.unsupported(key, "a whole number of at least 1")),
        }
    }

    fn rate(&self, key: &'static str, default: f64) -> Result<f64, ModelError> {
        match self.json.get(key) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|p| (0.0..1.0).contains(p))
                .ok_or_else(|| self.unsupported(key, "a number of at least 0 and below 1")),
        }
    }

    fn epsilon(&self, key: &'static str) -> Result<(), ModelError> {
        match self.json.get(key).map(Value::as_f64) {
            None => Ok(()),
            Some(Some(LAYER_NORM_EPSILON)) => Ok(()),
            Some(_) => Err(self.unsupported(key, "1e-12, as in every DistilBERT")),
        }
    }

    fn activation(&self, key: &'static str) -> Result<Activation, ModelError> {
        match self.json.get(key).map(Value::as_str) {
            None | Some(Some("gelu")) => Ok(Activation::Gelu),
            Some(Some("relu")) => Ok(Activation::Relu),
            Some(_) => Err(self.unsupported(key, "gelu or relu")),
        }
    }

    fn pad(&self) -> Result<Option<i64>, ModelError> {
        match self.json.get("pad_token_id") {
            None => Ok(Some(0)),
            Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_i64()
                .filter(|n| *n >= 0)
                .map(Some)
                .ok_or_else(|| self.unsupported("pad_token_id", "a token's number or null")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(json: Value) -> Result<Config, ModelError> {
        Config::parse(&Reader::of(json))
    }

    #[test]
    fn missing_keys_have_transformers_defaults() {
        let config = parsed(serde_json::json!({"model_type": "distilbert"})).unwrap();
        assert_eq!((config.dim, config.hidden_dim, config.n_layers, config.n_heads), (768, 3072, 6, 12));
        assert_eq!(config.rates, Rates { hidden: 0.1, attention: 0.1, classifier: 0.2 });
    }

    #[test]
    fn written_configuration_reads_back_equal() {
        let config = parsed(serde_json::json!({
            "model_type": "bert", "hidden_size": 24, "num_attention_heads": 3, "hidden_dropout_prob": 0.25,
            "hidden_act": "relu", "layer_norm_eps": 1e-12, "pad_token_id": 4
        }))
        .unwrap();
        let classes = ["a".to_owned(), "b".to_owned()];
        let written = config.json(Some(Task { classes: &classes, pairs: true }), "float32");
        assert_eq!(written["id2label"], serde_json::json!({"0": "a", "1": "b"}));
        assert_eq!(written["distilsweep"], serde_json::json!({"text_columns": 2}));
        assert_eq!(parsed(written).unwrap(), Config { family: Family::DistilBert, ..config });
    }

    #[test]
    fn what_a_distilbert_cannot_be_is_refused_by_name() {
        let cases = [
            serde_json::json!({}),
            serde_json::json!({"model_type": "roberta"}),
            serde_json::json!({"model_type": "bert", "hidden_act": "gelu_new"}),
            serde_json::json!({"model_type": "bert", "layer_norm_eps": 1e-5}),
            serde_json::json!({"model_type": "bert", "position_embedding_type": "relative_key"}),
            serde_json::json!({"model_type": "distilbert", "n_heads": 7}),
            serde_json::json!({"model_type": "distilbert", "dim": -1}),
            serde_json::json!({"model_type": "distilbert", "dropout": 1.0}),
        ];
        let said: Vec<String> = cases.into_iter().map(|json| parsed(json).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        m/config.json: `model_type` is missing, it must be distilbert or bert
        m/config.json: `model_type` is "roberta", it must be distilbert or bert
        m/config.json: `hidden_act` is "gelu_new", it must be gelu or relu
        m/config.json: `layer_norm_eps` is 0.00001, it must be 1e-12, as in every DistilBERT
        m/config.json: `position_embedding_type` is "relative_key", it must be absolute
        m/config.json: `n_heads` is 7, it must be a divisor of the hidden size 768
        m/config.json: `dim` is -1, it must be a whole number of at least 1
        m/config.json: `dropout` is 1.0, it must be a number of at least 0 and below 1
        "#);
    }
}
