//! Lets the binaries and tests of this crate find libtorch where `LIBTORCH` says it is.

use std::env;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    if env::var_os("CARGO_FEATURE_TORCH").is_none() {
        return;
    }
    if let Ok(libtorch) = env::var("LIBTORCH") {
        // RUNPATH, so that LD_LIBRARY_PATH can put a CUDA build of the same libtorch first.
        println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{libtorch}/lib");
    }
}
