//! The command line: parse, run, one sentence on failure, an exit code.

mod check;
mod confirm;
mod connect;
mod data;
mod events;
mod export;
mod files;
mod fleet;
mod hub;
mod measure;
mod mending;
mod mlflow;
mod order;
mod origin;
mod report;
mod results;
mod run;
mod serve;
mod status;
mod sweep;
mod terminal;
mod trial;
mod watch;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};
use distilsweep_proto::{
    examples,
    exit::{self, Exit},
    health::{Health, HealthError},
    pages::{Completions, Man},
    terminal::Manner,
};

use crate::{
    engine::EngineError, naming::Unnamed, server::ServerError, spec, store::StoreError, text::escape_controls,
};

/// One file of hyperparameters in, fine-tuned DistilBERTs out, ranked and recorded in MLflow.
#[derive(Debug, Parser)]
#[command(name = "distilsweep", version, after_help = exit::HELP)]
pub struct Cli {
    #[command(flatten)]
    manner: Manner,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a sweep on this machine, from its file to its ranking
    Run(run::Run),
    /// Look a sweep file through before it is run: points, model, data, and what it will take
    Check(check::Check),
    /// Serve as coordinator for workers and commands on other machines
    Serve(serve::Serve),
    /// Submit, show and steer sweeps
    #[command(subcommand, after_help = examples!["distilsweep sweep list", "distilsweep sweep pause emotion-lr"])]
    Sweep(sweep::Sweep),
    /// Stop a trial, or try one again
    #[command(subcommand, after_help = examples!["distilsweep trial retry emotion-lr/3"])]
    Trial(trial::Trial),
    /// List workers, or have one end
    #[command(subcommand, after_help = examples!["distilsweep worker list"])]
    Worker(worker::Worker),
    /// Print a JSON Schema of sweep files, by which editors complete and check them
    #[command(after_help = examples!["distilsweep schema > sweep.schema.json"])]
    Schema,
    /// Show the ranking of a sweep
    #[command(after_help = examples![
        "distilsweep results emotion-lr",
        "distilsweep results emotion-lr --format markdown -o out",
        "distilsweep results emotion-lr --best > best.yaml",
    ])]
    Results(results::Results),
    /// Write the model of the best trial as a directory that transformers loads, with a model card
    Export(export::Export),
    /// Write a sweep's report: one file for a browser, and its plots as SVG files
    #[command(after_help = examples!["distilsweep report emotion-lr -o report.html --svg plots"])]
    Report(report::Report),
    /// Look for models and data sets on the Hugging Face Hub
    #[command(subcommand, after_help = examples![
        "distilsweep hub datasets --search emotion",
        "distilsweep hub show dair-ai/emotion",
    ])]
    Hub(hub::HubCommand),
    /// Look at a data set, or at the tokens of a text
    #[command(subcommand, after_help = examples![
        "distilsweep data inspect sweep.yaml",
        "distilsweep data tokenize --model distilbert-base-uncased 'a fine day'",
    ])]
    Data(data::Data),
    /// Send MLflow what it lacks, or compare what it holds with what was recorded
    #[command(subcommand, after_help = examples![
        "distilsweep mlflow verify emotion-lr --mlflow http://127.0.0.1:5000",
    ])]
    Mlflow(mlflow::Mlflow),
    /// Ask a coordinator or worker on this machine for its health, as a container's probe
    #[command(after_help = examples![
        "distilsweep health",
        "distilsweep health --http 127.0.0.1:7071 --ready",
    ])]
    Health(Health),
    /// Print a script that completes command lines, for a shell to read
    #[command(after_help = examples![
        "distilsweep completions bash > ~/.local/share/bash-completion/completions/distilsweep",
        "distilsweep completions zsh > ~/.zfunc/_distilsweep",
        "distilsweep completions fish > ~/.config/fish/completions/distilsweep.fish",
    ])]
    Completions(Completions),
    /// Write man pages, one a command
    #[command(after_help = examples!["distilsweep man -o ~/.local/share/man/man1"])]
    Man(Man),
}

/// What goes wrong, for the terminal.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// One sentence; of a sweep file one a problem, each on its line.
    pub message: String,
}

impl CliError {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: escape_controls(&message.into()) }
    }

    fn failure(message: impl Into<String>) -> Self {
        Self::new(Exit::Failure, message)
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let exit = match error {
            StoreError::InUse(_) => Exit::InUse,
            StoreError::Absent(_) => Exit::BadInput,
            StoreError::Newer { .. }
            | StoreError::Directory { .. }
            | StoreError::Database { .. }
            | StoreError::Record(_) => Exit::Failure,
        };
        Self::new(exit, error.to_string())
    }
}

impl From<Unnamed> for CliError {
    fn from(error: Unnamed) -> Self {
        // As where a coordinator says it.
        Self::new(Exit::BadInput, error.to_string())
    }
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Store(error) => error.into(),
            EngineError::Panicked(_) => Self::failure(error.to_string()),
        }
    }
}

impl From<ServerError> for CliError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Store(error) => error.into(),
            ServerError::Listen { .. } => Self::new(Exit::InUse, error.to_string()),
            ServerError::Open { .. } | ServerError::Tls(_) => Self::new(Exit::Usage, error.to_string()),
        }
    }
}

impl From<HealthError> for CliError {
    fn from(error: HealthError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

impl From<tonic::Status> for CliError {
    fn from(status: tonic::Status) -> Self {
        let exit = match status.code() {
            tonic::Code::InvalidArgument | tonic::Code::NotFound => Exit::BadInput,
            tonic::Code::Unavailable => Exit::Unreachable,
            tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => Exit::Refused,
            _ => Exit::Failure,
        };
        Self::new(exit, status.message())
    }
}

impl Cli {
    /// Says from now on as much as was asked for. Answers what is logged when `RUST_LOG` says nothing: a service tells
    /// what happens, a command only what goes wrong.
    pub fn begin(&self) -> &'static str {
        self.manner.begin(if self.is_service() { "info" } else { "warn" })
    }

    /// Whether it serves others until it is told to stop.
    pub fn is_service(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }

    /// Runs the chosen command.
    ///
    /// # Errors
    /// What to print, with the exit code.
    pub fn run(self) -> Result<Exit, CliError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| CliError::failure(format!("no runtime: {error}")))?;
        runtime.block_on(async {
            match self.command {
                Command::Run(run) => Box::pin(run.run()).await,
                Command::Check(check) => Box::pin(check.run()).await,
                Command::Serve(serve) => serve.run().await,
                Command::Sweep(sweep) => sweep.run().await,
                Command::Trial(trial) => trial.run().await,
                Command::Worker(worker) => worker.run().await,
                Command::Schema => {
                    results::print(&format!("{:#}", spec::schema()));
                    Ok(Exit::Success)
                }
                Command::Results(results) => results.run().await,
                Command::Export(export) => export.run().await,
                Command::Report(report) => report.run().await,
                Command::Hub(hub) => hub.run().await,
                Command::Data(data) => data.run().await,
                Command::Mlflow(mlflow) => mlflow.run().await,
                Command::Health(health) => {
                    println!("{}", health.ask().await?);
                    Ok(Exit::Success)
                }
                Command::Completions(completions) => {
                    results::print(&completions.script(Self::command()));
                    Ok(Exit::Success)
                }
                Command::Man(man) => {
                    man.write(Self::command()).map_err(CliError::failure)?;
                    Ok(Exit::Success)
                }
            }
        })
    }
}
