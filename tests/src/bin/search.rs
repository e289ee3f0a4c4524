//! `search`: how many trials searches need until they are among the best of a space; a table on standard output.

use std::process::ExitCode;

use clap::Parser;
use distilsweep_tests::search::{self, Searches};

fn main() -> ExitCode {
    match search::run(Searches::parse()) {
        Ok(table) => {
            print!("{table}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
