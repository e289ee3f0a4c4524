//! How leases, trials and sweeps end.

use distilsweep_proto::ids::{SweepId, Term, TrialId, WorkerId};

use super::{
    Active, Best, COORDINATOR, Effect, FAILURES_BEFORE_QUARANTINE, Failure, FailureKind, Mark, Message, Next,
    Past, Record, Scheduler, SweepState, Time, TrialEnd, Worker,
};

impl Scheduler {
    /// Ends a lease without a result; the failure decides what becomes of its trial.
    pub(super) fn fail(&mut self, now: Time, term: Term, failure: Failure, effects: &mut Vec<Effect>) {
        let Some(Active { lease, pack, worker, .. }) = self.take_back(term) else { return };
        effects.push(Effect::Record(Record::LeaseEnded(
            lease.clone(),
            worker.clone(),
            Some(failure.clone()),
        )));
        let alone = pack.lanes <= 1;
        if failure.kind == FailureKind::OutOfMemory {
            let limit = self.lane_limits.entry(lease.trial.sweep.clone()).or_insert(u32::MAX);
            *limit = (pack.lanes / 2).max(1).min(*limit);
        }
        if failure.kind.may_be_the_workers() && (alone || failure.kind != FailureKind::OutOfMemory) {
            self.blame(&worker, &lease.trial, effects);
        }
        let Some(sweep) = self.sweep_mut(&lease.trial.sweep) else { return };
        let max_retries = sweep.limits.max_retries;
        let Some(trial) = sweep.trials.get_mut(&lease.trial.index) else { return };
        trial.lease = None;
        trial.remember(Past { attempt: lease.attempt, worker, failure: failure.clone() });
        let next = trial.after_failure(failure.kind, pack.lanes, max_retries);
        let failure = trial.last_words(failure);
        match next {
            Next::Again => {
                sweep.waiting.insert(lease.trial.index);
            }
            Next::Diverged => self.end_trial(now, &lease.trial, TrialEnd::Diverged(failure), effects),
            Next::Failed => self.end_trial(now, &lease.trial, TrialEnd::Failed(failure), effects),
            Next::SweepFailed => {
                let reason = failure.message.clone();
                // Not `end_trial`: were this the last trial, that would complete the sweep instead.
                self.count_trial(&lease.trial, TrialEnd::Failed(failure), effects);
                self.end_sweep(now, &lease.trial.sweep, SweepState::Failed, Some(reason), effects);
            }
        }
    }

    /// Counts a failure against the worker that it happened on, which is set aside after some.
    fn blame(&mut self, worker: &WorkerId, trial: &TrialId, effects: &mut Vec<Effect>) {
        let failed = self.workers.change(worker, |worker| {
            worker.failed.insert(trial.clone());
            worker.failed.len()
        });
        if failed.is_some_and(|failed| failed >= FAILURES_BEFORE_QUARANTINE) {
            let reason = format!("{FAILURES_BEFORE_QUARANTINE} different trials failed on it in a row");
            self.mark(worker, Mark::Quarantined, reason, COORDINATOR.to_owned(), effects);
        }
    }

    /// Ends a lease, whatever becomes of its trial.
    pub(super) fn take_back(&mut self, term: Term) -> Option<Active> {
        let active = self.leases.remove(&term)?;
        let pack_ended = self.workers.change(&active.worker, |worker| {
            let Some(lanes) = worker.packs.get_mut(&active.pack.first) else { return false };
            lanes.remove(&term);
            lanes.is_empty() && worker.packs.remove(&active.pack.first).is_some()
        });
        if pack_ended == Some(true)
            && let Some(sweep) = self.sweep_mut(&active.lease.trial.sweep)
        {
            sweep.packs -= 1;
        }
        Some(active)
    }

