//! MLflow's REST calls, typed. Every one of them may be sent again: those that MLflow itself would do twice look first.
//!
//! Verified against MLflow 3.17 and 3.18. No `Origin` header is ever sent (MLflow refuses foreign ones), bodies are not
//! compressed (it would not read them), redirects are not followed (they would turn a POST into a GET).

mod models;
mod read;

use std::{io, net::IpAddr, time::Duration};

use reqwest::{Certificate, ClientBuilder, Identity, RequestBuilder, redirect};
use serde::de::DeserializeOwned;
use url::Url;

use super::{
    error::{self, MlflowError},
    op::{Input, NOTE_TAG, NewRun, RunIds, Status},
    plan::Batch,
    settings::{Credentials, Settings},
    wire,
};

pub(super) use models::{LoggedModel, NewModel};
pub use read::HeldRun;

/// A server of MLflow.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    address: String,
    credentials: Credentials,
    timeout: Duration,
}

impl Client {
    /// Sets a client up; calls nothing yet.
    ///
    /// # Errors
    /// [`MlflowError::Tls`] where a certificate file cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, MlflowError> {
        // An error says that the program has already chosen a provider, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let tls_error = |cause: String| MlflowError::Tls { address: settings.address.clone(), cause };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("distilsweep/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .connect_timeout(Duration::from_secs(10))
            .redirect(redirect::Policy::none());
        let url = Url::parse(&settings.address).ok();
        if url.as_ref().is_some_and(|url| url.scheme() == "http") {
            // A server with several workers, the default, delays answers on kept connections by 40 ms (it lacks
            // TCP_NODELAY there); a new connection costs 1. An image without certificates must do here, too.
            builder = builder.pool_max_idle_per_host(0).tls_certs_only([]);
        } else {
            builder = certificates(builder, settings).map_err(tls_error)?;
        }
        if url.is_some_and(|url| is_loopback(&url)) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| tls_error(deepest(&error).to_string()))?;
        let (address, credentials) = (settings.address.clone(), settings.credentials.clone());
        Ok(Self { http, address, credentials, timeout: settings.timeout })
    }

    /// Address of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where a browser shows a run.
    pub fn run_page(&self, run: &RunIds) -> String {
        format!("{}/#/experiments/{}/runs/{}", self.address, run.experiment_id, run.run_id)
    }

    /// Finds out whether MLflow is there and lets us in, without changing anything.
    ///
    /// # Errors
    /// Whatever would keep rows from being told.
    pub async fn check(&self) -> Result<(), MlflowError> {
        // The default experiment may have been deleted; that MLflow says so is enough.
        self.find_experiment("Default").await.map(|_| ())
    }

    /// Finds or makes a run. Where the answer to an earlier try was lost, the run is found by its identity.
    ///
    /// # Errors
    /// [`MlflowError`]; [`MlflowError::ExperimentDeleted`] where somebody threw the experiment away.
    pub async fn create_run(&self, run: &NewRun, parent: Option<&RunIds>) -> Result<RunIds, MlflowError> {
        let experiment_id = self.experiment(&run.experiment, run.tags.get(NOTE_TAG)).await?;
        let call = "runs/search";
        let search = wire::SearchRuns::by_identity(&experiment_id, &run.identity);
        let found: wire::RunsAnswer = self.send(call, self.post(call).json(&search)).await?;
        let mut ids: Vec<String> = found.runs.into_iter().map(|run| run.info.run_id).collect();
        ids.sort_unstable();
        let mut ids = ids.into_iter();
        let Some(run_id) = ids.next() else {
            let tags = wire::run_tags(run, parent);
            let call = "runs/create";
            let body = wire::CreateRun::new(&experiment_id, run, &tags);
            let made: wire::RunAnswer = self.send(call, self.post(call).json(&body)).await?;
            return Ok(RunIds { experiment_id, run_id: made.run.info.run_id });
        };
        // A creation that was given up while the server still worked on it can leave a second run. It is empty: no row
        // of the run was sent before one of them was chosen.
        for surplus in ids {
            let call = "runs/delete";
            let body = wire::RunId { run_id: &surplus };
            let _: wire::Nothing = self.send(call, self.post(call).json(&body)).await?;
        }
        Ok(RunIds { experiment_id, run_id })
    }

    /// Sets a run running again; its end stays until it ends anew.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub async fn resume_run(&self, run: &RunIds) -> Result<(), MlflowError> {
        self.update(wire::UpdateRun::running(run)).await
    }

    /// Ends a run at `end_ms`, milliseconds since 1970.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub async fn finish_run(&self, run: &RunIds, status: Status, end_ms: i64) -> Result<(), MlflowError> {
        self.update(wire::UpdateRun::ended(run, status, end_ms)).await
    }

    /// Records points, parameters and tags, all of them or none.
    pub(super) async fn log_batch(&self, run: &RunIds, batch: &Batch) -> Result<(), MlflowError> {
        let call = "runs/log-batch";
        let body = wire::LogBatch::new(run, batch);
        self.send(call, self.post(call).json(&body)).await.map(|wire::Nothing {}| ())
    }

    /// Records the data that a run works with; the same again changes nothing.
    ///
    /// # Errors
    /// [`MlflowError`].
    pub async fn log_inputs(&self, run: &RunIds, inputs: &[Input]) -> Result<(), MlflowError> {
        let call = "runs/log-inputs";
        let body = wire::LogInputs::new(run, inputs);
        match self.send(call, self.post(call).json(&body)).await {
            // Another run's call made the same data set known in the same moment: the next one finds it.
            Err(MlflowError::Refused { address, status, message, .. }) if error::is_duplicate(&message) => {
                Err(MlflowError::Busy { address, status, call, message })
            }
            sent => sent.map(|wire::Nothing {}| ()),
        }
    }

    /// Stores a text under `path` among a run's artifacts, over what is there.
    ///
    /// # Errors
    /// [`MlflowError::ArtifactsNotServed`] where the server keeps its clients' artifacts out.
    pub async fn put_text(&self, run: &RunIds, path: &str, content: &str) -> Result<(), MlflowError> {
        let call = "runs/get";
        let request = self.http.get(self.url(call)).query(&[("run_id", &run.run_id)]);
        let answer: wire::RunAnswer = self.send(call, request).await?;
        let root = answer.run.info.artifact_uri;
        let url = self.artifact_url(&root, path).ok_or_else(|| MlflowError::ArtifactsNotServed {
            address: self.address.clone(),
            root: root.clone(),
        })?;
        let request = self
            .http
            .put(url)
            .header(reqwest::header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(content.to_owned());
        self.answer("the upload of an artifact", request).await.map(|_| ())
    }

    async fn update(&self, body: wire::UpdateRun<'_>) -> Result<(), MlflowError> {
        let call = "runs/update";
        self.send(call, self.post(call).json(&body)).await.map(|wire::Nothing {}| ())
    }

    /// Finds an experiment, or makes it with a description. Of several that make it at once one succeeds, and the
    /// others find it.
    async fn experiment(&self, name: &str, note: Option<&String>) -> Result<String, MlflowError> {
        if let Some(id) = self.find_experiment(name).await? {
            return Ok(id);
        }
        let call = "experiments/create";
        let made: Result<wire::Created, _> =
            self.send(call, self.post(call).json(&wire::CreateExperiment::new(name, note))).await;
        match made {
            Ok(made) => Ok(made.experiment_id),
            Err(MlflowError::Refused { message, .. }) if message.starts_with("RESOURCE_ALREADY_EXISTS") => {
                self.find_experiment(name).await?.ok_or_else(|| MlflowError::Busy {
                    address: self.address.clone(),
                    status: 404,
                    call,
                    message: format!("experiment `{name}` exists and cannot be found"),
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn find_experiment(&self, name: &str) -> Result<Option<String>, MlflowError> {
        let call = "experiments/get-by-name";
        let request = self.http.get(self.url(call)).query(&[("experiment_name", name)]);
        let found: Result<wire::ExperimentAnswer, _> = self.send(call, request).await;
        match found {
            Ok(wire::ExperimentAnswer { experiment }) if experiment.lifecycle_stage == "deleted" => {
                Err(MlflowError::ExperimentDeleted {
                    address: self.address.clone(),
                    name: name.to_owned(),
                    id: experiment.experiment_id,
                })
            }
            Ok(wire::ExperimentAnswer { experiment }) => Ok(Some(experiment.experiment_id)),
            Err(MlflowError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn url(&self, call: &str) -> String {
        format!("{}/api/2.0/mlflow/{call}", self.address)
    }

    fn post(&self, call: &str) -> RequestBuilder {
        self.http.post(self.url(call))
    }

    /// Where the server takes an artifact; none where it does not.
    fn artifact_url(&self, root: &str, path: &str) -> Option<Url> {
        let (base, folder) = match root.strip_prefix("mlflow-artifacts:") {
            Some(folder) => (format!("{}/api/2.0/mlflow-artifacts/artifacts", self.address), folder),
            None if root.starts_with("http://") || root.starts_with("https://") => (root.to_owned(), ""),
            None => return None,
        };
        // `mlflow-artifacts://host/…` names another server, which our credentials are not meant for.
        if folder.starts_with("//") {
            return None;
        }
        let mut url = Url::parse(&base).ok()?;
        url.path_segments_mut()
            .ok()?
            .pop_if_empty()
            .extend(folder.split('/').chain(path.split('/')).filter(|part| !part.is_empty()));
        Some(url)
    }

    /// Sends, and reads a JSON answer.
    async fn send<A: DeserializeOwned>(
        &self,
        call: &'static str,
        request: RequestBuilder,
    ) -> Result<A, MlflowError> {
        let body = self.answer(call, request).await?;
        serde_json::from_str(&body).map_err(|error| MlflowError::NotMlflow {
            address: self.address.clone(),
            call,
            message: error.to_string(),
        })
    }

    async fn answer(&self, call: &'static str, request: RequestBuilder) -> Result<String, MlflowError> {
        let request = match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Token(token) => request.bearer_auth(token),
        };
        let answer = request.send().await.map_err(|error| self.no_answer(&error))?;
        let status = answer.status();
        let body = answer.text().await.map_err(|error| self.no_answer(&error))?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(MlflowError::of_answer(&self.address, call, status.as_u16(), &body))
        }
    }

    fn no_answer(&self, error: &reqwest::Error) -> MlflowError {
        let address = self.address.clone();
        let deepest = deepest(error);
        let cause = deepest.to_string();
        match deepest.downcast_ref() {
            Some(rustls::Error::InvalidCertificate(_)) => MlflowError::Untrusted { address, cause },
            _ if error.is_timeout() => {
                MlflowError::Unreachable { address, cause: "no answer in time".to_owned() }
            }
            _ => MlflowError::Unreachable { address, cause },
        }
    }
}

fn certificates(mut builder: ClientBuilder, settings: &Settings) -> Result<ClientBuilder, String> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    if let Some(path) = &settings.authorities {
        let bundle = Certificate::from_pem_bundle(&read(path)?)
            .map_err(|error| format!("{} is no PEM certificate: {}", path.display(), deepest(&error)))?;
        builder = builder.tls_certs_merge(bundle);
    }
    if let Some(path) = &settings.identity {
        let identity = Identity::from_pem(&read(path)?).map_err(|error| {
            format!("{} is no PEM certificate with its key: {}", path.display(), deepest(&error))
        })?;
        builder = builder.identity(identity);
    }
    Ok(builder.tls_danger_accept_invalid_certs(settings.insecure_tls))
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    })
}

/// The error behind all wrappings, which alone says what happened: "connection refused", say.
fn deepest(error: &reqwest::Error) -> &(dyn std::error::Error + 'static) {
    let mut deepest: &(dyn std::error::Error + 'static) = error;
    loop {
        // An I/O error does not count what it wraps among its sources.
        let wrapped = deepest.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        match wrapped.map(|error| error as _).or_else(|| deepest.source()) {
            Some(inner) => deepest = inner,
            None => return deepest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(address: &str) -> Client {
        Client::new(&Settings::at(address, |_| None).unwrap()).unwrap()
    }

    #[test]
    fn artifacts_go_through_the_server_or_nowhere() {
        let client = client("http://h:5000/prefix");
        let url = |root: &str, path: &str| client.artifact_url(root, path).map(|url| url.to_string());
        assert_eq!(
            url("mlflow-artifacts:/1/r/artifacts", "tables/the ranking.md").unwrap(),
            "http://h:5000/prefix/api/2.0/mlflow-artifacts/artifacts/1/r/artifacts/tables/the%20ranking.md"
        );
        assert_eq!(url("https://a/b", "c").unwrap(), "https://a/b/c");
        for elsewhere in ["s3://bucket/1", "/data/mlruns/1", "file:///data/1", "mlflow-artifacts://other/1"] {
            assert_eq!(url(elsewhere, "c"), None, "{elsewhere}");
        }
    }

    #[test]
    fn https_clients_can_be_set_up_and_certificates_that_are_none_are_named() {
        assert_eq!(client("https://mlflow.example").address(), "https://mlflow.example");
        let settings = Settings::at("https://h", |name| {
            (name == "MLFLOW_TRACKING_SERVER_CERT_PATH").then(|| "/nowhere/ca.pem".to_owned())
        });
        let error = Client::new(&settings.unwrap()).unwrap_err();
        assert!(error.to_string().contains("cannot read /nowhere/ca.pem"), "{error}");
    }

    #[test]
    fn a_run_s_page_is_where_mlflow_s_pages_are() {
        let run = RunIds { experiment_id: "2".into(), run_id: "ab".into() };
        assert_eq!(client("http://h:5000").run_page(&run), "http://h:5000/#/experiments/2/runs/ab");
    }

    #[tokio::test]
    async fn nobody_there_is_one_sentence_that_says_what_to_do() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        let error = client(&address).check().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot reach MLflow at {address} (")), "{error}");
        assert!(error.ends_with("); start it or give its address with --mlflow"), "{error}");
    }
}
