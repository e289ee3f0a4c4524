//! Turning durable changes into rows, a batch a transaction.

use std::collections::BTreeMap;

use distilsweep_proto::ids::{Lease, SweepId, TrialId, WorkerId};
use rusqlite::{Transaction, params};

use super::{Store, StoreError, rungs};
use crate::{
    mlflow::op::{Op, RunIds, RunKey},
    scheduler::{
        Change, Failure, FailureKind, Mark, Pack, Point, Record, StoredFiles, Submission, SweepState, Time,
        TrialEnd, TrialResult,
    },
};

/// The texts of a sweep file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepFile {
    /// Its name, for messages.
    pub name: String,
    /// As it was handed in.
    pub source: String,
    /// Normalised, as JSON.
    pub spec: String,
}

/// One change of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// What the scheduler wants recorded. Of [`Record::SweepSubmitted`] the file comes with it.
    Record(Record, Option<SweepFile>),
    /// The shares that a search proposes for a trial's draw: with the lease that needs them, so that a restart finds the
    /// point that was trained.
    Proposed {
        /// The first of the draw's trials that was leased.
        trial: TrialId,
        /// One a hyperparameter.
        shares: Vec<f64>,
    },
    /// Something to tell MLflow.
    Tell(RunKey, Op),
    /// MLflow has been told.
    Told {
        /// Rows of the outbox.
        rows: Vec<i64>,
        /// Runs that were created meanwhile.
        runs: Vec<(RunKey, RunIds)>,
    },
    /// MLflow will never take these.
    Refused {
        /// Rows of the outbox.
        rows: Vec<i64>,
        /// Why.
        reason: String,
    },
    /// What it refused is told again.
    Restored,
}

