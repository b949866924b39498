"""Who gets memory, and who gives it: wanted models are loaded in the order in which they were, each where it fits."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.policies.models import eviction, limits
from trimtab.policies.models.actions import FetchModel
from trimtab.policies.models.entries import Copy, Entry, Files, Short
from trimtab.policies.models.eviction import Candidate
from trimtab.policies.models.forecast import Forecast
from trimtab.policies.models.memory import Size
from trimtab.policies.models.shelf import Shelf
from trimtab.wire.hosting import ModelState


class Room:
    """Room by this account, and in a program that holds all models and is full by its own.

    `loss` of a model: seconds of loading, per second, that its absence costs.
    """

    def __init__(self, shelf: Shelf, forecast: Forecast, loss: Callable[[str], float]) -> None:
        self._shelf, self._forecast, self._loss = shelf, forecast, loss

    def settle(self) -> None:
        """Do for every wanted model what can be done now."""
        shelf = self._shelf
        self._shrink()
        promised = Size()
        for entry in list(shelf.wanted.values()):
            if entry.is_blocked or entry.retry_s > shelf.now_s or not self._has_turn(entry):
                continue
            if entry.files is None:
                entry.fetching, entry.stale = True, False
                shelf.out.append(FetchModel(entry.model))
            else:
                promised += self._admit(entry, entry.files, promised)

    def may_come(self, entry: Entry, copy: Copy) -> bool:
        """The program that holds all models has no memory for one, although there is some by this account. Whether it
        may have some later; if so, the model waits for that."""
        short = entry.short or Short(self._shelf.now_s, copy.size)
        if short.trying and not copy.crowded:
            short.tries += 1
        if copy.alone or short.tries >= limits.FULL_TRIES:
            return False
        short.size, short.told = copy.size, short.told + 1
        short.trying, short.freed = False, self._shelf.ends > copy.ends_before
        entry.short = short
        return True

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
        if entry.waiting and shelf.now_s >= limits.room_until_s(entry):
            self._late(entry, f"The model needs {need}")
            return Size()
        return need if secured else Size()

    def _late(self, entry: Entry, why: str) -> None:
        text = f"{why}, and what is loaded has been in use for {limits.ROOM_WAIT_S:.0f} s."
        self._shelf.give_up(entry, "NotReady", text, still_short=entry.is_short)

    # --- a program that is full by its own account --------------------------------------------------------------------

    def _has_turn(self, entry: Entry) -> bool:
        """False while it waits for others to go, because the program has said that it is full.

        It is tried again when those have gone that leave for it, or when it would be alone: told no then, it can never
        fit. A load that fails frees nothing that others could have, so that it is no reason to try again."""
        short, shelf = entry.short, self._shelf
        if short is None or short.trying:
            return True
        if entry.waiting and shelf.now_s >= limits.room_until_s(entry):
            self._late(entry, "The model server has said that its memory is full")
            return False
        others = list(shelf.going(entry))
        short.trying = not short.leavers and (short.freed or not (others or self._is_one_tried()))
        if not (short.trying or short.leavers or self._unspoken(others)):
            self._clear(entry, short)
        return short.trying

    def _is_one_tried(self) -> bool:
        """Whether another that was short is on its way; its artifact may have to be fetched first."""
        return any(one.is_blocked and one.short is not None and one.short.trying for one in self._shelf.wanted.values())

    def _unspoken(self, others: list[tuple[Entry, Copy]]) -> bool:
        """Whether something leaves anyhow: then nothing needs to go for one that is short."""
        claimed = [one.short.leavers for one in self._shelf.wanted.values() if one.short is not None]
        keys = [(entry.model, copy.version) for entry, copy in others if copy.state is ModelState.LEAVING]
        return any(not any(key in leavers for leavers in claimed) for key in keys)

    def _clear(self, entry: Entry, short: Short) -> None:
        """Unload others for it: first as much as its size suggests, then twice as much each time. None while all load,
        are in use or have just come."""
        asks = Size(short.size.bytes << (short.told - 1), short.size.gpu << (short.told - 1))
        for busy in (False, True):
            if busy and self._shelf.now_s - entry.want_s < limits.BUSY_PATIENCE_S:
                return
            candidates = [one for one in self._candidates(busy=busy, kept=False) if one.model != entry.model]
            all_of_them = sum((one.size for one in candidates), Size())
            need = asks.least(all_of_them).most(Size(min(1, all_of_them.bytes)))
            chosen = eviction.victims(candidates, need) or candidates[:1]
            for victim in chosen:
                self._evict(victim, f"for {entry.model}: the model server said that its memory is full")
            if chosen:
                short.leavers.update((victim.model, victim.version) for victim in chosen)
                return

    # --- who has to go ------------------------------------------------------------------------------------------------

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
