//! The forward pass. Linear layers, LayerNorms and embeddings see real tokens only, as rows. Attention pads on a GPU; on a
//! CPU it takes each example's rows as they are.
//!
//! Source: `modeling_distilbert.py` of transformers 4.57. The last block computes the first token's query, output
//! and feed-forward alone, since the head reads nothing else of it.

use distilsweep_native::{
    Drop, DropoutKey, Norm, Packed, attention, dropout_attention, dropout_rows, gather_rows, linear,
    residual_norm, scatter_rows,
};
use tch::{Device, Kind, Tensor};

use super::{
    batch::Batch,
    config::{Activation, Config, LAYER_NORM_EPSILON, Rates},
    error::TorchError,
    parameters::{Parameters, WORD_EMBEDDINGS},
};

/// Dropout of one forward pass in training.
#[derive(Clone, Copy, Debug)]
pub struct Dropout {
    /// How much.
    pub rates: Rates,
    /// Seed of the trial.
    pub seed: u64,
    /// Optimizer step, from 0.
    pub step: u64,
}

/// Places with a mask of their own; a number never changes its meaning, or old results could not be repeated.
#[derive(Clone, Copy)]
pub(super) enum Site {
    Embeddings,
    Classifier,
    Attention(u64),
    FeedForward(u64),
}

impl Dropout {
    pub(super) fn key(&self, site: Site) -> DropoutKey {
        let site = match site {
            Site::Embeddings => 0,
            Site::Classifier => 1,
            Site::Attention(layer) => 2 + 2 * layer,
            Site::FeedForward(layer) => 3 + 2 * layer,
        };
        DropoutKey { seed: self.seed, site, step: self.step }
    }
}

/// Dropout of a site, where there is any.
fn drop(dropout: Option<&Dropout>, site: Site, rate: impl Fn(&Rates) -> f64) -> Option<Drop> {
    let drop = dropout.map(|dropout| Drop { key: dropout.key(site), rate: rate(&dropout.rates) });
    drop.filter(|drop| drop.rate > 0.0)
}

/// Drops units of rows; the keys are each row's example and position.
fn dropped(rows: Tensor, keys: (&Tensor, &Tensor), drop: Option<Drop>) -> Result<Tensor, TorchError> {
    match drop {
        Some(drop) => Ok(dropout_rows(&rows, keys.0, keys.1, drop.key, drop.rate)?),
        None => Ok(rows),
    }
}

struct Linear {
    weight: Tensor,
    bias: Tensor,
    compute: Kind,
}

impl Linear {
    fn load(parameters: &Parameters, name: &str, compute: Kind) -> Self {
        Self {
            weight: parameters.get(&format!("{name}.weight")).shallow_clone(),
            bias: parameters.get(&format!("{name}.bias")).shallow_clone(),
            compute,
        }
    }

    /// [n, in] to [n, out], in the kind of computing.
    fn forward(&self, rows: &Tensor) -> Result<Tensor, TorchError> {
        Ok(linear(rows, &self.weight, &self.bias, self.compute)?)
    }
}

struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    fn load(parameters: &Parameters, name: &str) -> Self {
        Self {
            weight: parameters.get(&format!("{name}.weight")).shallow_clone(),
            bias: parameters.get(&format!("{name}.bias")).shallow_clone(),
        }
    }

    fn forward(&self, rows: &Tensor) -> Result<Tensor, TorchError> {
        let width = self.weight.size();
        Ok(rows.f_layer_norm(&width, Some(&self.weight), Some(&self.bias), LAYER_NORM_EPSILON, false)?)
    }

    /// Of `residual` plus `rows`, of which units are dropped.
    fn residual(
        &self,
        rows: Tensor,
        residual: &Tensor,
        keys: (&Tensor, &Tensor),
        drop: Option<Drop>,
    ) -> Result<Tensor, TorchError> {
        if rows.device() == Device::Cpu {
            let norm = Norm { weight: &self.weight, bias: &self.bias, epsilon: LAYER_NORM_EPSILON };
            return Ok(residual_norm(&rows, residual, norm, keys.0, keys.1, drop)?);
        }
        self.forward(&dropped(rows, keys, drop)?.f_add(residual)?)
    }
}

