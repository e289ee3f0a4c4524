//! Reading the state back: whole, at a start; by sweep, for people; by row, for MLflow.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use distilsweep_proto::ids::{Lease, SweepId, Term, TrialId, WorkerId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use super::{Store, StoreError, open_to_read};
use crate::{
    mlflow::op::{Op, OutboxRow, RunIds, RunKey},
    scheduler::{
        Active, Best, Counts, Durable, Ended, EndedHow, Failure, Limits, Mark, Pace, Pack, Past, Point,
        StoredFiles, Structure, Sweep, SweepState, Time, Trial, TrialResult,
    },
};

/// Everything that a scheduler is rebuilt from.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Id of the database, the same for ever.
    pub coordinator: String,
    /// What the scheduler goes on from; sweeps have no structure and no limits: their files say that.
    pub durable: Durable,
    /// Normalised files by sweep.
    pub specs: BTreeMap<SweepId, String>,
    /// The latest time that was recorded: the clock must not start before it.
    pub latest: Time,
}

/// A sweep for people.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct SweepRow {
    pub id: SweepId,
    pub name: String,
    pub state: SweepState,
    pub reason: Option<String>,
    pub spec: String,
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

impl Store {
    /// Reads what a scheduler is rebuilt from. Its size follows the trials under way, not those that ended.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn load(&self) -> Result<Loaded, StoreError> {
        let reader = ReadSql { connection: &self.connection, path: &self.path };
        let mut loaded = Loaded {
            coordinator: reader.one("SELECT id FROM coordinator", |row| row.get(0))?,
            latest: Time(reader.one("SELECT coalesce(max(at_ms), 0) FROM journal", |row| row.get(0))?),
            ..Loaded::default()
        };
        let rows = reader.all(
            "SELECT id, name, digest, size, priority, metric, maximize, state, spent_ms, running_since_ms, spec
             FROM sweeps ORDER BY number",
            [],
            |row| {
                let sweep = Sweep {
                    id: SweepId::new(row.get::<_, String>(0)?),
                    name: row.get(1)?,
                    digest: row.get(2)?,
                    size: row.get::<_, i64>(3)?.cast_unsigned(),
                    priority: row.get(4)?,
                    metric: row.get(5)?,
                    maximize: row.get(6)?,
                    state: sweep_state(&row.get::<_, String>(7)?),
                    spent_ms: row.get(8)?,
                    running_since: Time(row.get(9)?),
                    structure: Structure::default(),
                    limits: Limits::default(),
                    next_point: 0,
                    skipped: BTreeSet::new(),
                    excluded: BTreeSet::new(),
                    packs: 0,
                    trials: BTreeMap::new(),
                    waiting: BTreeSet::new(),
                    counts: Counts::default(),
                    best: None,
                };
                Ok((sweep, row.get::<_, String>(10)?))
            },
        )?;
        for (mut sweep, spec) in rows {
            let id = sweep.id.as_str().to_owned();
            (sweep.counts, sweep.best) = reader.ended(&id, sweep.maximize)?;
            sweep.next_point = reader.one_with(
                "SELECT max(trial) FROM trials
                 WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND attempts > 0",
                &id,
                // Added here: in SQLite the sum for the last point of the largest space is a float.
                |row| Ok(row.get::<_, Option<u64>>(0)?.map_or(0, |last| last + 1)),
            )?;
            // -1 where there is none, and what fits a column where it is the last of all.
            let last_leased = sweep.next_point.cast_signed().wrapping_sub(1);
            sweep.skipped = reader.gaps(&id, last_leased)?;
            sweep.excluded = reader
                .all(
                    "SELECT trial FROM trials
                 WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND attempts = 0 AND trial > ?2",
                    params![id, last_leased],
                    |row| row.get(0),
                )?
                .into_iter()
                .collect();
            reader.unfinished(&id, &mut sweep)?;
            loaded.specs.insert(sweep.id.clone(), spec);
            loaded.durable.sweeps.push(sweep);
        }
        let durable = &mut loaded.durable;
        durable.last_term = Term(reader.one("SELECT coalesce(max(term), 0) FROM leases", |row| row.get(0))?);
        durable.marks = reader.marks()?;
        durable.leases = reader.all(
            "SELECT s.id, l.trial, l.attempt, l.term, l.worker, l.sequence, coalesce(l.pack, l.term), l.lanes
             FROM leases l JOIN sweeps s ON s.number = l.sweep WHERE l.ended_ms IS NULL ORDER BY l.term",
            [],
            |row| {
                Ok(Active {
                    lease: Lease {
                        trial: TrialId { sweep: SweepId::new(row.get::<_, String>(0)?), index: row.get(1)? },
                        attempt: row.get(2)?,
                        term: Term(row.get(3)?),
                    },
                    worker: WorkerId::new(row.get::<_, String>(4)?),
                    sequence: row.get(5)?,
                    pack: Pack { first: Term(row.get(6)?), lanes: row.get(7)? },
                    pace: Pace::default(),
                })
            },
        )?;
        for active in &durable.leases {
            let sweep = durable.sweeps.iter_mut().find(|sweep| sweep.id == active.lease.trial.sweep);
            if let Some(sweep) = sweep {
                sweep.waiting.remove(&active.lease.trial.index);
                if let Some(trial) = sweep.trials.get_mut(&active.lease.trial.index) {
                    trial.lease = Some(active.lease.term);
                }
            }
        }
        Ok(loaded)
    }
}

