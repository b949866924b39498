"""The file that metrics are kept in: made, opened, set aside when damaged; points written into its levels."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from trimtab.logs import fields
from trimtab.metrics.encoding import merged
from trimtab.metrics.levels import ALL, FAR_S, RUN_MOST, Level

logger = logging.getLogger(__name__)

FORMAT: Final = 1
_BUSY_TIMEOUT_S: Final = 10.0

_TABLES: Final = (
    # `gone_*_s`: before it, points of that level may have been forgotten
    "CREATE TABLE about (generation INTEGER NOT NULL, trusted_s REAL NOT NULL, gone_1_s INTEGER NOT NULL, "
    "gone_60_s INTEGER NOT NULL, gone_300_s INTEGER NOT NULL)",
    f"INSERT INTO about VALUES (0, 0, {-FAR_S}, {-FAR_S}, {-FAR_S})",
    "CREATE TABLE series (id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, "
    "dimensions TEXT NOT NULL, unit TEXT NOT NULL, last_s INTEGER NOT NULL)",
    "CREATE TABLE points_1 (series INTEGER, start_s INTEGER, sketch BLOB NOT NULL, PRIMARY KEY (series, start_s)) "
    "WITHOUT ROWID",
    *(
        f"CREATE TABLE {level.table} (series INTEGER, start_s INTEGER, n INTEGER NOT NULL, sketch BLOB NOT NULL, "
        "PRIMARY KEY (series, start_s)) WITHOUT ROWID"
        for level in ALL
        if level.step_s > 1
    ),
    "CREATE TABLE stale (level INTEGER, series INTEGER, start_s INTEGER, PRIMARY KEY (level, series, start_s)) "
    "WITHOUT ROWID",
    "CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    f"PRAGMA user_version={FORMAT}",
)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is the trouble, so that trying again is of no use."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing file, for any thread, one at a time."""
    db = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    db.execute("PRAGMA journal_mode=WAL").close()
    db.execute("PRAGMA synchronous=NORMAL").close()  # survives kill -9; what must survive a power cut asks for more
    db.create_function("merged", 2, lambda old, new: merged((old, new)), deterministic=True)
    return db


def open_file(path: Path, now_s: float) -> sqlite3.Connection:
    """Open `path`, made when it is not there. One that is damaged, or another's, is set aside: metrics begin anew."""
    path.touch(mode=0o600, exist_ok=True)
    db = None
    try:
        db = connect(path)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            _make(db)
        elif version != FORMAT:
            raise sqlite3.DatabaseError(f"it has format {version}, not {FORMAT}")
        db.execute("SELECT generation, trusted_s FROM about").fetchone()
        db.execute("SELECT count(*) FROM series").fetchone()
        return db
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not is_damage(error) and "no such table" not in str(error):
            raise  # a full disk, a lock: not the file's fault
        if db is not None:
            db.close()
        set_aside(path, now_s, error)
        return open_file(path, now_s)


def _make(db: sqlite3.Connection) -> None:
    db.execute("PRAGMA auto_vacuum=INCREMENTAL")
    db.execute("VACUUM")  # it takes effect so
    db.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        db.execute(statement)
    db.execute("COMMIT")


def set_aside(path: Path, now_s: float, error: Exception, what: str = "metrics") -> None:
    """Rename a damaged file, so that `what` is kept in it begins anew and nothing is destroyed."""
    kept = path.with_name(f"{path.name}.damaged-{int(now_s)}")
    logger.error("%s file damaged: set aside, begun anew %s", what, fields(path=path, kept=kept, error=error))
    path.replace(kept)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


# --- writing ---------------------------------------------------------------------------------------------------------


def add_seconds(db: sqlite3.Connection, rows: Iterable[tuple[int, int, bytes]]) -> None:
    """Add points of 1 s: (series, start, packed sketch)."""
    db.executemany(
        "INSERT INTO points_1 VALUES (?,?,?) "
        "ON CONFLICT (series, start_s) DO UPDATE SET sketch=merged(sketch, excluded.sketch)",
        rows,
    )


def put(db: sqlite3.Connection, level: Level, series: int, start_s: int, sketch: bytes, *, add: bool) -> None:
    """Write a point into a table of runs; one that is there is replaced, or with `add` added to."""
    table, step_s = level.table, level.step_s
    before = db.execute(
        f"SELECT start_s, n, sketch FROM {table} WHERE series=? AND start_s<=? ORDER BY start_s DESC LIMIT 1",
        (series, start_s),
    ).fetchone()
    if before is not None:
        first, count, held = before
        if start_s < first + count * step_s:
            new = merged((held, sketch)) if add else sketch
            if new != held:
                _split(db, level, series, before, start_s, new)
            return
        if start_s == first + count * step_s and held == sketch and count < RUN_MOST:
            db.execute(f"UPDATE {table} SET n=n+1 WHERE series=? AND start_s=?", (series, first))
            return
    db.execute(f"INSERT INTO {table} VALUES (?,?,1,?)", (series, start_s, sketch))


def _split(
    db: sqlite3.Connection, level: Level, series: int, run: tuple[int, int, bytes], start_s: int, sketch: bytes
) -> None:
    """Give one point of a run a value of its own."""
    table, step_s = level.table, level.step_s
    first, count, held = run
    earlier = (start_s - first) // step_s
    later = count - earlier - 1
    if earlier:
        db.execute(f"UPDATE {table} SET n=? WHERE series=? AND start_s=?", (earlier, series, first))
    db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?,?,1,?)", (series, start_s, sketch))
    if later:
        db.execute(f"INSERT INTO {table} VALUES (?,?,?,?)", (series, start_s + step_s, later, held))


def expire(db: sqlite3.Connection, level: Level, series: int, before_s: int) -> None:
    """Forget the rows of a series that end at `before_s` or earlier."""
    if level.step_s == 1:
        db.execute("DELETE FROM points_1 WHERE series=? AND start_s<?", (series, before_s))
        return
    db.execute(
        f"DELETE FROM {level.table} WHERE series=? AND start_s<? AND start_s+n*{level.step_s}<=?",
        (series, before_s, before_s),
    )


def used_bytes(db: sqlite3.Connection) -> int:
    """What the file holds, without its free pages."""
    pages, free, size = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
    return int((pages - free) * size)


_SIZES: Final = ("page_count", "freelist_count", "page_size")
