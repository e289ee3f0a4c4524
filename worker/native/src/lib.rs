//! The few libtorch functions that `tch` does not bind, through a small C++ shim.
//!
//! Nothing here keeps state. Dropout is a function of what it is for: the mask of a unit is a hash of (seed, site,
//! step, example, position, unit), so that padding, packing, micro-batches, threads and devices cannot change it.

mod block;
mod device;
mod ffi;
mod lanes;

use std::ffi::{CStr, c_char, c_void};

use tch::{Device, Tensor};

pub use block::{Drop, Norm, Packed, attention, linear, residual_norm};
pub use device::{CudaMemory, CudaModel, cuda_forget_peak, cuda_memory, cuda_model};
pub use lanes::{
    LaneDropout, dropout_lane_attention, dropout_lane_attention_by, dropout_lane_rows, dropout_lane_rows_by,
    dropout_threshold, give_gradients, lane_linear, share_storage,
};

/// What libtorch said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NativeError(String);

/// Which draws a dropout makes: equal keys give equal masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// Seed of the trial.
    pub seed: u64,
    /// Place in the model.
    pub site: u64,
    /// Optimizer step, from 0.
    pub step: u64,
}

/// AdamW's constants for one group of parameters at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// This step's number, from 1: the moments' bias correction.
    pub step: i64,
    /// This step's learning rate.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
}

/// How a dropout's mask is computed: one result, to the last bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropoutForm {
    /// In one pass over the units, on a CPU alone.
    Loop,
    /// By int64 tensor operations on whatever device the tensors are; nothing waits for the device.
    Tensors,
}

impl DropoutForm {
    /// The form for tensors of a device.
    pub fn of(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Loop,
            Device::Cuda(_) | Device::Mps | Device::Vulkan => Self::Tensors,
        }
    }
}

/// Drops units of `input`, shape [rows, units], at rate `p` and scales the others by 1/(1-p). Row i belongs to
/// position `positions[i]` of example `examples[i]` (both int64, on the device of `input`).
///
/// # Errors
/// What libtorch says: a rate outside [0, 1), lengths that do not agree, tensors on different devices.
pub fn dropout_rows(
    input: &Tensor,
    examples: &Tensor,
    positions: &Tensor,
    key: DropoutKey,
    p: f64,
) -> Result<Tensor, NativeError> {
    dropout_rows_by(DropoutForm::of(input.device()), input, examples, positions, key, p)
}

/// [`dropout_rows`] in the given form, forward and backward.
///
/// # Errors
/// As [`dropout_rows`], and the loop for a tensor that is not on a CPU.
pub fn dropout_rows_by(
    form: DropoutForm,
    input: &Tensor,
    examples: &Tensor,
    positions: &Tensor,
    key: DropoutKey,
    p: f64,
) -> Result<Tensor, NativeError> {
    returned(|out| {
        // SAFETY: the tensors live through the call, which only reads them.
        unsafe {
            ffi::distilsweep_dropout_rows(
                out,
                raw(input),
                raw(examples),
                raw(positions),
                key.seed,
                key.site,
                key.step,
                p,
                form == DropoutForm::Tensors,
            )
        }
    })
}

/// Drops attention probabilities, shape [examples, heads, queries, keys], as [`dropout_rows`] does: the draw of a
/// probability depends on its example's number in `examples` (int64, on the device of `input`), its head, query and
/// key.
///
/// # Errors
/// As [`dropout_rows`].
pub fn dropout_attention(
    input: &Tensor,
    examples: &Tensor,
    key: DropoutKey,
    p: f64,
) -> Result<Tensor, NativeError> {
    dropout_attention_by(DropoutForm::of(input.device()), input, examples, key, p)
}

/// [`dropout_attention`] in the given form, forward and backward.
///
/// # Errors
/// As [`dropout_rows_by`].
pub fn dropout_attention_by(
    form: DropoutForm,
    input: &Tensor,
    examples: &Tensor,
    key: DropoutKey,
    p: f64,
) -> Result<Tensor, NativeError> {
    returned(|out| {
        // SAFETY: the tensors live through the call, which only reads them.
        unsafe {
            ffi::distilsweep_dropout_attention(
                out,
                raw(input),
                raw(examples),
                key.seed,
                key.site,
                key.step,
                p,
                form == DropoutForm::Tensors,
            )
        }
    })
}

/// Puts rows [n, width] at `slots` [n] (int64, no two alike) of `total` rows; the others are zero. Differentiable.
///
/// # Errors
/// What libtorch says: lengths that do not agree, a slot out of range.
pub fn scatter_rows(rows: &Tensor, slots: &Tensor, total: i64) -> Result<Tensor, NativeError> {
    // SAFETY: the tensors live through the call, which only reads them.
    returned(|out| unsafe { ffi::distilsweep_scatter_rows(out, raw(rows), raw(slots), total) })
}

/// Takes the rows at `slots` [n] (int64, no two alike) of [total, width]. Differentiable.
///
/// # Errors
/// What libtorch says: a slot out of range.
pub fn gather_rows(rows: &Tensor, slots: &Tensor) -> Result<Tensor, NativeError> {
    // SAFETY: the tensors live through the call, which only reads them.
    returned(|out| unsafe { ffi::distilsweep_gather_rows(out, raw(rows), raw(slots)) })
}

