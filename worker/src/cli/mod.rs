//! The command line: parse, run, one sentence on failure, an exit code.

#[cfg(feature = "torch")]
mod checkpoints;
#[cfg(feature = "torch")]
mod convert;
#[cfg(feature = "torch")]
mod devices;
#[cfg(feature = "torch")]
mod evaluate;
mod join;
mod leave;
#[cfg(feature = "torch")]
mod model;
#[cfg(feature = "torch")]
mod output;
#[cfg(feature = "torch")]
mod predict;
#[cfg(feature = "torch")]
mod progress;
#[cfg(feature = "torch")]
mod record;
#[cfg(feature = "torch")]
mod report;
#[cfg(feature = "torch")]
mod terminal;
#[cfg(feature = "torch")]
mod train;

use std::{io::Write, time::Duration};

use clap::{CommandFactory, Parser, Subcommand};
use distilsweep_proto::{
    dial::DialError,
    examples,
    exit::{self, Exit},
    health::{Health, HealthError},
    pages::{Completions, Man},
    terminal::Manner,
};

use tokio::runtime::Runtime;

use crate::trainer::Ended;

/// Fine-tunes DistilBERT for a Distilsweep coordinator, or alone.
#[derive(Debug, Parser)]
#[command(name = "distilsweep-worker", version, after_help = exit::HELP)]
pub struct Cli {
    #[command(flatten)]
    manner: Manner,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train trials for a coordinator
    Join(Box<join::Join>),
    /// Train one trial without a coordinator
    #[cfg(feature = "torch")]
    Train(Box<train::Train>),
    /// Tell which class a trained model takes texts for
    #[cfg(feature = "torch")]
    Predict(predict::Predict),
    /// Measure a trained model on a labelled file
    #[cfg(feature = "torch")]
    Evaluate(evaluate::Evaluate),
    /// Write any loadable checkpoint as a DistilBERT one
    #[cfg(feature = "torch")]
    Convert(convert::Convert),
    /// Say where training can be done: devices, their memory, libtorch
    #[cfg(feature = "torch")]
    Devices(devices::Devices),
    /// Ask a worker or coordinator on this machine for its health, as a container's probe
    #[command(after_help = examples![
        "distilsweep-worker health",
        "distilsweep-worker health --http 127.0.0.1:7072 --ready",
    ])]
    Health(Health),
    /// Print a script that completes command lines, for a shell to read
    #[command(after_help = examples![
        "distilsweep-worker completions zsh > ~/.zfunc/_distilsweep-worker",
    ])]
    Completions(Completions),
    /// Write man pages, one a command
    #[command(after_help = examples![
        "distilsweep-worker man -o ~/.local/share/man/man1",
    ])]
    Man(Man),
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

impl From<DialError> for CliError {
    fn from(error: DialError) -> Self {
        Self { exit: error.exit(), message: error.to_string() }
    }
}

impl From<HealthError> for CliError {
    fn from(error: HealthError) -> Self {
        Self { exit: error.exit(), message: error.to_string() }
    }
}

impl From<Ended> for CliError {
    fn from(ended: Ended) -> Self {
        let exit = match &ended {
            Ended::BadInput(_) | Ended::BadPoint(_) => Exit::BadInput,
            Ended::Diverged(_) => Exit::Incomplete,
            Ended::OutOfMemory(_) | Ended::Internal(_) => Exit::Failure,
            Ended::Stopped | Ended::Paused => Exit::Interrupted,
        };
        Self { exit, message: ended.to_string() }
    }
}

impl Cli {
    /// Says from now on as much as was asked for. Answers what is logged when `RUST_LOG` says nothing.
    pub fn begin(&self) -> &'static str {
        self.manner.begin("info")
    }

    /// Whether it serves a coordinator until it is told to stop.
    pub fn is_service(&self) -> bool {
        matches!(self.command, Command::Join(_))
    }

    /// Runs the chosen command.
    ///
    /// # Errors
    /// One sentence for the terminal, with its exit code.
    pub fn run(self) -> Result<Exit, CliError> {
        match self.command {
            Command::Join(join) => join.run(),
            #[cfg(feature = "torch")]
            Command::Train(train) => Ok(train.run().map(|()| Exit::Success)?),
            #[cfg(feature = "torch")]
            Command::Predict(predict) => Ok(predict.run().map(|()| Exit::Success)?),
            #[cfg(feature = "torch")]
            Command::Evaluate(evaluate) => Ok(evaluate.run().map(|()| Exit::Success)?),
            #[cfg(feature = "torch")]
            Command::Convert(convert) => Ok(convert.run().map(|()| Exit::Success)?),
            #[cfg(feature = "torch")]
            Command::Devices(devices) => devices.run(),
            Command::Health(health) => {
                println!("{}", runtime()?.block_on(health.ask())?);
                Ok(Exit::Success)
            }
            Command::Completions(completions) => {
                // Whoever reads it may have seen enough.
                let _ = std::io::stdout().write_all(completions.script(Self::command()).as_bytes());
                Ok(Exit::Success)
            }
            Command::Man(man) => {
                man.write(Self::command()).map_err(CliError::failure)?;
                Ok(Exit::Success)
            }
        }
    }
}

/// A runtime for what waits for others.
fn runtime() -> Result<Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::failure(format!("no runtime: {error}")))
}

/// Reads a positive number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text} is no interval, it must be a positive number of seconds"))
}
