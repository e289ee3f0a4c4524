//! A model's weights under DistilBERT's names, and how they come out of a checkpoint.

use std::path::Path;

use safetensors::{Dtype, tensor::TensorView};
use tch::{Device, Kind, Tensor};

use super::{
    config::{Config, Family},
    error::{ModelError, TorchError},
    head,
    weights::{WeightFiles, Weights},
};

/// Name of the word embeddings, whose rows a trial may hold in part.
pub const WORD_EMBEDDINGS: &str = "distilbert.embeddings.word_embeddings.weight";

/// A model's weights: names as in the checkpoint, in the model's order.
#[derive(Debug, Default)]
pub struct Parameters {
    names: Vec<String>,
    tensors: Vec<Tensor>,
    /// Whether a weight comes from a seed and not from a checkpoint.
    fresh: Vec<bool>,
}

impl Parameters {
    /// Reads the weights of a `distilbert` or `bert` checkpoint, in one file or in shards, as `kind` (Float or Double),
    /// and initialises a head for `classes` classes from `seed` where the checkpoint has none of that shape; no
    /// classes, no head.
    ///
    /// A BERT becomes the DistilBERT that computes the same without segments: its first token type embedding is
    /// added to every position, its pooler is dropped.
    ///
    /// # Errors
    /// A missing or malformed file, a missing tensor, one whose shape is not what the configuration says, or one that
    /// is not finite.
    pub fn load(
        directory: &Path,
        config: &Config,
        classes: usize,
        seed: u64,
        kind: Kind,
    ) -> Result<Self, ModelError> {
        let files = WeightFiles::open(directory)?;
        let checkpoint = Checkpoint { stored: files.tensors()?, family: config.family };
        let mut result = Self::default();
        for (name, shape) in shapes(config, classes) {
            let stored = match name.starts_with("distilbert.") {
                true => Some(checkpoint.encoder(&name, &shape, kind)?),
                false => checkpoint.head(&name, &shape, kind)?,
            };
            let fresh = stored.is_none();
            let tensor = stored.map_or_else(|| head::initial(&name, &shape, seed, kind), Ok)?;
            result.push(name, tensor, fresh);
        }
        Ok(result)
    }

    /// Reads the weights of a `distilbert` checkpoint whose head tells these classes apart.
    ///
    /// # Errors
    /// As [`Self::load`], and a head that is missing or of another shape.
    pub fn load_classifier(
        directory: &Path,
        config: &Config,
        classes: usize,
        kind: Kind,
    ) -> Result<Self, ModelError> {
        if config.family == Family::Bert {
            return Err(ModelError::Unsupported {
                path: directory.join("config.json"),
                key: "model_type",
                value: "\"bert\"".to_owned(),
                wanted: "distilbert to classify: training makes one of it".to_owned(),
            });
        }
        let files = WeightFiles::open(directory)?;
        let checkpoint = Checkpoint { stored: files.tensors()?, family: config.family };
        let mut result = Self::default();
        for (name, shape) in shapes(config, classes) {
            let tensor = match name.starts_with("distilbert.") {
                true => checkpoint.encoder(&name, &shape, kind)?,
                false => checkpoint.tensor(&name, &shape, kind)?,
            };
            result.push(name, tensor, false);
        }
        Ok(result)
    }

