//! The durable state: one SQLite database in the coordinator's state directory.
//!
//! The engine owns the one [`Store`] and commits every batch in one transaction, with full sync, before it acts on
//! it; whatever was committed survives any crash, whatever was not has not happened. [`Reader`]s have connections
//! of their own and never wait for the writer (WAL).

mod load;
mod read;
mod rungs;
mod sql;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use load::Loaded;
pub use read::{
    Attempt, Ending, JournalRow, MlflowRun, OutboxState, Reader, SweepOutbox, SweepRow, TrialRow, Untold,
};
pub use write::{SweepFile, Write};

const SCHEMA: &str = include_str!("schema.sql");
const SCHEMA_VERSION: i64 = 4;
/// What brings a database one schema further, from schema 1 on.
const MIGRATIONS: [&str; 3] = [
    "ALTER TABLE leases ADD COLUMN pack INTEGER;
     ALTER TABLE leases ADD COLUMN lanes INTEGER NOT NULL DEFAULT 1;",
    "ALTER TABLE sweeps DROP COLUMN max_retries;
     ALTER TABLE sweeps ADD COLUMN spent_ms INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE sweeps ADD COLUMN running_since_ms INTEGER NOT NULL DEFAULT 0;
     UPDATE sweeps SET priority = 1, running_since_ms = coalesce(finished_ms, created_ms),
         spent_ms = coalesce(finished_ms - created_ms, 0);
     ALTER TABLE trials ADD COLUMN hangs INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE trials ADD COLUMN marks TEXT;
     UPDATE trials SET marks = (
         SELECT json_group_object(key, step) FROM (
             SELECT p.value ->> 'key' AS key, max(p.value ->> 'step') AS step
             FROM metric_blocks b, json_each(b.points) p
             WHERE b.sweep = trials.sweep AND b.trial = trials.trial GROUP BY 1));
     DROP INDEX outbox_waiting;
     CREATE INDEX outbox_waiting ON outbox (run) WHERE refused IS NULL;
     CREATE INDEX leases_failed ON leases (sweep, trial, term) WHERE failure IS NOT NULL;
     CREATE TABLE worker_marks (worker TEXT NOT NULL, mark TEXT NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,
         PRIMARY KEY (worker, mark)) STRICT, WITHOUT ROWID;
     ALTER TABLE journal ADD COLUMN actor TEXT;",
    "ALTER TABLE trials ADD COLUMN shares TEXT;
     ALTER TABLE trials ADD COLUMN evaluations INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE trials ADD COLUMN best REAL;
     ALTER TABLE trials ADD COLUMN exempt INTEGER NOT NULL DEFAULT 0;
     CREATE TABLE rungs (sweep INTEGER NOT NULL REFERENCES sweeps (number), bracket INTEGER NOT NULL, rung INTEGER NOT NULL,
         trial INTEGER NOT NULL, value REAL, promoted INTEGER NOT NULL DEFAULT 0,
         PRIMARY KEY (sweep, bracket, rung, trial)) STRICT, WITHOUT ROWID;",
];
const DATABASE: &str = "coordinator.db";
/// Pages that the writer keeps in memory: all that a large batch changes, or they go to the disk before their time and
/// more than once. Taken only as it is used.
const CACHE_KIB: i64 = 64 << 10;
/// Pages of the write-ahead log after which they go into the database.
const CHECKPOINT_PAGES: i64 = 8_000;
/// Size up to which a database is looked through at each start: a fraction of a second.
const CHECKED_BYTES: i64 = 64 << 20;

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A coordinator has it.
    #[error("state directory {0} is in use by another coordinator")]
    InUse(PathBuf),
    /// Nothing is there to read.
    #[error(
        "{0} holds no sweeps: start one with `distilsweep run SWEEP.yaml`, or name the directory with --state"
    )]
    Absent(PathBuf),
    /// Made by a later version.
    #[error(
        "{path} has schema {found}, this program knows up to {SCHEMA_VERSION}: use the newer distilsweep that made it"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// The directory can't be used.
    #[error("state directory {path} cannot be used, {source}{}", remedy(source))]
    Directory {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite said no.
    #[error("{}", explain(path, source))]
    Database {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// A document in the database is not what this program writes.
    #[error("a record in the database cannot be read: {0}")]
    Record(#[from] serde_json::Error),
}

/// What to do about a directory that cannot be used, where that is known.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ": make it writable for this user, or name another with --state"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ": free some space, or name another with --state"
        }
        _ => "",
    }
}

