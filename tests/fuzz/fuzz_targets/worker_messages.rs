//! See the function.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| distilsweep_fuzz::worker_messages(input));
