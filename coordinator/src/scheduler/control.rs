//! What people order while sweeps run.

use distilsweep_proto::ids::{SweepId, TrialId, WorkerId};

use super::{
    Change, Effect, Mark, Message, Record, Scheduler, SweepState, Time, TrialEnd,
    order::{Answer, Ended, Extension, Order, Refusal},
};

impl Scheduler {
    /// Follows an order about a sweep, or says why not.
    pub(super) fn order(
        &mut self,
        now: Time,
        id: &SweepId,
        order: Order,
        by: String,
        effects: &mut Vec<Effect>,
    ) {
        let answer = match self.sweep(id).map(|sweep| sweep.state) {
            None => Err(Refusal::NoSweep(id.clone())),
            Some(state) => match order {
                Order::Cancel(reason) => Ok(self.cancel(now, id, state, reason, effects)),
                Order::Pause => self.turn(now, id, SweepState::Paused, Change::Paused, by, effects),
                Order::Resume => self.turn(now, id, SweepState::Running, Change::Resumed, by, effects),
                Order::Priority(priority) => Ok(self.prioritise(id, priority.max(1), by, effects)),
                Order::Extend(extension) => self.extend(now, id, extension, by, effects),
                Order::Retry(ended) => self.retry(now, id, ended, by, effects),
                Order::Stop(trial) => self.stop(now, id, trial, by, effects),
            },
        };
        effects.push(Effect::Answered(answer.map_or_else(Answer::Refused, Answer::Done)));
    }

    fn cancel(
        &mut self,
        now: Time,
        id: &SweepId,
        state: SweepState,
        reason: String,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        self.end_sweep(now, id, SweepState::Cancelled, Some(reason), effects);
        u64::from(state.is_open())
    }

