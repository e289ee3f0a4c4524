//! Connections that read the database, kept open: a process without free file descriptors can still read.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::store::{Reader, StoreError};

/// Connections that are kept for later reads. More reads at once open further ones.
const KEPT: usize = 2;

/// Connections to one database.
#[derive(Debug)]
pub(super) struct Readers {
    directory: PathBuf,
    /// None once they were closed.
    idle: Mutex<Option<Vec<Reader>>>,
}

impl Readers {
    /// Of the database in a state directory; none is open yet.
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, idle: Mutex::new(Some(Vec::new())) }
    }

    /// Opens the connections that are kept.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be opened.
    pub(super) fn reserve(self) -> Result<Self, StoreError> {
        let idle = (0..KEPT).map(|_| Reader::open(&self.directory)).collect::<Result<_, _>>()?;
        Ok(Self { idle: Mutex::new(Some(idle)), ..self })
    }

    /// Closes the connections that are kept: SQLite removes its log with the last connection to the database.
    pub(super) fn close(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Reader>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads with an idle connection, or with a new one. Blocks.
    ///
    /// # Errors
    /// [`StoreError`] if the database cannot be opened or read.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.lock().as_mut().and_then(Vec::pop);
        let reader = match idle {
            Some(reader) => reader,
            None => Reader::open(&self.directory)?,
        };
        let result = read(&reader);
        reader.release_memory();
        if let Some(idle) = self.lock().as_mut().filter(|idle| idle.len() < KEPT) {
            idle.push(reader);
        }
        result
    }
}
