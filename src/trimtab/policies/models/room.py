"""Who gets memory, and who gives it: wanted models are loaded in the order in which they were, each where it fits."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.policies.models import eviction, limits
from trimtab.policies.models.actions import FetchModel
from trimtab.policies.models.entries import Copy, Entry, Files
from trimtab.policies.models.eviction import Candidate
from trimtab.policies.models.forecast import Forecast
from trimtab.policies.models.memory import Size
from trimtab.policies.models.shelf import Shelf


class Room:
    """`loss` of a model: seconds of loading, per second, that its absence costs."""

    def __init__(self, shelf: Shelf, forecast: Forecast, loss: Callable[[str], float]) -> None:
        self._shelf, self._forecast, self._loss = shelf, forecast, loss

    def settle(self) -> None:
        """Do for every wanted model what can be done now."""
        shelf = self._shelf
        self._shrink()
        promised = Size()
        for entry in list(shelf.wanted.values()):
            if entry.is_blocked or entry.retry_s > shelf.now_s:
                continue
            if entry.files is None:
                entry.fetching, entry.stale = True, False
                shelf.out.append(FetchModel(entry.model))
            else:
                promised += self._admit(entry, entry.files, promised)

    def give(self, entry: Entry, size: Size) -> bool:
        """Unload others for one that was told that memory is full, although it is not by this account. False when there
        are none."""
        for busy in (False, True):
            candidates = [one for one in self._candidates(busy=busy, kept=True) if one.model != entry.model]
            all_of_them = sum((one.size for one in candidates), Size())
            need = size.least(all_of_them).most(Size(min(1, all_of_them.bytes)))
            chosen = eviction.victims(candidates, need) or candidates[:1]
            for victim in chosen:
                self._evict(victim, f"for {entry.model}: the model server said that its memory is full")
            if chosen:
                return True
        return self._shelf.memory.leaving != Size()

    def fit(self, entry: Entry, copy: Copy) -> None:
        """A copy that takes more than there is for it, alone, can not stay."""
        capacity = self._shelf.capacity(entry)
        if not entry.held and not copy.size.fits(capacity) and copy is entry.ready:
            text = f"it takes {copy.size}, and there are {capacity.lack} for models that are not pinned"
            self._shelf.unload(entry, copy, "evicted", text)

    def _shrink(self) -> None:
        """Models grew, or others on the machine did: what stays must fit."""
        excess = self._shelf.memory.excess
        if excess == Size():
            return
        candidates = self._candidates(busy=True, kept=True)
        all_of_them = sum((one.size for one in candidates), Size())
        for victim in eviction.victims(candidates, excess.least(all_of_them)):
            self._evict(victim, f"memory is short by {excess}")

    def _admit(self, entry: Entry, files: Files, promised: Size) -> Size:
        """Load it if there is room, make room if not. Returns what others have to leave to it."""
        shelf = self._shelf
        capacity = shelf.capacity(entry)
        need = self._need(entry, files, capacity)
        if not need.fits(capacity):
            self._refuse(entry, need)
            return Size()
        room = shelf.memory.coming - promised
        if not need.fits(room):
            room += self._make_room(entry, need, (need - room).lack)
        secured = need.fits(room)
        if secured and need.fits(shelf.memory.free) and files.version not in entry.copies:
            shelf.load(entry, files, need)
            return Size()
        if entry.waiting and shelf.now_s - entry.want_s >= limits.ROOM_WAIT_S:
            text = f"The model needs {need}, and what is loaded has been in use for {limits.ROOM_WAIT_S:.0f} s."
            shelf.give_up(entry, "NotReady", text)
            return Size()
        return need if secured else Size()

    def _need(self, entry: Entry, files: Files, capacity: Size) -> Size:
        need = self._forecast.size(entry.model, files)
        if not need.fits(capacity) and self._forecast.least(entry.model, files).fits(capacity):
            return need.least(capacity)  # it may fit after all: only a try can tell
        return need

    def _refuse(self, entry: Entry, need: Size) -> None:
        limit = self._shelf.memory.limit
        if need.fits(limit):
            reason = "NoCapacity"
            pinned = (limit - self._shelf.capacity(entry)).lack
            text = f"The model needs {need}; of the {limit} that a replica has for models, pinned ones take {pinned}."
        else:
            reason = "OutOfMemory"
            text = f"The model needs {need}, and a replica has {limit} for models."
        entry.failed(reason, text, self._shelf.now_s)
        self._shelf.give_up(entry, reason, text)

    def _make_room(self, entry: Entry, need: Size, missing: Size) -> Size:
        """Unload others for it; returns what will come of that: all that is missing, or nothing."""
        old = entry.ready
        if old is not None and not entry.waiting:
            self._shelf.unload(entry, old, "new version", "there is no room for both")
            return old.size
        for busy in (False, True):
            if busy and self._shelf.now_s - entry.want_s < limits.BUSY_PATIENCE_S:
                break
            chosen = eviction.victims(self._candidates(busy=busy, kept=False), missing)
            for victim in chosen:
                self._evict(victim, f"for {entry.model}, which needs {need}")
            if chosen:
                return sum((victim.size for victim in chosen), Size())
        return Size()

    def _candidates(self, *, busy: bool, kept: bool) -> list[Candidate]:
        now_s = self._shelf.now_s
        return [
            Candidate(entry.model, copy.version, copy.size, self._loss(entry.model))
            for entry, copy in self._shelf.ready()
            if not entry.held and (busy or not copy.in_hand) and (kept or copy.kept_until_s <= now_s)
        ]

    def _evict(self, victim: Candidate, cause: str) -> None:
        entry, copy = self._shelf.find(victim.model, victim.version)
        if entry is not None and copy is not None:
            saves_ms = victim.loss * 3600e3
            text = f"{cause}: keeping its {victim.size} would save {saves_ms:,.3g} ms of loading an hour"
            self._shelf.unload(entry, copy, "evicted", text)
