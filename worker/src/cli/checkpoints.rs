//! Checkpoints of `train`: below its output, published and verified as a coordinator's trials' are.
//!
//! They survive the process, and go once the trial has its result.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use distilsweep_proto::{
    exit::Exit,
    ids::{Lease, SweepId, TrialId},
};
use tokio::{
    runtime::Runtime,
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};
use url::Url;

use crate::{
    store::{Kind, Resume, StoreError, TrialFiles, blocking},
    trainer::{Checkpoint, Ended},
};

/// Directory of checkpoints in an output.
const CHECKPOINTS: &str = "checkpoints";

/// Writes the checkpoints of a command's trials beside their training, and hears the signals that end it.
pub(super) struct Keeper {
    runtime: Runtime,
    output: PathBuf,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
}

impl Keeper {
    /// A keeper of the checkpoints below `output`, an existing directory.
    pub(super) fn new(output: &Path) -> Result<Self, Ended> {
        let made = || -> io::Result<Self> {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let stop = Arc::new(AtomicBool::new(false));
            for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
                let _guard = runtime.enter();
                let mut signal = signal(kind)?;
                let stop = Arc::clone(&stop);
                runtime.spawn(async move {
                    while signal.recv().await.is_some() {
                        if stop.swap(true, Ordering::Relaxed) {
                            // The second time somebody is in a hurry.
                            std::process::exit(i32::from(Exit::Interrupted as u8));
                        }
                    }
                });
            }
            let keeper = Self { runtime, output: output.canonicalize()?, stop, writers: Vec::new() };
            // What a killed attempt was writing.
            match std::fs::remove_dir_all(keeper.scratch()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(keeper),
            }
        };
        made().map_err(|error| Ended::Internal(format!("checkpoints cannot be kept: {error}")))
    }

    /// Turns true when the training is to end.
    pub(super) fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    fn scratch(&self) -> PathBuf {
        self.output.join(CHECKPOINTS).join("scratch")
    }

    fn files(&self, lane: usize) -> Result<TrialFiles, StoreError> {
        let url = Url::from_directory_path(&self.output).map_err(|()| StoreError::Url {
            url: self.output.display().to_string(),
            problem: "no absolute path".to_owned(),
        })?;
        TrialFiles::open(url.as_str(), &trial(lane))
    }

    /// The newest sound checkpoints of a lane.
    pub(super) fn newest(&self, lane: usize) -> Result<Resume, Ended> {
        Ok(self.runtime.block_on(self.files(lane)?.newest(&self.scratch()))?)
    }

    /// Where the checkpoints of a lane are to be sent: each is written, unless a newer one waits by then.
    pub(super) fn writer(&mut self, lane: usize) -> Result<UnboundedSender<Checkpoint>, Ended> {
        let files = self.files(lane)?;
        let term = self.runtime.block_on(files.next_term())?;
        let (sender, receiver) = unbounded_channel();
        let lease = Lease { trial: trial(lane), attempt: 1, term };
        let scratch = self.scratch();
        self.writers.push(self.runtime.spawn(write(files, lease, scratch, receiver)));
        Ok(sender)
    }

    /// Waits until everything is written whose sender is gone, and removes the checkpoints of the lanes with a result.
    pub(super) fn finish(mut self, finished: &[usize]) -> Result<(), Ended> {
        for writer in self.writers.drain(..) {
            let _ = self.runtime.block_on(writer);
        }
        for lane in finished {
            self.runtime.block_on(self.files(*lane)?.remove_checkpoints())?;
        }
        let _ = std::fs::remove_dir_all(self.scratch());
        // Only where no lane has a checkpoint left.
        let _ = std::fs::remove_dir(self.output.join(CHECKPOINTS));
        Ok(())
    }
}

fn trial(lane: usize) -> TrialId {
    TrialId { sweep: SweepId::new(CHECKPOINTS), index: lane as u64 }
}

async fn write(
    files: TrialFiles,
    lease: Lease,
    scratch: PathBuf,
    mut checkpoints: UnboundedReceiver<Checkpoint>,
) {
    while let Some(mut checkpoint) = checkpoints.recv().await {
        while let Ok(newer) = checkpoints.try_recv() {
            checkpoint = newer;
        }
        let step = checkpoint.step;
        let scratch = scratch.clone();
        let written = async {
            let directory = blocking(move || {
                std::fs::create_dir_all(&scratch)?;
                let directory = tempfile::tempdir_in(&scratch)?;
                (checkpoint.write)(directory.path()).map(|()| directory)
            });
            let directory = directory.await.map_err(|error| error.to_string())?;
            let published = files.publish(&lease, Kind::Checkpoint, step, directory.path()).await;
            published.map_err(|error| error.to_string())?;
            files.keep_last_two(&lease, step).await.map_err(|error| error.to_string())
        };
        if let Err(why) = written.await {
            tracing::warn!(step, why, "a checkpoint could not be written");
        }
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Internal(error.to_string())
    }
}
