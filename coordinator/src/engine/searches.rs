//! Searches that learn: the engine notes what comes of their trials, and has a point proposed where one is leased that has
//! none. The scheduler knows points by number alone, so it has no part in it.

use std::sync::Arc;

use distilsweep_proto::ids::SweepId;

use super::Engine;
use crate::{
    scheduler::{Record, TrialEnd},
    search::{self, History, Outcome},
    spec::{Impute, Method, MetricSpec},
    store::Write,
};

impl Engine {
    /// Takes in what happens to the trials of searches, and proposes the point of a lease that is a draw's first.
    ///
    /// The proposal goes into the transaction of its lease: no worker hears of a point that a restart would not find.
    pub(super) fn learn(&mut self, record: &Record) -> Option<Write> {
        match record {
            Record::LeaseGranted(lease, ..) => {
                let trial = &lease.trial;
                let spec = self.specs.get_mut(&trial.sweep)?;
                let (drawn, draw) = spec.space.unproposed(trial.index)?;
                let history = self.histories.entry(trial.sweep.clone()).or_default();
                let shares = search::propose(drawn, draw, history, &spec.metric);
                Arc::make_mut(spec).space.propose(draw, shares.clone());
                return Some(Write::Proposed { trial: trial.clone(), shares });
            }
            Record::TrialEnded(trial, end) => {
                let metric = self.specs.get(&trial.sweep)?.metric;
                let history = self.history(&trial.sweep)?;
                let missing = match metric.impute {
                    Impute::Latest => history.by_evaluations(trial.index),
                    Impute::Best | Impute::Worst => Outcome::Missing,
                };
                let outcome = match end {
                    TrialEnd::Completed(result) => match result.metrics.get(metric.selection.best) {
                        Some(value) if value.is_finite() => Outcome::Value(*value),
                        Some(_) | None => missing,
                    },
                    TrialEnd::Diverged(_) | TrialEnd::Failed(_) => missing,
                    TrialEnd::EarlyStopped(_) => history.by_evaluations(trial.index),
                    TrialEnd::Cancelled(_) => Outcome::Unknown,
                };
                history.note(trial.index, outcome);
            }
            Record::Metrics(lease, _, points) => {
                let MetricSpec { selection, maximize, .. } = self.specs.get(&lease.trial.sweep)?.metric;
                let history = self.history(&lease.trial.sweep)?;
                for point in points.iter().filter(|point| point.key == selection.evaluation) {
                    history.evaluated(lease.trial.index, point.value, maximize);
                }
            }
            Record::TrialExcluded(trial, _) => {
                self.history(&trial.sweep)?.note(trial.index, Outcome::Unknown);
            }
            Record::TrialIncluded(trial, _) | Record::TrialRetried(trial, _) => {
                self.history(&trial.sweep)?.forget(trial.index);
            }
            Record::SweepSubmitted(_)
            | Record::SweepEnded(..)
            | Record::SweepChanged(..)
            | Record::LeaseEnded(..)
            | Record::Checkpoint(..)
            | Record::Evaluated(..)
            | Record::RungReached { .. }
            | Record::Promoted(..)
            | Record::WorkerMarked(..) => {}
        }
        None
    }

    /// What is known of a sweep's trials, where its points go by it.
    fn history(&mut self, sweep: &SweepId) -> Option<&mut History> {
        let learns = self.specs.get(sweep)?.method == Method::Bayes;
        learns.then(|| self.histories.entry(sweep.clone()).or_default())
    }
}
