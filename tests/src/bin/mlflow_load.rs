//! `mlflow_load`: how fast a backlog reaches MLflow, beside a bare load generator; one line of JSON on standard output.
//! `DISTILSWEEP_TEST_MLFLOW` names MLflow's program.

use std::process::ExitCode;

use clap::Parser;
use distilsweep_tests::load::{Load, load};

fn main() -> ExitCode {
    match load(Load::parse()) {
        Ok(figures) => {
            println!("{figures}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
