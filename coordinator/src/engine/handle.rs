//! How everything else speaks to the engine.

use std::{
    any::Any,
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use distilsweep_proto::ids::{SweepId, Term, WorkerId};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    Command, Joining, Meters, NewSweep, OrderError, Ordered, Progress, Snapshot, StreamNumber, WorkerNow,
    kept, readers::Readers, retell,
};
use crate::{
    mlflow::{
        models::KeptModels,
        op::{OutboxRow, RunIds, RunKey},
        outbox::Outbox,
    },
    scheduler::{Answer, Census, Report},
    store::{Reader, StoreError},
};

/// How often the engine looks at its deadlines when nothing else happens.
const TICK: Duration = Duration::from_millis(200);

/// The engine has ended; its own error says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coordinator is stopping")]
pub struct EngineStopped;

/// Why an engine ended that was not told to.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It cannot write its state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A fault of this program.
    #[error(
        "the coordinator ended by a fault of its own, {0}: what it acknowledged is kept, start it again and report this"
    )]
    Panicked(String),
}

type Thread = JoinHandle<Result<(), StoreError>>;

/// A cheap handle of the engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    commands: mpsc::Sender<Command>,
    changes: watch::Receiver<u64>,
    outbox_growth: watch::Receiver<u64>,
    meters: Meters,
    readers: Arc<Readers>,
    thread: Arc<Mutex<Option<Thread>>>,
}

impl EngineHandle {
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        changes: watch::Receiver<u64>,
        outbox_growth: watch::Receiver<u64>,
        meters: Meters,
        readers: Readers,
    ) -> Self {
        let thread = Arc::new(Mutex::new(None));
        Self { commands, changes, outbox_growth, meters, readers: Arc::new(readers), thread }
    }

    /// The handle of an engine that has a thread of its own.
    pub(super) fn on(self, thread: Thread) -> Self {
        Self { thread: Arc::new(Mutex::new(Some(thread))), ..self }
    }

    /// The state directory.
    pub fn directory(&self) -> &Path {
        self.readers.directory()
    }

    /// Changes whenever anything may have.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    /// What it counts.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Commands that wait for it.
    pub fn waiting(&self) -> usize {
        self.commands.max_capacity() - self.commands.capacity()
    }

    /// What is alive, in numbers.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn census(&self) -> Result<Census, EngineStopped> {
        self.ask(Command::Count).await
    }

    /// Whether the engine still runs.
    pub fn is_running(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Lets deadlines pass, for as long as the engine runs.
    pub async fn keep_ticking(self) {
        let mut interval = tokio::time::interval(TICK);
        // After a stall the missed ticks say nothing more than one.
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            if self.tell(Command::Tick).await.is_err() {
                return;
            }
        }
    }

    /// Hands a sweep in: its id, and whether it is new. `random` makes the id of a new one.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn submit(&self, new: NewSweep, random: u64) -> Result<(SweepId, bool), EngineStopped> {
        self.ask(|reply| Command::Submit(Box::new(new), random, reply)).await
    }

    /// Orders something about a sweep. `by` is who, for the journal.
    ///
    /// # Errors
    /// Where it makes no sense, the state cannot be read, or the engine has stopped.
    pub async fn order(&self, sweep: SweepId, order: Ordered, by: String) -> Result<Answer, OrderError> {
        self.ask(|reply| Command::Order { sweep, order, by, reply }).await?
    }

    /// Tells a worker to hand everything back and to end.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn drain(&self, worker: WorkerId, by: String) -> Result<Answer, OrderError> {
        self.ask(|reply| Command::Drain(worker, by, reply)).await?
    }

    /// All workers that are connected or expected back.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn workers(&self) -> Result<Vec<WorkerNow>, EngineStopped> {
        self.ask(Command::Workers).await
    }

    /// What of a sweep is alive; `None` where there is no such sweep.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn snapshot(&self, sweep: SweepId) -> Result<Option<Snapshot>, EngineStopped> {
        self.ask(|reply| Command::Snapshot(sweep, reply)).await
    }

    /// A worker's stream opened.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn join(&self, joining: Joining) -> Result<(), EngineStopped> {
        self.tell(Command::Join(joining)).await
    }

    /// A worker's stream closed.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn leave(&self, worker: WorkerId, stream: StreamNumber) -> Result<(), EngineStopped> {
        self.tell(Command::Leave(worker, stream)).await
    }

    /// A worker is there, and so far.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn heartbeat(
        &self,
        worker: WorkerId,
        progress: Vec<(Term, Progress)>,
    ) -> Result<(), EngineStopped> {
        self.tell(Command::Heartbeat(worker, progress)).await
    }

    /// A worker takes no more work.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn draining(&self, worker: WorkerId) -> Result<(), EngineStopped> {
        self.tell(Command::Draining(worker)).await
    }

    /// A worker reports; it is acknowledged on its stream when it is durable.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn report(&self, worker: WorkerId, report: Report) -> Result<(), EngineStopped> {
        self.tell(Command::Report(worker, report)).await
    }

    /// Has MLflow told again what it once refused.
    ///
    /// # Errors
    /// Where the engine has stopped.
    pub async fn restore_refused(&self) -> Result<(), EngineStopped> {
        self.ask(Command::Restore).await
    }

    /// Stops the engine after what it was told before, and says how it ended.
    ///
    /// # Errors
    /// Why it had stopped by itself, where it had.
    pub async fn stop(&self) -> Result<(), EngineError> {
        self.readers.close();
        let _ = self.commands.send(Command::Stop).await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(ended)) => Ok(ended?),
            Ok(Err(panic)) => Err(EngineError::Panicked(words(panic.as_ref()))),
            // The runtime ends before the thread: nobody is left to be told.
            Err(_) => Ok(()),
        }
    }

    /// Reads in a blocking thread.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let path = readers.directory().to_owned();
        tokio::task::spawn_blocking(move || readers.read(read))
            .await
            .unwrap_or_else(|error| Err(StoreError::Directory { path, source: std::io::Error::other(error) }))
    }

    async fn tell(&self, command: Command) -> Result<(), EngineStopped> {
        self.commands.send(command).await.map_err(|_| EngineStopped)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, EngineStopped> {
        let (reply, answer) = oneshot::channel();
        self.tell(command(reply)).await?;
        answer.await.map_err(|_| EngineStopped)
    }
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}