impl Store {
    /// Makes a batch durable, as a whole or not at all.
    ///
    /// # Errors
    /// Where the database refuses; then nothing of the batch is there.
    pub fn commit(&mut self, now: Time, batch: &[Write]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let database = |source| StoreError::Database { path: path.clone(), source };
        let transaction = self.connection.transaction().map_err(database)?;
        for write in batch {
            apply(&transaction, now, write).map_err(|error| match error {
                WriteError::Sql(source) => database(source),
                WriteError::Json(source) => StoreError::Record(source),
            })?;
        }
        transaction.commit().map_err(database)
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

fn apply(t: &Transaction<'_>, now: Time, write: &Write) -> Result<(), WriteError> {
    match write {
        Write::Record(record, file) => apply_record(t, now, record, file.as_ref()),
        Write::Proposed { trial, shares } => {
            t.prepare_cached(
                "UPDATE trials SET shares = ?3
                 WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
            )?
            .execute(params![
                trial.sweep.as_str(),
                trial.index,
                serde_json::to_string(shares)?
            ])?;
            Ok(())
        }
        Write::Tell(run, op) => {
            t.prepare_cached("INSERT INTO outbox (run, op) VALUES (?1, ?2)")?
                .execute(params![run.as_str(), serde_json::to_string(op)?])?;
            Ok(())
        }
        Write::Told { rows, runs } => {
            let mut insert = t.prepare_cached(
                "INSERT OR REPLACE INTO mlflow_runs (run, experiment_id, run_id) VALUES (?1, ?2, ?3)",
            )?;
            for (run, ids) in runs {
                insert.execute(params![run.as_str(), ids.experiment_id, ids.run_id])?;
            }
            let mut delete = t.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
            for row in rows {
                delete.execute([row])?;
            }
            Ok(())
        }
        Write::Restored => {
            t.execute("UPDATE outbox SET refused = NULL WHERE refused IS NOT NULL", [])?;
            Ok(())
        }
        Write::Refused { rows, reason } => {
            let mut update = t.prepare_cached("UPDATE outbox SET refused = ?2 WHERE id = ?1")?;
            for row in rows {
                update.execute(params![row, reason])?;
            }
            Ok(())
        }
    }
}

fn apply_record(
    t: &Transaction<'_>,
    now: Time,
    record: &Record,
    file: Option<&SweepFile>,
) -> Result<(), WriteError> {
    match record {
        Record::SweepSubmitted(submission) => submitted(t, now, submission, file),
        Record::SweepEnded(sweep, state, reason) => sweep_ended(t, now, sweep, *state, reason.as_deref()),
        Record::LeaseGranted(lease, worker, pack) => granted(t, now, lease, worker, *pack),
        Record::LeaseEnded(lease, worker, failure) => lease_ended(t, now, lease, worker, failure.as_ref()),
        Record::Metrics(lease, sequence, points) => metrics(t, lease, *sequence, points),
        Record::Checkpoint(lease, sequence, files) => checkpoint(t, now, lease, *sequence, files),
        Record::TrialEnded(trial, end) => trial_ended(t, now, trial, end),
        Record::SweepChanged(sweep, change, by) => sweep_changed(t, now, sweep, change, by),
        Record::TrialExcluded(trial, by) => trial_excluded(t, now, trial, by),
        Record::TrialIncluded(trial, by) => trial_included(t, now, trial, by),
        Record::TrialRetried(trial, by) => trial_retried(t, now, trial, by),
        Record::Evaluated(trial, evaluations, best) => rungs::evaluated(t, trial, *evaluations, *best),
        Record::RungReached { trial, place, value, paused } => {
            rungs::reached(t, now, trial, *place, *value, *paused)
        }
        Record::Promoted(trial, place) => rungs::promoted(t, now, trial, *place),
        Record::WorkerMarked(worker, mark, reason, by) => worker_marked(t, now, worker, *mark, reason, by),
    }
}

/// A line of the journal: what happened, and where it is about one, to which sweep, trial and lease, by whom and why.
#[derive(Default)]
pub(super) struct Line<'a> {
    pub(super) sweep: &'a str,
    pub(super) trial: Option<u64>,
    pub(super) lease: Option<&'a Lease>,
    pub(super) worker: Option<&'a WorkerId>,
    pub(super) actor: Option<&'a str>,
    pub(super) detail: Option<&'a str>,
}

impl Line<'_> {
    pub(super) fn write(self, t: &Transaction<'_>, now: Time, event: &str) -> Result<(), WriteError> {
        t.prepare_cached(
            "INSERT INTO journal (at_ms, sweep, trial, attempt, term, worker, actor, event, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            now.0,
            self.lease.map_or(self.sweep, |lease| lease.trial.sweep.as_str()),
            self.lease.map(|lease| lease.trial.index).or(self.trial),
            self.lease.map(|lease| lease.attempt),
            self.lease.map(|lease| lease.term.0),
            self.worker.map(WorkerId::as_str),
            self.actor,
            event,
            self.detail,
        ])?;
        Ok(())
    }
}

fn submitted(
    t: &Transaction<'_>,
    now: Time,
    submission: &Submission,
    file: Option<&SweepFile>,
) -> Result<(), WriteError> {
    let empty = SweepFile { name: String::new(), source: String::new(), spec: String::new() };
    let file = file.unwrap_or(&empty);
    t.execute(
        "INSERT INTO sweeps (id, name, digest, file_name, source, spec, size, metric, maximize, state, created_ms,
             running_since_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'running', ?10, ?10)",
        params![
            submission.id.as_str(),
            submission.name,
            submission.digest,
            file.name,
            file.source,
            file.spec,
            // 2^63 points, the largest space, wrap around; every index fits.
            submission.size.cast_signed(),
            submission.metric,
            submission.maximize,
            now.0,
        ],
    )?;
    let points = format!("{} points", submission.size);
    Line { sweep: submission.id.as_str(), detail: Some(&points), ..Line::default() }.write(
        t,
        now,
        "submitted",
    )
}

fn sweep_ended(
    t: &Transaction<'_>,
    now: Time,
    sweep: &SweepId,
    state: SweepState,
    reason: Option<&str>,
) -> Result<(), WriteError> {
    turn(t, now, sweep, state)?;
    t.execute(
        "UPDATE sweeps SET reason = ?2, finished_ms = ?3 WHERE id = ?1",
        params![sweep.as_str(), reason, now.0],
    )?;
    Line { sweep: sweep.as_str(), detail: reason, ..Line::default() }.write(t, now, state.name())
}

