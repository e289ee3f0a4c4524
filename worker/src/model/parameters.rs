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
    /// A missing or malformed file, a missing tensor, or one whose shape is not what the configuration says.
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
        Ok(Tensor::f_from_data_size(view.data(), shape, stored)?.f_to_kind(kind)?)
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
mod tests {
    use safetensors::tensor::{TensorView, serialize_to_file};
    use tempfile::TempDir;

    use super::*;
    use crate::model::Rates;

    fn config(family: Family) -> Config {
        Config {
            vocab_size: 9,
            max_position_embeddings: 5,
            dim: 4,
            hidden_dim: 6,
            n_layers: 2,
            n_heads: 2,
            activation: crate::model::Activation::Gelu,
            rates: Rates::uniform(0.1),
            pad_token_id: Some(0),
            family,
        }
    }

    /// A checkpoint of these names and shapes, each weight with values of its own.
    fn checkpoint(tensors: &[(String, Vec<i64>)]) -> TempDir {
        let directory = TempDir::new().unwrap();
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .enumerate()
            .map(|(i, (_, shape))| {
                let count = shape.iter().product::<i64>();
                (0..count).flat_map(|j| (i as f32 + j as f32 / 64.0).to_le_bytes()).collect()
            })
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
            let shape = shape.iter().map(|n| *n as usize).collect();
            (name.as_str(), TensorView::new(Dtype::F32, shape, bytes).unwrap())
        });
        serialize_to_file(views, None, &directory.path().join("model.safetensors")).unwrap();
        directory
    }

    fn bert(prefix: &str, older_names: bool) -> Vec<(String, Vec<i64>)> {
        let mut tensors: Vec<(String, Vec<i64>)> = shapes(&config(Family::Bert), 0)
            .into_iter()
            .map(|(name, shape)| {
                let name = bert_name(name.trim_start_matches("distilbert."));
                let name = match older_names && name.contains("LayerNorm") {
                    true => name.replace(".weight", ".gamma").replace(".bias", ".beta"),
                    false => name,
                };
                (format!("{prefix}{name}"), shape)
            })
            .collect();
        tensors.push((format!("{prefix}embeddings.token_type_embeddings.weight"), vec![2, 4]));
        tensors.push((format!("{prefix}pooler.dense.weight"), vec![4, 4]));
        tensors
    }

    fn values(tensor: &Tensor) -> Vec<f64> {
        Vec::try_from(tensor.reshape([-1])).unwrap_or_default()
    }

    #[test]
    fn a_bert_becomes_the_distilbert_that_computes_the_same() {
        for (prefix, older_names) in [("", false), ("bert.", false), ("bert.", true)] {
            let tensors = bert(prefix, older_names);
            let directory = checkpoint(&tensors);
            let config = config(Family::Bert);
            let loaded = Parameters::load(directory.path(), &config, 3, 1, Kind::Double).unwrap();
            let value = |i: usize, j: i64| i as f64 + j as f64 / 64.0;
            for (i, name) in loaded.names().iter().enumerate() {
                if name.starts_with("distilbert.") {
                    // The last two are the token types and the pooler.
                    let types = tensors.len() - 2;
                    let expected: Vec<f64> = (0..tensors[i].1.iter().product::<i64>())
                        .map(|j| match name.contains("position") {
                            true => value(i, j) + value(types, j % 4),
                            false => value(i, j),
                        })
                        .collect();
                    assert_eq!(values(loaded.get(name)), expected, "{name} from {prefix}{}", tensors[i].0);
                }
            }
            assert_eq!(loaded.get("classifier.weight").size(), [3, 4]);
        }
        assert_eq!(
            bert("bert.", false)[8].0,
            "bert.encoder.layer.0.attention.self.value.weight",
            "the names are those of transformers"
        );
    }

    #[test]
    fn a_head_of_the_right_shape_is_kept_and_another_made_from_the_seed() {
        let config = config(Family::DistilBert);
        let directory = checkpoint(&shapes(&config, 3));
        let load =
            |classes, seed| Parameters::load(directory.path(), &config, classes, seed, Kind::Float).unwrap();
        assert_eq!(values(load(3, 1).get("classifier.weight")), values(load(3, 2).get("classifier.weight")));
        assert_ne!(values(load(2, 1).get("classifier.weight")), values(load(2, 2).get("classifier.weight")));
        let reseeded = load(2, 1).seeded(2, Device::Cpu).unwrap();
        assert_eq!(values(reseeded.get("classifier.weight")), values(load(2, 2).get("classifier.weight")));
        assert_eq!(
            values(reseeded.get("pre_classifier.weight")),
            values(load(2, 1).get("pre_classifier.weight"))
        );
    }

    #[test]
    fn a_classifier_needs_a_head_for_its_classes() {
        let config = config(Family::DistilBert);
        let directory = checkpoint(&shapes(&config, 3));
        let loaded = Parameters::load_classifier(directory.path(), &config, 3, Kind::Float).unwrap();
        assert_eq!(loaded.get("classifier.weight").size(), [3, 4]);
        let said = |directory: &TempDir, config: &Config| {
            let error = Parameters::load_classifier(directory.path(), config, 2, Kind::Float)
                .unwrap_err()
                .to_string();
            error.replace(&directory.path().display().to_string(), "DIR")
        };
        let headless = checkpoint(&shapes(&config, 0));
        let bert = Config { family: Family::Bert, ..config.clone() };
        let wrong = [said(&directory, &config), said(&headless, &config), said(&headless, &bert)];
        insta::assert_snapshot!(wrong.join("\n"), @r#"
        DIR/model.safetensors: tensor `classifier.weight` has the shape [3, 4], config.json makes it [2, 4]
        DIR/model.safetensors has no tensor `pre_classifier.weight`
        DIR/config.json: `model_type` is "bert", it must be distilbert to classify: training makes one of it
        "#);
    }

    /// As save_pretrained(.., max_shard_size=..) of transformers writes them.
    #[test]
    fn a_sharded_checkpoint_is_the_whole_one() {
        let config = config(Family::DistilBert);
        let whole = checkpoint(&shapes(&config, 3));
        let parts = TempDir::new().unwrap();
        let bytes = std::fs::read(whole.path().join("model.safetensors")).unwrap();
        let stored = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut map = serde_json::Map::new();
        for shard in 0..3 {
            let file = format!("model-{:05}-of-00003.safetensors", shard + 1);
            let views: Vec<_> =
                stored.tensors().into_iter().filter(|(name, _)| name.len() % 3 == shard).collect();
            map.extend(views.iter().map(|(name, _)| (name.clone(), file.clone().into())));
            serialize_to_file(views, None, &parts.path().join(file)).unwrap();
        }
        let index = serde_json::json!({"metadata": {"total_size": bytes.len()}, "weight_map": map});
        std::fs::write(parts.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let [a, b] = [&whole, &parts]
            .map(|directory| Parameters::load(directory.path(), &config, 3, 1, Kind::Float).unwrap());
        for name in a.names() {
            assert_eq!(values(a.get(name)), values(b.get(name)), "{name}");
        }
    }

    #[test]
    fn missing_and_misshapen_weights_are_named() {
        let config = config(Family::DistilBert);
        let mut tensors = shapes(&config, 0);
        let said = |tensors: &[(String, Vec<i64>)]| {
            let directory = checkpoint(tensors);
            let error =
                Parameters::load(directory.path(), &config, 2, 1, Kind::Float).unwrap_err().to_string();
            error.replace(&directory.path().display().to_string(), "DIR")
        };
        tensors[1].1 = vec![7, 4];
        let misshapen = said(&tensors);
        tensors.remove(1);
        insta::assert_snapshot!(format!("{misshapen}\n{}", said(&tensors)), @"
        DIR/model.safetensors: tensor `distilbert.embeddings.position_embeddings.weight` has the shape [7, 4], config.json makes it [5, 4]
        DIR/model.safetensors has no tensor `distilbert.embeddings.position_embeddings.weight`
        ");
    }
}
