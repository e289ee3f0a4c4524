//! The command line: parse, run, one sentence on failure, an exit code.

mod join;

use clap::{Parser, Subcommand};
use distilsweep_proto::exit::Exit;

/// Fine-tunes DistilBERT for a Distilsweep coordinator, or alone.
#[derive(Debug, Parser)]
#[command(name = "distilsweep-worker", version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train trials for a coordinator
    Join(join::Join),
}

/// What goes wrong, for the terminal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// One sentence.
    pub message: String,
}

impl CliError {
    fn failure(message: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, message: message.into() }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into() }
    }
}

impl Cli {
    /// Runs the chosen command.
    ///
    /// # Errors
    /// One sentence for the terminal, with its exit code.
    pub fn run(self) -> Result<Exit, CliError> {
        match self.command {
            Command::Join(join) => join.run(),
        }
    }
}
