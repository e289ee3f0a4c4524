//! The service for people and their programs: validates, asks the engine or reads the store, converts.

use std::{path::Path, time::Duration};

use distilsweep_proto::{
    convert::{present, resources},
    ids::{SweepId, WorkerId},
    v1::{self, sweeps_server::Sweeps},
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{convert, detail, limits, orders, results};
use crate::{
    clock::Clock,
    engine::{EngineHandle, NewSweep, Ordered},
    naming::{self, Unnamed},
    scheduler::Order,
    spec::{self, Origin},
    store::{Reader, StoreError},
};

/// A watcher is told at most this often.
pub(super) const WATCH_INTERVAL: Duration = Duration::from_millis(250);
/// How many statuses share a look at the outbox: it may hold a sweep's whole life while MLflow is away.
const WATCH_OUTBOX: usize = 8;
/// Trials that a part of the results has at most: far below the size of a message.
const PART: u32 = 1000;

/// Lines of the journal that are read at a time.
pub(super) const EVENTS: u32 = 1024;

/// Implements `distilsweep.v1.Sweeps`.
#[derive(Clone, Debug)]
pub(super) struct SweepsService {
    pub(super) engine: EngineHandle,
    mlflow_url: String,
}

impl SweepsService {
    /// A service of this engine; `mlflow_url` is where its runs are recorded, empty where they are not yet.
    pub(super) fn new(engine: EngineHandle, mlflow_url: String) -> Self {
        Self { engine, mlflow_url }
    }

    pub(super) async fn find(&self, sweep: String) -> Result<SweepId, Status> {
        limits::sweep(&sweep)?;
        Ok(self.engine.read(move |reader| reader.find(&sweep)).await??)
    }

    pub(super) async fn status(&self, sweep: &SweepId) -> Result<v1::SweepStatus, Status> {
        let status = self.status_but_outbox(sweep).await?;
        self.with_outbox(status, sweep).await
    }

    async fn status_but_outbox(&self, sweep: &SweepId) -> Result<v1::SweepStatus, Status> {
        let id = sweep.clone();
        // Before what is alive: a final state never stands above counts that are still to grow.
        let row = self.engine.read(move |reader| reader.sweep(&id)).await?;
        let status = v1::SweepStatus { mlflow_url: self.mlflow_url.clone(), ..convert::status(&row) };
        Ok(match self.engine.snapshot(sweep.clone()).await? {
            Some(snapshot) => convert::with_snapshot(status, snapshot),
            None => status,
        })
    }

    async fn with_outbox(&self, status: v1::SweepStatus, sweep: &SweepId) -> Result<v1::SweepStatus, Status> {
        let id = sweep.clone();
        let outbox = self.engine.read(move |reader| reader.outbox_of(&id)).await?;
        Ok(convert::with_outbox(status, outbox, Clock::wall()))
    }

    /// The status for somebody who watches, where `shown` is what was shown last.
    async fn next_status(
        &self,
        sweep: &SweepId,
        shown: Option<&v1::SweepStatus>,
        number: usize,
    ) -> Result<v1::SweepStatus, Status> {
        let status = self.status_but_outbox(sweep).await?;
        match shown {
            Some(shown) if !is_final(&status) && !number.is_multiple_of(WATCH_OUTBOX) => {
                Ok(v1::SweepStatus {
                    outbox_depth: shown.outbox_depth,
                    outbox_runs: shown.outbox_runs,
                    outbox_age_ms: shown.outbox_age_ms,
                    outbox_refused: shown.outbox_refused,
                    outbox_refusal: shown.outbox_refusal.clone(),
                    ..status
                })
            }
            Some(_) | None => self.with_outbox(status, sweep).await,
        }
    }
}

impl From<Unnamed> for Status {
    fn from(error: Unnamed) -> Self {
        match error {
            Unnamed::NoSweepYet | Unnamed::Unknown { .. } => Status::not_found(error.to_string()),
            Unnamed::Ambiguous { .. } => Status::invalid_argument(error.to_string()),
        }
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
    type ListEventsStream = BoxStream<'static, Result<v1::Event, Status>>;
    type WatchSweepStream = BoxStream<'static, Result<v1::SweepStatus, Status>>;
    type GetResultsStream = BoxStream<'static, Result<v1::SweepResults, Status>>;

    async fn submit_sweep(
        &self,
        request: Request<v1::SubmitSweepRequest>,
    ) -> Result<Response<v1::SubmitSweepResponse>, Status> {
        let request = request.into_inner();
        limits::submission(&request)?;
        let home = Some(Path::new(&request.home_directory)).filter(|home| !home.as_os_str().is_empty());
        let mut spec = spec::parse(&request.source)
            .map_err(|problems| Status::invalid_argument(problems.in_file(&request.file_name)))?
            .with_base(Path::new(&request.base_directory), home);
        let mut tags = std::mem::take(&mut spec.origin.tags);
        tags.extend(request.run_tags);
        spec.origin = Origin {
            user: present(request.user),
            experiment: present(request.experiment),
            default_experiment: present(request.default_experiment),
            tags,
            resources: resources(request.resources),
        };
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
            for number in 0.. {
                if sender.is_closed() {
                    return;
                }
                changes.mark_unchanged();
                let status = service.next_status(&sweep, shown.as_ref(), number).await;
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
        let by = orders::by(&request, |request| &request.by);
        let v1::CancelSweepRequest { sweep, .. } = request.into_inner();
        let cancel = Ordered::Ready(Order::Cancel(format!("cancelled by {by}")));
        let sweep = self.find(sweep).await?;
        orders::changed(self.engine.order(sweep.clone(), cancel, by).await)?;
        Ok(Response::new(self.status(&sweep).await?))
    }

    async fn pause_sweep(
        &self,
        request: Request<v1::OrderRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let v1::OrderRequest { sweep, .. } = request.into_inner();
        self.order(sweep, by, Ordered::Ready(Order::Pause)).await
    }

    async fn resume_sweep(
        &self,
        request: Request<v1::OrderRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let v1::OrderRequest { sweep, .. } = request.into_inner();
        self.order(sweep, by, Ordered::Ready(Order::Resume)).await
    }

    async fn set_priority(
        &self,
        request: Request<v1::SetPriorityRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let v1::SetPriorityRequest { sweep, priority, .. } = request.into_inner();
        if priority == 0 {
            return Err(Status::invalid_argument("field `priority` is 0, it must be at least 1"));
        }
        self.order(sweep, by, Ordered::Ready(Order::Priority(priority))).await
    }

    async fn extend_sweep(
        &self,
        request: Request<v1::ExtendSweepRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let v1::ExtendSweepRequest { sweep, additions, .. } = request.into_inner();
        self.order(sweep, by, Ordered::Extend(additions)).await
    }

    async fn retry_trials(
        &self,
        request: Request<v1::RetryTrialsRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let request = request.into_inner();
        let chosen = convert::chosen(&request)?;
        self.order(request.sweep, by, Ordered::Retry(chosen)).await
    }

    async fn stop_trial(
        &self,
        request: Request<v1::StopTrialRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let v1::StopTrialRequest { sweep, trial, .. } = request.into_inner();
        self.order(sweep, by, Ordered::Ready(Order::Stop(trial))).await
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let workers = self.engine.workers().await?;
        let reasons = self.engine.read(|reader| reader.reasons()).await?;
        let workers = workers.into_iter().map(|worker| convert::worker(worker, &reasons)).collect();
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn drain_worker(
        &self,
        request: Request<v1::DrainWorkerRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let by = orders::by(&request, |request| &request.by);
        let v1::DrainWorkerRequest { worker, .. } = request.into_inner();
        let there = self.engine.workers().await?;
        let names: Vec<&str> = there.iter().map(|worker| worker.id.as_str()).collect();
        let worker = WorkerId::new(naming::worker(&worker, &names)?);
        let changed = orders::changed(self.engine.drain(worker.clone(), by).await)?;
        let worker = worker.as_str().to_owned();
        Ok(Response::new(v1::OrderResponse { changed, worker, ..Default::default() }))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<Self::ListEventsStream>, Status> {
        let v1::ListEventsRequest { sweep, trial, follow } = request.into_inner();
        let sweep = self.find(sweep).await?;
        let (sender, receiver) = mpsc::channel(EVENTS as usize);
        tokio::spawn(self.clone().tell_events(sweep, trial, follow, sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_results(
        &self,
        request: Request<v1::GetSweepRequest>,
    ) -> Result<Response<Self::GetResultsStream>, Status> {
        let sweep = self.find(request.into_inner().sweep).await?;
        // First: trials that are read later are at least as far, so that a final status never stands above a trial under
        // way.
        let status = self.status(&sweep).await?;
        let id = sweep.clone();
        let first = self.engine.read(move |reader| results::beginning(reader, &id, status)).await?;
        let parts = Parts { engine: self.engine.clone(), sweep, from: 0 };
        let stream = stream::try_unfold(Some((parts, first)), |left| async move {
            let Some((mut parts, mut part)) = left else { return Ok(None) };
            part.trials = parts.next().await?;
            let left = (part.trials.len() == PART as usize).then(|| (parts, v1::SweepResults::default()));
            Ok(Some((part, left)))
        });
        Ok(Response::new(stream.boxed()))
    }

    async fn get_trial(
        &self,
        request: Request<v1::GetTrialRequest>,
    ) -> Result<Response<v1::TrialDetail>, Status> {
        let v1::GetTrialRequest { sweep, trial } = request.into_inner();
        let sweep = self.find(sweep).await?;
        let (id, mlflow) = (sweep.clone(), self.mlflow_url.clone());
        let found = self.engine.read(move |reader| detail::detail(reader, &id, trial, &mlflow)).await?;
        found.map(Response::new).ok_or_else(|| {
            Status::not_found(format!("trial {trial} of sweep {sweep} has not begun, or there is none"))
        })
    }
}

/// The trials of a sweep, read as their reader takes them.
struct Parts {
    engine: EngineHandle,
    sweep: SweepId,
    /// Index from which on they have still to be read.
    from: u64,
}

impl Parts {
    async fn next(&mut self) -> Result<Vec<v1::TrialResult>, Status> {
        let (sweep, from) = (self.sweep.clone(), self.from);
        let read = move |reader: &Reader| {
            let rows = reader.trials(&sweep, from, PART)?;
            Ok(results::trials(&reader.spec(&sweep)?, rows))
        };
        let trials = self.engine.read(read).await?;
        self.from = trials.last().map_or(from, |trial| trial.trial + 1);
        Ok(trials)
    }
}

/// Whether a status is a sweep's last.
pub fn is_final(status: &v1::SweepStatus) -> bool {
    match status.state() {
        v1::SweepState::Unspecified | v1::SweepState::Running | v1::SweepState::Paused => false,
        v1::SweepState::Completed | v1::SweepState::Cancelled | v1::SweepState::Failed => true,
    }
}
