//! A real MLflow server, and what it says over its REST interface.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::Context;
use serde_json::{Value, json};

use crate::{process::Process, wait::until};

/// A first start compiles all of MLflow's modules.
const START: Duration = Duration::from_secs(180);

/// A running MLflow with a state of its own.
#[derive(Debug)]
pub struct Mlflow {
    /// Its address.
    pub url: String,
    process: Process,
}

impl Mlflow {
    /// Starts one with its state in `directory` and waits until it answers; the program is `DISTILSWEEP_TEST_MLFLOW`.
    ///
    /// # Errors
    /// There is no such program, or it does not answer.
    pub fn start(directory: &Path) -> anyhow::Result<Self> {
        Self::start_at(directory, free_port()?)
    }

    /// The same on a given port: as after a restart.
    ///
    /// # Errors
    /// As for [`Mlflow::start`].
    pub fn start_at(directory: &Path, port: u16) -> anyhow::Result<Self> {
        let mut mlflow = Self::launch(directory, port)?;
        until("MLflow's answer", START, || Ok(mlflow.answers()?.then_some(())))?;
        Ok(mlflow)
    }

    /// As [`Mlflow::start`], with so many worker processes.
    ///
    /// # Errors
    /// As for [`Mlflow::start`].
    pub fn start_with(directory: &Path, workers: u32) -> anyhow::Result<Self> {
        let mut mlflow = Self::launch_with(directory, free_port()?, workers)?;
        until("MLflow's answer", START, || Ok(mlflow.answers()?.then_some(())))?;
        Ok(mlflow)
    }

    /// The same without waiting, as one process.
    ///
    /// # Errors
    /// There is no such program.
    pub fn launch(directory: &Path, port: u16) -> anyhow::Result<Self> {
        Self::launch_with(directory, port, 1)
    }

    fn launch_with(directory: &Path, port: u16, workers: u32) -> anyhow::Result<Self> {
        let program = std::env::var("DISTILSWEEP_TEST_MLFLOW").context(
            "DISTILSWEEP_TEST_MLFLOW must name MLflow's program; tests/run.sh installs one and sets it",
        )?;
        std::fs::create_dir_all(directory)?;
        let mut command = Command::new(program);
        command
            .args(["server", "--host", "127.0.0.1", "--workers", &workers.to_string()])
            .args(["--port", &port.to_string()])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}/mlflow.db", directory.display()))
            .arg("--artifacts-destination")
            .arg(directory.join("artifacts"))
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .current_dir(directory)
            .stdin(Stdio::null());
        let process = Process::start("mlflow", command, directory)?;
        Ok(Self { url: format!("http://127.0.0.1:{port}"), process })
    }

    /// Whether it serves yet.
    ///
    /// # Errors
    /// It has ended.
    pub fn answers(&mut self) -> anyhow::Result<bool> {
        anyhow::ensure!(self.process.is_running()?, "MLflow ended by itself: {}", self.process.err());
        Ok(ureq::get(format!("{}/health", self.url)).call().is_ok())
    }

    /// All runs of the experiment `name`, best by `metric` first; runs without it come last.
    ///
    /// # Errors
    /// MLflow does not answer as documented.
    pub fn runs_by(&self, experiment: &str, metric: &str) -> anyhow::Result<Vec<Run>> {
        let found: Value = ureq::get(format!("{}/api/2.0/mlflow/experiments/get-by-name", self.url))
            .query("experiment_name", experiment)
            .call()?
            .body_mut()
            .read_json()?;
        let id = &found["experiment"]["experiment_id"];
        let request = json!({
            "experiment_ids": [id],
            "max_results": 1000,
            "order_by": [format!("metrics.{metric} DESC")],
        });
        let answer: Value = ureq::post(format!("{}/api/2.0/mlflow/runs/search", self.url))
            .send_json(&request)?
            .body_mut()
            .read_json()?;
        let runs = answer["runs"].as_array().context("a search answers with runs")?;
        Ok(runs.iter().map(|run| Run(run.clone())).collect())
    }

    /// Calls MLflow's REST interface with a body.
    ///
    /// # Errors
    /// MLflow does not answer, or refuses.
    pub fn post(&self, call: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/api/2.0/mlflow/{call}", self.url);
        // Kept connections to a server of several processes answer 40 ms later.
        let request = ureq::post(url).header("connection", "close");
        Ok(request.send_json(body)?.body_mut().read_json()?)
    }

    /// The points of a run's metric, as (step, value), by step.
    ///
    /// # Errors
    /// MLflow does not answer as documented.
    pub fn history(&self, run: &str, metric: &str) -> anyhow::Result<Vec<(i64, f64)>> {
        let answer: Value = ureq::get(format!("{}/api/2.0/mlflow/metrics/get-history", self.url))
            .query("run_id", run)
            .query("metric_key", metric)
            .call()?
            .body_mut()
            .read_json()?;
        let mut points: Vec<(i64, f64)> = answer["metrics"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|point| (point["step"].as_i64().unwrap_or(0), point["value"].as_f64().unwrap_or(f64::NAN)))
            .collect();
        points.sort_by_key(|(step, _)| *step);
        Ok(points)
    }

    /// Ends it.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.tell_to_stop()?;
        self.process.wait(Duration::from_secs(20)).map(|_| ())
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// It has ended already.
    pub fn tell_to_stop(&mut self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::TERM)
    }

    /// Whether it has ended.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn has_ended(&mut self) -> anyhow::Result<bool> {
        Ok(!self.process.is_running()?)
    }
}

/// A run as MLflow tells it.
#[derive(Clone, Debug)]
pub struct Run(Value);

impl Run {
    /// Its id.
    pub fn id(&self) -> &str {
        self.0["info"]["run_id"].as_str().unwrap_or_default()
    }

    /// `RUNNING`, `FINISHED`, `FAILED` or `KILLED`.
    pub fn status(&self) -> &str {
        self.0["info"]["status"].as_str().unwrap_or_default()
    }

    /// The latest value of a metric.
    pub fn metric(&self, key: &str) -> Option<f64> {
        self.entry("metrics", key)?.as_f64()
    }

    /// A parameter.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.entry("params", key)?.as_str()
    }

    /// A tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.entry("tags", key)?.as_str()
    }

    fn entry(&self, kind: &str, key: &str) -> Option<&Value> {
        self.0["data"][kind].as_array()?.iter().find(|entry| entry["key"] == key).map(|entry| &entry["value"])
    }
}

/// Where the ports begin that the system gives to outgoing connections.
const EPHEMERAL: u16 = 32_768;
/// Ports that one process may ask for before it meets those of the next.
const PORTS: u16 = 16;

/// A port of the loopback that nobody listens on, for a process that is started again on it: none of those that an
/// outgoing connection takes meanwhile, nor one that another test is likely to look at.
///
/// # Errors
/// There is none.
pub fn free_port() -> anyhow::Result<u16> {
    static ASKED: AtomicU16 = AtomicU16::new(0);
    let range = EPHEMERAL - 10_000;
    let first = u16::try_from(std::process::id() % u32::from(range / PORTS))? * PORTS;
    (0..range)
        .map(|_| 10_000 + first.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % range)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context("no port of the loopback is free")
}
