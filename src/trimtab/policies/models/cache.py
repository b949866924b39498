"""What one replica holds of many models: when to load each, and which to give up for it. No clock, no I/O, no chance.

A model is wanted (asked for, or held unasked), fetched, given room, loaded, used, and unloaded when its room is needed
for more than it is worth. All requests for a model share one load. Every `Asked` ends in a READY copy or a `Refuse`.
Memory counts from the order to load (forecast), then as measured at its most, until the worker has ended.
"""

from __future__ import annotations

from trimtab.policies.models import limits
from trimtab.policies.models.actions import Action, Forget, Refuse
from trimtab.policies.models.entries import Copy, Entry, Files
from trimtab.policies.models.forecast import Forecast
from trimtab.policies.models.inputs import (
    Asked,
    Changed,
    Ended,
    Fetched,
    FetchFailed,
    Input,
    Loaded,
    LoadFailed,
    Measured,
    Pressure,
    Set,
    Tick,
    Used,
)
from trimtab.policies.models.memory import MIB, Memory, Size
from trimtab.policies.models.room import Room
from trimtab.policies.models.settings import setting_of
from trimtab.policies.models.shelf import Shelf
from trimtab.policies.models.use import REMEMBERED, Foresight, Uses
from trimtab.resources.hosting import ModelSetting
from trimtab.wire.hosting import ModelState, Resident

_LOADING, _READY, _LEAVING = ModelState.LOADING, ModelState.READY, ModelState.LEAVING


