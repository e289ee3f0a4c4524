//! Generates the gRPC code at build time; it is never committed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["distilsweep/v1/common.proto", "distilsweep/v1/worker.proto", "distilsweep/v1/sweep.proto"];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
