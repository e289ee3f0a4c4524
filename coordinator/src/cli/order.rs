//! What people order while a sweep runs: `distilsweep sweep pause|resume|extend|retry|priority`.

use clap::Args;
use distilsweep_proto::{examples, v1};
use tonic::{Response, Status};

use super::{
    CliError, connect,
    connect::{Client, Target},
    results,
    sweep::Named,
};

/// Arguments of `sweep extend`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep sweep extend emotion-lr seed=4,5 learning_rate=1e-4",
])]
pub(super) struct Extend {
    /// Id or name of the sweep, or what it alone begins with
    sweep: String,

    /// A parameter of the sweep's file with more values for it: learning_rate=1e-4,2e-4
    #[arg(required = true, value_name = "NAME=VALUE,…")]
    additions: Vec<String>,

    #[command(flatten)]
    target: Target,
}

/// Arguments of `sweep retry`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep sweep retry emotion-lr --failed",
    "distilsweep sweep retry emotion-lr --where 'learning_rate>1e-4 and seed=3'",
])]
pub(super) struct Retry {
    /// Those that failed
    #[arg(long)]
    failed: bool,

    /// Those whose loss left the finite numbers
    #[arg(long)]
    diverged: bool,

    /// Those that were stopped
    #[arg(long)]
    stopped: bool,

    /// Those that were ended early because others were better: they then train to their end
    #[arg(long)]
    early_stopped: bool,

    /// Those whose hyperparameters meet conditions: 'learning_rate>1e-4 and seed=3'
    #[arg(long = "where", value_name = "CONDITIONS", default_value = "", hide_default_value = true)]
    conditions: String,

    #[command(flatten)]
    named: Named,
}

/// Arguments of `sweep priority`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep sweep priority emotion-lr 2",
])]
pub(super) struct Priority {
    /// Id or name of the sweep, or what it alone begins with
    sweep: String,

    /// Its share of the workers against that of other sweeps: 2 gets twice the workers of 1
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    priority: u32,

    #[command(flatten)]
    target: Target,
}

impl Named {
    /// Runs `sweep pause`.
    pub(super) async fn pause(self) -> Result<(), CliError> {
        let request = v1::OrderRequest { sweep: self.sweep, by: connect::user() };
        let told = |answer: &Answer| match answer.changed {
            0 => format!("sweep {} is paused already", answer.sweep),
            _ => format!(
                "sweep {} is paused: {} trials under way go on to their end",
                answer.sweep, answer.running
            ),
        };
        give(&self.target, told, async move |client| client.pause_sweep(request).await).await
    }

    /// Runs `sweep resume`.
    pub(super) async fn resume(self) -> Result<(), CliError> {
        let request = v1::OrderRequest { sweep: self.sweep, by: connect::user() };
        let told = |answer: &Answer| match answer.changed {
            0 => format!("sweep {} is running already", answer.sweep),
            _ => format!("sweep {} goes on", answer.sweep),
        };
        give(&self.target, told, async move |client| client.resume_sweep(request).await).await
    }
}

impl Extend {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let request =
            v1::ExtendSweepRequest { sweep: self.sweep, by: connect::user(), additions: self.additions };
        let told = |answer: &Answer| match answer.changed {
            0 => format!("sweep {} has these values already: {} points", answer.sweep, answer.total),
            1 => format!("sweep {} has 1 point more, {} in all", answer.sweep, answer.total),
            added => format!("sweep {} has {added} points more, {} in all", answer.sweep, answer.total),
        };
        give(&self.target, told, async move |client| client.extend_sweep(request).await).await
    }
}

impl Retry {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let states = [
            (self.failed, v1::TrialState::Failed),
            (self.diverged, v1::TrialState::Diverged),
            (self.stopped, v1::TrialState::Cancelled),
            (self.early_stopped, v1::TrialState::EarlyStopped),
        ];
        let states =
            states.into_iter().filter(|(wanted, _)| *wanted).map(|(_, state)| state.into()).collect();
        let request = v1::RetryTrialsRequest {
            sweep: self.named.sweep,
            by: connect::user(),
            states,
            trials: Vec::new(),
            r#where: self.conditions,
        };
        give(&self.named.target, retried, async move |client| client.retry_trials(request).await).await
    }
}

/// What came of trying trials again.
pub(super) fn retried(answer: &Answer) -> String {
    match answer.changed {
        0 => format!("sweep {}: no such trial has ended without a result", answer.sweep),
        1 => format!("sweep {}: 1 trial is tried again", answer.sweep),
        trials => format!("sweep {}: {trials} trials are tried again", answer.sweep),
    }
}

impl Priority {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let request =
            v1::SetPriorityRequest { sweep: self.sweep, by: connect::user(), priority: self.priority };
        let told = |answer: &Answer| format!("sweep {} has priority {}", answer.sweep, answer.priority);
        give(&self.target, told, async move |client| client.set_priority(request).await).await
    }
}

/// What an order changed, and the sweep after it or the worker.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) changed: u64,
    pub(super) sweep: String,
    pub(super) worker: String,
    pub(super) total: u64,
    pub(super) running: usize,
    pub(super) priority: u32,
}

/// Gives an order and says in a sentence what came of it.
pub(super) async fn give(
    target: &Target,
    told: impl FnOnce(&Answer) -> String,
    order: impl AsyncFnOnce(&mut Client) -> Result<Response<v1::OrderResponse>, Status>,
) -> Result<(), CliError> {
    let mut connection = target.connect().await?;
    let answered = order(&mut connection.client).await;
    connection.close().await?;
    let v1::OrderResponse { changed, status, worker } = answered?.into_inner();
    let status = status.unwrap_or_default();
    results::print(&told(&Answer {
        changed,
        sweep: status.sweep,
        worker,
        total: status.total,
        running: status.running.len(),
        priority: status.priority,
    }));
    Ok(())
}
