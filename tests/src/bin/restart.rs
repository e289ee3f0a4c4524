//! `restart`: how soon a coordinator serves on a state directory with a hundred thousand results; one line of JSON on
//! standard output.

use std::process::ExitCode;

use clap::Parser;
use distilsweep_tests::swarm::{self, Past};

fn main() -> ExitCode {
    if let Some(ended) = swarm::coordinator() {
        return ended;
    }
    match swarm::restart(Past::parse()) {
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