    /// Fresh weights of a model's shape, as transformers initialises them but from our own generator: N(0, 0.02) for
    /// weights, zero for biases and the padding token, one for LayerNorms.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn random(config: &Config, classes: usize, seed: u64, kind: Kind) -> Result<Self, ModelError> {
        let mut result = Self::default();
        for (name, shape) in shapes(config, classes) {
            let tensor = head::initial(&name, &shape, seed, kind)?;
            if let (WORD_EMBEDDINGS, Some(pad)) = (name.as_str(), config.pad_token_id)
                && pad < config.vocab_size
            {
                let _zeroed = tensor.f_get(pad)?.f_zero_()?;
            }
            result.push(name, tensor, true);
        }
        Ok(result)
    }

    fn push(&mut self, name: String, tensor: Tensor, fresh: bool) {
        self.names.push(name);
        self.tensors.push(tensor);
        self.fresh.push(fresh);
    }

    /// Copies for a trial, sharing nothing with these weights, on `device`: what no checkpoint gave comes from `seed`.
    ///
    /// # Errors
    /// What libtorch says, out of memory included.
    pub fn seeded(&self, seed: u64, device: Device) -> Result<Self, TorchError> {
        let mut copies = self.copied(device)?;
        for i in 0..copies.names.len() {
            if copies.fresh[i] {
                let tensor = &copies.tensors[i];
                let initial = head::initial(&copies.names[i], &tensor.size(), seed, tensor.f_kind()?)?;
                copies.tensors[i] = initial.f_to_device(device)?;
            }
        }
        Ok(copies)
    }

    /// Copies that share nothing with these weights, on `device`.
    ///
    /// # Errors
    /// What libtorch says, out of memory included.
    pub fn copied(&self, device: Device) -> Result<Self, TorchError> {
        let _guard = tch::no_grad_guard();
        let tensors = self
            .tensors
            .iter()
            .map(|tensor| tensor.f_to_device_(device, tensor.f_kind()?, false, true)?.f_detach())
            .collect::<Result<_, _>>()?;
        Ok(Self { names: self.names.clone(), tensors, fresh: self.fresh.clone() })
    }

    /// Overwrites these weights with those of the same model.
    ///
    /// # Errors
    /// Shapes that do not agree.
    pub fn restore(&mut self, from: &Self) -> Result<(), TorchError> {
        let _guard = tch::no_grad_guard();
        for (to, from) in self.tensors.iter_mut().zip(&from.tensors) {
            to.f_copy_(from)?;
        }
        Ok(())
    }

    /// Exchanges one weight.
    pub fn replace(&mut self, name: &str, tensor: Tensor) {
        if let Some(i) = self.names.iter().position(|n| n == name) {
            self.tensors[i] = tensor;
        }
    }

    /// The weight of this name.
    ///
    /// # Panics
    /// Where the model has none: names are the code's own.
    pub fn get(&self, name: &str) -> &Tensor {
        let position = self.names.iter().position(|n| n == name);
        &self.tensors[position.unwrap_or_else(|| panic!("the model has no weight named {name}"))]
    }

    /// Whether some weights, those of the head, come from a seed.
    pub fn has_fresh_weights(&self) -> bool {
        self.fresh.contains(&true)
    }

    /// All names, in the model's order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// All weights, in the order of [`Self::names`].
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

/// Names and shapes of all weights, in the order of transformers' module tree.
fn shapes(config: &Config, classes: usize) -> Vec<(String, Vec<i64>)> {
    let (dim, hidden) = (config.dim, config.hidden_dim);
    let mut result = vec![
        (WORD_EMBEDDINGS.to_owned(), vec![config.vocab_size, dim]),
        (
            "distilbert.embeddings.position_embeddings.weight".to_owned(),
            vec![config.max_position_embeddings, dim],
        ),
    ];
    let norm = |result: &mut Vec<(String, Vec<i64>)>, name: String| {
        result.push((format!("{name}.weight"), vec![dim]));
        result.push((format!("{name}.bias"), vec![dim]));
    };
    let linear = |result: &mut Vec<(String, Vec<i64>)>, name: String, from: i64, to: i64| {
        result.push((format!("{name}.weight"), vec![to, from]));
        result.push((format!("{name}.bias"), vec![to]));
    };
    norm(&mut result, "distilbert.embeddings.LayerNorm".to_owned());
    for i in 0..config.n_layers {
        let layer = format!("distilbert.transformer.layer.{i}");
        for part in ["q_lin", "k_lin", "v_lin", "out_lin"] {
            linear(&mut result, format!("{layer}.attention.{part}"), dim, dim);
        }
        norm(&mut result, format!("{layer}.sa_layer_norm"));
        linear(&mut result, format!("{layer}.ffn.lin1"), dim, hidden);
        linear(&mut result, format!("{layer}.ffn.lin2"), hidden, dim);
        norm(&mut result, format!("{layer}.output_layer_norm"));
    }
    if classes > 0 {
        linear(&mut result, "pre_classifier".to_owned(), dim, dim);
        linear(&mut result, "classifier".to_owned(), dim, classes as i64);
    }
    result
}

struct Checkpoint<'a> {
    stored: Weights<'a>,
    family: Family,
}

