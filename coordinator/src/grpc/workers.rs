//! The workers' service: each stream becomes commands of the engine, and what the engine sends goes down again.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use distilsweep_proto::{
    ids::WorkerId,
    v1::{self, workers_server::Workers},
};
use futures::{Stream, StreamExt, stream::BoxStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, Missing};
use crate::{
    engine::{About, EngineHandle, EngineStopped, StreamNumber},
    scheduler::{Report, Room},
};

/// Implements `distilsweep.v1.Workers`.
#[derive(Clone, Debug)]
pub(super) struct WorkersService {
    engine: EngineHandle,
    streams: Arc<AtomicU64>,
}

impl WorkersService {
    /// A service of this engine.
    pub(super) fn new(engine: EngineHandle) -> Self {
        Self { engine, streams: Arc::new(AtomicU64::new(0)) }
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
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.body);
        let Some(v1::worker_message::Body::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message of a session must be Hello"));
        };
        if hello.worker.is_empty() || hello.worker.len() > 200 {
            return Err(Status::invalid_argument("field `hello.worker` must have 1 to 200 characters"));
        }
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
        self.engine.join(worker.clone(), stream, hello.slots, room, about, held, to).await?;

        let engine = self.engine.clone();
        tokio::spawn(async move {
            let ended = listen(&engine, &worker, &mut inbound).await;
            if let Err(why) = ended {
                tracing::debug!(%worker, why = why.message(), "stream of a worker broke");
            }
            tracing::info!(%worker, "worker disconnected");
            let _ = engine.leave(worker, stream).await;
        });
        Ok(Response::new(down(from_engine).boxed()))
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
) -> impl Stream<Item = Result<v1::CoordinatorMessage, Status>> {
    UnboundedReceiverStream::new(from_engine).map(|message| Ok(message.into()))
}

async fn listen(
    engine: &EngineHandle,
    worker: &WorkerId,
    inbound: &mut Streaming<v1::WorkerMessage>,
) -> Result<(), Status> {
    use v1::worker_message::Body;
    while let Some(message) = inbound.message().await? {
        match message.body.ok_or(Missing("body"))? {
            Body::Hello(_) => return Err(Status::invalid_argument("Hello comes once in a session")),
            Body::Heartbeat(heartbeat) => {
                engine.heartbeat(worker.clone(), convert::progress(heartbeat)).await?;
            }
            Body::Report(report) => engine.report(worker.clone(), Report::try_from(report)?).await?,
            Body::Draining(_) => engine.draining(worker.clone()).await?,
        }
    }
    Ok(())
}
