//! The model that `predict` and `evaluate` use: the options that say which and how.

use clap::Args;

use crate::{
    classifier::{Classifier, Options},
    torch::{DeviceChoice, Precision},
    trainer::Ended,
};

#[derive(Debug, Args)]
pub(super) struct Model {
    /// Directory or Hub id of a trained model
    #[arg(long)]
    model: String,
    /// Tokens that a text is cut to [default: as many as the model has positions]
    #[arg(long, value_name = "TOKENS")]
    max_length: Option<usize>,
    /// Texts at a time
    #[arg(long, default_value = "64", value_name = "TEXTS", value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Where to compute: auto (a GPU where libtorch has one), cpu, cuda or cuda:NUMBER
    #[arg(long, default_value = "cpu")]
    device: DeviceChoice,
    /// fp32, bf16 or fp64
    #[arg(long, default_value = "fp32")]
    precision: Precision,
    /// Threads of libtorch's operators; libtorch's choice when left out
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Model {
    /// Loads it.
    pub(super) fn open(&self) -> Result<Classifier, Ended> {
        Classifier::open(
            &self.model,
            Options {
                device: self.device,
                precision: self.precision,
                threads: self.threads.map(usize::from),
                batch: usize::from(self.batch),
                max_length: self.max_length,
            },
        )
    }
}
