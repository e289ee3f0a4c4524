//! `distilsweep sweep …`: hand in, show, steer.

use std::path::PathBuf;

use chrono::Local;
use clap::{Args, Subcommand};
use distilsweep_proto::{examples, exit::Exit, json::Json, v1};

use super::{
    CliError,
    confirm::Sure,
    connect::{self, Client, Connection, Target},
    events::Events,
    files::SweepFile,
    order::{Extend, Priority, Retry},
    origin::Experiment,
    results, status, terminal, watch,
};
use crate::{
    clock::Clock,
    grpc::{convert::ended, is_final},
    results::labels::counted,
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
    Show(Show),
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
        "distilsweep sweep cancel emotion-lr --yes",
    ])]
    Cancel(Cancel),
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
    json: Json,

    #[command(flatten)]
    target: Target,
}

/// Arguments of `sweep show`.
#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    json: Json,

    #[command(flatten)]
    named: Named,
}

/// Arguments of `sweep cancel`.
#[derive(Debug, Args)]
pub(super) struct Cancel {
    #[command(flatten)]
    sure: Sure,

    #[command(flatten)]
    named: Named,
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
                file.warn_of_others();
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
                let sweeps = listed?.into_inner().sweeps;
                results::print(&match list.json.json {
                    true => status::json_of_all(sweeps),
                    false => status::table(&sweeps, Clock::wall().0),
                });
            }
            Sweep::Show(Show { json, named }) => {
                let connection = named.target.connect().await?;
                let request = v1::GetSweepRequest { sweep: named.sweep };
                let status = connection.client.clone().get_sweep(request).await;
                connection.close().await?;
                let status = status?.into_inner();
                results::print(&if json.json { status::json(status) } else { show(&status) });
            }
            Sweep::Cancel(Cancel { sure, named }) => {
                let connection = named.target.connect().await?;
                let cancelled = cancel(&connection.client, named.sweep, sure).await;
                connection.close().await?;
                results::print(&show(&cancelled?));
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

/// Cancels a sweep, which is asked for by its id: a name may mean another one by the time of the answer.
async fn cancel(client: &Client, sweep: String, sure: Sure) -> Result<v1::SweepStatus, CliError> {
    let status = client.clone().get_sweep(v1::GetSweepRequest { sweep }).await?.into_inner();
    if !is_final(&status) {
        sure.ask(&loss(&status))?;
    }
    let request = v1::CancelSweepRequest { sweep: status.sweep, by: connect::user() };
    Ok(client.clone().cancel_sweep(request).await?.into_inner())
}

/// What cancelling a sweep does for good.
fn loss(status: &v1::SweepStatus) -> String {
    let ended = ended(status);
    let running = status.running.len() as u64;
    let waiting = status.total.saturating_sub(ended + running);
    format!(
        "cancelling ends sweep {} for good, {} under way and {} not begun with it (`sweep pause` would not)",
        status.sweep,
        counted(running, "trial"),
        counted(waiting, "trial")
    )
}

/// How a sweep stands, for people here.
fn show(status: &v1::SweepStatus) -> String {
    status::facts(status, Clock::wall().0, &Local)
}

async fn watch(connection: &Connection, sweep: &str) -> Result<v1::SweepStatus, CliError> {
    let summary = results::fetch(&connection.client, sweep).await?;
    watch::follow(connection.client.clone(), &summary.sweep, &summary.varied).await
}
