//! What is known of a CUDA device; [`crate::load_cuda`] comes first.

use std::ffi::CStr;

use crate::{NativeError, checked, ffi};

/// Memory of a CUDA device, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CudaMemory {
    /// Held by this process's libtorch, what it keeps for later included.
    pub held: u64,
    /// In its tensors.
    pub used: u64,
    /// The most that was in its tensors since [`cuda_forget_peak`].
    pub peak: u64,
    /// Held by nobody.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Which CUDA device it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaModel {
    /// "NVIDIA H100 80GB HBM3", say.
    pub name: String,
    /// Compute capability, (9, 0) say.
    pub capability: (i32, i32),
}

/// Memory of the CUDA device of this number.
///
/// # Errors
/// The device is not there, or libtorch's CUDA half is not.
pub fn cuda_memory(index: usize) -> Result<CudaMemory, NativeError> {
    let mut memory = CudaMemory::default();
    // SAFETY: the struct, laid out as in C, lives through the call, which writes it.
    checked(unsafe { ffi::distilsweep_cuda_memory(&mut memory, index as i64) })?;
    Ok(memory)
}

/// From here on [`CudaMemory::peak`] is counted anew.
///
/// # Errors
/// As [`cuda_memory`].
pub fn cuda_forget_peak(index: usize) -> Result<(), NativeError> {
    // SAFETY: it takes a number.
    checked(unsafe { ffi::distilsweep_cuda_forget_peak(index as i64) })
}

/// Name and capability of the CUDA device of this number.
///
/// # Errors
/// The device is not there, or the driver is not.
pub fn cuda_model(index: usize) -> Result<CudaModel, NativeError> {
    let (mut name, mut major, mut minor) = ([0; 256], 0, 0);
    // SAFETY: the buffer has the length that the call is told and lives through it, as the numbers do.
    checked(unsafe {
        ffi::distilsweep_cuda_model(name.as_mut_ptr(), 256, &mut major, &mut minor, index as i64)
    })?;
    // SAFETY: the driver ends the name with a zero within the buffer.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    Ok(CudaModel { name, capability: (major, minor) })
}