/// Leaves the parameters without gradients, so that the next backward pass need not add to zeros.
///
/// # Errors
/// What libtorch says.
pub fn clear_gradients(parameters: &[Tensor]) -> Result<(), NativeError> {
    let list = pointers(parameters);
    // SAFETY: the list and its tensors live through the call.
    checked(unsafe { ffi::distilsweep_clear_gradients(list.as_ptr(), list.len()) })
}

/// Global L2 norm of the parameters' gradients: a scalar that stays on their device.
///
/// # Errors
/// A parameter without a gradient.
pub fn gradient_norm(parameters: &[Tensor]) -> Result<Tensor, NativeError> {
    let list = pointers(parameters);
    // SAFETY: the list and its tensors live through the call.
    returned(|out| unsafe { ffi::distilsweep_gradient_norm(out, list.as_ptr(), list.len()) })
}

/// Multiplies every gradient by the scalar `factor`, in place.
///
/// # Errors
/// A parameter without a gradient.
pub fn scale_gradients(parameters: &[Tensor], factor: &Tensor) -> Result<(), NativeError> {
    let list = pointers(parameters);
    // SAFETY: the list and its tensors live through the call; gradients are written under no other borrow.
    checked(unsafe { ffi::distilsweep_scale_gradients(list.as_ptr(), list.len(), raw(factor)) })
}

/// One step of AdamW by libtorch's fused kernel, as `torch.optim.AdamW(fused=True)`: updates the parameters and their
/// moments in place. Gradients are divided by the float32 scalar `divisor` first, where there is one, which folds
/// clipping in without reading the norm.
///
/// # Errors
/// A parameter without a gradient, or shapes that do not agree.
pub fn fused_adamw(
    parameters: &[Tensor],
    first_moments: &[Tensor],
    second_moments: &[Tensor],
    constants: AdamW,
    divisor: Option<&Tensor>,
) -> Result<(), NativeError> {
    if first_moments.len() != parameters.len() || second_moments.len() != parameters.len() {
        return Err(NativeError(format!(
            "{} parameters have {} first and {} second moments",
            parameters.len(),
            first_moments.len(),
            second_moments.len()
        )));
    }
    let (weights, first, second) = (pointers(parameters), pointers(first_moments), pointers(second_moments));
    // SAFETY: the lists have one length and live through the call, as their tensors do.
    checked(unsafe {
        ffi::distilsweep_fused_adamw(
            weights.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            weights.len(),
            constants.step,
            constants.learning_rate,
            constants.beta1,
            constants.beta2,
            constants.weight_decay,
            constants.epsilon,
            divisor.map_or(std::ptr::null(), raw),
        )
    })
}

/// Opens libtorch's CUDA half, which registers itself. To be called before any other function of libtorch: the first
/// that asks for CUDA settles for the whole process whether it is there. Calling it again does nothing.
///
/// # Errors
/// Why the dynamic linker cannot open it.
pub fn load_cuda() -> Result<(), NativeError> {
    // SAFETY: the name is a C string that lives as long as the program.
    checked(unsafe { ffi::distilsweep_load_library(c"libtorch_cuda.so".as_ptr()) })
}

/// Has the C library keep what is freed instead of giving it back to the system, which would fill it with zeros page
/// by page at the next use: a step frees and takes again hundreds of megabytes. For the whole process.
pub fn keep_freed_memory() {
    // SAFETY: it only sets options of the allocator.
    unsafe { ffi::distilsweep_keep_freed_memory() };
}

/// Gives what is freed and was kept back to the system, once. After a lack of memory others want it: threads for their
/// stacks, oneDNN for the code that it makes.
pub fn release_freed_memory() {
    // SAFETY: it changes nothing that is in use.
    unsafe { ffi::distilsweep_release_freed_memory() };
}

/// Version of the libtorch that this was built against: "2.11.0", say.
pub fn torch_version() -> String {
    // SAFETY: the shim returns a C string that lives as long as the program.
    unsafe { CStr::from_ptr(ffi::distilsweep_torch_version()) }.to_string_lossy().into_owned()
}

fn raw(tensor: &Tensor) -> *const c_void {
    tensor.as_ptr().cast()
}

fn pointers(tensors: &[Tensor]) -> Vec<*const c_void> {
    tensors.iter().map(raw).collect()
}

fn checked(error: *mut c_char) -> Result<(), NativeError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the shim returns a C string of its own, which nobody else frees.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above; `error` is not used afterwards.
    unsafe { ffi::distilsweep_free(error) };
    Err(NativeError(text))
}

fn returned(call: impl FnOnce(*mut *mut c_void) -> *mut c_char) -> Result<Tensor, NativeError> {
    let mut out: *mut c_void = std::ptr::null_mut();
    checked(call(&mut out))?;
    // SAFETY: without an error the shim has made a tensor and hands it over.
    Ok(unsafe { Tensor::from_ptr(out.cast()) })
}