/// Why the outbox cannot be drained any more.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The engine has ended.
    #[error(transparent)]
    Stopped(#[from] EngineStopped),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The outbox of the engine's database.
#[derive(Debug)]
pub struct EngineOutbox {
    engine: EngineHandle,
    growth: tokio::sync::Mutex<watch::Receiver<u64>>,
}

impl EngineOutbox {
    /// The outbox of an engine.
    pub fn new(engine: EngineHandle) -> Self {
        let growth = tokio::sync::Mutex::new(engine.outbox_growth.clone());
        Self { engine, growth }
    }
}

impl Outbox for EngineOutbox {
    type Error = OutboxError;

    async fn batch(&self, limit: usize, except: &BTreeSet<RunKey>) -> Result<Vec<OutboxRow>, OutboxError> {
        self.growth.lock().await.mark_unchanged();
        let except = except.clone();
        Ok(self.engine.read(move |reader| reader.outbox(limit, &except)).await?)
    }

    async fn run_ids(&self, run: &RunKey) -> Result<Option<RunIds>, OutboxError> {
        let run = run.clone();
        Ok(self.engine.read(move |reader| reader.run_ids(&run)).await?)
    }

    async fn ranking(&self, sweep: &RunKey, mlflow: &str) -> Result<Vec<(String, String)>, OutboxError> {
        let (sweep, mlflow) = (SweepId::new(sweep.as_str()), mlflow.to_owned());
        Ok(self.engine.read(move |reader| retell::ranking(reader, &sweep, &mlflow)).await?)
    }

    async fn kept_models(&self, sweep: &RunKey) -> Result<KeptModels, OutboxError> {
        let sweep = SweepId::new(sweep.as_str());
        Ok(self
            .engine
            .read(move |reader| kept::kept_models(reader, &sweep, |row| row.mlflow.clone()))
            .await?)
    }

    async fn done(&self, ids: &[i64], learned: &[(RunKey, RunIds)]) -> Result<(), OutboxError> {
        let (rows, runs) = (ids.to_vec(), learned.to_vec());
        Ok(self.engine.ask(|done| Command::Told { rows, runs, done }).await?)
    }

    async fn set_aside(&self, ids: &[i64], reason: &str) -> Result<(), OutboxError> {
        let (rows, reason) = (ids.to_vec(), reason.to_owned());
        Ok(self.engine.ask(|done| Command::Refused { rows, reason, done }).await?)
    }

    async fn wait_for_rows(&self) -> Result<(), OutboxError> {
        self.growth.lock().await.changed().await.map_err(|_| EngineStopped.into())
    }
}
