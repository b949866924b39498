"""Journal: what scaling saw and decided, kept for a week, so that any hour can be explained and replayed.

A file of its own (`Paths.scaling`); nothing but this history is lost with it. What is noted waits in memory for about a
second, and is written by a thread. Each variant has one block of entries that grows, row by row; after some minutes it
becomes one compressed row. Every block begins with the rules and the state of its moment, so a replay can begin there.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.scaling import journal_file
from trimtab.control.scaling.entries import Began, Entry, encode, packed_state, time_of, without_repeats
from trimtab.control.scaling.journal_file import JournalFile, Key, Row
from trimtab.logs import fields
from trimtab.metrics.database import is_damage
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Input

logger = logging.getLogger(__name__)
T = TypeVar("T")

WRITE_EVERY_S: Final = 1.0
KEEP_S: Final = 7 * 86400.0
MAX_BYTES: Final = 256 * 2**20
BLOCK_S: Final = 300.0  # a block is closed when it is so old,
BLOCK_BYTES: Final = 256 * 2**10  # or so large before it is compressed
MAX_WAITING: Final = 100_000  # entries in memory while the file cannot be written
_FORGOTTEN_S: Final = 3600.0  # after which a variant that is not heard of takes no memory


class _Waiting:
    """What waits of one variant, and where its block stands."""

    def __init__(self) -> None:
        self.entries: list[Entry | _Start] = []
        self.rules: Rules | None = None
        self.after: Struct | None = None  # the state that the last note led to
        self.noted_s = 0.0  # monotonic: when that was,
        self.begun_s: float | None = None  # and when the block began; None: the next note begins one
        self.size_bytes = 0  # of the block, in the file


class _Start(Struct, frozen=True):
    """A `Began` whose state is not packed yet: that costs time, and the thread has it."""

    at_s: float
    rules: Rules
    state: Struct
    continues: bool

    def began(self) -> Began:
        return Began(at_s=self.at_s, rules=self.rules, state=packed_state(self.state), continues=self.continues)


class Journal:
    """Its calls may come from any thread; `note` does no I/O. What cannot be written is logged, and stops nobody."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        write_every_s: float = WRITE_EVERY_S,
        keep_s: float = KEEP_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Open or make the file; one that is damaged is set aside. `write_every_s` 0: only when `step` is called."""
        self._path = path
        self._clock = clock
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._lock = threading.Lock()  # of what waits; held for moments
        self._filing = threading.Lock()  # of the file
        self._waiting: dict[Key, _Waiting] = {}
        self._count = 0
        self._file: JournalFile | None = None
        with self._filing:
            self._open()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        if write_every_s > 0:
            self._thread = threading.Thread(target=self._run, args=(write_every_s,), name="journal", daemon=True)
            self._thread.start()

    def note(
        self,
        endpoint: str,
        variant: str,
        rules: Rules,
        before: Struct,
        given: Input,
        decisions: Sequence[Decision],
        after: Struct,
    ) -> None:
        """One call of `reducer.step(rules, before, given)`, which gave `(after, decisions)`.

        The objects are kept as they are, so they must not change. That `before` is not the object which the last note
        of this variant had for `after` is told to a replay: it begins anew from `before`.
        """
        now_s = self._clock.monotonic_s()
        with self._lock:
            if self._count >= MAX_WAITING:
                self._drop()
            waiting = self._waiting.setdefault((endpoint, variant), _Waiting())
            continues = before is waiting.after
            if not continues or waiting.begun_s is None:
                waiting.entries.append(_Start(given.at_s, rules, before, continues))
                waiting.begun_s = now_s
            elif rules is not waiting.rules and rules != waiting.rules:
                waiting.entries.append(rules)
            waiting.entries.append(given)
            waiting.entries.extend(decisions)
            waiting.rules, waiting.after, waiting.noted_s = rules, after, now_s
            self._count += 1 + len(decisions)

    def _drop(self) -> None:
        logger.error("scaling journal lost entries: it cannot be written %s", fields(path=self._path, n=self._count))
        for waiting in self._waiting.values():
            waiting.entries.clear()
            waiting.after = waiting.begun_s = None
        self._count = 0

    # --- reading -------------------------------------------------------------------------------------------------

    def read(self, endpoint: str, variant: str, start_s: float, end_s: float) -> Sequence[Entry]:
        """The entries up to `end_s`, from the last `Began` at or before `start_s` (else the first after it)."""
        return list(chain.from_iterable(self.blocks(endpoint, variant, start_s, end_s)))

    def blocks(self, endpoint: str, variant: str, start_s: float, end_s: float) -> Iterator[list[Entry]]:
        """The same, in parts that are read as they are asked for."""
        self.step()
        with self._filing:
            rows = self._guarded(lambda file: file.find((endpoint, variant), start_s, end_s)) or []
        for entries in without_repeats(self._bodies(rows)):
            yield [entry for entry in entries if (at_s := time_of(entry)) is None or at_s <= end_s]

    def _bodies(self, rows: Sequence[int]) -> Iterator[list[Entry]]:
        for row in rows:
            with self._filing:
                found = self._guarded(partial(JournalFile.entries, row_id=row))
            yield found or []  # forgotten meanwhile

    def variants(self) -> Sequence[Key]:
        """Endpoint and variant of all that there is something of."""
        self.step()
        with self._filing:
            return self._guarded(lambda file: file.keys()) or []

    # --- writing -------------------------------------------------------------------------------------------------

    def _run(self, every_s: float) -> None:
        while not self._stopping.wait(every_s):
            try:
                self.step()
            except Exception:  # whatever it was, the next second's entries must be written
                logger.exception("scaling journal: a step failed")

    def step(self) -> None:
        """What is done once a second: write what waits, close blocks, forget the oldest."""
        with self._filing:
            if self._file is not None and not self._path.exists():
                self._begin_anew(FileNotFoundError("it was deleted"))
            if self._write():
                self._guarded(lambda file: file.forget(self._clock.now_s() - self._keep_s, self._max_bytes))

    def _write(self) -> bool:
        """Write what waits; False when it cannot be written now, and waits on. With `_filing` held."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            taken = {key: waiting.entries for key, waiting in self._waiting.items() if waiting.entries}
            over = [key for key, waiting in self._waiting.items() if _is_over(waiting, now_s)]
            for key in taken:
                self._waiting[key].entries = []
            for key in over:  # what is noted from now on begins another block
                self._waiting[key].begun_s, self._waiting[key].size_bytes = None, 0
            count, self._count = self._count, 0
            self._forget_silent(now_s)
        rows = [_row(key, entries) for key, entries in taken.items()]
        if (rows or over) and self._guarded(lambda file: file.append(rows, over)) is None:
            with self._lock:
                for key, entries in taken.items():
                    waiting = self._waiting.setdefault(key, _Waiting())
                    waiting.entries = _with_a_beginning(entries, self._file is not None) + waiting.entries
                self._count += count
            return False
        with self._lock:
            for row in rows:
                if (known := self._waiting.get(row.key)) is not None and known.begun_s is not None:
                    known.size_bytes += len(row.body)
        return True

    def _forget_silent(self, now_s: float) -> None:
        for key, waiting in list(self._waiting.items()):
            if waiting.begun_s is None and not waiting.entries and now_s - waiting.noted_s >= _FORGOTTEN_S:
                del self._waiting[key]

    def _guarded(self, act: Callable[[JournalFile], T]) -> T | None:
        """What `act` gives; None when the file cannot be used now, or is damaged and was set aside. With `_filing`."""
        if self._file is None and not self._open():
            return None
        assert self._file is not None
        try:
            return act(self._file)
        except sqlite3.Error as error:
            if is_damage(error):
                self._begin_anew(error)
            else:
                logger.error("scaling journal cannot be used now %s", fields(path=self._path, error=error))
            return None

    def _open(self) -> bool:
        try:
            self._file = journal_file.opened(self._path, self._clock.now_s())
        except (OSError, sqlite3.Error) as error:
            logger.error("scaling journal cannot be opened now %s", fields(path=self._path, error=error))
        return self._file is not None

    def _begin_anew(self, error: Exception) -> None:
        """The file is of no more use: the next call makes another. With `_filing` held."""
        if self._file is not None:
            self._file.close()
            self._file = None
        journal_file.set_damaged_aside(self._path, self._clock.now_s(), error)
        with self._lock:
            for waiting in self._waiting.values():
                waiting.after = waiting.begun_s = None  # the next note begins with rules and state

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        self.step()
        with self._filing:
            if self._file is not None:
                self._file.close()
                self._file = None


def _with_a_beginning(entries: list[Entry | _Start], goes_on: bool) -> list[Entry | _Start]:
    """Entries that wait on. In a new file those before the first beginning are of no use: nobody can replay them."""
    if goes_on:
        return entries
    first = next((at for at, entry in enumerate(entries) if isinstance(entry, _Start)), len(entries))
    return entries[first:]


def _is_over(waiting: _Waiting, now_s: float) -> bool:
    if waiting.begun_s is None:
        return False
    return now_s - waiting.begun_s >= BLOCK_S or waiting.size_bytes >= BLOCK_BYTES


def _row(key: Key, entries: Sequence[Entry | _Start]) -> Row:
    made = [entry.began() if isinstance(entry, _Start) else entry for entry in entries]
    times = [at_s for entry in made if (at_s := time_of(entry)) is not None]
    return Row(key=key, start_s=min(times), end_s=max(times), begins=isinstance(made[0], Began), body=encode(made))
