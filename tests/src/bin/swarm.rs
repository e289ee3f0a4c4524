//! `swarm`: how much one coordinator takes. A real `distilsweep serve` process on a real disk, as many connections as
//! asked for, a scripted worker on each; one line of JSON on standard output.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use distilsweep::cli::Cli;
use distilsweep_tests::swarm::{self, COORDINATOR, Options};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == COORDINATOR) {
        return coordinator(arguments.into_iter().skip(1));
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

/// This program as `distilsweep`, with the arguments that follow.
fn coordinator(arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    tracing_subscriber::fmt()
        .with_env_filter(cli.default_log_level())
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit.into()
        }
    }
}
