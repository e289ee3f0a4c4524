//! The contract between coordinator and worker: gRPC messages, ids, hyperparameters and metric names.
//!
//! Nothing here decides anything. Messages end in the `convert.rs` of each side; what both sides read alike
//! (which hyperparameters exist, how metrics are called) is defined here once.

pub mod convert;
pub mod dataset;
pub mod dial;
pub mod exit;
pub mod health;
pub mod hex;
pub mod ids;
pub mod json;
pub mod limits;
pub mod logs;
pub mod manifest;
pub mod names;
pub mod pages;
pub mod params;
pub mod plain;
pub mod resource;
pub mod storage;
pub mod terminal;
pub mod version;

/// What KEDA asks of a scaler: generated from `proto/keda/externalscaler.proto`.
#[expect(missing_docs, clippy::allow_attributes, reason = "generated from the .proto file")]
pub mod keda {
    tonic::include_proto!("externalscaler");
}

/// Messages, clients and servers generated from `proto/distilsweep/v1`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    clippy::large_enum_variant,
    reason = "generated from the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("distilsweep.v1");

    /// The services' own description (a serialized `FileDescriptorSet`), for reflection.
    pub const DESCRIPTION: &[u8] = tonic::include_file_descriptor_set!("distilsweep");
}