struct Embeddings {
    word_embeddings: Tensor,
    position_embeddings: Tensor,
    layer_norm: LayerNorm,
    padding: i64,
}

impl Embeddings {
    fn forward(&self, batch: &Batch, dropout: Option<&Dropout>) -> Result<Tensor, TorchError> {
        let words = Tensor::f_embedding(&self.word_embeddings, &batch.tokens, self.padding, false, false)?;
        let positions = Tensor::f_embedding(&self.position_embeddings, &batch.positions, -1, false, false)?;
        let rows = self.layer_norm.forward(&words.f_add(&positions)?)?;
        let keys = (&batch.token_examples, &batch.positions);
        dropped(rows, keys, drop(dropout, Site::Embeddings, |rates| rates.hidden))
    }
}

struct MultiHeadSelfAttention {
    q_lin: Linear,
    k_lin: Linear,
    v_lin: Linear,
    out_lin: Linear,
    n_heads: i64,
}

impl MultiHeadSelfAttention {
    /// `rows` [T, dim] are keys and values; queries are the rows themselves, or `first` [B, dim] of them.
    fn forward(
        &self,
        rows: &Tensor,
        first: Option<&Tensor>,
        batch: &Batch,
        dropout: Option<&Dropout>,
        layer: u64,
    ) -> Result<Tensor, TorchError> {
        // Once, and not in each of the three layers.
        let rows = &rows.f_to_kind(self.q_lin.compute)?;
        let drop = drop(dropout, Site::Attention(layer), |rates| rates.attention);
        let query = self.q_lin.forward(first.unwrap_or(rows))?;
        let (key, value) = (self.k_lin.forward(rows)?, self.v_lin.forward(rows)?);
        let context = if rows.device() == Device::Cpu {
            let packed = Packed { starts: &batch.first, examples: &batch.examples, heads: self.n_heads };
            attention(&query, &key, &value, packed, drop)?
        } else {
            self.padded(&query, &key, &value, first.is_some(), batch, drop)?
        };
        self.out_lin.forward(&context)
    }

    /// The same by operators of libtorch, which want every example of one length.
    fn padded(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        first_only: bool,
        batch: &Batch,
        drop: Option<Drop>,
    ) -> Result<Tensor, TorchError> {
        let head = key.size()[1] / self.n_heads;
        let query = query.f_mul_scalar(1.0 / (head as f64).sqrt())?;
        let query = match first_only {
            true => query.f_reshape([batch.size, 1, self.n_heads, head])?.f_transpose(1, 2)?,
            false => self.heads(&query, batch)?,
        };
        let (key, value) = (self.heads(key, batch)?, self.heads(value, batch)?);
        let mut scores = query.f_matmul(&key.f_transpose(2, 3)?)?;
        if let Some(mask) = &batch.mask {
            scores = scores.f_add(&mask.f_to_kind(scores.f_kind()?)?)?;
        }
        let mut weights = scores.f_softmax(-1, None::<Kind>)?;
        if let Some(drop) = drop {
            weights = dropout_attention(&weights, &batch.examples, drop.key, drop.rate)?;
        }
        let context = weights.f_matmul(&value)?.f_transpose(1, 2)?.f_reshape([-1, self.n_heads * head])?;
        match first_only {
            true => Ok(context),
            false => Ok(gather_rows(&context, &batch.slots)?),
        }
    }

    /// [T, dim] padded and cut into heads: [B, heads, L, dim / heads].
    fn heads(&self, rows: &Tensor, batch: &Batch) -> Result<Tensor, TorchError> {
        let padded = match batch.mask {
            Some(_) => scatter_rows(rows, &batch.slots, batch.size * batch.length)?,
            None => rows.shallow_clone(),
        };
        Ok(padded.f_reshape([batch.size, batch.length, self.n_heads, -1])?.f_transpose(1, 2)?)
    }
}

#[expect(clippy::upper_case_acronyms, reason = "named as in transformers")]
struct FFN {
    lin1: Linear,
    lin2: Linear,
    activation: Activation,
}

impl FFN {
    fn forward(&self, rows: &Tensor) -> Result<Tensor, TorchError> {
        let inner = self.lin1.forward(rows)?;
        let inner = match self.activation {
            Activation::Gelu => inner.f_gelu("none")?,
            Activation::Relu => inner.f_relu()?,
        };
        self.lin2.forward(&inner)
    }
}

