//! `distilsweep trial stop|retry`, and how a trial is named.

use clap::{Args, Subcommand};
use distilsweep_proto::{examples, exit::Exit, v1};

use super::{
    CliError, connect,
    connect::Target,
    order::{self, Answer},
};

/// Commands about one trial.
#[derive(Debug, Subcommand)]
pub(super) enum Trial {
    /// End a trial without a result, or leave it out where it has not begun
    #[command(after_help = examples![
        "distilsweep trial stop emotion-lr/3",
    ])]
    Stop(Named),
    /// Try a trial again that ended without a result
    #[command(after_help = examples![
        "distilsweep trial retry emotion-lr/3",
        "distilsweep trial retry 3",
    ])]
    Retry(Named),
}

/// Arguments of commands about one trial.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// SWEEP/NUMBER, or SWEEP and NUMBER, or the number alone of a trial of the latest sweep
    #[arg(required = true, num_args = 1..=2, value_name = "TRIAL")]
    trial: Vec<String>,

    #[command(flatten)]
    target: Target,
}

impl Trial {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Trial::Stop(Named { trial, target }) => {
                let (sweep, trial) = one(&trial)?;
                let request = v1::StopTrialRequest { sweep, by: connect::user(), trial };
                let told = |answer: &Answer| match answer.changed {
                    0 => format!("trial {trial} of sweep {} has ended already", answer.sweep),
                    _ => format!("trial {trial} of sweep {} is stopped", answer.sweep),
                };
                order::give(&target, told, async move |client| client.stop_trial(request).await).await?;
            }
            Trial::Retry(Named { trial, target }) => {
                let (sweep, trial) = one(&trial)?;
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

/// The sweep, and the trial of it, that one or two words name.
fn one(words: &[String]) -> Result<(String, u64), CliError> {
    let named = match words {
        [number] if !number.contains('/') => number.parse().ok().map(|number| (String::new(), number)),
        [sweep, number] if !sweep.contains('/') => number.parse().ok().map(|number| (sweep.clone(), number)),
        [both] => sweep_and_trial(both)?,
        [..] => None,
    };
    named.ok_or_else(|| {
        let words = words.join(" ");
        let message =
            format!("`{words}` names no trial: that is a number, SWEEP/NUMBER or SWEEP NUMBER, grid/3 say");
        CliError::new(Exit::Usage, message)
    })
}

/// A sweep, and the trial where the word is SWEEP/NUMBER: no sweep's name has a slash.
pub(super) fn sweep_and_trial(word: &str) -> Result<Option<(String, u64)>, CliError> {
    let Some((sweep, number)) = word.split_once('/') else { return Ok(None) };
    let number = number.parse().map_err(|_| {
        CliError::new(Exit::Usage, format!("`{word}` is no SWEEP/NUMBER: `{number}` is no trial's number"))
    })?;
    Ok(Some((sweep.to_owned(), number)))
}

/// What to say to SWEEP/NUMBER beside `--trial`.
pub(super) fn named_twice() -> CliError {
    CliError::new(Exit::Usage, "the trial is named twice, by SWEEP/NUMBER and --trial")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_a_number_of_the_latest_sweep_or_goes_with_the_name_of_its_own() {
        let said = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            match one(&words) {
                Ok((sweep, trial)) => format!("{line:<9} trial {trial} of `{sweep}`"),
                Err(error) => format!("{line:<9} {error}"),
            }
        };
        let lines = ["3", "grid/3", "grid 3", "/3", "grid", "grid/x", "grid x", "grid/3 4"];
        insta::assert_snapshot!(lines.map(said).join("\n"), @r"
        3         trial 3 of ``
        grid/3    trial 3 of `grid`
        grid 3    trial 3 of `grid`
        /3        trial 3 of ``
        grid      `grid` names no trial: that is a number, SWEEP/NUMBER or SWEEP NUMBER, grid/3 say
        grid/x    `grid/x` is no SWEEP/NUMBER: `x` is no trial's number
        grid x    `grid x` names no trial: that is a number, SWEEP/NUMBER or SWEEP NUMBER, grid/3 say
        grid/3 4  `grid/3 4` names no trial: that is a number, SWEEP/NUMBER or SWEEP NUMBER, grid/3 say
        ");
    }
}
