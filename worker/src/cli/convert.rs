//! `convert`: any loadable checkpoint as a DistilBERT one.

use std::path::PathBuf;

use clap::Args;
use tch::Kind;

use super::output::Output;
use crate::{
    model::{Config, Parameters, save},
    trainer::Ended,
};

/// The encoder is written without a head: training makes one for its data's classes.
#[derive(Debug, Args)]
pub(super) struct Arguments {
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

pub(super) fn run(arguments: &Arguments) -> Result<(), Ended> {
    let directory = distilsweep_data::model_directory(&arguments.model, None)?;
    let config = Config::read(&directory)?;
    let parameters = match arguments.random {
        true => Parameters::random(&config, 0, arguments.seed, Kind::Float)?,
        false => Parameters::load(&directory, &config, 0, arguments.seed, Kind::Float)?,
    };
    let output = Output::create(&arguments.output)?;
    save(&parameters, &config, &[], &directory, &arguments.output)?;
    output.keep();
    Ok(())
}