class ModelCache:
    """The models of one replica. `memory_bytes` bounds them all together; without `cache` each leaves after its use.

    `step` takes what has happened and gives what to do. Times are seconds on one clock; a step back counts as none.
    `gpu_memory_bytes`: 0 = not bounded. `uses`: what foretells how often each model will be asked for.
    """

    def __init__(
        self, memory_bytes: int, *, cache: bool = True, gpu_memory_bytes: int = 0, uses: Foresight | None = None
    ) -> None:
        self._shelf = Shelf(Memory(memory_bytes, gpu_memory_bytes))
        self._has_gpu = gpu_memory_bytes > 0
        self._cache = cache
        self._settings: dict[str, ModelSetting] = {}
        self._uses: Foresight = uses if uses is not None else Uses()
        self._load_s: dict[str, float] = {}
        self._evicted_s: dict[str, float] = {}  # when, lately
        self._forecast = Forecast()
        self._room = Room(self._shelf, self._forecast, self._loss)

    # --- for lists ----------------------------------------------------------------------------------------------------

    @property
    def memory_bytes(self) -> int:
        """The bound."""
        return self._shelf.memory.limit.bytes

    @property
    def used_bytes(self) -> int:
        """Of what loads (forecast), serves, and leaves."""
        return self._shelf.memory.used.bytes

    def residents(self, now_s: float) -> tuple[Resident, ...]:
        """All copies. `loaded_s` and `used_s` are on the clock of `step`; `pid` is 0."""
        return tuple(
            Resident(
                model=entry.model,
                version=copy.version,
                state=copy.state,
                bytes=copy.now.bytes or copy.size.bytes,
                peak_bytes=copy.size.bytes,
                gpu_bytes=copy.now.gpu or copy.size.gpu,
                loaded_s=copy.loaded_s,
                used_s=copy.used_s,
                requests=copy.requests,
                in_hand=copy.in_hand,
                load_s=copy.load_s,
                value=self._loss(entry.model) / max((copy.size.bytes + copy.size.gpu) / MIB, 1.0),
                pinned=bool(entry.held),
                why=copy.left or copy.why,
            )
            for entry, copy in self._shelf.copies.values()
        )

    def state(self, model: str) -> ModelState | None:
        """What to answer one who asks: READY, LOADING (or on its way there); LEAVING; None: nothing of the kind."""
        entry = self._shelf.entries.get(model)
        if entry is None:
            return None
        if entry.ready is not None:
            return _READY
        if entry.loading is not None or entry.want:
            return _LOADING
        return _LEAVING if entry.copies else None

    def next_s(self, now_s: float) -> float | None:
        """When a Tick is due; None: not before something else happens."""
        moving = (limits.bound_s(copy) for _, copy in self._shelf.moving.values())
        due = [at_s for at_s in moving if at_s is not None]
        for entry in self._shelf.wanted.values():
            if not entry.is_blocked:
                due += self._wakes(entry)
        if not self._cache or any(one.ttl_s for one in self._settings.values()):
            expire = (self._expires_s(entry, copy) for entry, copy in self._shelf.ready())
            due += [at_s for at_s in expire if at_s is not None]
        return max(now_s, min(due)) if due else None

    def _wakes(self, entry: Entry) -> list[float]:
        """When something may be done for one that is wanted, although nothing has happened."""
        if entry.retry_s > self._shelf.now_s:
            return [entry.retry_s]
        if entry.files is None and not entry.is_short:
            return [self._shelf.now_s]  # it has failed in this step, and is to be tried again at once
        kept = [copy.kept_until_s for _, copy in self._shelf.copies.values() if copy.state is _READY]
        waits = [entry.want_s + limits.BUSY_PATIENCE_S, *([limits.room_until_s(entry)] if entry.waiting else [])]
        return [at_s for at_s in (*kept, *waits) if at_s > self._shelf.now_s]

    # --- what has happened --------------------------------------------------------------------------------------------

    def step(self, given: Input, now_s: float) -> tuple[Action, ...]:
        """What to do after `given`, in order."""
        self._shelf.now_s = max(self._shelf.now_s, now_s)
        self._shelf.out = []
        match given:
            case Asked():
                self._asked(given)
            case Used():
                self._used(given)
            case Fetched():
                self._fetched(given)
            case FetchFailed():
                self._fetch_failed(given)
            case Loaded():
                self._loaded(given)
            case LoadFailed():
                self._load_failed(given)
            case Measured():
                self._measured(given)
            case Ended():
                self._ended(given)
            case Changed():
                self._changed(given)
            case Set():
                self._set(given)
            case Pressure():
                self._shelf.memory.available = limits.beyond_margin(given.available_bytes, self.memory_bytes)
            case Tick():
                self._tick()
        self._room.settle()
        return tuple(self._shelf.out)

    def _asked(self, given: Asked) -> None:
        entry = self._shelf.entry(given.model)
        ready = entry.ready
        if ready is not None:
            ready.expects_until_s = self._shelf.now_s + limits.EXPECTED_S
            return
        if entry.failures and self._shelf.now_s - entry.failed_s > limits.FORGIVEN_S:
            entry.forgive()
        away_s = entry.retry_s - self._shelf.now_s
        if away_s > limits.PATIENT_S:
            again = f" It is tried again in {away_s:.0f} s."
            self._shelf.out.append(Refuse(given.model, entry.reason, entry.message + again))
            return
        self._shelf.want(entry, given.why, asked=True)

    def _used(self, given: Used) -> None:
        self._uses.note(given.model, given.requests, self._shelf.now_s)
        entry = self._shelf.entries.get(given.model)
        copy = (entry.ready or entry.loading) if entry is not None else None  # it may answer before it is measured
        if entry is None or copy is None:
            return
        copy.requests += given.requests
        copy.in_hand = given.in_hand
        copy.used_s = self._shelf.now_s
        if given.requests:
            copy.expects_until_s = 0.0
        self._keep_not(entry, copy)

    def _keep_not(self, entry: Entry, copy: Copy) -> None:
        """Without a cache, a copy leaves when it has answered."""
        done = copy.state is _READY and copy.requests and not copy.in_hand
        if done and not self._cache and not entry.held:
            self._shelf.unload(entry, copy, "not cached", "the endpoint's ModelCacheSetting is Disabled")

    def _fetched(self, given: Fetched) -> None:
        entry = self._shelf.entries.get(given.model)
        there = entry.copies.get(given.version) if entry is not None else None
        if entry is None or not entry.fetching:
            self._shelf.out.append(Forget(given.model, given.version))
            return
        entry.fetching, entry.fetch_failures = False, 0
        if entry.want and (there is None or there.state is _LEAVING):
            entry.files = Files(given.version, given.artifact_bytes, given.kind)
        else:
            self._shelf.out.append(Forget(given.model, given.version))
            self._shelf.unwant(entry)

    def _fetch_failed(self, given: FetchFailed) -> None:
        entry = self._shelf.entries.get(given.model)
        if entry is None or not entry.fetching:
            return
        entry.fetching = False
        entry.fetch_failures += 1
        waited_s = self._shelf.now_s - entry.want_s
        if given.transient and not (entry.waiting and waited_s >= limits.FETCH_FOR_S):
            entry.retry_s = self._shelf.now_s + limits.fetch_again_s(entry.fetch_failures)
            return
        if entry.held:
            entry.failed(given.reason, given.message, self._shelf.now_s)
        self._shelf.give_up(entry, given.reason, given.message)  # the next who asks may find it: it is asked for again

    def _loaded(self, given: Loaded) -> None:
        entry, copy = self._shelf.find(given.model, given.version)
        if entry is None or copy is None or copy.state is not _LOADING:
            return
        took = Size(given.footprint_bytes, given.gpu_bytes)
        self._shelf.loaded(entry, copy, took)
        copy.load_s = given.took_s
        self._forecast.loaded(given.model, copy.files, took)
        self._load_s.pop(given.model, None)
        self._load_s[given.model] = given.took_s
        if len(self._load_s) > REMEMBERED:
            del self._load_s[next(iter(self._load_s))]
        entry.no_memory = 0
        if entry.waiting and not copy.requests:
            copy.expects_until_s = self._shelf.now_s + limits.EXPECTED_S
        if self._shelf.now_s - self._evicted_s.get(given.model, float("-inf")) < limits.THRASH_LOADS * given.took_s:
            copy.stays_until_s = self._shelf.now_s + min(limits.LONGEST_STAY_S, given.took_s)
        self._shelf.unwant(entry)
        for other in list(entry.copies.values()):
            if other is not copy and other.state is _READY:
                self._shelf.unload(entry, other, "new version", f"version {given.version} serves now")
        self._refresh(entry)
        self._room.fit(entry, copy)
        self._keep_not(entry, copy)

    def _load_failed(self, given: LoadFailed) -> None:
        entry, copy = self._shelf.find(given.model, given.version)
        if entry is None or copy is None:
            return
        full = given.full and copy.state is _LOADING
        self._shelf.drop(entry, copy, untaken=full)
        if copy.state is _LEAVING:
            return
        if full and entry.want and self._room.may_come(entry, copy):
            return  # wanted still: others go for it
        if given.out_of_memory:
            entry.no_memory += 1
            more = self._forecast.short(entry.model, copy.files, copy.size, gpu=self._has_gpu)
            if entry.no_memory < limits.MEMORY_TRIES and more.fits(self._shelf.capacity(entry)):
                return  # wanted still: fetched again, and given more room
        entry.failed(given.reason, given.message, self._shelf.now_s)
        if given.died and entry.failures == 1:
            return  # wanted still: the first retry is immediate, and whoever waits need not hear of it
        self._shelf.give_up(entry, given.reason, given.message)

    def _measured(self, given: Measured) -> None:
        entry, copy = self._shelf.find(given.model, given.version)
        if entry is None or copy is None or copy.state is _LOADING:
            return
        copy.now = Size(given.footprint_bytes, given.gpu_bytes)
        peak = copy.size.most(copy.now)
        if peak != copy.size:
            self._shelf.resize(copy, peak)
            self._forecast.grown(entry.model, copy.files, peak)
            self._room.fit(entry, copy)

    def _ended(self, given: Ended) -> None:
        entry, copy = self._shelf.find(given.model, given.version)
        if entry is None or copy is None:
            return
        if copy.state is _LEAVING:
            if copy.left == "evicted":
                self._note_eviction(entry.model)
            self._shelf.drop(entry, copy)
            return
        message = given.message or "The model's process has ended."
        if copy.state is _READY and self._shelf.now_s - copy.loaded_s > limits.SETTLED_S:
            entry.forgive()
        if given.crashed or copy.state is _LOADING:
            entry.failed("Exited", message, self._shelf.now_s)
        self._shelf.drop(entry, copy)
        if copy.state is _LOADING:
            self._shelf.give_up(entry, "Exited", message)
        elif entry.held:
            self._shelf.want(self._shelf.entry(entry.model), entry.held)

    def _changed(self, given: Changed) -> None:
        entry = self._shelf.entries.get(given.model)
        if entry is None:
            return
        entry.forgive()
        entry.stale = not given.deleted
        if entry.files is not None:
            self._shelf.release(entry)  # fetched anew if it is wanted still
            entry.stale = False
        self._refresh(entry)

    def _refresh(self, entry: Entry) -> None:
        """The object has changed since what serves was asked for: get the new one."""
        if entry.stale and not entry.want and entry.loading is None:
            entry.stale = False
            if entry.ready is not None or entry.held:
                self._shelf.want(entry, "new version")

    def _set(self, given: Set) -> None:
        self._settings = {one.model: one for one in given.settings}
        for entry in list(self._shelf.held.values()):
            if entry.model not in given.hold:
                entry.held = ""
                if not entry.waiting and entry.loading is None and entry.ready is None:
                    self._shelf.unwant(entry)
                self._shelf.tidy(entry)
        self._shelf.held = {model: self._shelf.entry(model) for model in given.hold}
        for model, entry in self._shelf.held.items():
            entry.held = given.hold[model]
            if entry.ready is None:
                self._shelf.want(entry, entry.held)
        for entry in self._shelf.entries.values():
            if entry.reason == "NoCapacity":  # for what is pinned: that may be different now
                entry.forgive()

    def _tick(self) -> None:
        for entry, copy in list(self._shelf.copies.values()):
            due_s = limits.bound_s(copy)
            if due_s is None:
                expires_s = self._expires_s(entry, copy)
                if expires_s is not None and expires_s <= self._shelf.now_s:
                    self._expire(entry, copy)
            elif due_s <= self._shelf.now_s and copy.state is _LEAVING:
                text = f"it was told to end {self._shelf.now_s - copy.since_s:.0f} s ago"
                self._shelf.hurry(entry, copy, copy.left, text)
            elif due_s <= self._shelf.now_s:
                text = f"The model was not loaded within {limits.LOAD_BOUND_S:.0f} s."
                self._shelf.hurry(entry, copy, "hung", text)
                entry.failed("StartTimeout", text, self._shelf.now_s)
                self._shelf.give_up(entry, "StartTimeout", text)

    def _expires_s(self, entry: Entry, copy: Copy) -> float | None:
        if entry.held or copy.in_hand or copy.state is not _READY:
            return None
        ttl_s = setting_of(self._settings, entry.model).ttl_s
        if not self._cache:
            ttl_s = min(ttl_s or limits.UNUSED_S, limits.UNUSED_S)
        return max(max(copy.used_s, copy.loaded_s) + ttl_s, copy.expects_until_s) if ttl_s else None

    def _expire(self, entry: Entry, copy: Copy) -> None:
        idle_s = self._shelf.now_s - max(copy.used_s, copy.loaded_s)
        why = "expired" if self._cache else "not cached"
        self._shelf.unload(entry, copy, why, f"nobody has asked for it in {idle_s:.0f} s")

    def _note_eviction(self, model: str) -> None:
        self._evicted_s.pop(model, None)
        self._evicted_s[model] = self._shelf.now_s
        if len(self._evicted_s) > limits.EVICTIONS:
            del self._evicted_s[next(iter(self._evicted_s))]

    def _loss(self, model: str) -> float:
        """Seconds of loading that its absence costs, per second."""
        return self._uses.rate(model, self._shelf.now_s) * self._load_s.get(model, 1.0)
