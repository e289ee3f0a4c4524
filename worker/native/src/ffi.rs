//! The C functions of `shim/shim.cpp`; pointers to tensors are those of `tch`.

use std::ffi::{c_char, c_void};

use crate::CudaMemory;

unsafe extern "C" {
    pub(crate) fn distilsweep_torch_version() -> *const c_char;
    pub(crate) fn distilsweep_keep_freed_memory();
    pub(crate) fn distilsweep_release_freed_memory();
    pub(crate) fn distilsweep_free(text: *mut c_char);
    pub(crate) fn distilsweep_dropout_rows(
        out: *mut *mut c_void,
        input: *const c_void,
        examples: *const c_void,
        positions: *const c_void,
        seed: u64,
        site: u64,
        step: u64,
        p: f64,
        tensors: bool,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_dropout_attention(
        out: *mut *mut c_void,
        input: *const c_void,
        examples: *const c_void,
        seed: u64,
        site: u64,
        step: u64,
        p: f64,
        tensors: bool,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_linear(
        out: *mut *mut c_void,
        rows: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        kind: i32,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_attention(
        out: *mut *mut c_void,
        query: *const c_void,
        key: *const c_void,
        value: *const c_void,
        starts: *const c_void,
        examples: *const c_void,
        heads: i64,
        seed: u64,
        site: u64,
        step: u64,
        p: f64,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_residual_norm(
        out: *mut *mut c_void,
        rows: *const c_void,
        residual: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        examples: *const c_void,
        positions: *const c_void,
        seed: u64,
        site: u64,
        step: u64,
        p: f64,
        epsilon: f64,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_scatter_rows(
        out: *mut *mut c_void,
        rows: *const c_void,
        slots: *const c_void,
        total: i64,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_gather_rows(
        out: *mut *mut c_void,
        rows: *const c_void,
        slots: *const c_void,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_clear_gradients(parameters: *const *const c_void, count: usize) -> *mut c_char;
    pub(crate) fn distilsweep_gradient_norm(
        out: *mut *mut c_void,
        parameters: *const *const c_void,
        count: usize,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_scale_gradients(
        parameters: *const *const c_void,
        count: usize,
        factor: *const c_void,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_fused_adamw(
        parameters: *const *const c_void,
        first: *const *const c_void,
        second: *const *const c_void,
        count: usize,
        step: i64,
        learning_rate: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        epsilon: f64,
        divisor: *const c_void,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_load_library(name: *const c_char) -> *mut c_char;
    pub(crate) fn distilsweep_dropout_base(seed: u64, site: u64, step: u64) -> u64;
    pub(crate) fn distilsweep_dropout_rate(threshold: *mut i64, scale: *mut f64, p: f64) -> *mut c_char;
    pub(crate) fn distilsweep_dropout_lane_rows(
        out: *mut *mut c_void,
        input: *const c_void,
        examples: *const c_void,
        positions: *const c_void,
        bases: *const c_void,
        thresholds: *const c_void,
        scales: *const c_void,
        tensors: bool,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_dropout_lane_attention(
        out: *mut *mut c_void,
        input: *const c_void,
        examples: *const c_void,
        bases: *const c_void,
        thresholds: *const c_void,
        scales: *const c_void,
        tensors: bool,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_lane_linear(
        out: *mut *mut c_void,
        rows: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_share_storage(parameter: *const c_void, view: *const c_void) -> *mut c_char;
    pub(crate) fn distilsweep_give_gradients(
        stacks: *const *const c_void,
        parts: *const usize,
        count: usize,
        lane: i64,
        parameters: *const *const c_void,
    ) -> *mut c_char;
    pub(crate) fn distilsweep_cuda_memory(memory: *mut CudaMemory, index: i64) -> *mut c_char;
    pub(crate) fn distilsweep_cuda_forget_peak(index: i64) -> *mut c_char;
    pub(crate) fn distilsweep_cuda_model(
        name: *mut c_char,
        length: i32,
        major: *mut i32,
        minor: *mut i32,
        index: i64,
    ) -> *mut c_char;
}
