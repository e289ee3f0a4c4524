//! The parts of a transformer block, each in one pass forward and one backward where the tensors are on a CPU.

use tch::{Kind, Tensor};

use crate::{DropoutKey, NativeError, ffi, raw, returned};

/// Dropout of one place: which draws, and at what rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drop {
    /// Which draws.
    pub key: DropoutKey,
    /// Share of the units that are dropped, from 0 to below 1.
    pub rate: f64,
}

impl Drop {
    const NOTHING: Self = Self { key: DropoutKey { seed: 0, site: 0, step: 0 }, rate: 0.0 };
}

/// `rows` [n, in] times `weight` [out, in] transposed plus `bias` [out], computed and returned in `kind`. Differentiable;
/// gradients come in the kinds of what they are for, that of the bias summed in the weight's kind. Any device.
///
/// # Errors
/// What libtorch says: shapes that do not agree, out of memory.
pub fn linear(rows: &Tensor, weight: &Tensor, bias: &Tensor, kind: Kind) -> Result<Tensor, NativeError> {
    // Numbers of c10::ScalarType.
    let number = match kind {
        Kind::Float => 6,
        Kind::Double => 7,
        Kind::BFloat16 => 15,
        other => {
            return Err(NativeError(format!("a linear layer computes in floating point, not in {other:?}")));
        }
    };
    // SAFETY: the tensors live through the call, which only reads them.
    returned(|out| unsafe { ffi::distilsweep_linear(out, raw(rows), raw(weight), raw(bias), number) })
}

/// Examples whose tokens are rows one after another.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// Row of each example's first token, ascending from 0: int64 [examples], on the CPU.
    pub starts: &'a Tensor,
    /// Each example's number in its step, for dropout: int64 [examples], on the CPU.
    pub examples: &'a Tensor,
    /// Attention heads; they divide the width.
    pub heads: i64,
}

/// Attention within each example: softmax of queries times keys by the root of a head's width, times values. `key` and
/// `value` are [tokens, dim], `query` is that or [examples, dim], where only first tokens ask; the result is shaped as
/// `query`. Probabilities are dropped with the masks of [`crate::dropout_attention`]. Differentiable; bfloat16 is
/// computed in single precision and rounded once. CPU alone.
///
/// # Errors
/// Shapes that do not agree, another device or kind, a rate outside [0, 1).
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    packed: Packed,
    drop: Option<Drop>,
) -> Result<Tensor, NativeError> {
    let Drop { key: draws, rate } = drop.unwrap_or(Drop::NOTHING);
    returned(|out| {
        // SAFETY: the tensors live through the call, which only reads them.
        unsafe {
            ffi::distilsweep_attention(
                out,
                raw(query),
                raw(key),
                raw(value),
                raw(packed.starts),
                raw(packed.examples),
                packed.heads,
                draws.seed,
                draws.site,
                draws.step,
                rate,
            )
        }
    })
}

/// LayerNorm of a residual.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// [dim], in the residual's kind.
    pub weight: &'a Tensor,
    /// As the weight.
    pub bias: &'a Tensor,
    /// Added to the variance.
    pub epsilon: f64,
}

/// LayerNorm of `residual` plus `rows`, both [n, dim], units of `rows` dropped with the masks of
/// [`crate::dropout_rows`], whose `examples` and `positions` these are. Rows may be bfloat16 where the residual is
/// float32; the result is in the residual's kind. Differentiable. CPU alone.
///
/// # Errors
/// Shapes or kinds that do not agree, another device, a rate outside [0, 1).
pub fn residual_norm(
    rows: &Tensor,
    residual: &Tensor,
    norm: Norm,
    examples: &Tensor,
    positions: &Tensor,
    drop: Option<Drop>,
) -> Result<Tensor, NativeError> {
    let Drop { key, rate } = drop.unwrap_or(Drop::NOTHING);
    returned(|out| {
        // SAFETY: the tensors live through the call, which only reads them.
        unsafe {
            ffi::distilsweep_residual_norm(
                out,
                raw(rows),
                raw(residual),
                raw(norm.weight),
                raw(norm.bias),
                raw(examples),
                raw(positions),
                key.seed,
                key.site,
                key.step,
                rate,
                norm.epsilon,
            )
        }
    })
}
