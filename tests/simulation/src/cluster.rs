//! The processes of a simulation over time: a coordinator that is started again after each crash, and places where
//! workers come one after the other.

use std::{
    cell::RefCell,
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
    /// Who is at which place.
    pub(crate) names: Names,
}

/// The name of the worker at each place.
pub(crate) type Names = Rc<RefCell<Vec<String>>>;

/// What becomes of the coordinator.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SiteOrder {
    /// It crashes; the next comes after this time.
    Crash(Stage, Duration),
    /// It is told to drain the worker at a place.
    Drain(usize),
}

impl Site {
    pub(crate) fn start(&self) -> anyhow::Result<Coordinator> {
        let Plan { lease_timeout, commit_time, .. } = self.plan;
        Coordinator::start(&self.root, lease_timeout, commit_time, &self.network, self.witness.clone())
    }

    /// Does as ordered, and starts the coordinator again after each crash, until no more orders can come.
    pub(crate) async fn keep(
        self,
        mut coordinator: Coordinator,
        mut orders: mpsc::UnboundedReceiver<SiteOrder>,
    ) -> anyhow::Result<Coordinator> {
        while let Some(order) = orders.recv().await {
            match order {
                SiteOrder::Crash(stage, down) => {
                    coordinator.crash(stage).await;
                    sleep(down).await;
                    coordinator = self.start()?;
                }
                SiteOrder::Drain(place) => {
                    let name = self.names.borrow()[place].clone();
                    coordinator.drain(&name).await;
                }
            }
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
    pub(crate) number: usize,
    pub(crate) names: Names,
    pub(crate) root: PathBuf,
    pub(crate) options: WorkerOptions,
    pub(crate) network: Network,
    pub(crate) line: Line,
    pub(crate) random: StdRng,
}

impl Place {
    /// Lets workers come and go as ordered.
    pub(crate) async fn serve(mut self, mut orders: mpsc::UnboundedReceiver<Order>) -> anyhow::Result<()> {
        for life in 1_u32.. {
            let name = format!("worker-{}.{life}", self.number);
            let mut worker = self.worker(&name, life)?;
            self.names.borrow_mut()[self.number] = name;
            let order = tokio::select! {
                order = orders.recv() => order.unwrap_or(Order::Leave),
                ended = worker.ended() => {
                    // The coordinator asked for it.
                    drained(ended)?;
                    continue;
                }
            };
            match order {
                Order::Crash(down) => {
                    drop(worker);
                    sleep(down).await;
                }
                Order::Drain(down) => {
                    worker.drain();
                    drained(worker.ended().await)?;
                    sleep(down).await;
                }
                Order::Leave => {
                    worker.drain();
                    return drained(worker.ended().await);
                }
            }
        }
        Ok(())
    }

    fn worker(&mut self, name: &str, life: u32) -> anyhow::Result<Worker> {
        let mut options = self.options.clone();
        if self.number > 0 || life > 1 {
            options.script.hang = None;
        }
        let root: &Path = &self.root;
        Worker::start(name, root, &options, &self.network, &self.line, self.random.random())
    }
}

/// How a worker ends that drained.
fn drained(ended: Result<(), SessionError>) -> anyhow::Result<()> {
    match ended {
        Ok(()) => Ok(()),
        // A coordinator that is away takes nothing back, and what hangs does not stop.
        Err(SessionError::GraceSpent(_) | SessionError::Stuck { .. }) => Ok(()),
        Err(error @ (SessionError::Unreachable { .. } | SessionError::Refused { .. })) => Err(error.into()),
    }
}