/// Sets a sweep's state, and its clock with it.
fn turn(t: &Transaction<'_>, now: Time, sweep: &SweepId, state: SweepState) -> Result<(), WriteError> {
    t.execute(
        "UPDATE sweeps SET state = ?2, running_since_ms = ?3,
             spent_ms = spent_ms + CASE state WHEN 'running' THEN ?3 - running_since_ms ELSE 0 END
         WHERE id = ?1",
        params![sweep.as_str(), state.name(), now.0],
    )?;
    Ok(())
}

fn sweep_changed(
    t: &Transaction<'_>,
    now: Time,
    sweep: &SweepId,
    change: &Change,
    by: &str,
) -> Result<(), WriteError> {
    let reopen = |t: &Transaction<'_>| -> Result<(), WriteError> {
        turn(t, now, sweep, SweepState::Running)?;
        t.execute("UPDATE sweeps SET reason = NULL, finished_ms = NULL WHERE id = ?1", [sweep.as_str()])?;
        Ok(())
    };
    let (event, detail) = match change {
        Change::Paused => {
            turn(t, now, sweep, SweepState::Paused)?;
            ("paused", None)
        }
        Change::Resumed => {
            turn(t, now, sweep, SweepState::Running)?;
            ("resumed", None)
        }
        Change::Reopened => {
            reopen(t)?;
            ("reopened", None)
        }
        Change::Priority(priority) => {
            t.execute("UPDATE sweeps SET priority = ?2 WHERE id = ?1", params![sweep.as_str(), priority])?;
            ("priority", Some(priority.to_string()))
        }
        Change::Extended(extension) => {
            t.execute(
                "UPDATE sweeps SET size = ?2, spec = ?3 WHERE id = ?1",
                params![sweep.as_str(), extension.size.cast_signed(), extension.spec],
            )?;
            let ended = "SELECT finished_ms IS NOT NULL FROM sweeps WHERE id = ?1";
            if t.query_row(ended, [sweep.as_str()], |row| row.get(0))? {
                reopen(t)?;
            }
            ("extended", Some(format!("{}: {} points", extension.what, extension.size)))
        }
    };
    let line = Line { sweep: sweep.as_str(), actor: Some(by), detail: detail.as_deref(), ..Line::default() };
    line.write(t, now, event)
}

fn trial_excluded(t: &Transaction<'_>, now: Time, trial: &TrialId, by: &str) -> Result<(), WriteError> {
    t.execute(
        "INSERT INTO trials (sweep, trial, state, attempts, worker, started_ms, finished_ms)
         SELECT number, ?2, 'cancelled', 0, '', ?3, ?3 FROM sweeps WHERE id = ?1",
        params![trial.sweep.as_str(), trial.index, now.0],
    )?;
    let detail = Some("left out before it began");
    let (sweep, trial) = (trial.sweep.as_str(), Some(trial.index));
    Line { sweep, trial, actor: Some(by), detail, ..Line::default() }.write(t, now, "cancelled")
}

