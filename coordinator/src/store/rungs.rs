//! What `early_terminate` looks at, as rows.

use std::collections::BTreeMap;

use distilsweep_proto::{
    ids::{SweepId, TrialId},
    names::EVALUATION,
};
use rusqlite::{Transaction, params};

use super::{
    StoreError,
    sql::ReadSql,
    write::{Line, WriteError},
};
use crate::{
    scheduler::{Point, Time, TrialResult},
    search::{Arrival, Place, Rungs},
};

pub(super) fn evaluated(
    t: &Transaction<'_>,
    trial: &TrialId,
    evaluations: u32,
    best: Option<f64>,
) -> Result<(), WriteError> {
    t.prepare_cached(
        "UPDATE trials SET evaluations = ?3, best = ?4
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![trial.sweep.as_str(), trial.index, evaluations, best])?;
    Ok(())
}

pub(super) fn reached(
    t: &Transaction<'_>,
    now: Time,
    trial: &TrialId,
    place: Place,
    value: Option<f64>,
    paused: bool,
) -> Result<(), WriteError> {
    t.prepare_cached(
        "INSERT OR IGNORE INTO rungs (sweep, bracket, rung, trial, value)
         SELECT number, ?2, ?3, ?4, ?5 FROM sweeps WHERE id = ?1",
    )?
    .execute(params![trial.sweep.as_str(), place.bracket, place.rung, trial.index, value])?;
    if paused {
        set_state(t, trial, "paused")?;
    }
    let value = value.map_or_else(|| "no value".to_owned(), |value| format!("{value:.4}"));
    let detail = format!("{} with {value}", described(place));
    line(t, now, trial, &detail, if paused { "paused" } else { "rung" })
}

pub(super) fn promoted(
    t: &Transaction<'_>,
    now: Time,
    trial: &TrialId,
    place: Place,
) -> Result<(), WriteError> {
    t.prepare_cached(
        "UPDATE rungs SET promoted = 1
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND bracket = ?2 AND rung = ?3 AND trial = ?4",
    )?
    .execute(params![trial.sweep.as_str(), place.bracket, place.rung, trial.index])?;
    set_state(t, trial, "waiting")?;
    line(t, now, trial, &format!("from {}", described(place)), "promoted")
}

/// People count from 1, and name a ladder where there may be several.
fn described(Place { bracket, rung }: Place) -> String {
    let ladder = if bracket > 0 { format!(" of bracket {}", bracket + 1) } else { String::new() };
    format!("rung {}{ladder}", rung + 1)
}

fn set_state(t: &Transaction<'_>, trial: &TrialId, state: &str) -> Result<(), WriteError> {
    t.prepare_cached(
        "UPDATE trials SET state = ?3 WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2",
    )?
    .execute(params![trial.sweep.as_str(), trial.index, state])?;
    Ok(())
}

fn line(
    t: &Transaction<'_>,
    now: Time,
    trial: &TrialId,
    detail: &str,
    event: &str,
) -> Result<(), WriteError> {
    let (sweep, trial) = (trial.sweep.as_str(), Some(trial.index));
    Line { sweep, trial, detail: Some(detail), ..Line::default() }.write(t, now, event)
}

/// What is known of a trial that ends early: its last evaluation, and the best value of the sweep's metric.
pub(super) fn last_metrics(t: &Transaction<'_>, trial: &TrialId) -> Result<TrialResult, WriteError> {
    let (metric, best): (String, Option<f64>) = t
        .prepare_cached(
            "SELECT s.metric, t.best FROM trials t JOIN sweeps s ON s.number = t.sweep WHERE s.id = ?1 AND t.trial = ?2",
        )?
        .query_row(params![trial.sweep.as_str(), trial.index], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut statement = t.prepare_cached(
        "SELECT points FROM metric_blocks
         WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND trial = ?2 ORDER BY id",
    )?;
    let blocks = statement.query_map(params![trial.sweep.as_str(), trial.index], |row| row.get(0))?;
    let mut result = TrialResult::default();
    let mut metrics: BTreeMap<String, f64> = BTreeMap::new();
    for block in blocks {
        let block: String = block?;
        let points: Vec<Point> = serde_json::from_str(&block)?;
        for Point { key, value, step, .. } in points {
            if !EVALUATION.contains(&key.as_str()) {
                continue;
            }
            result.steps = step.max(result.steps);
            metrics.insert(key, value);
        }
    }
    metrics.extend(best.map(|best| (metric, best)));
    Ok(TrialResult { metrics, ..result })
}

impl ReadSql<'_> {
    /// All values of an evaluation's metric, by trial.
    pub(super) fn evaluations(&self, sweep: &SweepId, key: &str) -> Result<Vec<(u64, f64)>, StoreError> {
        let values = self.all(
            "SELECT b.trial, p.value ->> 'value' FROM metric_blocks b, json_each(b.points) p
             WHERE b.sweep = (SELECT number FROM sweeps WHERE id = ?1) AND p.value ->> 'key' = ?2",
            [sweep.as_str(), key],
            // What is not finite is a text.
            |row| Ok((row.get(0)?, row.get::<_, f64>(1).ok())),
        )?;
        Ok(values.into_iter().filter_map(|(trial, value)| Some((trial, value?))).collect())
    }

    /// All that ever came to a rung of a sweep.
    pub(super) fn rungs(&self, sweep: &str) -> Result<Rungs, StoreError> {
        let arrivals = self.all(
            "SELECT bracket, rung, trial, value, promoted FROM rungs
             WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1)",
            [sweep],
            |row| {
                let place = Place { bracket: row.get(0)?, rung: row.get(1)? };
                Ok(Arrival { place, trial: row.get(2)?, value: row.get(3)?, promoted: row.get(4)? })
            },
        )?;
        let mut rungs = Rungs::default();
        arrivals.into_iter().for_each(|arrival| rungs.arrive(arrival));
        Ok(rungs)
    }
}
