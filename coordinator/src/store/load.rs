//! Reading the state back: whole, at a start, and what an order needs of trials that have ended.

use std::collections::{BTreeMap, BTreeSet};

use distilsweep_proto::ids::{Lease, SweepId, Term, TrialId, WorkerId};
use rusqlite::{OptionalExtension, params};

use super::{
    Store, StoreError,
    sql::{ReadSql, document, sweep_state},
};
use crate::{
    scheduler::{
        Active, Best, Counts, Durable, Ended, EndedHow, Failure, Limits, Mark, Pace, Pack, Past, StoredFiles,
        Structure, Sweep, Time, Trial,
    },
    search::{History, Outcome, Rungs},
    spec::{Impute, MetricSpec, SweepSpec},
};

/// Everything that a scheduler is rebuilt from.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Id of the database, the same for ever.
    pub coordinator: String,
    /// What the scheduler goes on from; sweeps have no structure and no limits: their files say that.
    pub durable: Durable,
    /// The latest time that was recorded: the clock must not start before it.
    pub latest: Time,
}

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
            "SELECT id, name, digest, size, priority, metric, maximize, state, spent_ms, running_since_ms
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
                    paused: BTreeSet::new(),
                    rungs: Rungs::default(),
                    counts: Counts::default(),
                    best: None,
                };
                Ok(sweep)
            },
        )?;
        for mut sweep in rows {
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
            sweep.rungs = reader.rungs(&id)?;
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
    /// What a sweep is, with the points that were proposed so far.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn spec(&self, sweep: &SweepId) -> Result<SweepSpec, StoreError> {
        ReadSql { connection: &self.connection, path: &self.path }.spec(sweep)
    }

    /// What has come of a sweep's trials.
    ///
    /// # Errors
    /// Where the database cannot be read.
    pub fn history(&self, sweep: &SweepId) -> Result<History, StoreError> {
        let reader = ReadSql { connection: &self.connection, path: &self.path };
        let rows = reader.all(
            "SELECT trial, state, metric FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND finished_ms IS NOT NULL",
            [sweep.as_str()],
            |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get::<_, Option<f64>>(2)?)),
        )?;
        let SweepSpec { metric, early_terminate, .. } = reader.spec(sweep)?;
        let MetricSpec { selection, maximize, impute, .. } = metric;
        let mut history = History::default();
        // Each is a point of a curve: no small thing to read where nothing counts by them.
        if early_terminate.is_some() || impute == Impute::Latest {
            for (trial, value) in reader.evaluations(sweep, selection.evaluation)? {
                history.evaluated(trial, value, maximize);
            }
        }
        for (trial, state, value) in rows {
            let outcome = match (value, state.as_str()) {
                (Some(value), _) => Outcome::Value(value),
                (None, "cancelled") => Outcome::Unknown,
                (None, "early_stopped") => history.by_evaluations(trial),
                (None, _) if impute == Impute::Latest => history.by_evaluations(trial),
                (None, _) => Outcome::Missing,
            };
            history.note(trial, outcome);
        }
        Ok(history)
    }

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
                    "early_stopped" => EndedHow::EarlyStopped,
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

impl ReadSql<'_> {
    /// How many trials of a sweep ended, by how, and the best of them.
    fn ended(&self, sweep: &str, maximize: bool) -> Result<(Counts, Option<Best>), StoreError> {
        let counts = self.one_with(
            "SELECT coalesce(sum(state = 'completed'), 0), coalesce(sum(state = 'diverged'), 0),
                    coalesce(sum(state = 'failed'), 0), coalesce(sum(state = 'early_stopped'), 0),
                    coalesce(sum(state = 'cancelled'), 0)
             FROM trials WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND finished_ms IS NOT NULL",
            sweep,
            |row| {
                Ok(Counts {
                    completed: row.get(0)?,
                    diverged: row.get(1)?,
                    failed: row.get(2)?,
                    early_stopped: row.get(3)?,
                    cancelled: row.get(4)?,
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

    /// Fills in the trials under way; all of them wait until the leases are known, but for those that paused.
    fn unfinished(&self, id: &str, sweep: &mut Sweep) -> Result<(), StoreError> {
        let rows = self.all(
            "SELECT trial, state = 'paused' FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND finished_ms IS NULL",
            [id],
            |row| Ok((row.get::<_, u64>(0)?, row.get::<_, bool>(1)?)),
        )?;
        for (index, paused) in rows {
            sweep.trials.insert(index, self.trial(id, index)?);
            if paused { &mut sweep.paused } else { &mut sweep.waiting }.insert(index);
        }
        Ok(())
    }

    /// What a trial's next attempt goes on from.
    fn trial(&self, id: &str, index: u64) -> Result<Trial, StoreError> {
        let (mut trial, checkpoint, marks) = self.one_of(
            "SELECT attempts, failures, losses, hangs, checkpoint, marks, evaluations, best, exempt FROM trials
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
            params![id, index],
            |row| {
                let trial = Trial {
                    attempts: row.get(0)?,
                    failures: row.get(1)?,
                    losses: row.get(2)?,
                    hangs: row.get(3)?,
                    evaluations: row.get(6)?,
                    best: row.get(7)?,
                    exempt: row.get(8)?,
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
