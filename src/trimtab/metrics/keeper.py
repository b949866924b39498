"""Keeper: the writing side of the metrics file: commits batches, rolls finer points up, forgets what is too old.

Used by one thread at a time. Every step is one transaction and short, so that a durable write waits for little.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from trimtab.clock import Clock
from trimtab.logs import fields
from trimtab.metrics.age import TrustedTime
from trimtab.metrics.batch import Batch
from trimtab.metrics.database import add_seconds, expire, put, used_bytes
from trimtab.metrics.encoding import merged, packed
from trimtab.metrics.levels import ALL, CHAIN, DIRECT, MINUTES, aligned, is_rolled_up, sources

logger = logging.getLogger(__name__)

_encode = msgspec.json.encode

_Row = tuple[int, int, bytes]  # series, start, packed sketch
_DirectRow = tuple[int, int, int, bytes]  # the level first

# A period is rolled up once nothing has come to it for so long: by then its stream of points is over.
_QUIET_S: Final = (0.0, 30.0, 120.0, 420.0)
_SLICE: Final = 128  # series in one transaction
_PASS_S: Final = 300.0  # in which every series is looked at for old rows
_FORGET_MOST: Final = 2000  # series in one transaction
_LEAST_KEPT_S: Final = (300, 3600, 86_400)  # by level, however full the disk


class Keeper:
    """See the module. `db` is its own; `max_bytes` bounds the file: the finest points go first when it is reached."""

    def __init__(self, db: sqlite3.Connection, clock: Clock, *, max_bytes: int) -> None:
        self._db = db
        self._clock = clock
        self._max_bytes = max_bytes
        self.generation, trusted_s, *self._gone_s = db.execute("SELECT * FROM about").fetchone()
        self._time = TrustedTime(trusted_s)
        self._kept_s = [level.kept_s for level in CHAIN]
        # (level, start) to the series that have got something new there, and to the (monotonic) time of the last
        self._stale: dict[tuple[int, int], set[int]] = {}
        self._touched_s: dict[tuple[int, int], float] = {}
        self._pass: list[int] = []  # series that this pass still has to look at
        self._pass_size = 0
        self._now_s = self._time.now_s(clock.now_s(), clock.monotonic_s())
        self._load_stale()
        self.cuts = self._cuts()

    def _load_stale(self) -> None:
        now_s = self._clock.monotonic_s()
        for level, series, start_s in self._db.execute("SELECT level, series, start_s FROM stale"):
            self._stale.setdefault((level, start_s), set()).add(series)
            self._touched_s[(level, start_s)] = now_s

    # --- time ------------------------------------------------------------------------------------------------------

    def look_at_clock(self) -> None:
        """Read the clocks; `cuts` follows. Before `forget`, so that readers know first."""
        self._now_s = self._time.now_s(self._clock.now_s(), self._clock.monotonic_s())
        self.cuts = self._cuts()

    def _cuts(self, *, protect: bool = False) -> tuple[int, ...]:
        """By level, the time before which it is not read; with `protect`, before which nothing is needed any more.

        What is still to be rolled up from a level stays in it. A clock that has gone back brings nothing back: what may
        have been forgotten is read from the coarser level still.
        """
        cuts = []
        for index in range(len(CHAIN)):
            cut_s = int(self._now_s) - self._kept_s[index]
            if protect:
                cut_s = min([cut_s, *(start for of, start in self._stale if of == index + 1)])
            elif index < len(self._gone_s):
                cut_s = max(cut_s, self._gone_s[index])
            cuts.append(aligned(cut_s, CHAIN[min(index + 1, len(CHAIN) - 1)].step_s))
        return tuple(cuts)

    # --- writing ---------------------------------------------------------------------------------------------------

    def commit(self, batch: Batch, *, durable: bool) -> None:
        """Write a batch in one transaction. With `durable`, not even a power cut takes it back."""
        db = self._db
        rows, direct = self._placed(batch)
        marks = self._marks(rows, direct)
        db.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        db.execute("BEGIN IMMEDIATE")
        try:
            self._write_series(batch)
            add_seconds(db, rows)
            for index, series, start, sketch in direct:
                put(db, DIRECT[index], series, start, sketch, add=True)
            db.executemany("INSERT OR IGNORE INTO stale VALUES (?,?,?)", marks)
            self._write_notes(batch)
            db.execute("UPDATE about SET generation=?, trusted_s=?", (batch.generation, self._time.trusted_s))
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.generation = batch.generation
        self._mark(marks)
        for touched in batch.touched.values():
            touched.stored_s = max(touched.stored_s, _stored(touched.last_s))

    def _placed(self, batch: Batch) -> tuple[list[_Row], list[_DirectRow]]:
        """Rows of 1 s, and rows that go directly to a coarser level: those that were recorded so, and those whose time
        is so long ago that the level they belong to has forgotten what it was rolled up from."""
        rows: list[_Row] = []
        direct: list[_DirectRow] = []
        shared: dict[int, bytes] = {}  # series share sketches; all of them live as long as the batch
        whole_s = max(self._gone_s)  # nothing later has been forgotten
        for finest, by_series in ((0, batch.seconds), (1, batch.direct)):
            for series, points in by_series.items():
                for start_s, sketch in points.items():
                    data = shared.get(id(sketch))
                    if data is None:
                        data = shared[id(sketch)] = packed(sketch)
                    index = finest if start_s >= whole_s else self._level_of(series, start_s, finest)
                    if index == 0:
                        rows.append((series, start_s, data))
                    else:
                        direct.append((index, series, aligned(start_s, CHAIN[index].step_s), data))
        return rows, direct

    def _level_of(self, series: int, start_s: int, finest: int) -> int:
        """The finest level, from `finest` on, that a point can go to so that every coarser one can be made again."""
        found = finest
        for index in range(finest + 1, len(CHAIN)):
            if start_s >= self._gone_s[index - 1]:
                continue
            place = (index, aligned(start_s, CHAIN[index].step_s))
            if series not in self._stale.get(place, ()) and is_rolled_up(self._db, series, index, start_s):
                found = index
        return found

    def _marks(self, rows: Sequence[_Row], direct: Sequence[_DirectRow]) -> list[tuple[int, int, int]]:
        """(level, series, start) of the periods that these rows make stale and that are not so yet."""
        touched: dict[tuple[int, int], set[int]] = {}  # level and start to series; few places, many series
        for series, start_s, _ in rows:
            touched.setdefault((1, start_s - start_s % MINUTES.step_s), set()).add(series)
        for index, series, start_s, _ in direct:
            if index + 1 < len(CHAIN):
                touched.setdefault((index + 1, aligned(start_s, CHAIN[index + 1].step_s)), set()).add(series)
        now_s = self._clock.monotonic_s()
        found: list[tuple[int, int, int]] = []
        for index in range(1, len(CHAIN)):
            for (_, start_s), serieses in [item for item in touched.items() if item[0][0] == index]:
                self._touched_s[(index, start_s)] = now_s
                found += [(index, series, start_s) for series in serieses - self._stale.get((index, start_s), set())]
                if index + 1 < len(CHAIN):
                    coarser = (index + 1, aligned(start_s, CHAIN[index + 1].step_s))
                    touched.setdefault(coarser, set()).update(serieses)
        return found

    def _mark(self, marks: Iterable[tuple[int, int, int]]) -> None:
        for index, series, start_s in marks:
            self._stale.setdefault((index, start_s), set()).add(series)

    def _write_series(self, batch: Batch) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO series VALUES (?,?,?,?,?,?)",
            [
                (s.id, s.key.namespace, s.key.name, _encode(s.key.dimensions).decode(), s.unit, _stored(s.last_s))
                for s in batch.made
            ],
        )
        self._db.executemany(
            "UPDATE series SET last_s=? WHERE id=?",
            [(_stored(s.last_s), s.id) for s in batch.touched.values() if _stored(s.last_s) > s.stored_s],
        )

    def _write_notes(self, batch: Batch) -> None:
        self._db.executemany(
            "INSERT INTO notes VALUES (?,?) ON CONFLICT (name) DO UPDATE SET value=excluded.value",
            [item for item in batch.notes.items() if item[1] is not None],
        )
        self._db.executemany(
            "DELETE FROM notes WHERE name=?", [(name,) for name, value in batch.notes.items() if value is None]
        )

    # --- rolling up ------------------------------------------------------------------------------------------------

    def roll_up(self, budget_s: float) -> bool:
        """Make stale periods that have become quiet again from the level below, for `budget_s`. True: more is due."""
        until_s = time.monotonic() + budget_s
        now_s = self._clock.monotonic_s()
        due = [place for place, at_s in self._touched_s.items() if now_s - at_s >= _QUIET_S[place[0]]]
        for place in sorted(due):
            while waiting := self._stale.get(place):
                if time.monotonic() >= until_s:
                    return True
                self._roll(place, [series for series, _ in zip(waiting, range(_SLICE), strict=False)])
            self._stale.pop(place, None)
            self._touched_s.pop(place, None)
        return False

    def _roll(self, place: tuple[int, int], slice_of: list[int]) -> None:
        index, start_s = place
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for series in slice_of:
                if pieces := sources(db, series, index, start_s):
                    put(db, CHAIN[index], series, start_s, merged(pieces), add=False)
            db.executemany(
                "DELETE FROM stale WHERE level=? AND series=? AND start_s=?",
                [(index, series, start_s) for series in slice_of],
            )
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._stale[place].difference_update(slice_of)

    # --- forgetting ------------------------------------------------------------------------------------------------

    @property
    def pass_over(self) -> bool:
        """Whether every series has been looked at for old rows since `begin_pass`."""
        return not self._pass

    def begin_pass(self, serieses: list[int]) -> None:
        """`forget` is to look at these series, all of them within `_PASS_S`."""
        self._fit_disk()
        self._pass = serieses
        self._pass_size = len(serieses)

    def forget(self, passed_s: float) -> None:
        """Delete old rows of as many series as is due `passed_s` after the call before."""
        count = min(_FORGET_MOST, max(1, int(self._pass_size * passed_s / _PASS_S)))
        turn, self._pass = self._pass[:count], self._pass[count:]
        cuts = self._cuts(protect=True)
        gone_s = [max(gone, cut) for gone, cut in zip(self._gone_s, cuts, strict=False)]
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        for series in turn:
            for level, cut_s in zip((*CHAIN, *DIRECT[1:]), (*cuts, *cuts[1:]), strict=True):
                expire(db, level, series, cut_s)
        db.execute("UPDATE about SET gone_1_s=?, gone_60_s=?, gone_300_s=?", gone_s)
        db.execute("COMMIT")
        self._gone_s = gone_s

    def _fit_disk(self) -> None:
        """Keep less of the finest points while the file is over its bound, and more again when there is room."""
        used = used_bytes(self._db)
        kept = self._kept_s
        if used > self._max_bytes:
            for index, least_s in enumerate(_LEAST_KEPT_S):
                if kept[index] > least_s:
                    kept[index] = max(least_s, kept[index] // 2)
                    logger.warning(
                        "metrics file is full: fine points are kept for a shorter time %s",
                        fields(bytes=used, max_bytes=self._max_bytes, step_s=CHAIN[index].step_s, kept_s=kept[index]),
                    )
                    break
        elif used < self._max_bytes // 2:
            for index, level in enumerate(CHAIN):
                kept[index] = min(level.kept_s, kept[index] * 2)
        self._db.execute("PRAGMA incremental_vacuum(1024)").fetchall()

    def drop(self, serieses: Iterable[int]) -> None:
        """Forget some series altogether."""
        gone = list(serieses)
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        for series in gone:
            for level in ALL:
                db.execute(f"DELETE FROM {level.table} WHERE series=?", (series,))
            for index in (1, 2, 3):
                db.execute("DELETE FROM stale WHERE level=? AND series=?", (index, series))
            db.execute("DELETE FROM series WHERE id=?", (series,))
        db.execute("COMMIT")
        for waiting in self._stale.values():
            waiting.difference_update(gone)

    def is_over(self, last_s: int) -> bool:
        """Whether nothing is left of a series whose newest sample began at `last_s`."""
        return last_s < self.cuts[-1]


def _stored(last_s: int) -> int:
    """Written once a minute, not with every sample."""
    return aligned(last_s, 60)
