//! `distilsweep sweep …`: hand in, show, steer.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use distilsweep_proto::{examples, exit::Exit, v1};

use super::{
    CliError,
    connect::{self, Connection, Target},
    events::Events,
    files::SweepFile,
    order::{Extend, Priority, Retry},
    origin::Experiment,
    results, terminal, watch,
};
use crate::results::{
    convert,
    labels::{counted, duration},
};

/// Commands about sweeps.
#[derive(Debug, Subcommand)]
pub(super) enum Sweep {
    /// Hand in a sweep file; the same file again finds its sweep
    Submit(Submit),
    /// One line a sweep
    List(List),
    /// State, trials under way and best so far of a sweep
    #[command(after_help = examples![
        "distilsweep sweep show",
        "distilsweep sweep show emotion-lr",
    ])]
    Show(Named),
    /// Follow a sweep until it ends
    #[command(after_help = examples![
        "distilsweep sweep watch",
        "distilsweep sweep watch emotion-lr --coordinator http://127.0.0.1:7070",
    ])]
    Watch(Named),
    /// Tell who did what to which trial, when and why
    Events(Events),
    /// Lease no more trials until it is resumed; those under way go on to their end
    #[command(after_help = examples![
        "distilsweep sweep pause emotion-lr",
    ])]
    Pause(Named),
    /// Go on with a paused sweep
    #[command(after_help = examples![
        "distilsweep sweep resume emotion-lr",
    ])]
    Resume(Named),
    /// Add values of parameters, and train the points that are missing
    Extend(Extend),
    /// Try trials again that ended without a result
    Retry(Retry),
    /// Give a sweep a larger or smaller share of the workers
    Priority(Priority),
    /// End a sweep and whatever of it is under way
    #[command(after_help = examples![
        "distilsweep sweep cancel emotion-lr",
    ])]
    Cancel(Named),
}

/// Arguments of `sweep submit`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep sweep submit sweep.yaml",
    "distilsweep sweep submit sweep.yaml --new --coordinator https://sweeps.example.org:7070",
])]
pub(super) struct Submit {
    /// The sweep file
    file: PathBuf,

    /// Start another sweep even where this file's is there
    #[arg(long)]
    new: bool,

    #[command(flatten)]
    experiment: Experiment,

    #[command(flatten)]
    target: Target,
}

/// Arguments of `sweep list`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep sweep list",
])]
pub(super) struct List {
    #[command(flatten)]
    target: Target,
}

/// Arguments of commands about one sweep.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Id or name of the sweep, or what it alone begins with [default: the latest]
    #[arg(default_value = "", hide_default_value = true)]
    pub(super) sweep: String,

    #[command(flatten)]
    pub(super) target: Target,
}

impl Sweep {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Sweep::Submit(submit) => {
                let file = SweepFile::read(&submit.file)?;
                let mut origin = file.origin(&submit.experiment)?;
                origin.resources = file.pin().await?;
                let connection = submit.target.connect_or_create().await?;
                let submitted =
                    connection.client.clone().submit_sweep(file.submission(submit.new, origin)).await;
                connection.close().await?;
                let v1::SubmitSweepResponse { sweep, created } = submitted?.into_inner();
                if !created {
                    terminal::note("this file's sweep is there already; --new starts another");
                }
                results::print(&sweep);
            }
            Sweep::List(list) => {
                let connection = list.target.connect().await?;
                let listed = connection.client.clone().list_sweeps(v1::ListSweepsRequest {}).await;
                connection.close().await?;
                results::print(&table(&listed?.into_inner().sweeps));
            }
            Sweep::Show(named) => {
                let connection = named.target.connect().await?;
                let request = v1::GetSweepRequest { sweep: named.sweep };
                let status = connection.client.clone().get_sweep(request).await;
                connection.close().await?;
                results::print(&show(&status?.into_inner()));
            }
            Sweep::Cancel(named) => {
                let connection = named.target.connect().await?;
                let request = v1::CancelSweepRequest { sweep: named.sweep, by: connect::user() };
                let status = connection.client.clone().cancel_sweep(request).await;
                connection.close().await?;
                results::print(&show(&status?.into_inner()));
            }
            Sweep::Watch(named) => return named.watch().await,
            Sweep::Events(events) => events.run().await?,
            Sweep::Pause(named) => named.pause().await?,
            Sweep::Resume(named) => named.resume().await?,
            Sweep::Extend(extend) => extend.run().await?,
            Sweep::Retry(retry) => retry.run().await?,
            Sweep::Priority(priority) => priority.run().await?,
        }
        Ok(Exit::Success)
    }
}

impl Named {
    async fn watch(self) -> Result<Exit, CliError> {
        let connection = self.target.connect().await?;
        let watched = watch(&connection, &self.sweep).await;
        connection.close().await?;
        let status = watched?;
        results::print(&show(&status));
        Ok(if status.state() == v1::SweepState::Completed { Exit::Success } else { Exit::Incomplete })
    }
}

