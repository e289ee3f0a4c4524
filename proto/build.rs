//! Generates the gRPC code and its description, for reflection, at build time; neither is ever committed.

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["distilsweep/v1/common.proto", "distilsweep/v1/worker.proto", "distilsweep/v1/sweep.proto"];
    let keda = "keda/externalscaler.proto";
    for file in files.into_iter().chain([keda]) {
        println!("cargo:rerun-if-changed={file}");
    }
    tonic_prost_build::configure().compile_fds(protox::compile([keda], ["."])?)?;
    let descriptors = protox::compile(files, ["."])?;
    let description = std::path::Path::new(&std::env::var("OUT_DIR")?).join("distilsweep.bin");
    std::fs::write(description, descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