    /// Ends a trial, and its sweep where it was the last or one failure too many.
    pub(super) fn end_trial(&mut self, now: Time, trial: &TrialId, end: TrialEnd, effects: &mut Vec<Effect>) {
        self.count_trial(trial, end, effects);
        let borne = self
            .sweep(&trial.sweep)
            .and_then(|sweep| sweep.limits.max_failed_trials.filter(|borne| sweep.counts.failed > *borne));
        if let Some(borne) = borne {
            let reason = format!("more than {borne} trials failed, which is its max_failed_trials");
            self.end_sweep(now, &trial.sweep, SweepState::Failed, Some(reason), effects);
        }
        self.end_if_done(now, &trial.sweep, effects);
    }

    pub(super) fn end_if_done(&mut self, now: Time, sweep: &SweepId, effects: &mut Vec<Effect>) {
        self.promote(sweep, effects);
        let Some(found) = self.sweep(sweep).filter(|sweep| sweep.is_done()) else { return };
        let reason = found.best.filter(|_| found.has_reached_its_target()).map(|Best { trial, value }| {
            format!("trial {trial} reached the target, with {} {value:.4}", found.metric)
        });
        self.end_sweep(now, sweep, SweepState::Completed, reason, effects);
    }

    pub(super) fn count_trial(&mut self, trial: &TrialId, end: TrialEnd, effects: &mut Vec<Effect>) {
        let Some(sweep) = self.sweep_mut(&trial.sweep) else { return };
        sweep.ended(trial.index, &end);
        effects.push(Effect::Record(Record::TrialEnded(trial.clone(), end)));
    }

    /// Ends a sweep and whatever of it is under way. Does nothing where it has ended.
    pub(super) fn end_sweep(
        &mut self,
        now: Time,
        id: &SweepId,
        state: SweepState,
        reason: Option<String>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(sweep) = self.sweep_mut(id).filter(|sweep| sweep.state.is_open()) else { return };
        sweep.turn(now, state);
        let why = reason.clone().unwrap_or_else(|| "the sweep has ended".to_owned());
        let unfinished: Vec<(u64, Option<Term>)> =
            sweep.trials.iter().map(|(index, trial)| (*index, trial.lease)).collect();
        for active in unfinished.iter().filter_map(|(_, lease)| self.take_back((*lease)?)).collect::<Vec<_>>()
        {
            effects.push(Effect::Record(Record::LeaseEnded(
                active.lease.clone(),
                active.worker.clone(),
                None,
            )));
            effects.push(Effect::Send(active.worker, Message::Stop(active.lease, why.clone())));
        }
        for (index, _) in unfinished {
            let end = TrialEnd::Cancelled(format!("the sweep ended before it: {why}"));
            self.count_trial(&TrialId { sweep: id.clone(), index }, end, effects);
        }
        effects.push(Effect::Record(Record::SweepEnded(id.clone(), state, reason)));
    }

    /// Ends the leases of workers that were not heard of, and forgets workers that are gone and hold nothing.
    pub(super) fn expire(&mut self, now: Time, effects: &mut Vec<Effect>) {
        for worker in self.workers.silent(now) {
            effects.push(Effect::Disconnect(worker.clone()));
            self.workers.change(&worker, |known| known.connected = false);
            let terms: Vec<Term> = self.workers.get(&worker).into_iter().flat_map(Worker::terms).collect();
            for term in terms {
                let seconds = self.patience.lease_timeout_ms / 1000;
                let message = format!("worker {worker} was not heard of for {seconds} s");
                self.fail(now, term, Failure { kind: FailureKind::WorkerLost, message }, effects);
            }
        }
        self.workers.forget_gone();
    }

    /// Ends sweeps that have run for as long as they may.
    pub(super) fn spend_time(&mut self, now: Time, effects: &mut Vec<Effect>) {
        let over: Vec<SweepId> = self
            .sweeps
            .iter()
            .filter(|sweep| sweep.is_out_of_time(now))
            .map(|sweep| sweep.id.clone())
            .collect();
        for sweep in over {
            let reason = "its time_budget is spent".to_owned();
            self.end_sweep(now, &sweep, SweepState::Cancelled, Some(reason), effects);
        }
    }
}
