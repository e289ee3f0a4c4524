//! The forward pass of all lanes: `distilbert.rs` with a lane dimension.
//!
//! Query, key and value are one product, but for the last block, whose query is that of the first tokens alone.

use distilsweep_native::{gather_rows, lane_linear};
use tch::{Kind, Tensor};

use super::{
    Shape,
    rows::{Rows, Which},
};
use crate::model::{
    config::{Activation, Config, LAYER_NORM_EPSILON},
    distilbert::Site,
    error::TorchError,
    parameters::WORD_EMBEDDINGS,
};

/// Makes a stacked leaf of the parameters of these names.
type Leaf<'a> = &'a mut dyn FnMut(&[String]) -> Result<Tensor, TorchError>;

/// [lanes, out, in] and [lanes, out].
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn stacked(names: &[String], leaf: Leaf) -> Result<Self, TorchError> {
        let of = |part: &str| -> Vec<String> { names.iter().map(|name| format!("{name}.{part}")).collect() };
        Ok(Self { weight: leaf(&of("weight"))?, bias: leaf(&of("bias"))? })
    }

    /// [lanes, n, in] to [lanes, n, out], in the kind of computing.
    fn forward(&self, rows: &Tensor, compute: Kind) -> Result<Tensor, TorchError> {
        let (weight, bias) = (self.weight.f_to_kind(compute)?, self.bias.f_to_kind(compute)?);
        Ok(lane_linear(&rows.f_to_kind(compute)?, &weight, &bias)?)
    }
}

/// [lanes, dim] each.
#[derive(Debug)]
struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
}

impl LayerNorm {
    fn stacked(name: &str, leaf: Leaf) -> Result<Self, TorchError> {
        Ok(Self { weight: leaf(&[format!("{name}.weight")])?, bias: leaf(&[format!("{name}.bias")])? })
    }

    fn forward(&self, rows: &Tensor) -> Result<Tensor, TorchError> {
        let width = [self.weight.size()[1]];
        let normal = rows.f_layer_norm(width, None::<&Tensor>, None::<&Tensor>, LAYER_NORM_EPSILON, false)?;
        Ok(self.bias.f_unsqueeze(1)?.f_addcmul(&normal, &self.weight.f_unsqueeze(1)?)?)
    }
}

#[derive(Debug)]
struct Block {
    /// Query, key and value; of the last block key and value.
    inputs: Linear,
    /// The last block's query.
    query: Option<Linear>,
    out_lin: Linear,
    sa_layer_norm: LayerNorm,
    lin1: Linear,
    lin2: Linear,
    output_layer_norm: LayerNorm,
    number: u64,
}

/// A model a lane.
#[derive(Debug)]
pub(super) struct Network {
    word_embeddings: Tensor,
    position_embeddings: Tensor,
    layer_norm: LayerNorm,
    blocks: Vec<Block>,
    pre_classifier: Linear,
    classifier: Linear,
    n_heads: i64,
    activation: Activation,
}

impl Network {
    /// The network on leaves that `leaf` makes: every parameter of a model is asked for once.
    pub(super) fn stacked(config: &Config, leaf: Leaf) -> Result<Self, TorchError> {
        Ok(Self {
            word_embeddings: leaf(&[WORD_EMBEDDINGS.to_owned()])?,
            position_embeddings: leaf(&["distilbert.embeddings.position_embeddings.weight".to_owned()])?,
            layer_norm: LayerNorm::stacked("distilbert.embeddings.LayerNorm", leaf)?,
            blocks: (0..config.n_layers)
                .map(|number| Block::stacked(number, number + 1 == config.n_layers, leaf))
                .collect::<Result<_, _>>()?,
            pre_classifier: Linear::stacked(&["pre_classifier".to_owned()], leaf)?,
            classifier: Linear::stacked(&["classifier".to_owned()], leaf)?,
            n_heads: config.n_heads,
            activation: config.activation,
        })
    }

    /// [lanes, tokens, dim].
    pub(super) fn word_embeddings(&self) -> &Tensor {
        &self.word_embeddings
    }

    /// [lanes, positions, dim].
    pub(super) fn position_embeddings(&self) -> &Tensor {
        &self.position_embeddings
    }

    /// Logits [lanes, width of the first tokens' grid, classes] in the parameters' kind.
    pub(super) fn forward(&self, rows: &Rows, shape: &Shape) -> Result<Tensor, TorchError> {
        let looked_up = |embeddings: &Tensor, numbers: &Tensor| {
            let all = embeddings.f_flatten(0, 1)?;
            Tensor::f_embedding(&all, numbers, -1, false, false)
        };
        let words = looked_up(&self.word_embeddings, &rows.words)?;
        let sum = words.f_add(&looked_up(&self.position_embeddings, &rows.positions)?)?;
        let normal = self.layer_norm.forward(&rows.tokens.place(&sum)?)?;
        let mut hidden = rows.dropped(normal, Which::Tokens, Site::Embeddings)?;
        for block in &self.blocks {
            hidden = block.forward(&hidden, rows, self, shape.compute)?;
        }
        let pooled = self.pre_classifier.forward(&hidden, shape.compute)?.f_relu()?;
        let pooled = rows.dropped(pooled, Which::First, Site::Classifier)?;
        Ok(self.classifier.forward(&pooled, shape.compute)?.f_to_kind(shape.kind)?)
    }
}

