"""The journal's SQLite file: rows of entries by variant, in the order in which they were written."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from trimtab.control.scaling.entries import PACKED, RAW, Began, Entry, decode, encode
from trimtab.logs import fields
from trimtab.metrics import history_file

logger = logging.getLogger(__name__)

FORMAT: Final = 1
_WHAT: Final = "scaling journal"
Key = tuple[str, str]  # endpoint, variant

_TABLES: Final = (
    "CREATE TABLE variants (id INTEGER PRIMARY KEY, endpoint TEXT NOT NULL, variant TEXT NOT NULL, "
    "UNIQUE (endpoint, variant))",
    # `begins`: the first entry is a Began; `form`: RAW rows are of a block that is not closed yet
    "CREATE TABLE entries (id INTEGER PRIMARY KEY AUTOINCREMENT, variant INTEGER NOT NULL, start_s REAL NOT NULL, "
    "end_s REAL NOT NULL, begins INTEGER NOT NULL, form INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX by_variant ON entries (variant, begins, start_s)",
    f"CREATE INDEX open_rows ON entries (variant) WHERE form={RAW}",
)


class Row(Struct, frozen=True, kw_only=True):
    """Entries of one variant, as they are appended."""

    key: Key
    start_s: float
    end_s: float
    begins: bool
    body: bytes


class JournalFile:
    """An open file. Raises sqlite3.Error; one call at a time, from any thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._ids = dict(self._read_ids())
        (size,) = db.execute("SELECT coalesce(sum(length(body)), 0) FROM entries").fetchone()
        self._size_bytes = int(size)

    def append(self, rows: Iterable[Row], over: Iterable[Key] = ()) -> bool:
        """Add rows, then make one packed row of all the open ones of each variant in `over`; all or nothing.

        True, always."""
        before = self._size_bytes
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for row in rows:
                self._insert(self._id(row.key), (row.start_s, row.end_s), row.begins, RAW, row.body)
            for key in over:
                if key in self._ids:
                    self._pack(self._ids[key])
            self._db.execute("COMMIT")
            return True
        except BaseException:
            self._size_bytes = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._ids = dict(self._read_ids())
            raise

    def _read_ids(self) -> Iterable[tuple[Key, int]]:
        for number, endpoint, variant in self._db.execute("SELECT id, endpoint, variant FROM variants"):
            yield (endpoint, variant), number

    def _id(self, key: Key) -> int:
        if key not in self._ids:
            made = self._db.execute(
                "INSERT INTO variants (endpoint, variant) VALUES (?,?) RETURNING id", key
            ).fetchone()
            self._ids[key] = made[0]
        return self._ids[key]

    def _insert(self, variant: int, times: tuple[float, float], begins: bool, form: int, body: bytes) -> None:
        self._db.execute(
            "INSERT INTO entries (variant, start_s, end_s, begins, form, body) VALUES (?,?,?,?,?,?)",
            (variant, *times, begins, form, body),
        )
        self._size_bytes += len(body)

    def _pack(self, variant: int) -> None:
        rows = self._db.execute(
            "SELECT id, start_s, end_s, body FROM entries WHERE variant=? AND form=? ORDER BY id", (variant, RAW)
        ).fetchall()
        if not rows:
            return
        entries = [entry for *_, body in rows for entry in _read(body, RAW)]
        self._db.execute("DELETE FROM entries WHERE variant=? AND form=?", (variant, RAW))
        self._size_bytes -= sum(len(body) for *_, body in rows)
        if entries:
            times = min(row[1] for row in rows), max(row[2] for row in rows)
            self._insert(variant, times, isinstance(entries[0], Began), PACKED, encode(entries, PACKED))

    def pack_all(self) -> None:
        """Close what another process left open."""
        self.append((), list(self._ids))

    def find(self, key: Key, start_s: float, end_s: float) -> Sequence[int]:
        """Ids of the rows up to `end_s`, from the last one at or before `start_s` that a replay can begin with."""
        variant = self._ids.get(key)
        if variant is None:
            return ()
        where = "SELECT {}(id) FROM entries WHERE variant=? AND begins=1 AND start_s{}?"
        (first,) = self._db.execute(where.format("max", "<="), (variant, start_s)).fetchone()
        if first is None:
            (first,) = self._db.execute(where.format("min", ">"), (variant, start_s)).fetchone()
        if first is None:
            return ()
        found = self._db.execute(
            "SELECT id FROM entries WHERE variant=? AND id>=? AND start_s<=? ORDER BY id", (variant, first, end_s)
        )
        return [number for (number,) in found]

    def entries(self, row_id: int) -> list[Entry]:
        """What a row holds; nothing when it is no longer there."""
        row = self._db.execute("SELECT body, form FROM entries WHERE id=?", (row_id,)).fetchone()
        return _read(*row) if row is not None else []

    def keys(self) -> Sequence[Key]:
        """The variants that there are entries of."""
        found = self._db.execute(
            "SELECT endpoint, variant FROM variants WHERE id IN (SELECT variant FROM entries) ORDER BY 1, 2"
        )
        return [(endpoint, variant) for endpoint, variant in found]

    def forget(self, before_s: float, max_bytes: int) -> None:
        """Drop what ended before that time, and the oldest while the rest has more than `max_bytes`."""
        while (
            row := self._db.execute("SELECT id, end_s, length(body) FROM entries ORDER BY id LIMIT 1").fetchone()
        ) is not None and (row[1] < before_s or self._size_bytes > max_bytes):
            self._db.execute("DELETE FROM entries WHERE id=?", row[:1])
            self._size_bytes -= row[2]

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _read(body: bytes, form: int) -> list[Entry]:
    try:
        return decode(body, form)
    except ValueError as error:  # of another version of trimtab: history that nobody can read stops nobody
        logger.warning("scaling journal: entries left out %s", fields(error=error))
        return []


def opened(path: Path, now_s: float) -> JournalFile:
    """Open `path`, made when it is not there; one that is damaged, or another's, is set aside first."""
    return history_file.opened(path, now_s, _opened, _WHAT)


def _opened(path: Path) -> JournalFile:
    db = history_file.connect(path, _TABLES, FORMAT)
    try:
        file = JournalFile(db)
        file.pack_all()
    except BaseException:
        db.close()
        raise
    return file


def set_damaged_aside(path: Path, now_s: float, error: Exception) -> None:
    """Rename it, so that the journal begins anew and nothing is destroyed."""
    history_file.set_damaged_aside(path, now_s, error, _WHAT)
