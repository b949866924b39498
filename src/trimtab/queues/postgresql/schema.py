"""The tables of queues in PostgreSQL: those of SQLite, with all that is known of a queue in its row.

Whoever changes a queue or what is in it locks that row first. It holds the counters, so that a bound costs no count.
"""

from __future__ import annotations

from typing import Any, Final, LiteralString

import psycopg

from trimtab.errors import Invalid
from trimtab.queues.sql.indexes import INDEXES

VERSION: Final = 1
SCHEMA: Final = "trimtab_queues"  # of its own: the database may have other uses
_MAKING: Final = 7_409_141_523  # advisory lock: one process makes the tables

_TABLES: Final[LiteralString] = """
CREATE TABLE format (version INTEGER NOT NULL);
CREATE TABLE queues (
    number BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY, name TEXT NOT NULL UNIQUE, settings BYTEA NOT NULL,
    ready BIGINT NOT NULL DEFAULT 0, delayed BIGINT NOT NULL DEFAULT 0, leased BIGINT NOT NULL DEFAULT 0,
    dead BIGINT NOT NULL DEFAULT 0, bytes BIGINT NOT NULL DEFAULT 0, put BIGINT NOT NULL DEFAULT 0,
    ended BIGINT NOT NULL DEFAULT 0, returned BIGINT NOT NULL DEFAULT 0, expired BIGINT NOT NULL DEFAULT 0,
    grouped BOOLEAN NOT NULL DEFAULT FALSE, turn BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE messages (
    seq BIGINT PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    queue BIGINT NOT NULL, id TEXT NOT NULL, grp TEXT NOT NULL, body BYTEA NOT NULL,
    state INTEGER NOT NULL, visible_s FLOAT8 NOT NULL, put_s FLOAT8 NOT NULL, expires_s FLOAT8 NOT NULL,
    first_leased_s FLOAT8 NOT NULL DEFAULT 0, leases INTEGER NOT NULL DEFAULT 0, token BIGINT NOT NULL DEFAULT 0,
    owner TEXT NOT NULL DEFAULT '', ask TEXT NOT NULL DEFAULT '', until_s FLOAT8 NOT NULL DEFAULT 0,
    expired INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL DEFAULT '',
    UNIQUE (queue, id)
);
CREATE TABLE ended (
    queue BIGINT NOT NULL, id TEXT NOT NULL, token BIGINT NOT NULL, at_s FLOAT8 NOT NULL, PRIMARY KEY (queue, id)
);
CREATE TABLE once (
    queue BIGINT NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, at_s FLOAT8 NOT NULL, PRIMARY KEY (queue, key)
);
CREATE TABLE groups (
    queue BIGINT NOT NULL, grp TEXT NOT NULL, turn BIGINT NOT NULL, PRIMARY KEY (queue, grp)
);
CREATE TABLE houses (house TEXT PRIMARY KEY, seen_s FLOAT8 NOT NULL);
"""


def prepare(connection: psycopg.Connection[Any]) -> None:
    """Make the tables where they are not there yet. Invalid when they are a newer trimtab's."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        connection.execute(f"SET search_path = {SCHEMA}")
        (there,) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{SCHEMA}.format",)).fetchone() or (
            False,
        )
        if not there:
            connection.execute(_TABLES + INDEXES)
            connection.execute("INSERT INTO format (version) VALUES (%s)", (VERSION,))
        (version,) = connection.execute("SELECT version FROM format").fetchone() or (0,)
    if version > VERSION:
        raise Invalid(
            f"The queues in this database were made by a newer trimtab (format {version}). Use that one, or another "
            "database (--queues-url)."
        )
