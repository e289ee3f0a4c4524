//! Reading the state: by sweep, for people; by row, for MLflow.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use distilsweep_proto::ids::{SweepId, TrialId};
use rusqlite::{Connection, Row, params};
use serde::de::DeserializeOwned;

use super::{
    StoreError, open_to_read,
    sql::{ReadSql, document, sweep_state},
};
use crate::{
    mlflow::op::{Op, OutboxRow, RunIds, RunKey},
    naming::{self, Unnamed},
    scheduler::{Failure, Point, SweepState, Time, TrialResult},
    spec::SweepSpec,
};

/// Rows of the outbox about the sweep `?1`: its own run's, and those of its trials, `/` being followed by `0`.
const OF_SWEEP: &str = "(run = ?1 OR run > ?1 || '/' AND run < ?1 || '0')";
/// Rows that may be without a time of their own: they follow one that has it, from the same moment.
const LOOKED_AT: usize = 16;

/// A sweep for people.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct SweepRow {
    pub id: SweepId,
    pub name: String,
    pub state: SweepState,
    pub reason: Option<String>,
    pub size: u64,
    pub metric: String,
    pub maximize: bool,
    pub priority: u32,
    pub created_ms: i64,
    pub finished_ms: Option<i64>,
}

/// A trial for people.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct TrialRow {
    pub trial: u64,
    pub state: String,
    pub attempts: u32,
    pub worker: String,
    pub result: Option<TrialResult>,
    pub failure: Option<Failure>,
    pub started_ms: i64,
    pub finished_ms: Option<i64>,
    pub mlflow: Option<MlflowRun>,
}

/// How a trial ended, for those who tidy up behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Completed or diverged: no attempt goes on from what it left.
    WithResult,
    /// Failed or cancelled: it may be ordered to go on.
    WithoutResult {
        /// When it ended.
        at: Time,
    },
}

/// A try at a trial.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct Attempt {
    pub attempt: u32,
    pub term: u64,
    pub worker: String,
    pub granted_ms: i64,
    pub ended_ms: Option<i64>,
    pub failure: Option<Failure>,
}

/// What MLflow does not hold of a sweep's runs, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// Runs with rows that wait.
    pub waiting: BTreeSet<RunKey>,
    /// Rows that were refused: their run, and why.
    pub refused: Vec<(RunKey, String)>,
}

/// What MLflow has still to be told of one sweep, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepOutbox {
    /// Rows that wait.
    pub rows: u64,
    /// Runs that they are about.
    pub runs: u64,
    /// When what the oldest of them tells happened; `None` where none waits, or none says so.
    pub oldest_ms: Option<i64>,
    /// Rows that were refused.
    pub refused: u64,
    /// Why the first of those was.
    pub refusal: Option<String>,
}

/// What MLflow has still to be told, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxState {
    /// Rows that wait.
    pub rows: u64,
    /// When what the oldest of them tells happened; `None` where none waits, or none says so.
    pub oldest_ms: Option<i64>,
}

/// Where MLflow shows a trial.
pub type MlflowRun = RunIds;

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct JournalRow {
    pub id: i64,
    pub at_ms: i64,
    pub sweep: String,
    pub trial: Option<u64>,
    pub attempt: Option<u32>,
    pub worker: Option<String>,
    pub actor: Option<String>,
    pub event: String,
    pub detail: Option<String>,
}

