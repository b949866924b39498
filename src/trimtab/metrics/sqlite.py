"""SqliteMetricStore: metrics in a file of their own, committed about once a second by a thread.

Samples wait in memory until they are committed; readers see the file and what waits, and never the same sample twice:
each commit has a number that is written with it. What is 60 s old or older is read at the coarsest level that the
period allows (`levels.py`), so a query costs as much as it finds.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from trimtab.clock import Clock
from trimtab.errors import LimitExceeded, Unavailable
from trimtab.logs import fields
from trimtab.metrics import database
from trimtab.metrics.batch import Batch, Series
from trimtab.metrics.encoding import unpacked
from trimtab.metrics.keeper import Keeper
from trimtab.metrics.levels import MINUTES, aligned, bounded, level_for, read
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import Dimensions, MetricKey, Point, Sample

logger = logging.getLogger(__name__)

COMMIT_EVERY_S: Final = 1.0
MAX_BYTES: Final = 4 * 2**30
MAX_SERIES: Final = 400_000  # of about 500 bytes each in memory
MAX_WAITING: Final = 1_000_000  # points in memory while the file cannot be written
_ROLL_UP_S: Final = 0.05  # in one go; a durable write may have to wait for so long

_decode_dimensions = msgspec.json.Decoder(Dimensions).decode


class SqliteMetricStore:
    """See `MetricStore`; its calls may come from any thread. `close` commits what waits."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        max_bytes: int = MAX_BYTES,
        max_series: int = MAX_SERIES,
        commit_every_s: float = COMMIT_EVERY_S,
    ) -> None:
        """Open or make the file. One that is damaged is set aside. `commit_every_s` 0: only when `step` is called."""
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_series = max_series
        self._every_s = commit_every_s
        self._lock = threading.Lock()  # of all that is in memory; held for moments
        self._writing = threading.Lock()  # of the keeper and its connection
        self._reading = threading.Lock()  # of the reader's connection
        self._batch = Batch()
        self._under_way: Batch | None = None
        self._damaged = False
        self._refused = 0
        self._watchers: list[Callable[[Sequence[Sample]], None]] = []
        self._stepped_s = 0.0
        self._open()
        self._index: dict[MetricKey, dict[str, Series]] = {}
        self._by_id: dict[int, Series] = {}
        self._by_name: dict[tuple[str, str], dict[MetricKey, None]] = {}
        self._load_series()
        self._wake = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        if commit_every_s > 0:
            self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
            self._thread.start()

    def _open(self) -> None:
        self._writer = database.open_file(self._path, self._clock.now_s())
        self._reader = database.connect(self._path)
        self._keeper = Keeper(self._writer, self._clock, max_bytes=self._max_bytes)

    def _load_series(self) -> None:
        self._last_id = 0
        rows = self._reader.execute("SELECT id, namespace, name, dimensions, unit, last_s FROM series")
        for number, namespace, name, dimensions, unit, last_s in rows:
            key = MetricKey(namespace, name, _decode_dimensions(dimensions))
            self._enter(Series(number, key, unit, last_s, last_s))
            self._last_id = max(self._last_id, number)

    def _enter(self, series: Series) -> None:
        key = series.key
        self._index.setdefault(key, {})[series.unit] = series
        self._by_id[series.id] = series
        self._by_name.setdefault((key.namespace, key.name), {})[key] = None

    def close(self) -> None:
        """Commit what waits, and let go of the file."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._commit(durable=True)
        with self._writing, self._reading:
            self._writer.close()
            self._reader.close()

    # --- writing ---------------------------------------------------------------------------------------------------

    def record(
        self,
        samples: Sequence[Sample],
        *,
        durable: bool = False,
        notes: Mapping[str, bytes | None] | None = None,
        committed: Callable[[], None] | None = None,
    ) -> None:
        """See `MetricStore`.

        `notes` are small values by name, written in the same transaction as the samples (None: removed), so that
        whoever records can say what it has recorded. `committed` is called, from another thread, once all of it
        survives the end of this process. When `durable`, raises Unavailable if the file cannot be written, and
        LimitExceeded if one of the samples is of a metric too many: then none of them is kept.
        """
        with self._lock:
            batch = Batch() if durable else self._batch
            if durable:
                self._check_room(samples)
            for sample in samples:
                self._add(batch, sample)
            if durable:  # others may add points to new series before these are written
                self._batch.made += batch.made
                batch.made = []
            if notes:
                batch.notes.update(notes)
            if committed is not None:
                batch.committed.append(committed)
        if durable and not self._commit_durably(batch):
            raise Unavailable("Metrics cannot be written now; the log of trimtab says why. Try again.")
        for watch in self._watchers if samples else ():
            watch(samples)

    def watch(self, watcher: Callable[[Sequence[Sample]], None]) -> None:
        """Call `watcher` with all samples from now on, from where they are recorded."""
        self._watchers.append(watcher)

    def _add(self, batch: Batch, sample: Sample) -> None:
        if not sample.sketch.count:
            return
        start_s = bounded(sample.start_s)
        by_unit = self._index.get(sample.key)
        series = by_unit.get(sample.unit) if by_unit is not None else None
        if series is None and (series := self._make(batch, sample.key, sample.unit, start_s)) is None:
            return
        if start_s > series.last_s:
            series.last_s = start_s
        if sample.resolution_s < MINUTES.step_s:
            batch.add(batch.seconds, series, start_s, sample.sketch)
        else:
            batch.add(batch.direct, series, aligned(start_s, MINUTES.step_s), sample.sketch)

    def _check_room(self, samples: Sequence[Sample]) -> None:
        """Raises LimitExceeded unless there is room for every metric of `samples`."""
        made = {(sample.key, sample.unit) for sample in samples if sample.sketch.count}
        new = sum(unit not in self._index.get(key, {}) for key, unit in made)
        if new and len(self._by_id) + new > self._max_series:
            self._refuse()
            raise LimitExceeded(
                f"There are {len(self._by_id):,} metrics, and trimtab keeps {self._max_series:,}: {new} new ones do not"
                " fit. Use fewer values of dimensions; room is made of those without new data within minutes."
            )

    def _refuse(self) -> None:
        if not self._refused:
            logger.error("too many metrics: new ones are not kept %s", fields(max_series=self._max_series))
        self._refused += 1

    def _make(self, batch: Batch, key: MetricKey, unit: str, start_s: int) -> Series | None:
        if len(self._by_id) >= self._max_series:
            self._refuse()
            return None
        self._last_id += 1
        series = Series(self._last_id, key, unit, start_s)
        self._enter(series)
        batch.made.append(series)
        return series

    def _commit(self, *, durable: bool, of: Batch | None = None) -> bool:
        """Write what waits. False when it cannot be written now; it waits on.

        `of`: the batch that it is about; when another thread has just written it, there is nothing to do.
        """
        with self._writing:
            if of is not None and of.durable:
                return True
            if self._damaged:
                self._begin_anew(sqlite3.DatabaseError("it could not be read"))
            with self._lock:
                batch, self._batch = self._batch, Batch()
                self._begin(batch)
            return self._write(batch, durable=durable, otherwise=self._keep_for_later)

    def _commit_durably(self, batch: Batch) -> bool:
        """Write what waits, and then `batch`. False when it cannot be written now: of `batch` nothing is kept."""
        if not self._commit(durable=False):
            return False
        with self._writing:
            with self._lock:
                self._begin(batch)
            return self._write(batch, durable=True, otherwise=lambda batch: None)

    def _begin(self, batch: Batch) -> None:
        batch.generation = self._keeper.generation + 1
        self._under_way = batch

    def _write(self, batch: Batch, *, durable: bool, otherwise: Callable[[Batch], None]) -> bool:
        """Commit what has begun. With `_writing` held."""
        error: sqlite3.Error | None = None
        try:
            if batch or durable:
                self._keeper.commit(batch, durable=durable)
        except sqlite3.Error as failed:
            error = failed
        with self._lock:
            self._under_way = None
            if error is not None:
                otherwise(batch)
        if error is not None:
            self._failed(error)
            return False
        for tell in batch.committed:
            tell()
        return True

    def _keep_for_later(self, batch: Batch) -> None:
        if self._batch.size + batch.size > MAX_WAITING:
            logger.error("metrics lost: they cannot be written, and memory for them is full %s", fields(n=batch.size))
            batch.seconds, batch.direct = {}, {}
        self._batch.take_back(batch)

    def _failed(self, error: sqlite3.Error) -> None:
        if database.is_damage(error):
            self._begin_anew(error)
        else:
            logger.error("metrics cannot be written now: tried again %s", fields(path=self._path, error=error))

    def _begin_anew(self, error: sqlite3.Error) -> None:
        """The file is damaged: set it aside. With `_writing` held."""
        with self._reading, self._lock:
            self._writer.close()
            self._reader.close()
            database.set_aside(self._path, self._clock.now_s(), error)
            self._open()
            self._damaged = False
            self._batch.made = list(self._by_id.values())
            for series in self._by_id.values():
                series.stored_s = -1

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        due_s = time.monotonic() + self._every_s
        while not self._stopping:
            self._wake.wait(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + self._every_s, time.monotonic())
            try:
                self.step()
            except Exception:  # whatever it was, the next second's samples must be written
                logger.exception("metrics: a step failed")

    def step(self) -> None:
        """What is done once a second: commit, roll up, forget."""
        if not self._commit(durable=False):
            return
        now_s = self._clock.monotonic_s()
        passed_s, self._stepped_s = now_s - self._stepped_s, now_s
        try:
            with self._writing, self._lock:
                self._keeper.look_at_clock()
            for _ in range(4):  # up to a fifth of the time, with room for durable writes in between
                with self._writing:
                    if not self._keeper.roll_up(_ROLL_UP_S):
                        break
            if self._keeper.pass_over:
                self._drop_series()
                with self._writing:
                    self._keeper.begin_pass(list(self._by_id))
            with self._writing:
                self._keeper.forget(passed_s)
        except sqlite3.Error as error:
            with self._writing:
                self._failed(error)

    def _drop_series(self) -> None:
        """Forget metrics that have no points left; and while there are too many, those that are silent longest."""
        with self._writing:
            with self._lock:
                gone = [s for s in self._by_id.values() if self._keeper.is_over(s.last_s)]
                if self._refused and not gone:
                    stalest = sorted(self._by_id.values(), key=lambda s: s.last_s)
                    gone = stalest[: max(1, self._max_series // 20)]
                self._refused = 0
                waiting = {*self._batch.touched, *(s.id for s in self._batch.made)}
                gone = [series for series in gone if series.id not in waiting]
                for series in gone:
                    self._leave(series)
            if gone:
                self._keeper.drop(series.id for series in gone)

    def _leave(self, series: Series) -> None:
        key = series.key
        del self._by_id[series.id], self._index[key][series.unit]
        if not self._index[key]:
            del self._index[key], self._by_name[(key.namespace, key.name)][key]

    # --- reading ---------------------------------------------------------------------------------------------------

    def query(self, key: MetricKey, start_s: int, end_s: int, period_s: int, *, unit: str = "") -> list[Point]:
        """See `MetricStore`. ValueError for a period under 1 s; Unavailable when the file cannot be read now."""
        if period_s < 1:
            raise ValueError("a period has at least one second")
        start_s, end_s = _whole(bounded(start_s), bounded(end_s), period_s)
        found: list[Point] = []
        for series in list(self._index.get(key, {}).values()):
            if unit in ("", series.unit) and start_s < end_s:
                sketches = self._points(series.id, start_s, end_s, period_s)
                found += [Point(start, sketches[start], series.unit) for start in sorted(sketches)]
        found.sort(key=lambda point: (point.start_s, point.unit))
        return found

    def _points(self, series: int, start_s: int, end_s: int, period_s: int) -> dict[int, Sketch]:
        found: dict[int, Sketch] = {}
        with self._reading:
            try:
                waiting, cuts = self._snapshot(series, start_s, end_s)
                for start, packed in read(self._reader, series, level_for(period_s), start_s, end_s, cuts):
                    _merge_into(found, aligned(start, period_s), unpacked(packed))
            except sqlite3.Error as error:
                waiting = self._unreadable(error, series, start_s, end_s)
                found.clear()
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("COMMIT")
        for start, sketch in waiting:
            _merge_into(found, aligned(start, period_s), sketch)
        return found

    def _snapshot(self, series: int, start_s: int, end_s: int) -> tuple[list[tuple[int, Sketch]], tuple[int, ...]]:
        """What waits of a series, the cuts, and (in the reader's open transaction) the file of the same moment."""
        with self._lock:
            self._reader.execute("BEGIN")
            (generation,) = self._reader.execute("SELECT generation FROM about").fetchone()
            waiting = [(start, sketch.copy()) for start, sketch in self._batch.of(series, start_s, end_s)]
            if self._under_way is not None and self._under_way.generation > generation:
                waiting += [(start, sketch.copy()) for start, sketch in self._under_way.of(series, start_s, end_s)]
            return waiting, self._keeper.cuts

    def _unreadable(self, error: sqlite3.Error, series: int, start_s: int, end_s: int) -> list[tuple[int, Sketch]]:
        if not database.is_damage(error):
            logger.error("metrics cannot be read now %s", fields(path=self._path, error=error))
            raise Unavailable("Metrics cannot be read now; the log of trimtab says why. Try again.") from error
        self._damaged = True  # the next commit sets the file aside
        with self._lock:
            return [(start, sketch.copy()) for start, sketch in self._batch.of(series, start_s, end_s)]

    def keys(self, namespace: str = "", name: str = "", *, since_s: int = 0) -> Iterable[MetricKey]:
        """See `MetricStore`."""
        with self._lock:  # only for as long as references are copied: the loop may wait for it
            if namespace and name:
                groups = [tuple(self._by_name.get((namespace, name), ()))]
            else:
                groups = [
                    tuple(keys)
                    for (of, called), keys in self._by_name.items()
                    if namespace in ("", of) and name in ("", called)
                ]
        return [key for keys in groups for key in keys if self._last_s(key) >= since_s]

    def _last_s(self, key: MetricKey) -> float:
        """When the newest sample of a metric began; of one that has just gone, never."""
        return max([series.last_s for series in tuple(self._index.get(key, {}).values())], default=-math.inf)

    def notes(self, prefix: str = "") -> dict[str, bytes]:
        """The notes whose names begin with `prefix`, committed or not."""
        return self.notes_between(prefix, prefix + "\U0010ffff")

    def notes_between(self, first: str, until: str) -> dict[str, bytes]:
        """The notes whose names are in [first, until), in the order of code points, committed or not."""
        with self._reading, self._lock:
            rows = self._reader.execute("SELECT name, value FROM notes WHERE name>=? AND name<?", (first, until))
            found: dict[str, bytes | None] = dict(rows.fetchall())
            for batch in (self._under_way, self._batch):
                if batch is not None:
                    found.update({name: value for name, value in batch.notes.items() if first <= name < until})
        return {name: value for name, value in found.items() if value is not None}


def _whole(start_s: int, end_s: int, period_s: int) -> tuple[int, int]:
    """The whole periods that a range touches."""
    return aligned(start_s, period_s), end_s + -end_s % period_s


def _merge_into(found: dict[int, Sketch], start_s: int, sketch: Sketch) -> None:
    held = found.get(start_s)
    if held is None:
        found[start_s] = sketch
    else:
        held.merge(sketch)
