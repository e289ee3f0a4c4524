//! `distilsweep-worker`: trains trials.

use std::process::ExitCode;

use clap::Parser;
use distilsweep_worker::cli::{Cli, exit_code};

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(ended) => {
            eprintln!("error: {ended}");
            exit_code(&ended)
        }
    }
}