/// One that never began is as if it had not been left out.
fn trial_included(t: &Transaction<'_>, now: Time, trial: &TrialId, by: &str) -> Result<(), WriteError> {
    let (sweep, index) = (trial.sweep.as_str(), trial.index);
    t.prepare_cached(
        "DELETE FROM trials WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![sweep, index])?;
    Line { sweep, trial: Some(index), actor: Some(by), ..Line::default() }.write(t, now, "included")
}

fn trial_retried(t: &Transaction<'_>, now: Time, trial: &TrialId, by: &str) -> Result<(), WriteError> {
    let (sweep, index) = (trial.sweep.as_str(), trial.index);
    t.prepare_cached(
        "UPDATE trials SET exempt = max(exempt, state = 'early_stopped'), state = 'waiting', failures = 0, losses = 0, hangs = 0,
             failure = NULL, result = NULL, finished_ms = NULL
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![sweep, index])?;
    Line { sweep, trial: Some(index), actor: Some(by), ..Line::default() }.write(t, now, "retried")
}

fn worker_marked(
    t: &Transaction<'_>,
    now: Time,
    worker: &WorkerId,
    mark: Mark,
    reason: &str,
    by: &str,
) -> Result<(), WriteError> {
    t.execute(
        "INSERT OR IGNORE INTO worker_marks (worker, mark, reason, at_ms) VALUES (?1, ?2, ?3, ?4)",
        params![worker.as_str(), mark.name(), reason, now.0],
    )?;
    let line = Line { worker: Some(worker), actor: Some(by), detail: Some(reason), ..Line::default() };
    line.write(t, now, mark.name())
}

fn granted(
    t: &Transaction<'_>,
    now: Time,
    lease: &Lease,
    worker: &WorkerId,
    pack: Pack,
) -> Result<(), WriteError> {
    let (sweep, trial) = (lease.trial.sweep.as_str(), lease.trial.index);
    t.prepare_cached(
        "INSERT INTO trials (sweep, trial, state, attempts, worker, started_ms)
         SELECT number, ?2, 'running', ?3, ?4, ?5 FROM sweeps WHERE id = ?1
         ON CONFLICT (sweep, trial) DO UPDATE SET state = 'running', attempts = ?3, worker = ?4",
    )?
    .execute(params![sweep, trial, lease.attempt, worker.as_str(), now.0])?;
    t.prepare_cached(
        "INSERT INTO leases (term, sweep, trial, attempt, worker, granted_ms, pack, lanes)
         SELECT ?2, number, ?3, ?4, ?5, ?6, ?7, ?8 FROM sweeps WHERE id = ?1",
    )?
    .execute(params![
        sweep,
        lease.term.0,
        trial,
        lease.attempt,
        worker.as_str(),
        now.0,
        pack.first.0,
        pack.lanes
    ])?;
    Line { lease: Some(lease), worker: Some(worker), ..Line::default() }.write(t, now, "leased")
}

fn lease_ended(
    t: &Transaction<'_>,
    now: Time,
    lease: &Lease,
    worker: &WorkerId,
    failure: Option<&Failure>,
) -> Result<(), WriteError> {
    let text = failure.map(serde_json::to_string).transpose()?;
    t.prepare_cached("UPDATE leases SET ended_ms = ?2, failure = ?3 WHERE term = ?1")?.execute(params![
        lease.term.0,
        now.0,
        text
    ])?;
    let Some(failure) = failure else { return Ok(()) };
    let (failures, losses, hangs) = match failure.kind {
        FailureKind::WorkerLost => (0, 1, 0),
        FailureKind::Internal => (1, 0, 0),
        FailureKind::Hung => (0, 0, 1),
        FailureKind::Preempted
        | FailureKind::OutOfMemory
        | FailureKind::Diverged
        | FailureKind::BadInput
        | FailureKind::BadPoint => (0, 0, 0),
    };
    t.prepare_cached(
        "UPDATE trials SET state = 'waiting', failures = failures + ?3, losses = losses + ?4, hangs = hangs + ?5
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![lease.trial.sweep.as_str(), lease.trial.index, failures, losses, hangs])?;
    let detail = format!("{}: {}", failure.kind.name(), failure.message);
    Line { lease: Some(lease), worker: Some(worker), detail: Some(&detail), ..Line::default() }.write(
        t,
        now,
        "attempt_ended",
    )
}

fn metrics(t: &Transaction<'_>, lease: &Lease, sequence: u64, points: &[Point]) -> Result<(), WriteError> {
    set_sequence(t, lease, sequence)?;
    if points.is_empty() {
        return Ok(());
    }
    t.prepare_cached(
        "INSERT INTO metric_blocks (sweep, trial, term, sequence, points)
         SELECT number, ?2, ?3, ?4, ?5 FROM sweeps WHERE id = ?1",
    )?
    .execute(params![
        lease.trial.sweep.as_str(),
        lease.trial.index,
        lease.term.0,
        sequence,
        serde_json::to_string(points)?
    ])?;
    t.prepare_cached("INSERT INTO outbox (run, block) VALUES (?1, ?2)")?
        .execute(params![RunKey::trial(&lease.trial).as_str(), t.last_insert_rowid()])?;
    // A restart reads these instead of every block of every trial under way. New points are above all marks.
    let mut marks = BTreeMap::new();
    for point in points {
        let mark = marks.entry(point.key.as_str()).or_insert(point.step);
        *mark = point.step.max(*mark);
    }
    t.prepare_cached(
        "UPDATE trials SET marks = json_patch(coalesce(marks, '{}'), ?3)
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![lease.trial.sweep.as_str(), lease.trial.index, serde_json::to_string(&marks)?])?;
    Ok(())
}

fn checkpoint(
    t: &Transaction<'_>,
    now: Time,
    lease: &Lease,
    sequence: u64,
    files: &StoredFiles,
) -> Result<(), WriteError> {
    set_sequence(t, lease, sequence)?;
    t.prepare_cached(
        "UPDATE trials SET checkpoint = ?3,
             losses = CASE WHEN json_extract(checkpoint, '$.step') >= ?4 THEN losses ELSE 0 END
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![
        lease.trial.sweep.as_str(),
        lease.trial.index,
        serde_json::to_string(files)?,
        files.step
    ])?;
    // What an attempt may go on from: with it the journal explains where the next one begins.
    let detail = format!("step {}", files.step);
    Line { lease: Some(lease), detail: Some(&detail), ..Line::default() }.write(t, now, "checkpoint")
}

fn set_sequence(t: &Transaction<'_>, lease: &Lease, sequence: u64) -> Result<(), WriteError> {
    t.prepare_cached("UPDATE leases SET sequence = ?2 WHERE term = ?1")?
        .execute(params![lease.term.0, sequence])?;
    Ok(())
}

fn trial_ended(t: &Transaction<'_>, now: Time, trial: &TrialId, end: &TrialEnd) -> Result<(), WriteError> {
    let last;
    let (state, result, failure, reason) = match end {
        TrialEnd::Completed(result) => ("completed", Some(result), None, None),
        TrialEnd::EarlyStopped(reason) => {
            last = rungs::last_metrics(t, trial)?;
            ("early_stopped", Some(&last), None, Some(reason.clone()))
        }
        TrialEnd::Diverged(failure) => ("diverged", None, Some(failure), None),
        TrialEnd::Failed(failure) => ("failed", None, Some(failure), None),
        TrialEnd::Cancelled(reason) => ("cancelled", None, None, Some(reason.clone())),
    };
    let ranked = result.filter(|_| matches!(end, TrialEnd::Completed(_)));
    let metric = ranked.map(|result| metric_of(t, &trial.sweep, result)).transpose()?.flatten();
    let score = metric.as_ref().map(|(name, value)| format!("{name} {value:.4}"));
    let metric = metric.map(|(_, value)| value);
    t.prepare_cached(
        "UPDATE trials SET state = ?3, result = ?4, failure = ?5, finished_ms = ?6, metric = ?7
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![
        trial.sweep.as_str(),
        trial.index,
        state,
        result.map(serde_json::to_string).transpose()?,
        failure.map(serde_json::to_string).transpose()?,
        now.0,
        metric,
    ])?;
    let failed = failure.map(|failure| format!("{}: {}", failure.kind.name(), failure.message));
    let detail = failed.or(reason).or(score);
    let (sweep, trial) = (trial.sweep.as_str(), Some(trial.index));
    Line { sweep, trial, detail: detail.as_deref(), ..Line::default() }.write(t, now, state)
}

/// What ranks a result by name, where it is finite: SQLite has no other numbers.
fn metric_of(
    t: &Transaction<'_>,
    sweep: &SweepId,
    result: &TrialResult,
) -> Result<Option<(String, f64)>, WriteError> {
    let name: String = t
        .prepare_cached("SELECT metric FROM sweeps WHERE id = ?1")?
        .query_row([sweep.as_str()], |row| row.get(0))?;
    Ok(result.metrics.get(&name).copied().filter(|value| value.is_finite()).map(|value| (name, value)))
}
