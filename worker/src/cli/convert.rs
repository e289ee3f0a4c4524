//! `convert`: any loadable checkpoint as a DistilBERT one.

use std::path::PathBuf;

use clap::Args;
use distilsweep_data::Hub;
use distilsweep_proto::examples;
use tch::Kind;

use super::output::Output;
use crate::{
    model::{Config, Parameters, save},
    trainer::Ended,
};

/// The encoder is written without a head: training makes one for its data's classes.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep-worker convert --model bert-base-uncased --output start",
])]
pub(super) struct Convert {
    /// Directory or Hub id of a distilbert or bert checkpoint
    #[arg(long)]
    model: String,
    /// Write fresh weights of its shape
    #[arg(long)]
    random: bool,
    /// Seed of fresh weights
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// New or empty directory for the checkpoint
    #[arg(long)]
    output: PathBuf,
}

impl Convert {
    /// Runs the command.
    ///
    /// # Errors
    /// What is wrong with the checkpoint or the output directory.
    pub(super) fn run(&self) -> Result<(), Ended> {
        let directory = Hub::from_environment().model(&self.model, None)?.directory;
        let config = Config::read(&directory)?;
        let parameters = match self.random {
            true => Parameters::random(&config, 0, self.seed, Kind::Float)?,
            false => Parameters::load(&directory, &config, 0, self.seed, Kind::Float)?,
        };
        let output = Output::create(&self.output)?;
        save(&parameters, &config, None, &directory, &self.output)?;
        output.keep();
        Ok(())
    }
}
