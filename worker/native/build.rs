//! Compiles the shim against the headers of the libtorch that `LIBTORCH` names, and lets this crate's tests find it.

use std::{env, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    println!("cargo:rerun-if-changed=shim");
    let Some(libtorch) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        panic!(
            "LIBTORCH is not set: run deploy/libtorch.sh once, which fetches libtorch and tells cargo where it is"
        );
    };
    let library = libtorch.join("lib");
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .pic(true)
        // The dropout loop is on the training path; an unoptimised one would make debug builds crawl.
        .opt_level(3)
        .warnings(false)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .include(libtorch.join("include"))
        .include(libtorch.join("include/torch/csrc/api/include"))
        .files(["shim/shim.cpp", "shim/lanes.cpp", "shim/block.cpp", "shim/device.cpp"])
        .compile("distilsweep_shim");
    println!("cargo:rustc-link-search=native={}", library.display());
    // After the shim: a linker that drops unneeded libraries reads them in order.
    for name in ["torch_cpu", "c10"] {
        println!("cargo:rustc-link-lib={name}");
    }
    println!("cargo:rustc-link-arg=-Wl,--enable-new-dtags,-rpath,{}", library.display());
}
