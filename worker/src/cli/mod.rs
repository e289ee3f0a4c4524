//! The command line: subcommands, what they print, and exit codes.

mod convert;
mod train;

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::trainer::Ended;

const EXIT_CODES: &str = "exit codes: 0 done, 1 internal error, 2 wrong input or usage, 3 the training diverged, \
                          4 out of memory, 130 stopped";

/// Trains Distilsweep's trials.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train one trial without a coordinator
    Train(train::Arguments),
    /// Write any loadable checkpoint as a DistilBERT one
    Convert(convert::Arguments),
}

impl Cli {
    /// Does what the command line says.
    ///
    /// # Errors
    /// Why it could not.
    pub fn run(self) -> Result<(), Ended> {
        match self.command {
            Command::Train(arguments) => train::run(&arguments),
            Command::Convert(arguments) => convert::run(&arguments),
        }
    }
}

/// The exit code of an ending, as `--help` documents them.
pub fn exit_code(ended: &Ended) -> ExitCode {
    ExitCode::from(match ended {
        Ended::Internal(_) => 1,
        Ended::BadInput(_) | Ended::BadPoint(_) => 2,
        Ended::Diverged(_) => 3,
        Ended::OutOfMemory(_) => 4,
        Ended::Stopped => 130,
    })
}

/// A directory that a command fills. Dropped before [`Self::keep`], it leaves nothing behind.
struct Output<'a> {
    path: &'a Path,
    made: bool,
    kept: bool,
}

impl<'a> Output<'a> {
    /// Takes an empty directory, or makes one.
    fn create(path: &'a Path) -> Result<Self, Ended> {
        match std::fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(Self { path, made: false, kept: false }),
            Ok(false) => Err(Ended::BadInput(format!(
                "{} is not empty: --output must name a new or an empty directory",
                path.display()
            ))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
                Ok(Self { path, made: true, kept: false })
            }
            Err(error) => Err(unwritable(path, &error)),
        }
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let _ = std::fs::remove_dir_all(self.path);
        if !self.made {
            let _ = std::fs::create_dir(self.path);
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Ended {
    Ended::BadInput(format!("cannot write {}: {error}", path.display()))
}
