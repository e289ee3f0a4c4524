//! What is alive, in numbers: for dashboards and alarms.

use distilsweep_proto::ids::SweepId;

use super::{Counts, Scheduler, SweepState};

/// All that is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// In order of submission.
    pub sweeps: Vec<SweepCensus>,
    /// Live leases.
    pub leases: u64,
    /// Workers by what they do.
    pub workers: WorkerCensus,
}

/// Trials of a sweep, by state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepCensus {
    /// Which one.
    pub id: SweepId,
    /// Of the whole.
    pub state: SweepState,
    /// Under a lease.
    pub running: u64,
    /// That wait for their first or next attempt; none once the sweep has ended.
    pub pending: u64,
    /// Of those, that a worker would get at once: none while the sweep is paused, nor more than it may have under way.
    pub assignable: u64,
    /// That ended.
    pub counts: Counts,
}

/// Workers by what they do; each is in one state alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCensus {
    /// Connected with a free slot.
    pub idle: u64,
    /// Connected with no free slot.
    pub busy: u64,
    /// Connected, and taking no more work.
    pub draining: u64,
    /// Connected, and set aside because many trials failed on it.
    pub quarantined: u64,
    /// Not connected, and their leases live on.
    pub away: u64,
}

impl Scheduler {
    /// Counts what is alive. Takes as long as there are workers, sweeps and trials under way.
    pub fn census(&self) -> Census {
        let sweeps = self.sweeps().iter().map(|sweep| {
            let running = sweep.trials.values().filter(|trial| trial.lease.is_some()).count() as u64;
            let pending = if sweep.state.is_open() { sweep.pending() } else { 0 };
            SweepCensus {
                id: sweep.id.clone(),
                state: sweep.state,
                running,
                pending,
                assignable: sweep.assignable(),
                counts: sweep.counts,
            }
        });
        let mut workers = WorkerCensus::default();
        for (_, worker) in self.workers.iter() {
            let state = if !worker.connected {
                &mut workers.away
            } else if worker.is_draining() {
                &mut workers.draining
            } else if worker.is_quarantined() {
                &mut workers.quarantined
            } else if worker.packs.len() < worker.slots as usize {
                &mut workers.idle
            } else {
                &mut workers.busy
            };
            *state += 1;
        }
        Census { sweeps: sweeps.collect(), leases: self.leases.len() as u64, workers }
    }
}
