//! Trials that end, or pause, before their end because others are better: `early_terminate`.

use distilsweep_proto::{
    ids::{Lease, SweepId, TrialId, WorkerId},
    names::Selection,
};

use super::{Effect, Failure, FailureKind, Message, Point, Record, Scheduler, Sweep, Time, TrialEnd};
use crate::search::{Arrival, EarlyTerminate, Place};

impl Sweep {
    /// The ladder of rungs that a trial is on.
    pub(super) fn bracket(&self, trial: u64) -> u32 {
        self.limits.early_terminate.map_or(0, |rule| rule.bracket(trial))
    }

    /// Takes an evaluation of a trial, and answers where it came to by it and why it is to be stopped, if it is.
    fn evaluated(
        &mut self,
        rule: &EarlyTerminate,
        index: u64,
        value: f64,
    ) -> (Option<Arrival>, Option<String>) {
        let Some(trial) = self.trials.get_mut(&index) else { return (None, None) };
        trial.evaluated(value, self.maximize);
        let (best, evaluations) = (trial.best, trial.evaluations);
        let Some((rung, now)) = rule.rung(evaluations).filter(|_| !trial.exempt) else { return (None, None) };
        let place = Place { bracket: 0, rung };
        let arrival = Arrival { place, trial: index, value: best, promoted: false };
        if now {
            self.rungs.arrive(arrival);
        }
        let again = matches!(rule, EarlyTerminate::Hyperband { strict: true, .. });
        let why =
            (now || again).then(|| self.rungs.verdict(rule, self.maximize, rung, index, best)).flatten();
        let why = why.map(|why| format!("after {evaluations} evaluations {why}"));
        (now.then_some(arrival), why)
    }
}

impl Scheduler {
    /// Steps and values of the evaluations among new points of a trial's curves, where those may end it early.
    pub(super) fn evaluations(&self, trial: &TrialId, points: &[Point]) -> Vec<(i64, f64)> {
        let looks = |sweep: &&Sweep| sweep.limits.early_terminate.is_some();
        let Some(sweep) = self.sweep(&trial.sweep).filter(looks) else { return Vec::new() };
        let key = Selection::named(&sweep.metric).map(|selection| selection.evaluation);
        let of_it = points.iter().filter(|point| Some(point.key.as_str()) == key);
        of_it.map(|point| (point.step, point.value)).collect()
    }

    /// Looks whether evaluations of a trial end it early.
    pub(super) fn evaluated(
        &mut self,
        now: Time,
        lease: &Lease,
        evaluations: &[(i64, f64)],
        effects: &mut Vec<Effect>,
    ) {
        let id = &lease.trial;
        let is_last = |step| self.leases.get(&lease.term).is_some_and(|active| active.pace.is_last(step));
        let Some(sweep) = self.sweeps.iter_mut().find(|sweep| sweep.id == id.sweep) else { return };
        let Some(rule) = sweep.limits.early_terminate else { return };
        for (step, value) in evaluations {
            let (arrival, why) = sweep.evaluated(&rule, id.index, *value);
            if let Some(trial) = sweep.trials.get(&id.index) {
                effects.push(Effect::Record(Record::Evaluated(id.clone(), trial.evaluations, trial.best)));
            }
            if let Some(Arrival { place, value, .. }) = arrival {
                let trial = id.clone();
                effects.push(Effect::Record(Record::RungReached { trial, place, value, paused: false }));
            }
            // What has trained to its end may as well have its result.
            if let Some(why) = why.filter(|_| !is_last(*step)) {
                self.end_early(lease, why, effects);
                self.end_if_done(now, &id.sweep, effects);
                return;
            }
        }
    }

    fn end_early(&mut self, lease: &Lease, why: String, effects: &mut Vec<Effect>) {
        if let Some(active) = self.take_back(lease.term) {
            let ended = Record::LeaseEnded(lease.clone(), active.worker.clone(), None);
            effects.push(Effect::Record(ended));
            effects.push(Effect::Send(active.worker, Message::Stop(lease.clone(), why.clone())));
        }
        self.count_trial(&lease.trial, TrialEnd::EarlyStopped(why), effects);
    }

    /// A trial came to the rung where it was to pause.
    pub(super) fn pause(&mut self, now: Time, lease: &Lease, worker: &WorkerId, effects: &mut Vec<Effect>) {
        let id = &lease.trial;
        let pauses = |sweep: &&Sweep| {
            let exempt = sweep.trials.get(&id.index).is_some_and(|trial| trial.exempt);
            !exempt && sweep.limits.early_terminate.is_some_and(|rule| rule.pauses())
        };
        let Some(sweep) = self.sweep(&id.sweep).filter(pauses) else {
            // Nobody told it to: as any trial that is handed back.
            let message = format!("worker {worker} paused it");
            return self.fail(now, lease.term, Failure { kind: FailureKind::Preempted, message }, effects);
        };
        let bracket = sweep.bracket(id.index);
        let place = Place { bracket, rung: sweep.rungs.reached(bracket, id.index) };
        self.take_back(lease.term);
        effects.push(Effect::Record(Record::LeaseEnded(lease.clone(), worker.clone(), None)));
        let Some(sweep) = self.sweep_mut(&id.sweep) else { return };
        let Some(trial) = sweep.trials.get_mut(&id.index) else { return };
        trial.lease = None;
        let value = trial.best;
        sweep.paused.insert(id.index);
        sweep.rungs.arrive(Arrival { place, trial: id.index, value, promoted: false });
        effects.push(Effect::Record(Record::RungReached { trial: id.clone(), place, value, paused: true }));
        self.end_if_done(now, &id.sweep, effects);
    }

    /// Lets paused trials go on that are among the best of their rung. Where nothing is left that could come to a rung,
    /// the others end.
    pub(super) fn promote(&mut self, id: &SweepId, effects: &mut Vec<Effect>) {
        let Some(sweep) = self.sweep_mut(id).filter(|sweep| !sweep.paused.is_empty()) else { return };
        let Some(EarlyTerminate::Asha { eta, .. }) = sweep.limits.early_terminate else { return };
        if !sweep.has_reached_its_target() {
            let mut promoted = sweep.rungs.promote(eta, sweep.maximize, &sweep.paused, false);
            if promoted.is_empty() && sweep.is_at_rest() {
                promoted = sweep.rungs.promote(eta, sweep.maximize, &sweep.paused, true);
            }
            for (place, index) in promoted {
                sweep.paused.remove(&index);
                sweep.waiting.insert(index);
                let trial = TrialId { sweep: id.clone(), index };
                effects.push(Effect::Record(Record::Promoted(trial, place)));
            }
        }
        if !sweep.is_at_rest() {
            return;
        }
        let maximize = sweep.maximize;
        let rest: Vec<(u64, String)> = sweep
            .paused
            .iter()
            .map(|index| (*index, sweep.rungs.last_words(maximize, sweep.bracket(*index), *index)))
            .collect();
        for (index, why) in rest {
            self.count_trial(&TrialId { sweep: id.clone(), index }, TrialEnd::EarlyStopped(why), effects);
        }
    }
}
