//! `distilsweep`: see the library.

use std::process::ExitCode;

use clap::Parser;
use distilsweep::cli::Cli;
use distilsweep_proto::logs;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logs::start(cli.begin(), cli.is_service());
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("error: {error}");
            error.exit.into()
        }
    }
}