impl Checkpoint<'_> {
    /// A weight of the head, where the checkpoint has one of this shape. BERT's own head stands on its pooler and is
    /// of no use without it.
    fn head(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Option<Tensor>, ModelError> {
        if self.family == Family::Bert || name.starts_with("distilbert.") {
            return Ok(None);
        }
        match self.stored.find(name) {
            Some((_, view)) if sizes(&view) == shape => self.tensor(name, shape, kind).map(Some),
            Some(_) | None => Ok(None),
        }
    }

    fn encoder(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor, ModelError> {
        let bare = name.strip_prefix("distilbert.").unwrap_or(name);
        match self.family {
            Family::DistilBert => self.tensor(&self.found(name, bare), shape, kind),
            Family::Bert => {
                let theirs = bert_name(bare);
                let tensor = self.tensor(&self.found(&format!("bert.{theirs}"), &theirs), shape, kind)?;
                if bare != "embeddings.position_embeddings.weight" {
                    return Ok(tensor);
                }
                let types = "embeddings.token_type_embeddings.weight";
                let types = self.found(&format!("bert.{types}"), types);
                let rows = self.view(&types)?.1.shape().first().map_or(0, |n| *n as i64);
                let types = self.tensor(&types, &[rows, shape[1]], kind)?;
                Ok(tensor.f_add(&types.f_get(0)?)?)
            }
        }
    }

    /// The name under which the file holds a weight: with the model's prefix or without, and with the older words
    /// for a LayerNorm's parts.
    fn found(&self, prefixed: &str, bare: &str) -> String {
        let older = |name: &str| match name.strip_suffix(".weight") {
            Some(stem) => format!("{stem}.gamma"),
            None => name.strip_suffix(".bias").map_or_else(String::new, |stem| format!("{stem}.beta")),
        };
        [prefixed.to_owned(), bare.to_owned(), older(prefixed), older(bare)]
            .into_iter()
            .find(|name| self.stored.find(name).is_some())
            .unwrap_or_else(|| prefixed.to_owned())
    }

    fn view(&self, name: &str) -> Result<(&Path, TensorView<'_>), ModelError> {
        let missing =
            || ModelError::MissingTensor { path: self.stored.path().to_owned(), name: name.to_owned() };
        self.stored.find(name).ok_or_else(missing)
    }

    fn tensor(&self, name: &str, shape: &[i64], kind: Kind) -> Result<Tensor, ModelError> {
        let (path, view) = self.view(name)?;
        let found = sizes(&view);
        if found != shape {
            return Err(ModelError::Shape {
                path: path.to_owned(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found,
            });
        }
        let stored = match view.dtype() {
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F32 => Kind::Float,
            Dtype::F64 => Kind::Double,
            other => {
                return Err(ModelError::Kind {
                    path: path.to_owned(),
                    name: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        let tensor = Tensor::f_from_data_size(view.data(), shape, stored)?.f_to_kind(kind)?;
        if tensor.f_isfinite()?.f_all()?.f_int64_value(&[])? == 0 {
            return Err(ModelError::NotFinite { path: path.to_owned(), name: name.to_owned() });
        }
        Ok(tensor)
    }
}

fn sizes(view: &TensorView<'_>) -> Vec<i64> {
    view.shape().iter().map(|n| *n as i64).collect()
}

/// BERT's name for a weight of DistilBERT, both without the model's prefix.
fn bert_name(name: &str) -> String {
    let Some(rest) = name.strip_prefix("transformer.layer.") else { return name.to_owned() };
    let renamed = [
        ("attention.q_lin", "attention.self.query"),
        ("attention.k_lin", "attention.self.key"),
        ("attention.v_lin", "attention.self.value"),
        ("attention.out_lin", "attention.output.dense"),
        ("sa_layer_norm", "attention.output.LayerNorm"),
        ("ffn.lin1", "intermediate.dense"),
        ("ffn.lin2", "output.dense"),
        ("output_layer_norm", "output.LayerNorm"),
    ];
    let theirs = renamed.iter().find(|(ours, _)| rest.contains(ours));
    format!(
        "encoder.layer.{}",
        theirs.map_or_else(|| rest.to_owned(), |(ours, theirs)| rest.replace(ours, theirs))
    )
}

#[cfg(test)]
mod tests;
