//! `distilsweep results`, and the files that a sweep leaves.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use distilsweep_proto::{
    exit::Exit,
    names::{LOSS, Selection},
    v1,
};

use super::{
    CliError,
    connect::{Client, Target},
    mlflow::Recording,
    terminal, trial,
};
use crate::{
    clock::Clock,
    mlflow::{client::Client as Mlflow, op::RunIds},
    results::{self, Curve, Summary, trial::TrialView},
};

/// Trials whose curves are shown.
const CURVES: usize = 8;

/// Arguments of `results`.
#[derive(Debug, Args)]
pub(super) struct Results {
    /// Id or name of the sweep [default: the latest]; several are compared
    #[arg(value_name = "SWEEP")]
    sweeps: Vec<String>,

    /// How to show it; several sweeps or one trial as table or json
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,

    /// Print the sweep file with the best trial's hyperparameters alone instead, to train it again
    #[arg(long, conflicts_with_all = ["format", "json", "trial"])]
    best: bool,

    /// With --best: the command that trains it, for a shell in the directory of the sweep file
    #[arg(long, requires = "best")]
    command: bool,

    /// Rank trials that were ended early with the others, by the best of their evaluations
    #[arg(long)]
    early_stopped: bool,

    /// Show one trial: settings, curves, confusion matrix, worst mistakes, tries, files; SWEEP/N says the same
    #[arg(long, value_name = "N")]
    trial: Option<u64>,

    /// Also write the report and the ranking into this directory: HTML, Markdown, CSV and JSON
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,

    #[command(flatten)]
    held: Held,

    #[command(flatten)]
    target: Target,
}

/// Where results come from that no coordinator of ours has.
#[derive(Debug, Args)]
struct Held {
    /// Take the results from MLflow's tracking server, with --experiment, whoever recorded them [default for
    /// --experiment: MLFLOW_TRACKING_URI]
    #[arg(long, value_name = "URI")]
    mlflow: Option<String>,

    /// The experiment in MLflow; SWEEP is then the id of a sweep in it [default with --mlflow: MLFLOW_EXPERIMENT_NAME]
    #[arg(long, value_name = "NAME")]
    experiment: Option<String>,

    /// The metric that ranks what MLflow holds [default: the sweep's]
    #[arg(long, value_name = "NAME")]
    metric: Option<String>,

    /// Whether more of it is better [default: the sweep's, else by its name]
    #[arg(long, value_enum)]
    goal: Option<Goal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Goal {
    Maximize,
    Minimize,
}

/// How a ranking is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a terminal, as wide as it is
    Table,
    /// For a document
    Markdown,
    /// For a spreadsheet
    Csv,
    /// For a program
    Json,
}

impl Results {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        let format = if self.json { Format::Json } else { self.format };
        let sweep = match &self.sweeps[..] {
            [] => "",
            [one] => one,
            several => return self.compare(several, format).await,
        };
        let (named, trial) = match (trial::sweep_and_trial(sweep)?, self.trial) {
            (Some((named, trial)), None) => (named, Some(trial)),
            (None, trial) => (sweep.to_owned(), trial),
            (Some(_), Some(_)) => return Err(trial::named_twice()),
        };
        if let Some(trial) = trial {
            return self.one(&named, trial, format).await;
        }
        let mut summary = if self.held.mlflow.is_some() || self.held.experiment.is_some() {
            self.held.read(sweep).await?
        } else {
            let connection = self.target.connect().await?;
            let summary = fetch(&connection.client, sweep).await;
            connection.close().await?;
            summary?
        };
        summary.ranks_early_stopped = self.early_stopped;
        if let Some(directory) = &self.output {
            let report = write(directory, &summary)?;
            terminal::note(format_args!("report   {}", report.display()));
        }
        if self.command {
            let sweep = &summary.sweep;
            let from = self.target.arguments();
            print(&format!(
                "distilsweep results {sweep}{from} --best > {sweep}-best.yaml && distilsweep run {sweep}-best.yaml --new"
            ));
            return Ok(Exit::Success);
        }
        if self.best {
            let file = results::best(&summary);
            print(&file.map_err(|error| CliError::new(Exit::BadInput, error.to_string()))?);
            return Ok(Exit::Success);
        }
        let text = match format {
            Format::Table => results::table(&summary, terminal::width(), terminal::color()),
            Format::Markdown => results::markdown(&summary),
            Format::Csv => results::csv(&summary),
            Format::Json => results::json(&summary),
        };
        print(&text);
        Ok(Exit::Success)
    }
}

