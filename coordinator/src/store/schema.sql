-- Schema 4. One writer, the engine; readers have connections of their own. Times are milliseconds since the Unix
-- epoch, documents are JSON. Later versions migrate forward in steps; user_version says where a file is.

CREATE TABLE coordinator (
    id          TEXT    NOT NULL                -- random, made with the database: names its runs in MLflow
) STRICT;

CREATE TABLE sweeps (
    number      INTEGER PRIMARY KEY,            -- order of submission
    id          TEXT    NOT NULL UNIQUE,
    name        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,               -- SHA-256 of the normalised file: the identity of its content
    file_name   TEXT    NOT NULL,
    source      TEXT    NOT NULL,               -- the file as it was handed in
    spec        TEXT    NOT NULL,               -- the same, normalised
    size        INTEGER NOT NULL,               -- points in the space, at most 2^63 - 1
    metric      TEXT    NOT NULL,
    maximize    INTEGER NOT NULL,
    priority    INTEGER NOT NULL DEFAULT 1,     -- its share of the workers against that of other sweeps
    state       TEXT    NOT NULL,               -- running, paused, completed, cancelled, failed
    reason      TEXT,
    created_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    spent_ms    INTEGER NOT NULL DEFAULT 0,     -- it ran before running_since_ms
    running_since_ms INTEGER NOT NULL DEFAULT 0 -- while it does not run, since when it does not
) STRICT;

-- A point gets a row when it is first leased, or left out (without an attempt, cancelled); its hyperparameters are computed from its index.
CREATE TABLE trials (
    sweep       INTEGER NOT NULL REFERENCES sweeps (number),
    trial       INTEGER NOT NULL,
    state       TEXT    NOT NULL,               -- running, waiting, paused, completed, diverged, failed, early_stopped, cancelled
    attempts    INTEGER NOT NULL,
    failures    INTEGER NOT NULL DEFAULT 0,     -- those that count against max_retries
    losses      INTEGER NOT NULL DEFAULT 0,     -- workers lost since it came further last
    hangs       INTEGER NOT NULL DEFAULT 0,     -- attempts in which it hung
    worker      TEXT    NOT NULL,               -- of the last attempt
    checkpoint  TEXT,                           -- the newest, to resume from
    marks       TEXT,                           -- highest step recorded by metric: {"loss": 120, ...}
    result      TEXT,
    metric      REAL,                           -- the sweep's metric, for ordering
    shares      TEXT,                           -- of its draw, one a hyperparameter, where it was the first to need them: [0.25, ...]
    failure     TEXT,
    started_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    evaluations INTEGER NOT NULL DEFAULT 0,     -- this and the next two only where it may be ended early
    best        REAL,                           -- the best of them, by the sweep's metric
    exempt      INTEGER NOT NULL DEFAULT 0,     -- it goes to its end whatever others reach
    PRIMARY KEY (sweep, trial)
) STRICT, WITHOUT ROWID;
CREATE INDEX trials_by_metric ON trials (sweep, metric) WHERE metric IS NOT NULL;
CREATE INDEX trials_unfinished ON trials (sweep, trial) WHERE finished_ms IS NULL;

-- What came to a rung of early_terminate; others are held against it, whatever becomes of it.
CREATE TABLE rungs (
    sweep       INTEGER NOT NULL REFERENCES sweeps (number),
    bracket     INTEGER NOT NULL,
    rung        INTEGER NOT NULL,
    trial       INTEGER NOT NULL,
    value       REAL,                           -- the best of its evaluations so far
    promoted    INTEGER NOT NULL DEFAULT 0,     -- it was let go on from there
    PRIMARY KEY (sweep, bracket, rung, trial)
) STRICT, WITHOUT ROWID;

-- One row an attempt. Terms are given out once and only grow.
CREATE TABLE leases (
    term        INTEGER PRIMARY KEY,
    sweep       INTEGER NOT NULL REFERENCES sweeps (number),
    trial       INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    worker      TEXT    NOT NULL,
    sequence    INTEGER NOT NULL DEFAULT 0,     -- of the last report recorded
    granted_ms  INTEGER NOT NULL,
    ended_ms    INTEGER,
    failure     TEXT,
    pack        INTEGER,                        -- term of the pack's first lane; of this one alone when left out
    lanes       INTEGER NOT NULL DEFAULT 1      -- that the pack began with
) STRICT;
CREATE INDEX leases_live ON leases (term) WHERE ended_ms IS NULL;
CREATE INDEX leases_failed ON leases (sweep, trial, term) WHERE failure IS NOT NULL;

-- What sets a worker apart from others.
CREATE TABLE worker_marks (
    worker      TEXT    NOT NULL,
    mark        TEXT    NOT NULL,               -- draining, quarantined
    reason      TEXT    NOT NULL,
    at_ms       INTEGER NOT NULL,
    PRIMARY KEY (worker, mark)
) STRICT, WITHOUT ROWID;

-- One row a report, not a row a point.
CREATE TABLE metric_blocks (
    id          INTEGER PRIMARY KEY,
    sweep       INTEGER NOT NULL,
    trial       INTEGER NOT NULL,
    term        INTEGER NOT NULL,
    sequence    INTEGER NOT NULL,
    points      TEXT    NOT NULL,
    UNIQUE (term, sequence)
) STRICT;
CREATE INDEX metric_blocks_by_trial ON metric_blocks (sweep, trial);

-- What MLflow has still to be told, in order. A row about a block names it instead of repeating its points.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    run         TEXT    NOT NULL,               -- "<sweep>" or "<sweep>/<trial>"
    op          TEXT,
    block       INTEGER REFERENCES metric_blocks (id),
    refused     TEXT,                           -- why MLflow will never take it
    CHECK ((op IS NULL) <> (block IS NULL))
) STRICT;
CREATE INDEX outbox_waiting ON outbox (run) WHERE refused IS NULL;

CREATE TABLE mlflow_runs (
    run           TEXT PRIMARY KEY,
    experiment_id TEXT NOT NULL,
    run_id        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Who did what to which trial, when and why.
CREATE TABLE journal (
    id          INTEGER PRIMARY KEY,
    at_ms       INTEGER NOT NULL,
    sweep       TEXT    NOT NULL,               -- empty where it is about a worker alone
    trial       INTEGER,
    attempt     INTEGER,
    term        INTEGER,
    worker      TEXT,
    actor       TEXT,                           -- who did it, where that is neither the worker nor the coordinator
    event       TEXT    NOT NULL,
    detail      TEXT
) STRICT;
CREATE INDEX journal_by_sweep ON journal (sweep, id);
