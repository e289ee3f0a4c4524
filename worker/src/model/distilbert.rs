//! The forward pass. Linear layers, LayerNorms and embeddings see real tokens only, as rows; attention alone pads.
//!
//! Source: `modeling_distilbert.py` of transformers 4.57. The last block computes the first token's query, output
//! and feed-forward alone, since the head reads nothing else of it.

use distilsweep_native::{DropoutKey, dropout_attention, dropout_rows, gather_rows, scatter_rows};
use tch::{Kind, Tensor};

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

/// Drops units of rows; the keys are each row's example and position.
fn dropped(
    rows: Tensor,
    keys: (&Tensor, &Tensor),
    dropout: Option<&Dropout>,
    site: Site,
    rate: impl Fn(&Rates) -> f64,
) -> Result<Tensor, TorchError> {
    match dropout {
        Some(dropout) if rate(&dropout.rates) > 0.0 => {
            Ok(dropout_rows(&rows, keys.0, keys.1, dropout.key(site), rate(&dropout.rates))?)
        }
        _ => Ok(rows),
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
        let (weight, bias) = (self.weight.f_to_kind(self.compute)?, self.bias.f_to_kind(self.compute)?);
        Ok(rows.f_to_kind(self.compute)?.f_linear(&weight, Some(bias))?)
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
        dropped(rows, keys, dropout, Site::Embeddings, |rates| rates.hidden)
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
        let head = rows.size()[1] / self.n_heads;
        let queries = self.q_lin.forward(first.unwrap_or(rows))?.f_mul_scalar(1.0 / (head as f64).sqrt())?;
        let query = match first {
            Some(_) => queries.f_reshape([batch.size, 1, self.n_heads, head])?.f_transpose(1, 2)?,
            None => self.heads(&queries, batch)?,
        };
        let key = self.heads(&self.k_lin.forward(rows)?, batch)?;
        let value = self.heads(&self.v_lin.forward(rows)?, batch)?;
        let mut scores = query.f_matmul(&key.f_transpose(2, 3)?)?;
        if let Some(mask) = &batch.mask {
            scores = scores.f_add(&mask.f_to_kind(scores.f_kind()?)?)?;
        }
        let mut weights = scores.f_softmax(-1, None::<Kind>)?;
        if let Some(dropout) = dropout.filter(|dropout| dropout.rates.attention > 0.0) {
            let key = dropout.key(Site::Attention(layer));
            weights = dropout_attention(&weights, &batch.examples, key, dropout.rates.attention)?;
        }
        let context = weights.f_matmul(&value)?.f_transpose(1, 2)?.f_reshape([-1, self.n_heads * head])?;
        let context = match first {
            Some(_) => context,
            None => gather_rows(&context, &batch.slots)?,
        };
        self.out_lin.forward(&context)
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
        let rows = self.sa_layer_norm.forward(&attended.f_add(first.as_ref().unwrap_or(rows))?)?;
        let keys = match first_only {
            true => (&batch.examples, &batch.first_positions),
            false => (&batch.token_examples, &batch.positions),
        };
        let site = Site::FeedForward(self.number);
        let output = dropped(self.ffn.forward(&rows)?, keys, dropout, site, |rates| rates.hidden)?;
        self.output_layer_norm.forward(&output.f_add(&rows)?)
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
        let pooled = dropped(pooled, keys, dropout, Site::Classifier, |rates| rates.classifier)?;
        let kind = self.embeddings.word_embeddings.f_kind()?;
        Ok(self.classifier.forward(&pooled)?.f_to_kind(kind)?)
    }
}
