//! What a coordinator that has ended has on record.

use std::collections::BTreeMap;

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};

use crate::fleet::Scene;

/// An attempt.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) term: u64,
    pub(super) attempt: u64,
    pub(super) ended: bool,
    /// Kind of the failure that ended it.
    pub(super) failure: Option<String>,
}

/// All of one trial.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) state: String,
    pub(super) attempts: u64,
    /// By term.
    pub(super) leases: Vec<Lease>,
    /// Term and step of each checkpoint that was accepted, in that order.
    pub(super) checkpoints: Vec<(u64, u64)>,
    /// How often it was tried again after `trial stop`.
    pub(super) retried: usize,
    /// Steps of the points of its loss, in the order of their reports.
    pub(super) losses: Vec<u64>,
}

impl Recorded {
    /// Every trial of the scene's one sweep, by the index of its point.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) fn all(scene: &Scene) -> anyhow::Result<BTreeMap<u64, Self>> {
        let database = open(scene)?;
        let mut all: BTreeMap<u64, Self> = BTreeMap::new();
        let rows = rows(&database, "SELECT trial, state, attempts FROM trials", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        for (trial, state, attempts) in rows {
            all.insert(trial, Self { state, attempts, ..Self::default() });
        }
        let leases = "SELECT trial, term, attempt, ended_ms IS NOT NULL, json_extract(failure, '$.kind')
                      FROM leases ORDER BY term";
        for (trial, lease) in self::rows(&database, leases, |row| {
            let (term, attempt, ended, failure) = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get(0)?, Lease { term, attempt, ended, failure }))
        })? {
            all.entry(trial).or_default().leases.push(lease);
        }
        let checkpoints = "SELECT trial, term, CAST(substr(detail, length('step ') + 1) AS INTEGER)
                           FROM journal WHERE event = 'checkpoint' ORDER BY id";
        for (trial, term, step) in
            self::rows(&database, checkpoints, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        {
            all.entry(trial).or_default().checkpoints.push((term, step));
        }
        let retried = "SELECT trial, count(*) FROM journal WHERE event = 'retried' GROUP BY trial";
        for (trial, times) in self::rows(&database, retried, |row| Ok((row.get(0)?, row.get(1)?)))? {
            all.entry(trial).or_default().retried = times;
        }
        let losses = "SELECT trial, json_extract(point.value, '$.step')
                      FROM metric_blocks, json_each(points) AS point
                      WHERE json_extract(point.value, '$.key') = 'loss' ORDER BY metric_blocks.id, point.key";
        for (trial, step) in self::rows(&database, losses, |row| Ok((row.get(0)?, row.get(1)?)))? {
            all.entry(trial).or_default().losses.push(step);
        }
        Ok(all)
    }
}

/// Steps of the points of each trial's loss in the order of their reports, as they are on record.
///
/// # Errors
/// The database cannot be read.
pub fn losses(scene: &Scene) -> anyhow::Result<BTreeMap<u64, Vec<u64>>> {
    Ok(Recorded::all(scene)?.into_iter().map(|(trial, recorded)| (trial, recorded.losses)).collect())
}

/// Whether the journal has a lease between a pause and what resumed the sweep.
///
/// # Errors
/// The database cannot be read.
pub(super) fn leased_while_paused(scene: &Scene) -> anyhow::Result<bool> {
    let orders = "SELECT event FROM journal WHERE event IN ('leased', 'paused', 'resumed') ORDER BY id";
    let events: Vec<String> = rows(&open(scene)?, orders, |row| row.get(0))?;
    Ok(events.array_windows().any(|[before, event]| before == "paused" && event == "leased"))
}

fn open(scene: &Scene) -> anyhow::Result<Connection> {
    let path = scene.path("state/coordinator.db");
    Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| path.display().to_string())
}

fn rows<T>(
    database: &Connection,
    query: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let mut statement = database.prepare(query)?;
    let found = statement.query_map([], read)?.collect::<rusqlite::Result<Vec<T>>>();
    found.with_context(|| query.to_owned())
}