impl Block {
    fn stacked(number: i64, last: bool, leaf: Leaf) -> Result<Self, TorchError> {
        let name = format!("distilbert.transformer.layer.{number}");
        let part = |part: &str| format!("{name}.{part}");
        let (query, key, value) = (part("attention.q_lin"), part("attention.k_lin"), part("attention.v_lin"));
        let (query, inputs) = match last {
            true => (Some(Linear::stacked(&[query], leaf)?), Linear::stacked(&[key, value], leaf)?),
            false => (None, Linear::stacked(&[query, key, value], leaf)?),
        };
        Ok(Self {
            inputs,
            query,
            out_lin: Linear::stacked(&[part("attention.out_lin")], leaf)?,
            sa_layer_norm: LayerNorm::stacked(&part("sa_layer_norm"), leaf)?,
            lin1: Linear::stacked(&[part("ffn.lin1")], leaf)?,
            lin2: Linear::stacked(&[part("ffn.lin2")], leaf)?,
            output_layer_norm: LayerNorm::stacked(&part("output_layer_norm"), leaf)?,
            number: number.unsigned_abs(),
        })
    }

    /// The grid of tokens to itself, or in the last block to that of the first tokens.
    fn forward(
        &self,
        hidden: &Tensor,
        rows: &Rows,
        network: &Network,
        compute: Kind,
    ) -> Result<Tensor, TorchError> {
        let (attended, residual, which) = match &self.query {
            None => {
                (self.attention(hidden, None, rows, network, compute)?, hidden.shallow_clone(), Which::Tokens)
            }
            Some(query) => {
                let flat = hidden.f_flatten(0, 1)?;
                let first = rows.first.place(&gather_rows(&flat, &rows.first_rows)?)?;
                let query = query.forward(&first, compute)?;
                (self.attention(hidden, Some(&query), rows, network, compute)?, first, Which::First)
            }
        };
        let hidden = self.sa_layer_norm.forward(&attended.f_add(&residual)?)?;
        let inner = self.lin1.forward(&hidden, compute)?;
        let inner = match network.activation {
            Activation::Gelu => inner.f_gelu("none")?,
            Activation::Relu => inner.f_relu()?,
        };
        let output = self.lin2.forward(&inner, compute)?;
        let output = rows.dropped(output, which, Site::FeedForward(self.number))?;
        self.output_layer_norm.forward(&output.f_add(&hidden)?)
    }

    /// Attention of all tokens, or of the first tokens' `query` on their grid.
    fn attention(
        &self,
        hidden: &Tensor,
        query: Option<&Tensor>,
        rows: &Rows,
        network: &Network,
        compute: Kind,
    ) -> Result<Tensor, TorchError> {
        let (heads, examples) = (network.n_heads, rows.slots.height());
        let width = hidden.size()[2];
        let head = width / heads;
        let inputs = rows.slots.place(&rows.tokens.take(&self.inputs.forward(hidden, compute)?)?)?;
        // Each of [examples, heads, length, head].
        let mut parts = inputs
            .f_reshape([examples, rows.slots.width(), -1, heads, head])?
            .f_permute([2, 0, 3, 1, 4])?
            .f_contiguous()?
            .f_unbind(0)?
            .into_iter();
        let query = match query {
            Some(query) => {
                Some(rows.first.take(query)?.f_reshape([examples, 1, heads, head])?.f_transpose(1, 2)?)
            }
            None => parts.next(),
        };
        let (Some(query), Some(key), Some(value)) = (query, parts.next(), parts.next()) else {
            debug_assert!(false, "query, key and value are {width} wide each");
            return Ok(hidden.shallow_clone());
        };
        let context = attended(&query, &key, &value, rows, self.number)?;
        let context = context.f_transpose(1, 2)?.f_reshape([examples, -1, width])?;
        let context = match self.query {
            Some(_) => rows.first.place(&context.f_flatten(0, 1)?)?,
            None => rows.tokens.place(&rows.slots.take(&context)?)?,
        };
        self.out_lin.forward(&context, compute)
    }
}

/// Queries [examples, heads, queries, head] to contexts of that shape. A device has a kernel for it all, but none that
/// drops by key.
fn attended(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    rows: &Rows,
    block: u64,
) -> Result<Tensor, TorchError> {
    let scale = 1.0 / (query.size()[3] as f64).sqrt();
    if !rows.drops_attention() && query.device().is_cuda() {
        let mask = rows.mask.as_ref();
        return Ok(Tensor::f_scaled_dot_product_attention(
            query, key, value, mask, 0.0, false, scale, false,
        )?);
    }
    let mut scores = query.f_mul_scalar(scale)?.f_matmul(&key.f_transpose(2, 3)?)?;
    if let Some(mask) = &rows.mask {
        scores = scores.f_add(mask)?;
    }
    let weights = rows.dropped_attention(scores.f_softmax(-1, None::<Kind>)?, block)?;
    Ok(weights.f_matmul(value)?)
}
