//! What is known of a CUDA device; [`crate::load_cuda`] comes first.

use std::ffi::CStr;

use crate::{NativeError, checked, ffi};

/// Memory of a CUDA device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CudaMemory {
    /// Held by this process's libtorch, what it keeps for later included.
    pub held: u64,
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
    let (mut held, mut free, mut total) = (0, 0, 0);
    // SAFETY: the numbers live through the call, which writes them.
    checked(unsafe { ffi::distilsweep_cuda_memory(&mut held, &mut free, &mut total, index as i64) })?;
    Ok(CudaMemory { held, free, total })
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
