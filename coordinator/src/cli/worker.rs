//! `distilsweep worker list|drain`.

use clap::{Args, Subcommand};
use distilsweep_proto::{
    examples,
    exit::Exit,
    json::{self, Json},
    v1,
};

use super::{
    CliError, connect,
    connect::Target,
    order::{self, Answer},
    results,
};

/// Commands about workers.
#[derive(Debug, Subcommand)]
pub(super) enum Worker {
    /// One line a worker: state, what it trains, where it runs
    List(List),
    /// Have a worker finish its step, hand its trials back and end
    Drain(Drain),
}

/// Arguments of `worker list`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep worker list",
])]
pub(super) struct List {
    #[command(flatten)]
    json: Json,

    #[command(flatten)]
    target: Target,
}

/// Arguments of `worker drain`.
#[derive(Debug, Args)]
#[command(after_help = examples![
    "distilsweep worker drain gpu-1",
])]
pub(super) struct Drain {
    /// Name of the worker, as in the list, or what it alone begins with
    worker: String,

    #[command(flatten)]
    target: Target,
}

impl Worker {
    pub(super) async fn run(self) -> Result<Exit, CliError> {
        match self {
            Worker::List(list) => {
                let mut connection = list.target.connect().await?;
                let listed = connection.client.list_workers(v1::ListWorkersRequest {}).await;
                connection.close().await?;
                let workers = listed?.into_inner().workers;
                results::print(&if list.json.json { for_programs(&workers) } else { table(&workers) });
            }
            Worker::Drain(Drain { worker, target }) => {
                let request = v1::DrainWorkerRequest { worker, by: connect::user() };
                let told = |answer: &Answer| match answer.changed {
                    0 => format!("worker {} drains already", answer.worker),
                    _ => format!("worker {} hands its trials back and ends", answer.worker),
                };
                order::give(&target, told, async move |client| client.drain_worker(request).await).await?;
            }
        }
        Ok(Exit::Success)
    }
}

fn trials(worker: &v1::WorkerStatus) -> Vec<String> {
    worker.leases.iter().map(|lease| format!("{}/{}", lease.sweep, lease.trial)).collect()
}

fn table(workers: &[v1::WorkerStatus]) -> String {
    if workers.is_empty() {
        return "no worker is connected: start one with `distilsweep-worker join URL`".to_owned();
    }
    let header = ["WORKER", "STATE", "TRIALS", "DEVICES"].map(str::to_owned);
    let rows = workers.iter().map(|worker| {
        let trials = trials(worker);
        let shown = match trials.len() {
            0 => "-".to_owned(),
            1 | 2 => trials.join(" "),
            more => format!("{} and {} more", trials[0], more - 1),
        };
        [worker.worker.clone(), worker.state.clone(), shown, worker.devices.join(", ")]
    });
    let rows: Vec<[String; 4]> = [header].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (a, b, c) = (width(0), width(1), width(2));
    let mut lines = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let [worker, state, trials, devices] = row;
        lines.push(format!("{worker:a$}  {state:b$}  {trials:c$}  {devices}").trim_end().to_owned());
        if let Some(reason) = at.checked_sub(1).map(|at| &workers[at].reason).filter(|r| !r.is_empty()) {
            lines.push(format!("{:a$}  {reason}", ""));
        }
    }
    lines.join("\n")
}

fn for_programs(workers: &[v1::WorkerStatus]) -> String {
    let value = |worker: &v1::WorkerStatus| {
        serde_json::json!({
            "worker": worker.worker,
            "state": worker.state,
            "reason": Some(&worker.reason).filter(|reason| !reason.is_empty()),
            "hostname": worker.hostname,
            "process": worker.process,
            "version": worker.version,
            "devices": worker.devices,
            "trials": trials(worker),
        })
    };
    let workers: Vec<serde_json::Value> = workers.iter().map(value).collect();
    json::document(serde_json::json!({ "workers": workers }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_listed_with_what_they_train_and_why_they_do_not() {
        let lease = |trial| v1::Lease { sweep: "sst2-00ff00".into(), trial, attempt: 1, term: 1 };
        let busy = v1::WorkerStatus {
            worker: "gpu-1-77-0a".into(),
            state: "connected".into(),
            devices: vec!["cuda:0 (H100)".into()],
            leases: (3..6).map(lease).collect(),
            ..Default::default()
        };
        let bad = v1::WorkerStatus {
            worker: "gpu-2-9-1b".into(),
            state: "quarantined".into(),
            reason: "3 different trials failed on it in a row".into(),
            devices: vec!["cuda:0 (H100)".into()],
            ..Default::default()
        };
        insta::assert_snapshot!(table(&[busy.clone(), bad]), @r"
        WORKER       STATE        TRIALS                    DEVICES
        gpu-1-77-0a  connected    sst2-00ff00/3 and 2 more  cuda:0 (H100)
        gpu-2-9-1b   quarantined  -                         cuda:0 (H100)
                     3 different trials failed on it in a row
        ");
        assert!(for_programs(&[busy]).contains("\"sst2-00ff00/4\""));
        assert!(table(&[]).contains("distilsweep-worker join"));
    }
}
