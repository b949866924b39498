"""The SQLite file of model loads: what happened to each model of each endpoint, and what that adds up to.

A file of its own (`Paths.loads`): it may be deleted, and nothing but this history is lost. What a host tells is
written with its number in one transaction, so it is there once however often it is told. An endpoint is known by its
`life`: one that was made anew under its name begins with nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path
from typing import Final

import msgspec

from trimtab.control.hosts import came
from trimtab.control.hosts.api import ModelCount, PastEvent
from trimtab.control.hosts.came import CameRow, life_of
from trimtab.metrics import history_file
from trimtab.metrics.database import used_bytes
from trimtab.wire.hosting import ModelEvent

FORMAT: Final = 1
_WHAT: Final = "history of model loads"
_FORGET_AT_ONCE: Final = 10_000

_TABLES: Final = (
    "CREATE TABLE hosts (replica TEXT PRIMARY KEY, seq INTEGER NOT NULL, at_s REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE events (id INTEGER PRIMARY KEY AUTOINCREMENT, life TEXT NOT NULL, replica TEXT NOT NULL, "
    "variant TEXT NOT NULL, model TEXT NOT NULL, at_s REAL NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX events_by_life ON events (life, id)",
    "CREATE INDEX events_by_model ON events (life, model, id)",
    "CREATE TABLE counts (life TEXT NOT NULL, model TEXT NOT NULL, loads INTEGER NOT NULL, failures INTEGER NOT NULL, "
    "evictions INTEGER NOT NULL, unloads INTEGER NOT NULL, crashes INTEGER NOT NULL, requests INTEGER NOT NULL, "
    "misses INTEGER NOT NULL, load_s REAL NOT NULL, last_why TEXT NOT NULL, at_s REAL NOT NULL, "
    "PRIMARY KEY (life, model)) WITHOUT ROWID",
    "CREATE INDEX counts_by_time ON counts (at_s)",
)
_CAME: Final = (  # younger than the format: a file that was made before it has it added
    "CREATE TABLE IF NOT EXISTS came (id INTEGER PRIMARY KEY AUTOINCREMENT, life TEXT NOT NULL, "
    "variant TEXT NOT NULL, start_s INTEGER NOT NULL, span_s INTEGER NOT NULL, body BLOB NOT NULL)",
    "CREATE INDEX IF NOT EXISTS came_by_life ON came (life, variant, start_s)",
)
_COUNT: Final = (
    "INSERT INTO counts VALUES (?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (life, model) DO UPDATE SET "
    "loads=loads+excluded.loads, failures=failures+excluded.failures, evictions=evictions+excluded.evictions, "
    "unloads=unloads+excluded.unloads, crashes=crashes+excluded.crashes, requests=requests+excluded.requests, "
    "misses=misses+excluded.misses, load_s=load_s+excluded.load_s, at_s=max(at_s, excluded.at_s), "
    "last_why=CASE WHEN excluded.last_why='' THEN last_why ELSE excluded.last_why END"
)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ModelEvent).decode


class LoadsFile:
    """An open file. Raises sqlite3.Error; one call at a time, from any thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def append(self, replica_id: str, variant: str, events: Sequence[ModelEvent], now_s: float) -> None:
        """Add the events of one host, in their order, that it was not known to have told; all or nothing."""
        with history_file.transaction(self._db):
            row = self._db.execute("SELECT seq FROM hosts WHERE replica=?", (replica_id,)).fetchone()
            new = [event for event in events if event.seq > (row[0] if row else 0)]
            if new:
                life = life_of(replica_id)
                self._db.execute("INSERT OR REPLACE INTO hosts VALUES (?,?,?)", (replica_id, new[-1].seq, now_s))
                self._db.executemany(
                    "INSERT INTO events (life, replica, variant, model, at_s, body) VALUES (?,?,?,?,?,?)",
                    [(life, replica_id, variant, event.model, event.at_s, _encode(event)) for event in new],
                )
                self._db.executemany(_COUNT, [_counted(life, event) for event in new])

    def events(self, life: str, model: str, since_s: float, last: int) -> list[PastEvent]:
        """The newest `last`, oldest first; of one model, or ("") of all."""
        where, values = ("life=? AND model=?", (life, model)) if model else ("life=?", (life,))
        found = self._db.execute(
            f"SELECT replica, variant, body FROM events WHERE {where} AND at_s>=? ORDER BY id DESC LIMIT ?",
            (*values, since_s, last),
        ).fetchall()
        return [PastEvent(replica_id=of, variant=variant, event=_decode(body)) for of, variant, body in reversed(found)]

    def counts(self, life: str) -> list[ModelCount]:
        """By model."""
        found = self._db.execute(
            "SELECT model, loads, failures, evictions, unloads, crashes, requests, misses, load_s, last_why "
            "FROM counts WHERE life=? ORDER BY model",
            (life,),
        )
        return [
            ModelCount(
                model=model, loads=loads, failures=failures, evictions=evictions, unloads=unloads, crashes=crashes,
                requests=requests, misses=misses, load_s=load_s, last_why=last_why,
            )
            for model, loads, failures, evictions, unloads, crashes, requests, misses, load_s, last_why in found
        ]  # fmt: skip

    def add_came(self, rows: Sequence[tuple[str, CameRow]]) -> None:
        """Add what gateways told of which models were asked when; each with the life that it is of."""
        with history_file.transaction(self._db):
            self._db.executemany(
                "INSERT INTO came (life, variant, start_s, span_s, body) VALUES (?,?,?,?,?)",
                [(life, row.variant, row.start_s, row.span_s, came.packed(row.models)) for life, row in rows],
            )

    def came(self, life: str, variant: str, start_s: int, end_s: int, most: int) -> list[CameRow]:
        """What begins from `start_s` to before `end_s`, in order of time: `most` of it, the earliest."""
        found = self._db.execute(
            "SELECT variant, start_s, span_s, body FROM came WHERE life=? AND variant=? AND start_s>=? AND start_s<? "
            "ORDER BY start_s, id LIMIT ?",
            (life, variant, start_s, end_s, most),
        )
        return [
            CameRow(variant=of, start_s=at_s, span_s=span_s, models=came.unpacked(body))
            for of, at_s, span_s, body in found
        ]

    def forget_came(self, before_s: float, most_rows: int, most_bytes: int) -> None:
        """Drop what gateways told before that time, and the oldest: beyond `most_rows`, and while the file is larger
        than `most_bytes` (reports of a thousand models have 40 KB, those of one model 4)."""
        with history_file.transaction(self._db):
            oldest = "SELECT id FROM came ORDER BY id LIMIT ?"
            self._db.execute(f"DELETE FROM came WHERE id IN ({oldest}) AND start_s<?", (_FORGET_AT_ONCE, before_s))
            (rows,) = self._db.execute("SELECT count(*) FROM came").fetchone()
            over = max(rows - most_rows, ceil(rows * (1 - most_bytes / max(used_bytes(self._db), 1))))
            if over > 0:
                self._db.execute(f"DELETE FROM came WHERE id IN ({oldest})", (over,))

    def forget(self, before_s: float, *, most_events: int, most_counts: int, lives: Iterable[str]) -> None:
        """Drop events from before that time and the oldest beyond `most_events`; the counters of endpoints that are not
        among `lives` and were quiet since, and those that were quiet longest beyond `most_counts`."""
        with history_file.transaction(self._db):
            oldest = "SELECT id FROM events ORDER BY id LIMIT ?"
            self._db.execute(f"DELETE FROM events WHERE id IN ({oldest}) AND at_s<?", (_FORGET_AT_ONCE, before_s))
            (events,) = self._db.execute("SELECT count(*) FROM events").fetchone()
            if events > most_events:
                self._db.execute(f"DELETE FROM events WHERE id IN ({oldest})", (events - most_events,))
            self._db.execute("DELETE FROM hosts WHERE at_s<?", (before_s,))
            living = list(lives)
            marks = ",".join("?" * len(living))
            self._db.execute(f"DELETE FROM counts WHERE at_s<? AND life NOT IN ({marks})", (before_s, *living))
            (counts,) = self._db.execute("SELECT count(*) FROM counts").fetchone()
            if counts > most_counts:
                self._db.execute(
                    "DELETE FROM counts WHERE (life, model) IN (SELECT life, model FROM counts ORDER BY at_s LIMIT ?)",
                    (counts - most_counts,),
                )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def _counted(life: str, event: ModelEvent) -> tuple[object, ...]:
    what = event.what
    unloaded = what == "unloaded"
    loading_s = (event.download_s or 0.0) + (event.load_s or 0.0)
    why = f"{event.why}: {event.text}" if event.text else event.why
    return (
        life, event.model, what == "loaded", what == "load failed", unloaded and event.why == "evicted", unloaded,
        what == "crashed", event.requests, event.misses, loading_s, why if unloaded else "", event.at_s,
    )  # fmt: skip


def opened(path: Path, now_s: float) -> LoadsFile:
    """Open `path`, made when it is not there; one that is damaged, or another's, is set aside first."""
    return history_file.opened(path, now_s, _opened, _WHAT)


def _opened(path: Path) -> LoadsFile:
    db = history_file.connect(path, _TABLES, FORMAT)
    try:
        db.execute("SELECT count(*) FROM hosts").fetchone()
        for statement in _CAME:
            db.execute(statement)
    except BaseException:
        db.close()
        raise
    return LoadsFile(db)


def set_damaged_aside(path: Path, now_s: float, error: Exception) -> None:
    """Rename it, so that the history begins anew and nothing is destroyed."""
    history_file.set_damaged_aside(path, now_s, error, _WHAT)