impl Store {
    /// The trials of a sweep that ended without a result and that are `wanted`, by index and how they ended.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn ended(
        &self,
        sweep: &SweepId,
        wanted: impl Fn(u64, EndedHow) -> bool,
    ) -> Result<Vec<Ended>, StoreError> {
        let reader = ReadSql { connection: &self.connection, path: &self.path };
        let rows = reader.all(
            "SELECT trial, state FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND finished_ms IS NOT NULL
                 AND state <> 'completed' ORDER BY trial",
            [sweep.as_str()],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?)),
        )?;
        rows.into_iter()
            .map(|(index, state)| {
                let how = match state.as_str() {
                    "failed" => EndedHow::Failed,
                    "diverged" => EndedHow::Diverged,
                    // The schema's only other value.
                    _ => EndedHow::Cancelled,
                };
                (index, how)
            })
            .filter(|(index, how)| wanted(*index, *how))
            .map(|(index, how)| Ok(Ended { index, how, trial: reader.trial(sweep.as_str(), index)? }))
            .collect()
    }
}

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

    fn sql(&self) -> ReadSql<'_> {
        ReadSql { connection: &self.connection, path: &self.path }
    }

    /// The sweep of this id, else the latest of this name, else, for an empty text, the latest of all.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn find(&self, sweep: &str) -> Result<Option<SweepId>, StoreError> {
        let found = self.sql().all(
            "SELECT id FROM sweeps WHERE ?1 IN ('', id, name) ORDER BY id = ?1 DESC, number DESC LIMIT 1",
            [sweep],
            |row| row.get::<_, String>(0),
        )?;
        Ok(found.into_iter().next().map(SweepId::new))
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
            "SELECT name, state, reason, spec, size, metric, maximize, created_ms, finished_ms, priority
             FROM sweeps WHERE id = ?1",
            sweep.as_str(),
            |row| {
                Ok(SweepRow {
                    id: sweep.clone(),
                    name: row.get(0)?,
                    state: sweep_state(&row.get::<_, String>(1)?),
                    reason: row.get(2)?,
                    spec: row.get(3)?,
                    size: row.get::<_, i64>(4)?.cast_unsigned(),
                    metric: row.get(5)?,
                    maximize: row.get(6)?,
                    created_ms: row.get(7)?,
                    finished_ms: row.get(8)?,
                    priority: row.get(9)?,
                })
            },
        )
    }

    /// Rows about a sweep that MLflow has still to be told, and the runs that they are about.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn outbox_depth(&self, sweep: &SweepId) -> Result<(u64, u64), StoreError> {
        self.sql().one_with(
            "SELECT count(*), count(DISTINCT run) FROM outbox
             WHERE refused IS NULL AND (run = ?1 OR run > ?1 || '/' AND run < ?1 || '0')",
            sweep.as_str(),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
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
        rows.into_iter()
            .map(|(mut trial, result, failure)| {
                trial.result = document(result)?;
                trial.failure = document(failure)?;
                Ok(trial)
            })
            .collect()
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
            |row| {
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
            },
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
        let rows = self.sql().all(
            "SELECT o.id, o.run, o.op, b.points FROM outbox o LEFT JOIN metric_blocks b ON b.id = o.block
             WHERE o.refused IS NULL AND o.run NOT IN (SELECT value FROM json_each(?2)) ORDER BY o.id LIMIT ?1",
            params![i64::try_from(limit).unwrap_or(i64::MAX), serde_json::to_string(except)?],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )?;
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
        // Rows without a time of their own follow one that has it, from the same moment.
        const LOOKED_AT: usize = 16;
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

fn document<T: DeserializeOwned>(text: Option<String>) -> Result<Option<T>, StoreError> {
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// A connection with the path that errors name.
struct ReadSql<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl ReadSql<'_> {
    fn all<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.query_map(parameters, read)?.collect::<Result<Vec<T>, rusqlite::Error>>()
        };
        run().map_err(|source| StoreError::Database { path: self.path.to_owned(), source })
    }

    fn one<T>(
        &self,
        sql: &str,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.one_of(sql, [], read)
    }

    fn one_with<T>(
        &self,
        sql: &str,
        parameter: &str,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.one_of(sql, [parameter], read)
    }

    fn one_of<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let run = || self.connection.prepare_cached(sql)?.query_row(parameters, read);
        run().map_err(|source| StoreError::Database { path: self.path.to_owned(), source })
    }

    /// How many trials of a sweep ended, by how, and the best of them.
    fn ended(&self, sweep: &str, maximize: bool) -> Result<(Counts, Option<Best>), StoreError> {
        let counts = self.one_with(
            "SELECT coalesce(sum(state = 'completed'), 0), coalesce(sum(state = 'diverged'), 0),
                    coalesce(sum(state = 'failed'), 0), coalesce(sum(state = 'cancelled'), 0)
             FROM trials WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND finished_ms IS NOT NULL",
            sweep,
            |row| {
                Ok(Counts {
                    completed: row.get(0)?,
                    diverged: row.get(1)?,
                    failed: row.get(2)?,
                    cancelled: row.get(3)?,
                })
            },
        )?;
        let order = if maximize { "DESC" } else { "ASC" };
        let best = self
            .connection
            .query_row(
                &format!(
                    "SELECT trial, metric FROM trials
                     WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND metric IS NOT NULL
                     ORDER BY metric {order}, trial LIMIT 1"
                ),
                [sweep],
                |row| Ok(Best { trial: row.get(0)?, value: row.get(1)? }),
            )
            .optional()
            .map_err(|source| StoreError::Database { path: self.path.to_owned(), source })?;
        Ok((counts, best))
    }

    /// Points up to this one that have no row: packs passed them over.
    fn gaps(&self, id: &str, last: i64) -> Result<BTreeSet<u64>, StoreError> {
        let gaps = self.all(
            "SELECT trial, next FROM (
                 SELECT trial, lead(trial) OVER (ORDER BY trial) AS next FROM trials
                 WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial <= ?2
             ) WHERE next - trial > 1
             UNION ALL
             SELECT -1, min(trial) FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial <= ?2",
            params![id, last],
            |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<u64>>(1)?)),
        )?;
        let missing =
            |(before, after): (i64, Option<u64>)| (before + 1).cast_unsigned()..after.unwrap_or_default();
        Ok(gaps.into_iter().flat_map(missing).collect())
    }

    /// Fills in the trials under way; all of them wait until the leases are known.
    fn unfinished(&self, id: &str, sweep: &mut Sweep) -> Result<(), StoreError> {
        let rows = self.all(
            "SELECT trial FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND finished_ms IS NULL",
            [id],
            |row| row.get::<_, u64>(0),
        )?;
        for index in rows {
            sweep.trials.insert(index, self.trial(id, index)?);
            sweep.waiting.insert(index);
        }
        Ok(())
    }

    /// What a trial's next attempt goes on from.
    fn trial(&self, id: &str, index: u64) -> Result<Trial, StoreError> {
        let (mut trial, checkpoint, marks) = self.one_of(
            "SELECT attempts, failures, losses, hangs, checkpoint, marks FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
            params![id, index],
            |row| {
                let trial = Trial {
                    attempts: row.get(0)?,
                    failures: row.get(1)?,
                    losses: row.get(2)?,
                    hangs: row.get(3)?,
                    ..Trial::default()
                };
                Ok((trial, row.get::<_, Option<String>>(4)?, row.get::<_, Option<String>>(5)?))
            },
        )?;
        trial.checkpoint = document::<StoredFiles>(checkpoint)?;
        trial.marks = document::<BTreeMap<String, i64>>(marks)?.unwrap_or_default();
        let failed = self.all(
            "SELECT attempt, worker, failure FROM leases
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2 AND failure IS NOT NULL
             ORDER BY term",
            params![id, index],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?)),
        )?;
        for (attempt, worker, failure) in failed {
            if let Some(failure) = document::<Failure>(failure)? {
                trial.remember(Past { attempt, worker: WorkerId::new(worker), failure });
            }
        }
        Ok(trial)
    }

    fn marks(&self) -> Result<BTreeMap<WorkerId, BTreeSet<Mark>>, StoreError> {
        let rows = self.all("SELECT worker, mark FROM worker_marks", [], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?;
        let mut marks: BTreeMap<WorkerId, BTreeSet<Mark>> = BTreeMap::new();
        for (worker, name) in rows {
            let mark = Mark::ALL.into_iter().find(|mark| mark.name() == name);
            marks.entry(WorkerId::new(worker)).or_default().extend(mark);
        }
        Ok(marks)
    }
}

fn sweep_state(name: &str) -> SweepState {
    // The schema has no other values.
    SweepState::ALL.into_iter().find(|state| state.name() == name).unwrap_or(SweepState::Running)
}
