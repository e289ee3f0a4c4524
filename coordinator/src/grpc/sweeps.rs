//! The service for people and their programs: validates, asks the engine or reads the store, converts.

use std::{collections::BTreeMap, path::Path, time::Duration};

use distilsweep_proto::{
    ids::SweepId,
    v1::{self, sweeps_server::Sweeps},
};
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Caller, convert, limits};
use crate::{
    engine::{EngineHandle, NewSweep},
    spec::{self, SweepSpec},
    store::StoreError,
};

/// A watcher is told at most this often.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

/// Implements `distilsweep.v1.Sweeps`.
#[derive(Clone, Debug)]
pub(super) struct SweepsService {
    engine: EngineHandle,
    mlflow_url: String,
}

impl SweepsService {
    /// A service of this engine; `mlflow_url` is where its runs are recorded, empty where they are not yet.
    pub(super) fn new(engine: EngineHandle, mlflow_url: String) -> Self {
        Self { engine, mlflow_url }
    }

    async fn find(&self, sweep: String) -> Result<SweepId, Status> {
        limits::sweep(&sweep)?;
        let wanted = sweep.clone();
        let found = self.engine.read(move |reader| reader.find(&sweep)).await?;
        found.ok_or_else(|| {
            Status::not_found(if wanted.is_empty() {
                "there is no sweep yet: start one with `distilsweep run SWEEP.yaml`".to_owned()
            } else {
                format!("there is no sweep `{wanted}`: `distilsweep sweep list` shows those that there are")
            })
        })
    }

    async fn status(&self, sweep: &SweepId) -> Result<v1::SweepStatus, Status> {
        let id = sweep.clone();
        let row = self.engine.read(move |reader| reader.sweep(&id)).await?;
        let status = v1::SweepStatus { mlflow_url: self.mlflow_url.clone(), ..convert::status(&row) };
        Ok(match self.engine.snapshot(sweep.clone()).await? {
            Some(snapshot) => convert::with_running(status, snapshot.running, snapshot.workers),
            None => status,
        })
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Absent(_) => Status::not_found(error.to_string()),
            StoreError::InUse(_) => Status::failed_precondition(error.to_string()),
            StoreError::Newer { .. } | StoreError::Record(_) => Status::data_loss(error.to_string()),
            StoreError::Directory { .. } | StoreError::Database { .. } => Status::internal(error.to_string()),
        }
    }
}

#[tonic::async_trait]
impl Sweeps for SweepsService {
    type WatchSweepStream = BoxStream<'static, Result<v1::SweepStatus, Status>>;

    async fn submit_sweep(
        &self,
        request: Request<v1::SubmitSweepRequest>,
    ) -> Result<Response<v1::SubmitSweepResponse>, Status> {
        let request = request.into_inner();
        limits::submission(&request)?;
        let home = Some(Path::new(&request.home_directory)).filter(|home| !home.as_os_str().is_empty());
        let spec = spec::parse(&request.source)
            .map_err(|problems| Status::invalid_argument(problems.in_file(&request.file_name)))?
            .with_base(Path::new(&request.base_directory), home);
        let new = NewSweep {
            spec,
            source: request.source,
            file_name: request.file_name,
            force_new: request.force_new,
        };
        let (sweep, created) = self.engine.submit(new, rand::random()).await?;
        Ok(Response::new(v1::SubmitSweepResponse { sweep: sweep.as_str().to_owned(), created }))
    }

    async fn list_sweeps(
        &self,
        _: Request<v1::ListSweepsRequest>,
    ) -> Result<Response<v1::ListSweepsResponse>, Status> {
        let rows = self.engine.read(|reader| reader.sweeps()).await?;
        let mut sweeps = Vec::new();
        for row in rows {
            sweeps.push(self.status(&row.id).await?);
        }
        Ok(Response::new(v1::ListSweepsResponse { sweeps }))
    }

    async fn get_sweep(
        &self,
        request: Request<v1::GetSweepRequest>,
    ) -> Result<Response<v1::SweepStatus>, Status> {
        let sweep = self.find(request.into_inner().sweep).await?;
        Ok(Response::new(self.status(&sweep).await?))
    }

    async fn watch_sweep(
        &self,
        request: Request<v1::GetSweepRequest>,
    ) -> Result<Response<Self::WatchSweepStream>, Status> {
        let sweep = self.find(request.into_inner().sweep).await?;
        let (sender, receiver) = mpsc::channel(1);
        let service = self.clone();
        tokio::spawn(async move {
            let mut changes = service.engine.changes();
            let mut shown = None;
            while !sender.is_closed() {
                changes.mark_unchanged();
                let status = service.status(&sweep).await;
                let last = status.as_ref().map_or(true, is_final);
                // The engine says that something may have changed; what has not is not told again.
                let news = shown.as_ref() != status.as_ref().ok();
                shown = status.as_ref().ok().cloned();
                if news && sender.send(status).await.is_err() {
                    return;
                }
                if last || changes.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(WATCH_INTERVAL).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn cancel_sweep(
        &self,
        request: Request<v1::CancelSweepRequest>,
    ) -> Result<Response<v1::SweepStatus>, Status> {
        let reason = format!("cancelled by {}", Caller::of(&request));
        let sweep = self.find(request.into_inner().sweep).await?;
        self.engine.cancel(sweep.clone(), reason).await?;
        Ok(Response::new(self.status(&sweep).await?))
    }

    async fn get_results(
        &self,
        request: Request<v1::GetSweepRequest>,
    ) -> Result<Response<v1::SweepResults>, Status> {
        let sweep = self.find(request.into_inner().sweep).await?;
        // First: trials that are read later are at least as far, so that a final status never stands above a trial under
        // way.
        let status = self.status(&sweep).await?;
        let id = sweep.clone();
        let (row, trials) =
            self.engine.read(move |reader| Ok((reader.sweep(&id)?, reader.trials(&id)?))).await?;
        let spec: SweepSpec = serde_json::from_str(&row.spec).map_err(StoreError::from)?;
        let trials: BTreeMap<u64, v1::TrialResult> = trials
            .into_iter()
            .map(|trial| (trial.trial, convert::trial_result(trial.clone(), spec.space.point(trial.trial))))
            .collect();
        Ok(Response::new(v1::SweepResults {
            status: Some(status),
            trials: trials.into_values().collect(),
            varied: spec.space.varied().map(ToOwned::to_owned).collect(),
        }))
    }
}

/// Whether a status is a sweep's last.
pub fn is_final(status: &v1::SweepStatus) -> bool {
    match status.state() {
        v1::SweepState::Unspecified | v1::SweepState::Running | v1::SweepState::Paused => false,
        v1::SweepState::Completed | v1::SweepState::Cancelled | v1::SweepState::Failed => true,
    }
}
