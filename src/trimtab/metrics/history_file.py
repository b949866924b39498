"""SQLite files of history: made, checked, and set aside when damaged, so that history begins anew and nobody stops."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from trimtab.metrics.database import is_damage, set_aside

T = TypeVar("T")


def opened(path: Path, now_s: float, open_it: Callable[[Path], T], what: str) -> T:
    """What `open_it` makes of `path`, a file that is made when it is not there; `what` is kept in it.

    One that is damaged, or another's, is set aside first. Raises sqlite3.OperationalError for a full disk, or a lock:
    not the file's fault.
    """
    path.touch(mode=0o600, exist_ok=True)
    try:
        return open_it(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not is_damage(error) and "no such table" not in str(error):
            raise
        set_damaged_aside(path, now_s, error, what)
        path.touch(mode=0o600)
        return open_it(path)


def connect(path: Path, tables: Sequence[str], version: int) -> sqlite3.Connection:
    """A connection for any thread, one at a time. `tables` are made in a new file; sqlite3.DatabaseError for one of
    another `version`."""
    db = sqlite3.connect(path, timeout=10.0, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode=WAL").close()
        db.execute("PRAGMA synchronous=NORMAL").close()  # survives kill -9; a power cut may cost the last seconds
        (found,) = db.execute("PRAGMA user_version").fetchone()
        if found == 0:
            db.execute("BEGIN IMMEDIATE")
            for statement in (*tables, f"PRAGMA user_version={version}"):
                db.execute(statement)
            db.execute("COMMIT")
        elif found != version:
            raise sqlite3.DatabaseError(f"it has format {found}, not {version}")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of it is written, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def set_damaged_aside(path: Path, now_s: float, error: Exception, what: str) -> None:
    """Rename it, so that history begins anew and nothing is destroyed."""
    path.touch(mode=0o600, exist_ok=True)  # somebody may have deleted it
    set_aside(path, now_s, error, what=what)
