"""SQLite: one file, write-ahead log, owner-readable only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError

from trimtab.errors import Invalid
from trimtab.store.sql import SqlStore


def open_sqlite(path: Path, *, synchronous: str = "FULL", busy_timeout_s: float = 10.0) -> SqlStore:
    """Open (or make) the database file `path`, owner-readable only.

    Invalid when the file is something else, or was made by a newer trimtab.
    `synchronous="FULL"` survives a power cut; "NORMAL" survives `kill -9` and loses the last moments at a power cut.
    Lazy writes are NORMAL at most.
    """
    path.touch(mode=0o600, exist_ok=True)
    engine = _sqlite(URL.create("sqlite", database=str(path)), synchronous, busy_timeout_s)
    try:
        return SqlStore(engine)
    except DatabaseError as error:
        engine.dispose()
        if "not a database" not in str(error) and "malformed" not in str(error):
            raise
        raise Invalid(
            f"{path} is not a trimtab database, or it is damaged ({error.orig}). "
            "Restore it from a copy, or use another data directory (--data-dir)."
        ) from error
    except Invalid:
        engine.dispose()
        raise


def _sqlite(url: URL, synchronous: str, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def configure(dbapi_connection: Any, _record: object) -> None:
        dbapi_connection.isolation_level = None  # the driver must not begin by itself: `begin` below does
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            dbapi_connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A write takes its lock at once: upgrading a read lock may fail half-way when another process writes.
        options = connection.get_execution_options()
        write = options.get("trimtab_write", False)
        if write and synchronous == "FULL":
            sync(connection, "NORMAL" if options.get("trimtab_lazily", False) else "FULL")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    def sync(connection: Connection, how: str) -> None:
        if connection.info.get("synchronous", synchronous) != how:
            connection.exec_driver_sql(f"PRAGMA synchronous={how}")
            connection.info["synchronous"] = how

    return engine