/// What is the matter with a database, and what to do about it.
fn explain(path: &Path, source: &rusqlite::Error) -> String {
    let path = path.display();
    match source.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!(
            "database {path} cannot be written, its disk is full: free some space and start the coordinator again, it goes on from what it acknowledged"
        ),
        Some(ErrorCode::SystemIoFailure) => format!(
            "database {path} cannot be read or written, {source}: see to its disk and to limits on the size of files, and start the coordinator again, it goes on from what it acknowledged"
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => format!(
            "database {path} cannot be opened for writing, {source}: make it and its directory writable for this user, or name another with --state"
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => format!(
            "database {path} is damaged, {source}: put a copy of the state directory in its place, or save what can be read with `sqlite3 {path} .recover`"
        ),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("database {path} is held by another program, {source}: end that program")
        }
        Some(_) | None => format!("database {path}: {source}"),
    }
}

/// The writer's connection, with the lock of the state directory.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Held open: the lock goes with the process, however it ends.
    _lock: File,
}

impl Store {
    /// Opens the state directory, making it where it is missing, and takes its lock. A new database gets the id.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where a coordinator lives on it; others where it cannot be used.
    pub fn open(directory: &Path, new_id: &str) -> Result<Self, StoreError> {
        let unusable = |source| StoreError::Directory { path: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(directory.to_owned())),
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let path = directory.join(DATABASE);
        let connection =
            open_database(&path).map_err(|source| StoreError::Database { path: path.clone(), source })?;
        let mut store = Self { connection, path, _lock: lock };
        store.check()?;
        store.migrate(new_id)?;
        Ok(store)
    }

    /// Looks for damage before anything is built on it. Of a large database a look at every page would take longer
    /// than a start may: there, damage is found where it is read.
    fn check(&mut self) -> Result<(), StoreError> {
        let size: i64 = self.sql(|c| {
            c.query_row("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size", [], |row| {
                row.get(0)
            })
        })?;
        if size > CHECKED_BYTES {
            return Ok(());
        }
        self.sql(|c| {
            let found: String = c.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if found == "ok" { Ok(()) } else { Err(damage(found)) }
        })
    }

    /// Path of the database, for readers.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn migrate(&mut self, new_id: &str) -> Result<(), StoreError> {
        let found: i64 = self.sql(|c| c.query_row("PRAGMA user_version", [], |row| row.get(0)))?;
        let steps = match usize::try_from(found) {
            Ok(0) => {
                return self.sql(|c| {
                    let transaction = c.transaction()?;
                    transaction.execute_batch(SCHEMA)?;
                    transaction.execute("INSERT INTO coordinator (id) VALUES (?1)", [new_id])?;
                    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                    transaction.commit()
                });
            }
            Ok(found) => MIGRATIONS.get(found - 1..),
            Err(_) => None,
        };
        let steps = steps.ok_or_else(|| StoreError::Newer { path: self.path.clone(), found })?;
        self.sql(|c| {
            let transaction = c.transaction()?;
            for step in steps {
                transaction.execute_batch(step)?;
            }
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            transaction.commit()
        })
    }

    fn sql<T>(
        &mut self,
        run: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, StoreError> {
        run(&mut self.connection).map_err(|source| StoreError::Database { path: self.path.clone(), source })
    }
}

fn damage(found: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(found.replace('\n', " ")))
}

fn open_database(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(connection)
}

fn open_to_read(directory: &Path) -> Result<Connection, StoreError> {
    let path = directory.join(DATABASE);
    if !path.exists() {
        return Err(StoreError::Absent(directory.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(&path, flags)?;
        let found = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((connection, found))
    };
    let (connection, found) = open().map_err(|source| StoreError::Database { path: path.clone(), source })?;
    match found {
        // An older one is brought forward by its coordinator before anybody reads.
        1..=SCHEMA_VERSION => Ok(connection),
        // The file is there and its coordinator is about to fill it.
        0 => Err(StoreError::Absent(directory.to_owned())),
        _ => Err(StoreError::Newer { path, found }),
    }
}