struct TransformerBlock {
    attention: MultiHeadSelfAttention,
    sa_layer_norm: LayerNorm,
    ffn: FFN,
    output_layer_norm: LayerNorm,
    number: u64,
}

impl TransformerBlock {
    fn load(parameters: &Parameters, config: &Config, number: i64, compute: Kind) -> Self {
        let name = format!("distilbert.transformer.layer.{number}");
        let linear = |part: &str| Linear::load(parameters, &format!("{name}.{part}"), compute);
        Self {
            attention: MultiHeadSelfAttention {
                q_lin: linear("attention.q_lin"),
                k_lin: linear("attention.k_lin"),
                v_lin: linear("attention.v_lin"),
                out_lin: linear("attention.out_lin"),
                n_heads: config.n_heads,
            },
            sa_layer_norm: LayerNorm::load(parameters, &format!("{name}.sa_layer_norm")),
            ffn: FFN { lin1: linear("ffn.lin1"), lin2: linear("ffn.lin2"), activation: config.activation },
            output_layer_norm: LayerNorm::load(parameters, &format!("{name}.output_layer_norm")),
            number: number.unsigned_abs(),
        }
    }

    /// [T, dim] to [T, dim], or to the first tokens' [B, dim].
    fn forward(
        &self,
        rows: &Tensor,
        first_only: bool,
        batch: &Batch,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor, TorchError> {
        let first = first_only.then(|| gather_rows(rows, &batch.first)).transpose()?;
        let attended = self.attention.forward(rows, first.as_ref(), batch, dropout, self.number)?;
        let keys = match first_only {
            true => (&batch.examples, &batch.first_positions),
            false => (&batch.token_examples, &batch.positions),
        };
        let rows = self.sa_layer_norm.residual(attended, first.as_ref().unwrap_or(rows), keys, None)?;
        let drop = drop(dropout, Site::FeedForward(self.number), |rates| rates.hidden);
        self.output_layer_norm.residual(self.ffn.forward(&rows)?, &rows, keys, drop)
    }
}

/// The model: encoder, and on [CLS] a linear layer, ReLU, dropout and the classifier.
pub struct DistilBertForSequenceClassification {
    embeddings: Embeddings,
    layer: Vec<TransformerBlock>,
    pre_classifier: Linear,
    classifier: Linear,
}

impl DistilBertForSequenceClassification {
    /// Builds the model on `parameters`, whose storage it shares. `padding` is the row of the word embeddings that
    /// gets no gradient; linear layers compute in `compute`.
    pub fn load(parameters: &Parameters, config: &Config, padding: Option<i64>, compute: Kind) -> Self {
        Self {
            embeddings: Embeddings {
                word_embeddings: parameters.get(WORD_EMBEDDINGS).shallow_clone(),
                position_embeddings: parameters
                    .get("distilbert.embeddings.position_embeddings.weight")
                    .shallow_clone(),
                layer_norm: LayerNorm::load(parameters, "distilbert.embeddings.LayerNorm"),
                padding: padding.unwrap_or(-1),
            },
            layer: (0..config.n_layers)
                .map(|number| TransformerBlock::load(parameters, config, number, compute))
                .collect(),
            pre_classifier: Linear::load(parameters, "pre_classifier", compute),
            classifier: Linear::load(parameters, "classifier", compute),
        }
    }

    /// Logits [B, classes] in the parameters' kind; without `dropout` as in evaluation.
    ///
    /// # Errors
    /// What libtorch says, out of memory included.
    pub fn forward(&self, batch: &Batch, dropout: Option<&Dropout>) -> Result<Tensor, TorchError> {
        let mut rows = self.embeddings.forward(batch, dropout)?;
        for (i, block) in self.layer.iter().enumerate() {
            rows = block.forward(&rows, i + 1 == self.layer.len(), batch, dropout)?;
        }
        let pooled = self.pre_classifier.forward(&rows)?.f_relu()?;
        let keys = (&batch.examples, &batch.first_positions);
        let pooled = dropped(pooled, keys, drop(dropout, Site::Classifier, |rates| rates.classifier))?;
        let kind = self.embeddings.word_embeddings.f_kind()?;
        Ok(self.classifier.forward(&pooled)?.f_to_kind(kind)?)
    }
}
