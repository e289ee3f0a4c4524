//! Who gets what next.

use distilsweep_proto::ids::{Lease, Term, TrialId, WorkerId};

use super::{Active, Effect, Lane, Message, Pack, Record, Scheduler, Sweep, pace::Pace};

impl Scheduler {
    /// Leases trials to free workers. The sweep with the fewest devices for its priority comes first, so that sweeps
    /// share the workers by priority; each worker gets a pack as large as its device holds, but no more than its share
    /// of what is left, so that no device stands idle beside a full one.
    pub(super) fn assign(&mut self, effects: &mut Vec<Effect>) {
        let mut passed_over = None;
        while self.sweeps.iter().any(Sweep::wants) {
            let Some(worker) = self.workers.free_after(passed_over.as_ref()) else { return };
            if !self.serve(&worker, effects) {
                passed_over = Some(worker);
            }
        }
    }

    /// Gives a free worker its next pack, if there is one for it.
    fn serve(&mut self, id: &WorkerId, effects: &mut Vec<Effect>) -> bool {
        let (slots, sound) = (self.workers.slots(), self.workers.sound());
        let Some(worker) = self.workers.get(id) else { return false };
        if worker.is_quarantined() && sound > 0 {
            return false;
        }
        let (room, alone) = (worker.room, sound <= 1);
        let mut order: Vec<usize> = (0..self.sweeps.len()).filter(|at| self.sweeps[*at].wants()).collect();
        // Shares as fractions with the priority below: compared without dividing. The sort keeps the order of equals.
        order.sort_by(|one, other| {
            let (one, other) = (&self.sweeps[*one], &self.sweeps[*other]);
            (one.packs * u64::from(other.priority)).cmp(&(other.packs * u64::from(one.priority)))
        });
        for at in order {
            let sweep = &mut self.sweeps[at];
            let fit = room.lanes(self.lane_bytes.get(&sweep.id).copied());
            let most = fit.min(self.lane_limits.get(&sweep.id).copied().unwrap_or(u32::MAX));
            let share = sweep.pending().div_ceil(slots.max(1));
            let most = usize::try_from(share.min(most.into())).unwrap_or(usize::MAX);
            let taken = sweep.take_pack(most, id, alone);
            if !taken.is_empty() {
                self.lease(at, taken, id, effects);
                return true;
            }
        }
        false
    }

    /// Leases trials of a sweep, the one at this place, to a worker as one pack.
    fn lease(&mut self, at: usize, taken: Vec<u64>, id: &WorkerId, effects: &mut Vec<Effect>) {
        let sweep = &mut self.sweeps[at];
        sweep.packs += 1;
        let first = next(self.last_term);
        let pack = Pack { first, lanes: u32::try_from(taken.len()).unwrap_or(u32::MAX) };
        let mut lanes = Vec::new();
        for index in taken {
            let term = next(self.last_term);
            self.last_term = term;
            let bracket = sweep.bracket(index);
            let rung = sweep.rungs.reached(bracket, index);
            let trial = sweep.trials.entry(index).or_default();
            debug_assert!(trial.lease.is_none(), "a waiting trial has no lease");
            trial.attempts += 1;
            trial.lease = Some(term);
            let lease =
                Lease { trial: TrialId { sweep: sweep.id.clone(), index }, attempt: trial.attempts, term };
            let active =
                Active { lease: lease.clone(), worker: id.clone(), sequence: 0, pack, pace: Pace::default() };
            self.leases.insert(term, active);
            effects.push(Effect::Record(Record::LeaseGranted(lease.clone(), id.clone(), pack)));
            let pause = (sweep.limits.early_terminate.filter(|_| !trial.exempt))
                .and_then(|rule| rule.pause(index, rung));
            lanes.push(Lane { lease, resume: trial.checkpoint.clone(), pause });
        }
        let terms = lanes.iter().map(|lane| lane.lease.term).collect();
        self.workers.change(id, |worker| worker.packs.insert(first, terms));
        effects.push(Effect::Send(id.clone(), Message::Assign(lanes)));
    }
}

/// A term that no lease has had yet.
fn next(term: Term) -> Term {
    Term(term.0 + 1)
}
