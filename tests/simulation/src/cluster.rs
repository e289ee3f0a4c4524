//! The processes of a simulation over time: a coordinator that is started again after each crash, and places where
//! workers come one after the other.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use distilsweep_worker::session::SessionError;
use rand::{RngExt, rngs::StdRng};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    coordinator::{Coordinator, Stage},
    faults::Plan,
    network::{Line, Network},
    witness::Witness,
    worker::{Worker, WorkerOptions},
};

/// Where coordinators live one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) plan: Plan,
    pub(crate) root: PathBuf,
    pub(crate) network: Network,
    pub(crate) witness: Witness,
}

impl Site {
    pub(crate) fn start(&self) -> anyhow::Result<Coordinator> {
        let Plan { lease_timeout, commit_time, .. } = self.plan;
        Coordinator::start(&self.root, lease_timeout, commit_time, &self.network, self.witness.clone())
    }

    /// Crashes the coordinator as ordered and starts it again, until no more orders can come.
    pub(crate) async fn keep(
        self,
        mut coordinator: Coordinator,
        mut crashes: mpsc::UnboundedReceiver<(Stage, Duration)>,
    ) -> anyhow::Result<Coordinator> {
        while let Some((stage, down)) = crashes.recv().await {
            coordinator.crash(stage).await;
            sleep(down).await;
            coordinator = self.start()?;
        }
        Ok(coordinator)
    }
}

/// What becomes of the worker of a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// It crashes; the next comes after this time.
    Crash(Duration),
    /// It drains; the next comes this long after its end.
    Drain(Duration),
    /// It drains, and nobody comes any more.
    Leave,
}

/// A place for workers.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) root: PathBuf,
    pub(crate) options: Rc<WorkerOptions>,
    pub(crate) network: Network,
    pub(crate) line: Line,
    pub(crate) random: StdRng,
}

impl Place {
    /// Lets workers come and go as ordered.
    pub(crate) async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> anyhow::Result<()> {
        for life in 1_u32.. {
            let mut worker = self.worker(&format!("{}.{life}", self.name))?;
            let order = tokio::select! {
                order = orders.recv() => order.unwrap_or(Order::Leave),
                ended = worker.ended() => anyhow::bail!("{}.{life} ended by itself: {ended:?}", self.name),
            };
            match order {
                Order::Crash(down) => {
                    drop(worker);
                    sleep(down).await;
                }
                Order::Drain(down) => {
                    worker.drain();
                    match worker.ended().await {
                        // A coordinator that is away takes nothing back.
                        Ok(()) | Err(SessionError::GraceSpent(_)) => sleep(down).await,
                        Err(error) => return Err(error.into()),
                    }
                }
                Order::Leave => {
                    worker.drain();
                    return Ok(worker.ended().await?);
                }
            }
        }
        Ok(())
    }

    fn worker(&mut self, name: &str) -> anyhow::Result<Worker> {
        let root: &Path = &self.root;
        Worker::start(name, root, &self.options, &self.network, &self.line, self.random.random())
    }
}
