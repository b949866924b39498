"""All entries and copies of one replica, with the account of their memory; every change of a state, with its action."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.policies.models import limits
from trimtab.policies.models.actions import Action, Forget, Load, Refuse, Unload
from trimtab.policies.models.entries import Copy, Entry, Files
from trimtab.policies.models.memory import Memory, Size
from trimtab.wire.hosting import ModelState

Key = tuple[str, str]  # model, version
_MOST_ENTRIES = 10_000  # beyond it, those that only remember a failure are dropped


class Shelf:
    """`out` collects the actions of a step; `now_s` is its time."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.entries: dict[str, Entry] = {}
        self.copies: dict[Key, tuple[Entry, Copy]] = {}
        self.moving: dict[Key, tuple[Entry, Copy]] = {}  # those that load or leave
        self.wanted: dict[str, Entry] = {}  # in the order in which they were
        self.held: dict[str, Entry] = {}
        self.out: list[Action] = []
        self.now_s = 0.0
        self.ends = 0  # copies that have ended so far, and may have given memory back

    def entry(self, model: str) -> Entry:
        """That of `model`, made where there is none."""
        entry = self.entries.get(model)
        if entry is None:
            if len(self.entries) >= _MOST_ENTRIES:
                self.entries = {name: one for name, one in self.entries.items() if not one.is_idle}
            entry = self.entries[model] = Entry(model)
        return entry

    def find(self, model: str, version: str) -> tuple[Entry, Copy] | tuple[None, None]:
        """The copy, where there is one."""
        return self.copies.get((model, version), (None, None))

    def ready(self) -> list[tuple[Entry, Copy]]:
        """All copies that serve."""
        return [pair for pair in self.copies.values() if pair[1].state is ModelState.READY]

    def going(self, entry: Entry) -> Iterator[tuple[Entry, Copy]]:
        """All copies that may go for one of `entry`, or are on their way: not what serves of `entry`, or is held."""
        for other, copy in self.copies.values():
            if copy.state is not ModelState.READY or (other is not entry and not other.held):
                yield other, copy

    def capacity(self, entry: Entry) -> Size:
        """What `entry` could have if all others went that may go."""
        room = self.memory.limit
        for other in self.held.values():
            if other is not entry:
                for copy in other.copies.values():
                    if copy.state is not ModelState.LEAVING:
                        room -= copy.size
        return room

    # --- wanting ------------------------------------------------------------------------------------------------------

    def want(self, entry: Entry, why: str, *, asked: bool = False) -> None:
        """It is to be loaded; `asked`: requests wait for it."""
        if not entry.want:
            entry.want, entry.want_s = why, self.now_s
            self.wanted[entry.model] = entry
            self._resume(entry)
        if asked and not entry.waiting:
            entry.waiting, entry.want_s = True, self.now_s

    def unwant(self, entry: Entry, *, still_short: bool = False) -> None:
        """Nobody waits for it any more, or it is there. `still_short`: for whoever asks soon, its program is full."""
        self.wanted.pop(entry.model, None)
        entry.want, entry.waiting = "", False
        if still_short and entry.short is not None:
            entry.short.left_s, entry.short.ends_before = self.now_s, self.ends
            entry.short.leavers.clear()
        else:
            entry.short = None
        self.release(entry)
        self.tidy(entry)

    def _resume(self, entry: Entry) -> None:
        """It goes on waiting for its program to have memory, where it was not long ago that it did."""
        if entry.short is not None and self.now_s - entry.short.left_s > limits.PATIENT_S:
            entry.short = None
        elif entry.short is not None:
            entry.short.freed = entry.short.freed or self.ends > entry.short.ends_before

    def give_up(self, entry: Entry, reason: str, message: str, *, still_short: bool = False) -> None:
        """Tell those who wait. What is to be here whether asked for or not is tried again, later."""
        if entry.waiting:
            self.out.append(Refuse(entry.model, reason, message))
        self.unwant(entry, still_short=still_short)
        if entry.held and entry.ready is None:
            self.want(entry, entry.held)

    def release(self, entry: Entry) -> None:
        """The artifact that waits for a load is not needed."""
        if entry.files is not None:
            self.out.append(Forget(entry.model, entry.files.version))
            entry.files = None

    def tidy(self, entry: Entry) -> None:
        """Drop it where nothing is left to know."""
        if entry.is_idle and not entry.failures and entry.short is None:
            self.entries.pop(entry.model, None)

    # --- copies -------------------------------------------------------------------------------------------------------

    def load(self, entry: Entry, files: Files, size: Size) -> None:
        """Start its worker, with so much set aside."""
        entry.files = None
        copy = Copy(files, entry.want, ModelState.LOADING, self.now_s, size, ends_before=self.ends)
        copy.alone = next(self.going(entry), None) is None
        for _, other in self.moving.values():
            if other.state is ModelState.LOADING:
                copy.crowded = other.crowded = True
                other.alone = False
        entry.copies[files.version] = copy
        key = entry.model, files.version
        self.copies[key] = self.moving[key] = entry, copy
        self.memory.grow(size, loading=True)
        self.out.append(Load(entry.model, files.version, entry.want, size.bytes))

    def loaded(self, entry: Entry, copy: Copy, took: Size) -> None:
        """It serves, and takes so much."""
        self.memory.loading -= copy.size
        self.memory.grow(took - copy.size)
        copy.size = copy.now = took
        copy.state, copy.since_s, copy.loaded_s = ModelState.READY, self.now_s, self.now_s
        del self.moving[entry.model, copy.version]

    def resize(self, copy: Copy, size: Size) -> None:
        """It takes more than it counted with."""
        self.memory.grow(size - copy.size, leaving=copy.state is ModelState.LEAVING)
        copy.size = size

    def unload(self, entry: Entry, copy: Copy, why: str, text: str) -> None:
        """Let it finish what it has in hand, and end."""
        self._leave(entry, copy, why)
        self.out.append(Unload(entry.model, copy.version, why, text))

    def hurry(self, entry: Entry, copy: Copy, why: str, text: str) -> None:
        """End it now, whatever it does."""
        if copy.state is not ModelState.LEAVING:
            self._leave(entry, copy, why)
        copy.hurried = True
        self.out.append(Unload(entry.model, copy.version, copy.left, text, at_once=True))

    def _leave(self, entry: Entry, copy: Copy, why: str) -> None:
        if copy.state is ModelState.LOADING:
            self.memory.loading -= copy.size
        self.memory.leaving += copy.size
        copy.state, copy.since_s, copy.left = ModelState.LEAVING, self.now_s, why
        self.moving[entry.model, copy.version] = entry, copy

    def drop(self, entry: Entry, copy: Copy, *, untaken: bool = False) -> None:
        """Its worker is dead: memory and artifact are free. `untaken`: it never had any memory, for want of which its
        artifact is kept for the next try, unless there is a newer one."""
        key = entry.model, copy.version
        del entry.copies[copy.version], self.copies[key]
        self.moving.pop(key, None)
        back = Size() - copy.size
        state = copy.state
        self.memory.grow(back, loading=state is ModelState.LOADING, leaving=state is ModelState.LEAVING)
        if self.memory.available is not None:
            self.memory.available += copy.now.bytes
        if untaken and not entry.stale:
            entry.files = copy.files
        else:
            self.out.append(Forget(entry.model, copy.version))
        if not untaken:
            self._freed(key)
        replaces = entry.want == "new version" and not entry.waiting and not entry.held
        if replaces and not entry.copies and copy.left != "new version":
            self.unwant(entry)  # there is nothing left that it would replace
        self.tidy(entry)

    def _freed(self, key: Key) -> None:
        """One model alone is told of what a copy gives back: that which it leaves for, or the first that waits."""
        self.ends += 1
        waits = [entry.short for entry in self.wanted.values() if entry.short is not None and not entry.short.trying]
        meant = [short for short in waits if key in short.leavers]
        for short in meant or [short for short in waits if not short.freed and not short.leavers][:1]:
            short.leavers.discard(key)
            short.freed = True
