//! What MLflow should hold of a sweep, told again from the store: its records go through the same [`Telling`] as when
//! they happened, so that there is one description of what is told.

use std::{collections::BTreeMap, sync::Arc};

use distilsweep_proto::{
    ids::{Lease, SweepId, Term, TrialId, WorkerId},
    v1,
};

use super::{kept, telling::Telling};
use crate::{
    grpc,
    mlflow::{
        models::KeptModels,
        op::{Op, RunIds, RunKey},
    },
    results,
    scheduler::{
        Failure, FailureKind, Limits, Pack, Record, Structure, Submission, SweepState, Time, TrialEnd,
    },
    spec::SweepSpec,
    store::{Attempt, Reader, StoreError, SweepRow, TrialRow},
};

/// What is told of, as [`Telling`] takes it.
type Specs = BTreeMap<SweepId, Arc<SweepSpec>>;

fn specs(reader: &Reader, sweep: &SweepId) -> Result<Specs, StoreError> {
    Ok(BTreeMap::from([(sweep.clone(), Arc::new(reader.spec(sweep)?))]))
}

/// Tells of one sweep again.
#[derive(Debug)]
pub struct Retelling<'a> {
    reader: &'a Reader,
    telling: Telling,
    specs: Specs,
    row: SweepRow,
}

impl<'a> Retelling<'a> {
    /// Of the sweep with this id. `user` is whose runs they are where the sweep does not say.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn new(reader: &'a Reader, sweep: &SweepId, user: String) -> Result<Self, StoreError> {
        let row = reader.sweep(sweep)?;
        let telling = Telling::new(reader.coordinator()?, user, false);
        let specs = specs(reader, sweep)?;
        Ok(Self { reader, telling, specs, row })
    }

    /// The sweep itself.
    pub fn sweep(&self) -> &SweepRow {
        &self.row
    }

    /// Name of its experiment.
    pub fn experiment(&self) -> &str {
        self.specs.values().next().map_or("", |spec| spec.experiment())
    }

    /// The sweep's run from its beginning, and from its end, which comes after the trials'.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn sweep_run(&self) -> Result<(Told, Told), StoreError> {
        let row = &self.row;
        let submission = Submission {
            id: row.id.clone(),
            name: row.name.clone(),
            digest: self.reader.digest(&row.id)?,
            size: row.size,
            structure: Structure::default(),
            limits: Limits::default(),
            metric: row.metric.clone(),
            maximize: row.maximize,
            force_new: false,
        };
        let source = self.reader.source(&row.id)?;
        let begun = self.about(row.created_ms, &Record::SweepSubmitted(submission), Some(&source));
        let ended = match (row.state, row.finished_ms) {
            (SweepState::Completed | SweepState::Cancelled | SweepState::Failed, Some(at)) => {
                self.about(at, &Record::SweepEnded(row.id.clone(), row.state, row.reason.clone()), None)
            }
            _ => Vec::new(),
        };
        Ok((begun, ended))
    }

    /// The run of a trial that began.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn trial_run(&self, trial: &TrialRow) -> Result<Told, StoreError> {
        let id = TrialId { sweep: self.row.id.clone(), index: trial.trial };
        // It may have been proposed since this was begun.
        let is_new = |spec: &Arc<SweepSpec>| spec.space.unproposed(trial.trial).is_some();
        let newer = self.specs.values().any(is_new).then(|| specs(self.reader, &id.sweep)).transpose()?;
        let specs = newer.as_ref().unwrap_or(&self.specs);
        let about = |at_ms: i64, record: &Record| self.telling.about(Time(at_ms), record, specs, None);
        let mut told = Vec::new();
        for Attempt { attempt, term, worker, granted_ms, ended_ms, failure } in self.reader.attempts(&id)? {
            let lease = Lease { trial: id.clone(), attempt, term: Term(term) };
            let worker = WorkerId::new(worker);
            let pack = Pack { first: Term(term), lanes: 1 };
            told.extend(about(granted_ms, &Record::LeaseGranted(lease.clone(), worker.clone(), pack)));
            if let Some(at) = ended_ms {
                told.extend(about(at, &Record::LeaseEnded(lease, worker, failure)));
            }
        }
        let points = self.reader.points(&id)?;
        if !points.is_empty() {
            told.push((RunKey::trial(&id), Op::Metrics(points)));
        }
        if let (Some(at), Some(end)) = (trial.finished_ms, self.end(trial, &id)?) {
            told.extend(about(at, &Record::TrialEnded(id, end)));
        }
        Ok(told)
    }

    fn end(&self, trial: &TrialRow, id: &TrialId) -> Result<Option<TrialEnd>, StoreError> {
        let failure = || {
            let unknown = || Failure { kind: FailureKind::Internal, message: String::new() };
            trial.failure.clone().unwrap_or_else(unknown)
        };
        Ok(match trial.state.as_str() {
            "completed" => Some(TrialEnd::Completed(trial.result.clone().unwrap_or_default())),
            "diverged" => Some(TrialEnd::Diverged(failure())),
            "failed" => Some(TrialEnd::Failed(failure())),
            "early_stopped" => Some(TrialEnd::EarlyStopped(self.reader.reason(id)?)),
            "cancelled" => Some(TrialEnd::Cancelled(self.reader.reason(id)?)),
            _ => None,
        })
    }

    /// The files that show how the sweep stands; `mlflow` is the address of the server, which has these runs.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn ranking(
        &self,
        mlflow: &str,
        runs: &BTreeMap<RunKey, RunIds>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let mut whole = grpc::results::whole(self.reader, &self.row.id, mlflow)?;
        for trial in &mut whole.trials {
            let id = TrialId { sweep: self.row.id.clone(), index: trial.trial };
            let ids = runs.get(&RunKey::trial(&id)).cloned().unwrap_or_default();
            (trial.mlflow_experiment, trial.mlflow_run) = (ids.experiment_id, ids.run_id);
        }
        Ok(files(whole))
    }

    /// The models that it keeps, where the server has these runs.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn kept_models(&self, runs: &BTreeMap<RunKey, RunIds>) -> Result<KeptModels, StoreError> {
        kept::kept_models(self.reader, &self.row.id, |row| {
            let trial = TrialId { sweep: self.row.id.clone(), index: row.trial };
            runs.get(&RunKey::trial(&trial)).cloned()
        })
    }

    fn about(&self, at_ms: i64, record: &Record, source: Option<&str>) -> Told {
        self.telling.about(Time(at_ms), record, &self.specs, source)
    }
}

/// What is told of runs, in order.
pub type Told = Vec<(RunKey, Op)>;

/// See [`Retelling::ranking`].
pub(super) fn ranking(
    reader: &Reader,
    sweep: &SweepId,
    mlflow: &str,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(files(grpc::results::whole(reader, sweep, mlflow)?))
}

fn files(whole: v1::SweepResults) -> Vec<(String, String)> {
    let end = whole.status.as_ref().map_or(0, |status| status.finished_ms);
    let summary = results::convert::summary(whole, end);
    results::files(&summary).map(|(name, text)| (name.to_owned(), text)).into()
}
