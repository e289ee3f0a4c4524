//! Who gets what next.

use distilsweep_proto::ids::{Lease, TrialId};

use super::{Active, Effect, Lane, Message, Pack, Record, Scheduler, event};

impl Scheduler {
    /// Leases trials to free workers, the oldest sweep first: each gets a pack as large as its device holds, but no
    /// more than its share of what is left, so that no device stands idle beside a full one.
    pub(super) fn assign(&mut self, effects: &mut Vec<Effect>) {
        let serving = self.workers.values().filter(|worker| worker.connected && !worker.draining);
        let slots: u64 = serving.map(|worker| u64::from(worker.slots)).sum();
        while let Some((id, worker)) = self.workers.iter_mut().find(|(_, worker)| worker.is_free()) {
            let Some(sweep) = self.sweeps.iter_mut().find(|sweep| sweep.next_trial().is_some()) else {
                return;
            };
            let fit = worker.room.lanes(self.lane_bytes.get(&sweep.id).copied());
            let most = fit.min(self.lane_limits.get(&sweep.id).copied().unwrap_or(u32::MAX));
            let share = sweep.pending().div_ceil(slots.max(1));
            let taken = sweep.take_pack(usize::try_from(share.min(most.into())).unwrap_or(usize::MAX));
            let first = event::next(self.last_term);
            let pack = Pack { first, lanes: u32::try_from(taken.len()).unwrap_or(u32::MAX) };
            worker.packs.insert(first, taken.len());
            let mut lanes = Vec::new();
            for index in taken {
                let term = event::next(self.last_term);
                self.last_term = term;
                let trial = sweep.trials.entry(index).or_default();
                debug_assert!(trial.lease.is_none(), "a waiting trial has no lease");
                trial.attempts += 1;
                trial.lease = Some(term);
                let lease = Lease {
                    trial: TrialId { sweep: sweep.id.clone(), index },
                    attempt: trial.attempts,
                    term,
                };
                let active = Active { lease: lease.clone(), worker: id.clone(), sequence: 0, pack };
                self.leases.insert(term, active);
                effects.push(Effect::Record(Record::LeaseGranted(lease.clone(), id.clone(), pack)));
                lanes.push(Lane { lease, resume: trial.checkpoint.clone() });
            }
            effects.push(Effect::Send(id.clone(), Message::Assign(lanes)));
        }
    }
}
