//! `distilsweep trial stop|retry`.

use clap::{Args, Subcommand};
use distilsweep_proto::{exit::Exit, v1};

use super::{
    CliError, connect,
    connect::Target,
    order::{self, Answer},
};

/// Commands about one trial.
#[derive(Debug, Subcommand)]
pub(super) enum Trial {
    /// End a trial without a result, or leave it out where it has not begun
    Stop(Named),
    /// Try a trial again that ended without a result
    Retry(Named),
}

/// Arguments of commands about one trial.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Id or name of the sweep
    sweep: String,

    /// Number of the trial, as in the ranking
    trial: u64,

    #[command(flatten)]
    target: Target,
}

impl Trial {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Trial::Stop(Named { sweep, trial, target }) => {
                let request = v1::StopTrialRequest { sweep, by: connect::user(), trial };
                let told = |answer: &Answer| match answer.changed {
                    0 => format!("trial {trial} of sweep {} has ended already", answer.sweep),
                    _ => format!("trial {trial} of sweep {} is stopped", answer.sweep),
                };
                order::give(&target, told, async move |client| client.stop_trial(request).await).await?;
            }
            Trial::Retry(Named { sweep, trial, target }) => {
                let request = v1::RetryTrialsRequest {
                    sweep,
                    by: connect::user(),
                    trials: vec![trial],
                    ..Default::default()
                };
                order::give(&target, order::retried, async move |client| client.retry_trials(request).await)
                    .await?;
            }
        }
        Ok(Exit::Success)
    }
}
