//! `drain`: how soon a worker that is told to go has its trial's state published, at DistilBERT's size; one line of JSON
//! on standard output. Wants the programs beside it: `cargo build --release --workspace --bins`.

use std::process::ExitCode;

use clap::Parser;
use distilsweep_tests::leaving::{Leaving, leaving};

fn main() -> ExitCode {
    match leaving(&Leaving::parse()) {
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
