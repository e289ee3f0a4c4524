//! The workers' service: each stream becomes commands of the engine, and what the engine sends goes down again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use distilsweep_proto::{
    ids::WorkerId,
    v1::{self, workers_server::Workers},
    version::work_together,
};
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::{
    convert::{self, Missing},
    limits,
    rate::{Bucket, Rate},
};
use crate::{
    engine::{About, EngineHandle, EngineStopped, Joining, StreamNumber},
    scheduler::{AttemptEnd, Failure, FailureKind, Report, ReportBody, Room},
};

/// Reports that a worker may send without taking a single message: its stream is not read.
const UNREAD: u64 = 10_000;

/// Implements `distilsweep.v1.Workers`.
#[derive(Clone, Debug)]
pub(super) struct WorkersService {
    engine: EngineHandle,
    streams: Arc<AtomicU64>,
    store_url: Arc<str>,
    rate: Rate,
    seats: Arc<Semaphore>,
    max_workers: usize,
}

impl WorkersService {
    /// A service of this engine for workers that publish below `store_url`.
    pub(super) fn new(engine: EngineHandle, store_url: String, rate: Rate, max_workers: usize) -> Self {
        Self {
            engine,
            streams: Arc::new(AtomicU64::new(0)),
            store_url: store_url.into(),
            rate,
            seats: Arc::new(Semaphore::new(max_workers)),
            max_workers,
        }
    }
}

impl From<EngineStopped> for Status {
    fn from(stopped: EngineStopped) -> Self {
        Status::unavailable(stopped.to_string())
    }
}

#[tonic::async_trait]
impl Workers for WorkersService {
    type SessionStream = BoxStream<'static, Result<v1::CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| {
            let most = self.max_workers;
            Status::resource_exhausted(format!(
                "{most} workers are connected, which is what --max-workers allows"
            ))
        })?;
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.body);
        let Some(v1::worker_message::Body::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message of a session must be Hello"));
        };
        limits::hello(&hello)?;
        work_together(env!("CARGO_PKG_VERSION"), &hello.version).map_err(Status::invalid_argument)?;
        let worker = WorkerId::new(hello.worker);
        let stream = StreamNumber(self.streams.fetch_add(1, Ordering::Relaxed) + 1);
        let (to, from_engine) = mpsc::unbounded_channel();
        let room = room(&hello.devices);
        let about = About {
            hostname: hello.hostname,
            process: hello.process,
            version: hello.version.clone(),
            devices: hello.devices.into_iter().map(described).collect(),
        };
        let held = hello.held.into_iter().map(Into::into).collect();
        tracing::info!(%worker, process = hello.process, version = hello.version, "worker connected");
        let joining = Joining { worker: worker.clone(), stream, slots: hello.slots, room, about, held, to };
        self.engine.join(joining).await?;

        let taken = Arc::new(AtomicU64::new(0));
        let listener = Listener {
            engine: self.engine.clone(),
            worker,
            store_url: Arc::clone(&self.store_url),
            rate: self.rate,
            taken: Arc::clone(&taken),
        };
        let task = async move {
            let ended = listener.listen(&mut inbound).await;
            let Listener { engine, worker, .. } = listener;
            if let Err(why) = ended {
                tracing::debug!(%worker, why = why.message(), "stream of a worker broke");
            }
            tracing::info!(%worker, "worker disconnected");
            let _ = engine.leave(worker, stream).await;
            drop(seat);
        };
        tokio::spawn(task.in_current_span());
        Ok(Response::new(down(from_engine, taken).boxed()))
    }
}

/// What every slot of a worker holds: the least of its devices.
fn room(devices: &[v1::Device]) -> Room {
    Room {
        max_lanes: devices.iter().map(|device| device.max_lanes).min().unwrap_or_default(),
        memory_bytes: devices.iter().map(|device| device.memory_bytes).min().unwrap_or_default(),
    }
}

fn described(device: v1::Device) -> String {
    if device.model.is_empty() { device.name } else { format!("{} ({})", device.name, device.model) }
}

fn down(
    from_engine: mpsc::UnboundedReceiver<crate::engine::ToWorker>,
    taken: Arc<AtomicU64>,
) -> impl Stream<Item = Result<v1::CoordinatorMessage, Status>> {
    UnboundedReceiverStream::new(from_engine).map(move |message| {
        taken.fetch_add(1, Ordering::Relaxed);
        Ok(message.into())
    })
}

/// One stream of a worker, as it is read.
struct Listener {
    engine: EngineHandle,
    worker: WorkerId,
    store_url: Arc<str>,
    rate: Rate,
    /// Messages that the worker's stream has taken.
    taken: Arc<AtomicU64>,
}

impl Listener {
    async fn listen(&self, inbound: &mut Streaming<v1::WorkerMessage>) -> Result<(), Status> {
        use v1::worker_message::Body;
        let mut bucket = Bucket::new(self.rate, Instant::now());
        let (mut taken, mut unread) = (0, 0);
        while let Some(message) = inbound.message().await? {
            let mut points = 0;
            match message.body.ok_or(Missing("body"))? {
                Body::Hello(_) => return Err(Status::invalid_argument("Hello comes once in a session")),
                Body::Heartbeat(heartbeat) => {
                    limits::heartbeat(&heartbeat)?;
                    self.engine.heartbeat(self.worker.clone(), convert::progress(heartbeat)).await?;
                }
                Body::Report(report) => {
                    let report = self.checked(Report::try_from(report)?)?;
                    if let ReportBody::Metrics(block) = &report.body {
                        points = block.len();
                    }
                    self.engine.report(self.worker.clone(), report).await?;
                    let now = self.taken.load(Ordering::Relaxed);
                    (taken, unread) = if now == taken { (taken, unread + 1) } else { (now, 0) };
                    if unread > UNREAD {
                        return Err(Status::resource_exhausted("the worker does not read what it is sent"));
                    }
                }
                Body::Draining(_) => self.engine.draining(self.worker.clone()).await?,
            }
            let wait = bucket.take(Instant::now(), points);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }

    /// A report as it came, or as the failure that it is where it says what no worker may say.
    fn checked(&self, report: Report) -> Result<Report, Status> {
        limits::lease(&report.lease)?;
        match limits::report(&report, &self.store_url) {
            Ok(()) => Ok(report),
            Err(why) => {
                let worker = &self.worker;
                tracing::warn!(%worker, lease = %report.lease, %why, "refused a report, its lease ends");
                let message = format!("the report of worker {worker} was refused: {why}");
                let failure = Failure { kind: FailureKind::Internal, message };
                Ok(Report { body: ReportBody::Ended(AttemptEnd::Failed(failure)), ..report })
            }
        }
    }
}
