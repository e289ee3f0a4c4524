//! What readers and the writer's loading have in common: statements, and what stands in columns.

use std::path::Path;

use distilsweep_proto::ids::SweepId;
use rusqlite::{Connection, Row};
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::{
    scheduler::SweepState,
    spec::{Drawn, Sequence, Space, SweepSpec},
};

pub(super) fn document<T: DeserializeOwned>(text: Option<String>) -> Result<Option<T>, StoreError> {
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// A connection with the path that errors name.
pub(super) struct ReadSql<'a> {
    pub(super) connection: &'a Connection,
    pub(super) path: &'a Path,
}

impl ReadSql<'_> {
    /// See [`super::Reader::spec`].
    pub(super) fn spec(&self, sweep: &SweepId) -> Result<SweepSpec, StoreError> {
        let text: String =
            self.one_with("SELECT spec FROM sweeps WHERE id = ?1", sweep.as_str(), |row| row.get(0))?;
        let mut spec: SweepSpec = serde_json::from_str(&text)?;
        if let Space::Drawn(drawn @ Drawn { sequence: Sequence::Proposed, .. }) = &mut spec.space {
            let rows = self.all(
                "SELECT trial, shares FROM trials
                 WHERE sweep = (SELECT number FROM sweeps WHERE id = ?1) AND shares IS NOT NULL",
                [sweep.as_str()],
                |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)),
            )?;
            for (trial, shares) in rows {
                drawn.proposed.insert(trial / drawn.repeats, serde_json::from_str(&shares)?);
            }
        }
        Ok(spec)
    }

    pub(super) fn all<T>(
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

    pub(super) fn one<T>(
        &self,
        sql: &str,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.one_of(sql, [], read)
    }

    pub(super) fn one_with<T>(
        &self,
        sql: &str,
        parameter: &str,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        self.one_of(sql, [parameter], read)
    }

    pub(super) fn one_of<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        let run = || self.connection.prepare_cached(sql)?.query_row(parameters, read);
        run().map_err(|source| StoreError::Database { path: self.path.to_owned(), source })
    }
}

pub(super) fn sweep_state(name: &str) -> SweepState {
    // The schema has no other values.
    SweepState::ALL.into_iter().find(|state| state.name() == name).unwrap_or(SweepState::Running)
}
