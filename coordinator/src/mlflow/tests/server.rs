//! A real MLflow in a directory of its own, and what it holds.

use std::{
    collections::BTreeMap,
    fs::File,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// A running server; ends with this value.
pub(super) struct Server {
    program: String,
    pub(super) address: String,
    directory: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Starts MLflow on a free port, or says why not.
    pub(super) async fn start() -> Option<Self> {
        let Ok(program) = std::env::var("DISTILSWEEP_TEST_MLFLOW") else {
            println!("skipped: DISTILSWEEP_TEST_MLFLOW does not name an `mlflow` program");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = TempDir::new().unwrap();
        let mut server =
            Self { program, address: format!("http://127.0.0.1:{port}"), directory, child: None };
        server.restart().await;
        Some(server)
    }

    /// Starts it again where it was.
    pub(super) async fn restart(&mut self) {
        assert!(self.child.is_none());
        let path = self.directory.path().display();
        let log = self.directory.path().join("log");
        let port = self.address.rsplit(':').next().unwrap();
        let child = Command::new(&self.program)
            .args(["server", "--host", "127.0.0.1", "--workers", "1", "--port", port])
            .args(["--backend-store-uri", &format!("sqlite:///{path}/mlflow.db")])
            .args(["--artifacts-destination", &format!("{path}/artifacts")])
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(File::create(&log).unwrap())
            .stderr(File::options().append(true).open(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program));
        let child = self.child.insert(child);
        let deadline = Instant::now() + Duration::from_secs(120);
        let client = super::client(&self.address);
        while client.check().await.is_err() {
            let ended = child.try_wait().unwrap();
            let said = || std::fs::read_to_string(&log).unwrap();
            assert!(ended.is_none(), "MLflow ended with {ended:?}: {}", said());
            assert!(Instant::now() < deadline, "MLflow does not come up: {}", said());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends it and all that it started: on SIGTERM it takes its own children with it.
    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let asked = Command::new("kill").arg(child.id().to_string()).status();
            if !asked.is_ok_and(|status| status.success()) {
                // Not in a test that fails already.
                eprintln!("cannot end MLflow, process {}", child.id());
            }
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn get(address: &str, call: &str, query: &[(&str, &str)]) -> Value {
    let url = format!("{address}/api/2.0/mlflow/{call}");
    let answer = reqwest::Client::new().get(url).query(query).send().await.unwrap();
    assert!(answer.status().is_success(), "{call} {query:?}: {answer:?}");
    answer.json().await.unwrap()
}

/// Everything that an experiment holds, by the names of its runs: what two experiments that were told the same have in
/// common. Ids of runs and coordinators are left out.
pub(super) async fn dump(address: &str, experiment: &str) -> BTreeMap<String, Value> {
    let found = get(address, "experiments/get-by-name", &[("experiment_name", experiment)]).await;
    let id = found["experiment"]["experiment_id"].as_str().unwrap();
    let found: Value = reqwest::Client::new()
        .post(format!("{address}/api/2.0/mlflow/runs/search"))
        .json(&json!({"experiment_ids": [id], "max_results": 1000}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let runs = found["runs"].as_array().unwrap();
    let name = |id: &str| {
        let run = runs.iter().find(|run| run["info"]["run_id"] == id).unwrap();
        run["info"]["run_name"].clone()
    };
    let mut dumped = BTreeMap::new();
    for run in runs {
        let run_id = run["info"]["run_id"].as_str().unwrap();
        let mut tags = pairs(&run["data"]["tags"]);
        tags.remove("distilsweep.run_key").unwrap();
        let parent = tags.remove("mlflow.parentRunId");
        let mut metrics = BTreeMap::new();
        for key in pairs(&run["data"]["metrics"]).into_keys() {
            let history =
                get(address, "metrics/get-history", &[("run_id", run_id), ("metric_key", &key)]).await;
            let points: Vec<Value> = history["metrics"]
                .as_array()
                .unwrap()
                .iter()
                .map(|point| json!([point["step"], point["timestamp"], point["value"]]))
                .collect();
            metrics.insert(key, points);
        }
        let told = json!({
            "status": run["info"]["status"],
            "start_time": run["info"]["start_time"],
            "end_time": run["info"]["end_time"],
            "user": run["info"]["user_id"],
            "parent": parent.map(|id| name(id.as_str().unwrap())),
            "params": pairs(&run["data"]["params"]),
            "tags": tags,
            "metrics": metrics,
            "artifacts": artifacts(address, run).await,
        });
        let before = dumped.insert(run["info"]["run_name"].as_str().unwrap().to_owned(), told);
        assert!(before.is_none(), "two runs named {}", run["info"]["run_name"]);
    }
    dumped
}

fn pairs(list: &Value) -> BTreeMap<String, Value> {
    let entry = |pair: &Value| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone());
    list.as_array().map(|list| list.iter().map(entry).collect()).unwrap_or_default()
}

async fn artifacts(address: &str, run: &Value) -> BTreeMap<String, String> {
    let run_id = run["info"]["run_id"].as_str().unwrap();
    let root = run["info"]["artifact_uri"].as_str().unwrap().strip_prefix("mlflow-artifacts:/").unwrap();
    let mut folders = vec![String::new()];
    let mut texts = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        let list = get(address, "artifacts/list", &[("run_id", run_id), ("path", &folder)]).await;
        for file in list["files"].as_array().into_iter().flatten() {
            let path = file["path"].as_str().unwrap().to_owned();
            if file["is_dir"] == true {
                folders.push(path);
                continue;
            }
            let url = format!("{address}/api/2.0/mlflow-artifacts/artifacts/{root}/{path}");
            texts.insert(path, reqwest::get(url).await.unwrap().text().await.unwrap());
        }
    }
    texts
}
