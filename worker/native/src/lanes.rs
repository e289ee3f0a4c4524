//! Many models of one shape computed as one, their parameters stacked along a first dimension.

use tch::Tensor;

use crate::{DropoutForm, DropoutKey, NativeError, checked, ffi, pointers, raw, returned};

/// Dropout of several trials at once: of each part of the input's first dimension its stream and its rate.
#[derive(Debug)]
pub struct LaneDropout<'a> {
    /// [`DropoutKey::stream`] of each part, int64 [n].
    pub streams: &'a Tensor,
    /// Of each part [`dropout_threshold`]'s first number, int32 [n].
    pub thresholds: &'a Tensor,
    /// Of each part [`dropout_threshold`]'s second number [n]: float32, but float64 for a float64 input.
    pub scales: &'a Tensor,
}

impl DropoutKey {
    /// The key as one number, from which the draws of all units follow.
    pub fn stream(self) -> i64 {
        // SAFETY: arithmetic on its arguments.
        unsafe { ffi::distilsweep_dropout_base(self.seed, self.site, self.step) }.cast_signed()
    }
}

/// A rate as [`LaneDropout`] takes it: the bound of draws that drop, within int32, and the factor of what is kept.
///
/// # Errors
/// A rate outside [0, 1).
pub fn dropout_threshold(p: f64) -> Result<(i64, f64), NativeError> {
    let (mut threshold, mut scale) = (0, 0.0);
    // SAFETY: both are written before the call returns.
    checked(unsafe { ffi::distilsweep_dropout_rate(&mut threshold, &mut scale, p) })?;
    Ok((threshold, scale))
}

/// Drops units of `input` [n, rows, units] as [`crate::dropout_rows`] does with the key and rate of each of the n;
/// `examples` and `positions` are int64 [n, rows].
///
/// # Errors
/// What libtorch says: shapes that do not agree, tensors on different devices.
pub fn dropout_lane_rows(
    input: &Tensor,
    examples: &Tensor,
    positions: &Tensor,
    lanes: &LaneDropout,
) -> Result<Tensor, NativeError> {
    dropout_lane_rows_by(DropoutForm::of(input.device()), input, examples, positions, lanes)
}

/// [`dropout_lane_rows`] in the given form, forward and backward.
///
/// # Errors
/// As [`dropout_lane_rows`], and the loop for a tensor that is not on a CPU.
pub fn dropout_lane_rows_by(
    form: DropoutForm,
    input: &Tensor,
    examples: &Tensor,
    positions: &Tensor,
    lanes: &LaneDropout,
) -> Result<Tensor, NativeError> {
    returned(|out| {
        // SAFETY: the tensors live through the call, which only reads them.
        unsafe {
            ffi::distilsweep_dropout_lane_rows(
                out,
                raw(input),
                raw(examples),
                raw(positions),
                raw(lanes.streams),
                raw(lanes.thresholds),
                raw(lanes.scales),
                form == DropoutForm::Tensors,
            )
        }
    })
}

/// Drops attention probabilities [examples, heads, queries, keys] as [`crate::dropout_attention`] does with the key
/// and rate of each example; `examples` are their numbers, int64 [examples].
///
/// # Errors
/// As [`dropout_lane_rows`].
pub fn dropout_lane_attention(
    input: &Tensor,
    examples: &Tensor,
    lanes: &LaneDropout,
) -> Result<Tensor, NativeError> {
    dropout_lane_attention_by(DropoutForm::of(input.device()), input, examples, lanes)
}

/// [`dropout_lane_attention`] in the given form, forward and backward.
///
/// # Errors
/// As [`dropout_lane_rows_by`].
pub fn dropout_lane_attention_by(
    form: DropoutForm,
    input: &Tensor,
    examples: &Tensor,
    lanes: &LaneDropout,
) -> Result<Tensor, NativeError> {
    returned(|out| {
        // SAFETY: the tensors live through the call, which only reads them.
        unsafe {
            ffi::distilsweep_dropout_lane_attention(
                out,
                raw(input),
                raw(examples),
                raw(lanes.streams),
                raw(lanes.thresholds),
                raw(lanes.scales),
                form == DropoutForm::Tensors,
            )
        }
    })
}

/// A linear layer a lane: rows [n, rows, in] by weight [n, out, in] and bias [n, out] to [n, rows, out]. Differentiable.
///
/// # Errors
/// What libtorch says: shapes or kinds that do not agree.
pub fn lane_linear(rows: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor, NativeError> {
    // SAFETY: the tensors live through the call, which only reads them.
    returned(|out| unsafe { ffi::distilsweep_lane_linear(out, raw(rows), raw(weight), raw(bias)) })
}

/// Makes a parameter, and whoever shares it, use the storage of `view`: its values from now on, and where updates go.
///
/// # Errors
/// Shapes, kinds or devices that do not agree.
pub fn share_storage(parameter: &Tensor, view: &Tensor) -> Result<(), NativeError> {
    // SAFETY: both tensors live through the call.
    checked(unsafe { ffi::distilsweep_share_storage(raw(parameter), raw(view)) })
}

/// Adds the gradients of `stacks`' row `lane` to those of the lane's parameters; a parameter without one gets a view.
/// Stack i is made of the next `parts[i]` parameters, one after another along their first dimension.
///
/// # Errors
/// A stack without a gradient, or parameters that are not its parts.
pub fn give_gradients(
    stacks: &[Tensor],
    parts: &[usize],
    lane: usize,
    parameters: &[Tensor],
) -> Result<(), NativeError> {
    if stacks.len() != parts.len() || parts.iter().sum::<usize>() != parameters.len() {
        return Err(NativeError(format!(
            "{} stacks of {parts:?} parts have {} parameters",
            stacks.len(),
            parameters.len()
        )));
    }
    let (stacks, parameters) = (pointers(stacks), pointers(parameters));
    // SAFETY: the lists live through the call, as their tensors do, and have the lengths that it is told.
    checked(unsafe {
        ffi::distilsweep_give_gradients(
            stacks.as_ptr(),
            parts.as_ptr(),
            stacks.len(),
            lane as i64,
            parameters.as_ptr(),
        )
    })
}