/// A read-only connection; any number beside the writer.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the database of a state directory.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where there is none, [`StoreError::Newer`] where a later version made it.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Ok(Self { connection: open_to_read(directory)?, path: directory.join(super::DATABASE) })
    }

    /// Frees what SQLite caches for this connection, as far as it can.
    pub(crate) fn release_memory(&self) {
        // It only costs memory if it fails.
        let _ = self.connection.execute_batch("PRAGMA shrink_memory");
    }

    fn sql(&self) -> ReadSql<'_> {
        ReadSql { connection: &self.connection, path: &self.path }
    }

    /// The sweep that a word means, by [`naming::sweep`].
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn find(&self, word: &str) -> Result<Result<SweepId, Unnamed>, StoreError> {
        let latest_first = self.sql().all(
            "SELECT id, name FROM sweeps
             WHERE substr(id, 1, length(?1)) = ?1 OR substr(name, 1, length(?1)) = ?1 ORDER BY number DESC",
            [word],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(naming::sweep(word, &latest_first).map(SweepId::new))
    }

    /// All sweeps, in order of submission.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn sweeps(&self) -> Result<Vec<SweepRow>, StoreError> {
        let ids =
            self.sql().all("SELECT id FROM sweeps ORDER BY number", [], |row| row.get::<_, String>(0))?;
        ids.into_iter().map(|id| self.sweep(&SweepId::new(id))).collect()
    }

    /// One sweep that [`Reader::find`] found.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn sweep(&self, sweep: &SweepId) -> Result<SweepRow, StoreError> {
        self.sql().one_with(
            "SELECT name, state, reason, size, metric, maximize, created_ms, finished_ms, priority
             FROM sweeps WHERE id = ?1",
            sweep.as_str(),
            |row| {
                Ok(SweepRow {
                    id: sweep.clone(),
                    name: row.get(0)?,
                    state: sweep_state(&row.get::<_, String>(1)?),
                    reason: row.get(2)?,
                    size: row.get::<_, i64>(3)?.cast_unsigned(),
                    metric: row.get(4)?,
                    maximize: row.get(5)?,
                    created_ms: row.get(6)?,
                    finished_ms: row.get(7)?,
                    priority: row.get(8)?,
                })
            },
        )
    }

    /// How much MLflow has still to be told of a sweep, since when, and what it refused.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn outbox_of(&self, sweep: &SweepId) -> Result<SweepOutbox, StoreError> {
        let (rows, runs) = self.sql().one_with(
            &format!("SELECT count(*), count(DISTINCT run) FROM outbox WHERE refused IS NULL AND {OF_SWEEP}"),
            sweep.as_str(),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let oldest = self.rows(
            &format!(
                "SELECT o.id, o.run, o.op, b.points FROM outbox o LEFT JOIN metric_blocks b ON b.id = o.block
                 WHERE o.id IN (SELECT id FROM outbox WHERE refused IS NULL AND {OF_SWEEP} ORDER BY id LIMIT ?2)
                 ORDER BY o.id"
            ),
            params![sweep.as_str(), LOOKED_AT],
        )?;
        let (refused, refusal) = self.sql().one_with(
            // SQLite takes the bare column from the row with the minimum.
            &format!(
                "SELECT count(*), refused, min(id) FROM outbox WHERE refused IS NOT NULL AND {OF_SWEEP}"
            ),
            sweep.as_str(),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let oldest_ms = oldest.iter().find_map(|row| row.op.at_ms());
        Ok(SweepOutbox { rows, runs, oldest_ms, refused, refusal })
    }

    /// What a sweep is, with the points that were proposed so far.
    ///
    /// Of trials that were read before it, it knows all points; of those that are read after it a search may have proposed
    /// some in between.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn spec(&self, sweep: &SweepId) -> Result<SweepSpec, StoreError> {
        self.sql().spec(sweep)
    }

    /// The trials of a sweep that have a row, by index: the first `limit` from index `from` on.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn trials(&self, sweep: &SweepId, from: u64, limit: u32) -> Result<Vec<TrialRow>, StoreError> {
        let rows = self.sql().all(
            "SELECT t.trial, t.state, t.attempts, t.worker, t.result, t.failure, t.started_ms, t.finished_ms,
                    m.experiment_id, m.run_id
             FROM trials t JOIN sweeps s ON s.number = t.sweep
             LEFT JOIN mlflow_runs m ON m.run = s.id || '/' || t.trial
             WHERE s.id = ?1 AND t.trial >= ?2 ORDER BY t.trial LIMIT ?3",
            params![sweep.as_str(), from, limit],
            |row| {
                let mlflow = match (row.get(8)?, row.get(9)?) {
                    (Some(experiment_id), Some(run_id)) => Some(RunIds { experiment_id, run_id }),
                    _ => None,
                };
                let trial = TrialRow {
                    trial: row.get(0)?,
                    state: row.get(1)?,
                    attempts: row.get(2)?,
                    worker: row.get(3)?,
                    result: None,
                    failure: None,
                    started_ms: row.get(6)?,
                    finished_ms: row.get(7)?,
                    mlflow,
                };
                Ok((trial, row.get::<_, Option<String>>(4)?, row.get::<_, Option<String>>(5)?))
            },
        )?;
        let whole = |(mut trial, result, failure): (TrialRow, Option<String>, Option<String>)| {
            trial.result = readable(sweep, trial.trial, result);
            trial.failure = readable(sweep, trial.trial, failure);
            trial
        };
        Ok(rows.into_iter().map(whole).collect())
    }

    /// The sweep file as it was handed in.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn source(&self, sweep: &SweepId) -> Result<String, StoreError> {
        self.sql().one_with("SELECT source FROM sweeps WHERE id = ?1", sweep.as_str(), |row| row.get(0))
    }

    /// The completed trials whose metric is best, by rank; ties go by index.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn best(&self, sweep: &SweepId, limit: u64) -> Result<Vec<u64>, StoreError> {
        self.sql().all(
            "SELECT t.trial FROM trials t JOIN sweeps s ON s.number = t.sweep
             WHERE s.id = ?1 AND t.state = 'completed' AND t.metric IS NOT NULL
             ORDER BY CASE s.maximize WHEN 1 THEN -t.metric ELSE t.metric END, t.trial LIMIT ?2",
            params![sweep.as_str(), i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| row.get(0),
        )
    }

    /// The database's id, which is in the identity of its runs.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn coordinator(&self) -> Result<String, StoreError> {
        self.sql().one("SELECT id FROM coordinator", |row| row.get(0))
    }

    /// The digest of a sweep's normalised file.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn digest(&self, sweep: &SweepId) -> Result<String, StoreError> {
        self.sql().one_with("SELECT digest FROM sweeps WHERE id = ?1", sweep.as_str(), |row| row.get(0))
    }

    /// How a trial ended; `None` while it has not.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn ending(&self, trial: &TrialId) -> Result<Option<Ending>, StoreError> {
        let rows = self.sql().all(
            "SELECT t.state, t.finished_ms FROM trials t JOIN sweeps s ON s.number = t.sweep
             WHERE s.id = ?1 AND t.trial = ?2 AND t.finished_ms IS NOT NULL",
            params![trial.sweep.as_str(), trial.index],
            |row| {
                let state: String = row.get(0)?;
                let at = Time(row.get(1)?);
                Ok(match &*state {
                    "completed" | "diverged" => Ending::WithResult,
                    _ => Ending::WithoutResult { at },
                })
            },
        )?;
        Ok(rows.into_iter().next())
    }

    /// The attempts at a trial, oldest first.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn attempts(&self, trial: &TrialId) -> Result<Vec<Attempt>, StoreError> {
        let rows = self.sql().all(
            "SELECT l.attempt, l.term, l.worker, l.granted_ms, l.ended_ms, l.failure
             FROM leases l JOIN sweeps s ON s.number = l.sweep WHERE s.id = ?1 AND l.trial = ?2 ORDER BY l.term",
            params![trial.sweep.as_str(), trial.index],
            |row| {
                let attempt = Attempt {
                    attempt: row.get(0)?,
                    term: row.get(1)?,
                    worker: row.get(2)?,
                    granted_ms: row.get(3)?,
                    ended_ms: row.get(4)?,
                    failure: None,
                };
                Ok((attempt, row.get::<_, Option<String>>(5)?))
            },
        )?;
        rows.into_iter()
            .map(|(attempt, failure)| Ok(Attempt { failure: document(failure)?, ..attempt }))
            .collect()
    }

    /// Why a trial was stopped or cancelled, by the journal; empty where it was not.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn reason(&self, trial: &TrialId) -> Result<String, StoreError> {
        let reasons = self.sql().all(
            "SELECT detail FROM journal WHERE sweep = ?1 AND trial = ?2 AND event IN ('cancelled', 'early_stopped')
             ORDER BY id DESC LIMIT 1",
            params![trial.sweep.as_str(), trial.index],
            |row| row.get::<_, Option<String>>(0),
        )?;
        Ok(reasons.into_iter().flatten().next().unwrap_or_default())
    }

    /// The runs of a sweep that have rows which MLflow has still to be told, and why it refused others.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn untold(&self, sweep: &SweepId) -> Result<Untold, StoreError> {
        let waiting = self.sql().all(
            &format!("SELECT DISTINCT run FROM outbox WHERE refused IS NULL AND {OF_SWEEP}"),
            [sweep.as_str()],
            |row| row.get::<_, String>(0),
        )?;
        let refused = self.sql().all(
            &format!("SELECT run, refused FROM outbox WHERE refused IS NOT NULL AND {OF_SWEEP} ORDER BY id"),
            [sweep.as_str()],
            |row| Ok((RunKey::new(row.get::<_, String>(0)?), row.get(1)?)),
        )?;
        Ok(Untold { waiting: waiting.into_iter().map(RunKey::new).collect(), refused })
    }

    /// The points of a trial's curves, by step.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn points(&self, trial: &TrialId) -> Result<Vec<Point>, StoreError> {
        let blocks = self.sql().all(
            "SELECT b.points FROM metric_blocks b JOIN sweeps s ON s.number = b.sweep
             WHERE s.id = ?1 AND b.trial = ?2 ORDER BY b.id",
            params![trial.sweep.as_str(), trial.index],
            |row| row.get(0),
        )?;
        let mut points = Vec::new();
        for block in blocks {
            points.extend(document::<Vec<Point>>(block)?.unwrap_or_default());
        }
        points.sort_by_key(|point| point.step);
        Ok(points)
    }

    /// The journal after a line, oldest first: of one sweep with what happened to workers meanwhile, and of one trial of
    /// it alone where asked.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn journal(
        &self,
        sweep: &SweepId,
        trial: Option<u64>,
        after: i64,
        limit: u32,
    ) -> Result<Vec<JournalRow>, StoreError> {
        self.sql().all(
            "SELECT id, at_ms, sweep, trial, attempt, worker, actor, event, detail FROM journal
             WHERE id > ?3 AND (sweep = ?1 AND (?2 IS NULL OR trial = ?2)
                 OR sweep = '' AND ?2 IS NULL AND at_ms >= (SELECT created_ms FROM sweeps WHERE id = ?1))
             ORDER BY id LIMIT ?4",
            params![sweep.as_str(), trial, after, limit],
            journal_row,
        )
    }

    /// The latest lines of a sweep's journal, newest first.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn latest(&self, sweep: &SweepId, limit: u32) -> Result<Vec<JournalRow>, StoreError> {
        self.sql().all(
            "SELECT id, at_ms, sweep, trial, attempt, worker, actor, event, detail FROM journal
             WHERE sweep = ?1 ORDER BY id DESC LIMIT ?2",
            params![sweep.as_str(), limit],
            journal_row,
        )
    }

    /// Why each marked worker is, by worker and mark.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn reasons(&self) -> Result<BTreeMap<(String, String), String>, StoreError> {
        let rows = self.sql().all("SELECT worker, mark, reason FROM worker_marks", [], |row| {
            Ok(((row.get(0)?, row.get(1)?), row.get(2)?))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// The next rows that MLflow has to be told, in order, leaving out those of some runs.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn outbox(&self, limit: usize, except: &BTreeSet<RunKey>) -> Result<Vec<OutboxRow>, StoreError> {
        self.rows(
            "SELECT o.id, o.run, o.op, b.points FROM outbox o LEFT JOIN metric_blocks b ON b.id = o.block
             WHERE o.refused IS NULL AND o.run NOT IN (SELECT value FROM json_each(?2)) ORDER BY o.id LIMIT ?1",
            params![i64::try_from(limit).unwrap_or(i64::MAX), serde_json::to_string(except)?],
        )
    }

    fn rows(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<Vec<OutboxRow>, StoreError> {
        let rows = self
            .sql()
            .all(sql, parameters, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        rows.into_iter()
            .map(|(id, run, op, points): (i64, String, Option<String>, Option<String>)| {
                let op = match document::<Op>(op)? {
                    Some(op) => op,
                    None => Op::Metrics(document::<Vec<Point>>(points)?.unwrap_or_default()),
                };
                Ok(OutboxRow { id, run: RunKey::new(run), op })
            })
            .collect()
    }

    /// How many rows MLflow has still to be told, and since when.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn outbox_state(&self) -> Result<OutboxState, StoreError> {
        let rows = self.sql().one("SELECT count(*) FROM outbox WHERE refused IS NULL", |row| row.get(0))?;
        let oldest = self.outbox(LOOKED_AT, &BTreeSet::new())?;
        Ok(OutboxState { rows, oldest_ms: oldest.iter().find_map(|row| row.op.at_ms()) })
    }

    /// Ids of a run that MLflow has.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn run_ids(&self, run: &RunKey) -> Result<Option<RunIds>, StoreError> {
        let found = self.sql().all(
            "SELECT experiment_id, run_id FROM mlflow_runs WHERE run = ?1",
            [run.as_str()],
            |row| Ok(RunIds { experiment_id: row.get(0)?, run_id: row.get(1)? }),
        )?;
        Ok(found.into_iter().next())
    }
}

fn journal_row(row: &Row<'_>) -> Result<JournalRow, rusqlite::Error> {
    Ok(JournalRow {
        id: row.get(0)?,
        at_ms: row.get(1)?,
        sweep: row.get(2)?,
        trial: row.get(3)?,
        attempt: row.get(4)?,
        worker: row.get(5)?,
        actor: row.get(6)?,
        event: row.get(7)?,
        detail: row.get(8)?,
    })
}

/// A document of a trial's row. One that cannot be read must not keep the others from being read.
fn readable<T: DeserializeOwned>(sweep: &SweepId, trial: u64, text: Option<String>) -> Option<T> {
    document(text).unwrap_or_else(|error| {
        tracing::warn!(sweep = sweep.as_str(), trial, %error, "a trial's record cannot be read");
        None
    })
}