async fn watch(connection: &Connection, sweep: &str) -> Result<v1::SweepStatus, CliError> {
    let summary = results::fetch(&connection.client, sweep).await?;
    watch::follow(connection.client.clone(), &summary.sweep, &summary.varied).await
}

fn table(sweeps: &[v1::SweepStatus]) -> String {
    let width = sweeps.iter().map(|sweep| sweep.sweep.len()).max().unwrap_or(0).max("SWEEP".len());
    let mut text = format!("{:width$}  {:9}  {:>13}  {:>9}\n", "SWEEP", "STATE", "TRIALS", "BEST");
    for sweep in sweeps {
        let best = sweep.best.map(|best| format!("{:.4}", best.value)).unwrap_or_default();
        let ended = sweep.completed + sweep.failed + sweep.diverged + sweep.cancelled;
        let trials = format!("{ended}/{}", sweep.total);
        let state = convert::state_name(sweep.state());
        text.push_str(format!("{:width$}  {state:9}  {trials:>13}  {best:>9}", sweep.sweep).trim_end());
        text.push('\n');
    }
    text
}

fn show(status: &v1::SweepStatus) -> String {
    let metric = status.metric.as_ref().map(|metric| metric.name.as_str()).unwrap_or_default();
    let stopped = match status.cancelled {
        0 => String::new(),
        stopped => format!(", {stopped} stopped"),
    };
    let workers = match status.quarantined {
        0 => status.workers.to_string(),
        some => format!("{}, {some} of them quarantined: `distilsweep worker list` says why", status.workers),
    };
    let mut lines = vec![
        format!("sweep      {}", status.sweep),
        format!("state      {}", convert::state_name(status.state())),
        format!(
            "trials     {} of {} completed, {} running, {} failed, {} diverged{stopped}",
            status.completed,
            status.total,
            status.running.len(),
            status.failed,
            status.diverged
        ),
        format!("workers    {workers}"),
    ];
    if !status.reason.is_empty() {
        lines.insert(2, format!("reason     {}", status.reason));
    }
    if let Some(best) = status.best {
        lines.push(format!("best       {metric} {:.4} (trial {})", best.value, best.trial));
    }
    for trial in &status.running {
        lines.push(format!(
            "trial {:<4} attempt {}, {} {}/{}, on {}",
            trial.trial, trial.attempt, trial.phase, trial.step, trial.total_steps, trial.worker
        ));
    }
    if status.outbox_depth > 0 {
        lines.push(format!(
            "MLflow     {} about {} wait, the oldest for {}",
            counted(status.outbox_depth, "message"),
            counted(status.outbox_runs, "run"),
            duration(status.outbox_age_ms as f64 / 1000.0)
        ));
    }
    if status.outbox_refused > 0 {
        lines.push(format!(
            "MLflow     {} set aside: {}",
            counted(status.outbox_refused, "message"),
            status.outbox_refusal
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> v1::SweepStatus {
        v1::SweepStatus {
            sweep: "emotion-1f2e3d".into(),
            state: v1::SweepState::Running.into(),
            metric: Some(v1::Metric { name: "best_validation_f1".into(), goal: v1::Goal::Maximize.into() }),
            total: 12,
            completed: 3,
            failed: 1,
            workers: 2,
            running: vec![v1::RunningTrial {
                trial: 4,
                attempt: 2,
                worker: "gpu-1-77-0a".into(),
                step: 30,
                total_steps: 100,
                phase: "training".into(),
                ..Default::default()
            }],
            best: Some(v1::BestTrial { trial: 2, value: 0.93512 }),
            outbox_depth: 7,
            outbox_runs: 2,
            outbox_age_ms: 192_000,
            outbox_refused: 1,
            outbox_refusal: "MLflow refused it".into(),
            ..Default::default()
        }
    }

    #[test]
    fn sweeps_are_listed_a_line_each() {
        let done = v1::SweepStatus {
            sweep: "sst2-00ff00".into(),
            state: v1::SweepState::Completed.into(),
            total: 2,
            completed: 2,
            ..Default::default()
        };
        insta::assert_snapshot!(table(&[status(), done]), @r"
        SWEEP           STATE             TRIALS       BEST
        emotion-1f2e3d  running             4/12     0.9351
        sst2-00ff00     completed            2/2
        ");
    }

    #[test]
    fn a_sweep_is_shown_with_what_runs_and_what_waits() {
        insta::assert_snapshot!(show(&status()), @r"
        sweep      emotion-1f2e3d
        state      running
        trials     3 of 12 completed, 1 running, 1 failed, 0 diverged
        workers    2
        best       best_validation_f1 0.9351 (trial 2)
        trial 4    attempt 2, training 30/100, on gpu-1-77-0a
        MLflow     7 messages about 2 runs wait, the oldest for 3m 12s
        MLflow     1 message set aside: MLflow refused it
        ");
    }
}
