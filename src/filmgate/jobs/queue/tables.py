"""The tables of the queue's database, as the steps that lead to them."""

from __future__ import annotations

APPLICATION_ID = 0x46474A51  # "FGJQ" in the file's header: a queue of Filmgate

_FIRST = (
    """CREATE TABLE tenant (
        name TEXT PRIMARY KEY,
        weight REAL NOT NULL DEFAULT 1.0 CHECK (weight > 0)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE account (
        tenant TEXT NOT NULL REFERENCES tenant (name),
        class TEXT NOT NULL CHECK (class IN ('live', 'interactive', 'batch')),
        virtual_s REAL NOT NULL DEFAULT 0.0,
        served_ms INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (tenant, class)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE job (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        tenant TEXT NOT NULL REFERENCES tenant (name),
        class TEXT NOT NULL CHECK (class IN ('live', 'interactive', 'batch')),
        priority INTEGER NOT NULL,
        rank_ms INTEGER NOT NULL,
        key TEXT,
        request TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        device_bytes INTEGER NOT NULL,
        host_bytes INTEGER NOT NULL,
        seconds REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN
            ('queued', 'leased', 'running', 'done', 'failed', 'cancelled', 'expired')),
        reason TEXT NOT NULL DEFAULT '',
        message TEXT NOT NULL DEFAULT '',
        result TEXT NOT NULL DEFAULT '{}',
        epoch INTEGER NOT NULL DEFAULT 0,
        worker TEXT,
        crashes INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        losses INTEGER NOT NULL DEFAULT 0,
        segments INTEGER NOT NULL DEFAULT 0,
        events INTEGER NOT NULL DEFAULT 0,
        cancel INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
        not_before_ms INTEGER NOT NULL,
        expires_ms INTEGER,
        submitted_ms INTEGER NOT NULL,
        finished_ms INTEGER,
        CHECK ((worker IS NOT NULL) = (state IN ('leased', 'running'))),
        CHECK ((finished_ms IS NOT NULL) = (state IN ('done', 'failed', 'cancelled', 'expired')))
    ) STRICT""",
    "CREATE UNIQUE INDEX job_key ON job (tenant, key) WHERE key IS NOT NULL",
    """CREATE INDEX job_active ON job (state, tenant, class, rank_ms, number)
        WHERE finished_ms IS NULL""",
    "CREATE INDEX job_expiring ON job (expires_ms) WHERE state = 'queued'",
    "CREATE INDEX job_finished ON job (finished_ms) WHERE finished_ms IS NOT NULL",
    """CREATE TABLE attempt (
        job INTEGER NOT NULL REFERENCES job (number) ON DELETE CASCADE,
        epoch INTEGER NOT NULL,
        worker TEXT NOT NULL,
        device TEXT NOT NULL,
        started_ms INTEGER NOT NULL,
        ended_ms INTEGER,
        end TEXT,
        crash TEXT NOT NULL DEFAULT '{}',
        PRIMARY KEY (job, epoch),
        CHECK ((ended_ms IS NULL) = (end IS NULL))
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE segment (
        job INTEGER NOT NULL REFERENCES job (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        frames INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (job, number)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE event (
        job INTEGER NOT NULL REFERENCES job (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        time_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        data TEXT NOT NULL,
        PRIMARY KEY (job, number)
    ) STRICT, WITHOUT ROWID""",
    # Of files that the queue wrote, in the folder named after the job. They outlive its row.
    "CREATE TABLE file (job TEXT, name TEXT, PRIMARY KEY (job, name)) STRICT, WITHOUT ROWID",
    "CREATE TABLE removed (job TEXT PRIMARY KEY, time_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE class_usage (
        class TEXT PRIMARY KEY CHECK (class IN ('live', 'interactive', 'batch')),
        seconds REAL NOT NULL,
        time_ms INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), now_ms INTEGER NOT NULL) STRICT",
    "INSERT INTO clock VALUES (1, 0)",
)
# What is stored with a request and is no part of it: its plan, who asked.
_CONTEXT = ("ALTER TABLE job ADD COLUMN context TEXT NOT NULL DEFAULT '{}'",)
# Jobs are accepted before it is predicted what they take.
_PLANNED = (
    "ALTER TABLE job ADD COLUMN is_planned INTEGER NOT NULL DEFAULT 1 CHECK (is_planned IN (0, 1))",
    """CREATE INDEX job_unplanned ON job (tenant, class, number)
        WHERE is_planned = 0 AND finished_ms IS NULL""",
)
# How often its reservation was raised, as an attempt took more than was predicted.
_RAISED = ("ALTER TABLE job ADD COLUMN raised INTEGER NOT NULL DEFAULT 0 CHECK (raised >= 0)",)
# Step N leads from version N to N + 1. A step that was released is never changed.
STEPS = (_FIRST, _CONTEXT, _PLANNED, _RAISED)