    /// Pauses or resumes.
    fn turn(
        &mut self,
        now: Time,
        id: &SweepId,
        to: SweepState,
        change: Change,
        by: String,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, Refusal> {
        let Some(sweep) = self.sweep_mut(id).filter(|sweep| sweep.state != to) else { return Ok(0) };
        open(id, sweep.state, "only a sweep that has not ended can be paused and resumed")?;
        sweep.turn(now, to);
        effects.push(Effect::Record(Record::SweepChanged(id.clone(), change, by)));
        Ok(1)
    }

    fn prioritise(&mut self, id: &SweepId, priority: u32, by: String, effects: &mut Vec<Effect>) -> u64 {
        let Some(sweep) = self.sweep_mut(id).filter(|sweep| sweep.priority != priority) else { return 0 };
        sweep.priority = priority;
        effects.push(Effect::Record(Record::SweepChanged(id.clone(), Change::Priority(priority), by)));
        1
    }

    fn extend(
        &mut self,
        now: Time,
        id: &SweepId,
        extension: Extension,
        by: String,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, Refusal> {
        let Some(sweep) = self.sweep_mut(id) else { return Ok(0) };
        debug_assert!(extension.size >= sweep.size, "an extension only adds");
        let added = extension.size - sweep.size;
        if added == 0 {
            return Ok(0);
        }
        if sweep.has_reached_its_target() {
            let remedy = "it has reached its target and begins nothing more: submit a file with another one";
            return Err(Refusal::Ended { sweep: id.clone(), state: sweep.state, remedy });
        }
        match sweep.state {
            SweepState::Running | SweepState::Paused => {}
            SweepState::Completed => sweep.turn(now, SweepState::Running),
            state @ (SweepState::Cancelled | SweepState::Failed) => {
                return open(id, state, "a running or completed sweep can be extended").map(|()| 0);
            }
        }
        sweep.size = extension.size;
        sweep.structure = extension.structure.clone();
        effects.push(Effect::Record(Record::SweepChanged(id.clone(), Change::Extended(extension), by)));
        Ok(added)
    }

    fn retry(
        &mut self,
        now: Time,
        id: &SweepId,
        ended: Vec<Ended>,
        by: String,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, Refusal> {
        let Some(sweep) = self.sweep_mut(id) else { return Ok(0) };
        if ended.is_empty() {
            return Ok(0);
        }
        match sweep.state {
            SweepState::Running | SweepState::Paused => {}
            SweepState::Completed | SweepState::Failed => {
                sweep.turn(now, SweepState::Running);
                let reopened = Record::SweepChanged(id.clone(), Change::Reopened, by.clone());
                effects.push(Effect::Record(reopened));
            }
            state @ SweepState::Cancelled => {
                return open(id, state, "submit its file again to start another").map(|()| 0);
            }
        }
        let count = ended.len() as u64;
        for Ended { index, how, trial } in ended {
            debug_assert!(!sweep.trials.contains_key(&index), "the store knows it as ended");
            let trial_id = TrialId { sweep: id.clone(), index };
            let record = if trial.attempts == 0 {
                sweep.include(index);
                Record::TrialIncluded(trial_id, by.clone())
            } else {
                sweep.again(index, how, trial);
                Record::TrialRetried(trial_id, by.clone())
            };
            effects.push(Effect::Record(record));
        }
        // What never began stays so where the target is reached.
        self.end_if_done(now, id, effects);
        Ok(count)
    }

    fn stop(
        &mut self,
        now: Time,
        id: &SweepId,
        index: u64,
        by: String,
        effects: &mut Vec<Effect>,
    ) -> Result<u64, Refusal> {
        let Some(sweep) = self.sweep_mut(id) else { return Ok(0) };
        if index >= sweep.size {
            return Err(Refusal::NoTrial { sweep: id.clone(), trial: index, last: sweep.size - 1 });
        }
        if !sweep.state.is_open() {
            return Ok(0);
        }
        let trial = TrialId { sweep: id.clone(), index };
        let reason = format!("stopped by {by}");
        match sweep.trials.get(&index).map(|trial| trial.lease) {
            Some(lease) => {
                if let Some(active) = lease.and_then(|term| self.take_back(term)) {
                    effects.push(Effect::Record(Record::LeaseEnded(
                        active.lease.clone(),
                        active.worker.clone(),
                        None,
                    )));
                    effects.push(Effect::Send(active.worker, Message::Stop(active.lease, reason.clone())));
                }
                self.count_trial(&trial, TrialEnd::Cancelled(reason), effects);
            }
            None if sweep.exclude(index) => {
                effects.push(Effect::Record(Record::TrialExcluded(trial, by)));
            }
            None => return Ok(0),
        }
        self.end_if_done(now, id, effects);
        Ok(1)
    }

    /// Tells a worker to take no more work and to end; it says itself when it does.
    pub(super) fn drain(&mut self, worker: &WorkerId, by: String, effects: &mut Vec<Effect>) {
        let answer = match self.workers.get(worker).map(super::Worker::is_draining) {
            None => Answer::Refused(Refusal::NoWorker(worker.clone())),
            Some(true) => Answer::Done(0),
            Some(false) => {
                let reason = format!("told to by {by}");
                self.mark(worker, Mark::Draining, reason.clone(), by, effects);
                effects.push(Effect::Send(worker.clone(), Message::Drain(reason)));
                Answer::Done(1)
            }
        };
        effects.push(Effect::Answered(answer));
    }

    /// Sets a worker apart, and records why.
    pub(super) fn mark(
        &mut self,
        id: &WorkerId,
        mark: Mark,
        reason: String,
        by: String,
        effects: &mut Vec<Effect>,
    ) {
        if self.workers.change(id, |worker| worker.marks.insert(mark)) != Some(true) {
            return;
        }
        self.marks.entry(id.clone()).or_default().insert(mark);
        effects.push(Effect::Record(Record::WorkerMarked(id.clone(), mark, reason, by)));
    }
}

fn open(sweep: &SweepId, state: SweepState, remedy: &'static str) -> Result<(), Refusal> {
    match state.is_open() {
        true => Ok(()),
        false => Err(Refusal::Ended { sweep: sweep.clone(), state, remedy }),
    }
}