impl Results {
    /// Shows sweeps side by side.
    async fn compare(&self, sweeps: &[String], format: Format) -> Result<Exit, CliError> {
        self.refuse_for("several sweeps", format)?;
        let connection = self.target.connect().await?;
        let mut summaries = Vec::new();
        let mut failed = None;
        for sweep in sweeps {
            match fetch(&connection.client, sweep).await {
                Ok(summary) => summaries.push(summary),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        connection.close().await?;
        failed.map_or(Ok(()), Err)?;
        let comparison = results::Comparison::new(&summaries)
            .map_err(|error| CliError::new(Exit::BadInput, error.to_string()))?;
        print(&match format {
            Format::Json => comparison.json(),
            _ => comparison.table(terminal::width(), terminal::color()),
        });
        Ok(Exit::Success)
    }

    /// Shows one trial.
    async fn one(&self, sweep: &str, trial: u64, format: Format) -> Result<Exit, CliError> {
        self.refuse_for("one trial", format)?;
        let connection = self.target.connect().await?;
        let view = fetch_trial(&connection.client, sweep, trial).await;
        connection.close().await?;
        let view = view?;
        print(&match format {
            Format::Json => results::trial::json(&view),
            _ => {
                let now = Clock::wall().0;
                results::trial::table(&view, terminal::width(), terminal::color(), now)
            }
        });
        Ok(Exit::Success)
    }

    /// Refuses what is there for one whole sweep alone.
    fn refuse_for(&self, what: &str, format: Format) -> Result<(), CliError> {
        let held = self.held.mlflow.is_some() || self.held.experiment.is_some();
        let given = [
            ("--best", self.best),
            ("--output", self.output.is_some()),
            ("--mlflow and --experiment", held),
            ("--format markdown and csv", matches!(format, Format::Markdown | Format::Csv)),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                Err(CliError::new(Exit::Usage, format!("{option} is for a whole sweep, not for {what}")))
            }
            None => Ok(()),
        }
    }
}

impl Held {
    /// Reads an experiment; `sweep` is the id of one of its sweeps, or empty.
    async fn read(&self, sweep: &str) -> Result<Summary, CliError> {
        let experiment = self
            .experiment
            .clone()
            .or_else(|| std::env::var("MLFLOW_EXPERIMENT_NAME").ok().filter(|name| !name.is_empty()))
            .ok_or_else(|| {
                CliError::new(
                    Exit::Usage,
                    "no experiment is named: give --experiment NAME or set MLFLOW_EXPERIMENT_NAME",
                )
            })?;
        let client = Recording::at(self.mlflow.clone()).named()?;
        let Some(id) = client.experiment_id(&experiment).await? else {
            let message = format!("MLflow at {} has no experiment `{experiment}`", client.address());
            return Err(CliError::new(Exit::BadInput, message));
        };
        let runs = client.runs(&id, "").await?;
        let wanted = results::held::Wanted {
            experiment: &experiment,
            page: format!("{}/#/experiments/{id}", client.address()),
            sweep: Some(sweep).filter(|sweep| !sweep.is_empty()),
            metric: self.metric.as_deref(),
            maximize: self.goal.map(|goal| goal == Goal::Maximize),
        };
        let mut summary = results::held::held(&runs, &wanted)
            .map_err(|error| CliError::new(Exit::BadInput, error.to_string()))?;
        summary.curves = self.curves(&client, &id, &summary).await?;
        Ok(summary)
    }

    /// Curves of the best trials: the loss, and the evaluation that ranks.
    async fn curves(
        &self,
        client: &Mlflow,
        experiment: &str,
        summary: &Summary,
    ) -> Result<Vec<Curve>, CliError> {
        let evaluation =
            Selection::named(&summary.metric).map_or(summary.metric.as_str(), |known| known.evaluation);
        let mut curves = Vec::new();
        for ranked in results::rank(summary).into_iter().filter(|ranked| ranked.rank.is_some()).take(CURVES) {
            let Some(run_id) = ranked.row.mlflow_run.clone() else { continue };
            let run = RunIds { experiment_id: experiment.to_owned(), run_id };
            for metric in [LOSS, evaluation] {
                let mut points: Vec<(i64, f64)> = client
                    .history(&run, metric)
                    .await?
                    .into_iter()
                    .filter(|point| point.value.is_finite())
                    .map(|point| (point.step, point.value))
                    .collect();
                points.sort_by_key(|(step, _)| *step);
                if !points.is_empty() {
                    curves.push(Curve { trial: ranked.row.trial, metric: metric.to_owned(), points });
                }
            }
        }
        Ok(curves)
    }
}

/// Asks for a sweep's results.
pub(super) async fn fetch(client: &Client, sweep: &str) -> Result<Summary, CliError> {
    let request = v1::GetSweepRequest { sweep: sweep.to_owned() };
    let mut parts = client.clone().get_results(request).await?.into_inner();
    let mut results = parts.message().await?.unwrap_or_default();
    while let Some(part) = parts.message().await? {
        results.trials.extend(part.trials);
    }
    Ok(results::convert::summary(results, Clock::wall().0))
}

/// Asks for one trial of a sweep.
async fn fetch_trial(client: &Client, sweep: &str, trial: u64) -> Result<TrialView, CliError> {
    let request = v1::GetTrialRequest { sweep: sweep.to_owned(), trial };
    let detail = client.clone().get_trial(request).await?.into_inner();
    let summary = fetch(client, &detail.sweep).await?;
    Ok(results::convert::trial(detail, &summary))
}

/// Writes the outcome's files into a directory; answers where the report is.
pub(super) fn write(directory: &Path, summary: &Summary) -> Result<PathBuf, CliError> {
    let unwritable = |path: &Path, error: std::io::Error| {
        CliError::failure(format!("{} cannot be written: {error}", path.display()))
    };
    std::fs::create_dir_all(directory).map_err(|error| unwritable(directory, error))?;
    for (name, text) in results::files(summary) {
        // A reader sees the old file or the new one, never half of one.
        let path = directory.join(name);
        let temporary = directory.join(format!(".{name}.partial"));
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| unwritable(&path, error))?;
    }
    Ok(directory.join("report.html"))
}

/// Prints to standard output; a pipe that was closed on purpose (`| head`) is no failure.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}
