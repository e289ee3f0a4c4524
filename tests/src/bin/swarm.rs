//! `swarm`: how much one coordinator takes. A real `distilsweep serve` process on a real disk, as many connections as
//! asked for, a scripted worker on each; one line of JSON on standard output.

use std::process::ExitCode;

use clap::Parser;
use distilsweep_tests::swarm::{self, Options};

fn main() -> ExitCode {
    if let Some(ended) = swarm::coordinator() {
        return ended;
    }
    match swarm::run(&Options::parse()) {
        Ok(figures) => {
            println!("{}", figures.json);
            if figures.faults.is_empty() {
                return ExitCode::SUCCESS;
            }
            for fault in &figures.faults {
                eprintln!("error: {fault}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
