"""What one replica holds of many models: when to load each, and which to give up for it. Deterministic; no clock, no I/O.

A model is wanted (asked for, or held unasked), fetched, given room, loaded, used, and unloaded when its room is needed
for more than it is worth. All requests for a model share one load. Every `Asked` ends in a READY copy or a `Refuse`.
Memory counts from the order to load (forecast), then as measured at its most, until the worker has ended.
"""

from __future__ import annotations

from trimtab.policies.models import eviction
from trimtab.policies.models.actions import Action, FetchModel, Forget, Load, Refuse, Unload
from trimtab.policies.models.entries import Copy, Entry, Files
from trimtab.policies.models.eviction import Candidate
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
from trimtab.policies.models.use import Use
from trimtab.resources.hosting import EVERY_MODEL, ModelSetting
from trimtab.wire.hosting import ModelState, Resident

MIB = 2**20
ROOM_WAIT_S = 60.0  # for others to go; AWS's bound of a request
LOAD_BOUND_S = 360.0  # AWS: a load may take so long; its worker is then ended
DRAIN_BOUND_S = 75.0  # a request may take 60 s: a worker that has not ended by then is ended at once
FETCH_FOR_S = 20.0  # how long a store that is away is asked again before those who wait are told
PATIENT_S = 5.0  # a retry that is further away is not waited for
UNSERVED_S = 2.0  # a copy stays at least so long for the requests that it was loaded for
BUSY_PATIENCE_S = 1.0  # before copies with requests in hand are drained for a model that waits
LONGEST_STAY_S = 10.0
SETTLED_S = 60.0  # a crash after that long is no sign of the next one
MARGIN_SHARE = 0.05  # of `memory_bytes`: what the machine is to have left
USES = 65_536  # models whose use is remembered


class ModelCache:
    """The models of one replica. `memory_bytes` bounds them all together; without `cache` each leaves after its use.

    `step` takes what has happened and gives what to do. The times of all calls are on one clock, which never goes back.
    """

    def __init__(self, memory_bytes: int, *, cache: bool = True) -> None:
        self.memory_bytes = memory_bytes
        self.used_bytes = 0
        self._cache = cache
        self._leaving_bytes = 0
        self._available: int | None = None  # by the machine, beyond its margin; None: not known
        self._loading_bytes = 0
        self._entries: dict[str, Entry] = {}
        self._wanted: dict[str, Entry] = {}  # in the order in which they were
        self._uses: dict[str, Use] = {}
        self._load_s: dict[str, float] = {}
        self._settings: dict[str, ModelSetting] = {}
        self._forecast = Forecast()
        self._now_s = 0.0
        self._out: list[Action] = []

    # --- for lists ----------------------------------------------------------------------------------------------------

    def residents(self, now_s: float) -> tuple[Resident, ...]:
        """All copies. `loaded_s` and `used_s` are on the clock of `step`; `pid` is 0."""
        return tuple(
            Resident(
                model=entry.model,
                version=version,
                state=copy.state,
                bytes=copy.now_bytes or copy.bytes,
                peak_bytes=copy.bytes,
                gpu_bytes=copy.gpu_bytes,
                loaded_s=copy.loaded_s,
                used_s=copy.used_s,
                requests=copy.requests,
                in_hand=copy.in_hand,
                load_s=copy.load_s,
                value=self._loss(entry.model, now_s) / max(copy.bytes / MIB, 1e-6),
                pinned=bool(entry.held),
                why=copy.left or copy.why,
            )
            for entry in self._entries.values()
            for version, copy in entry.copies.items()
        )

    def state(self, model: str) -> ModelState | None:
        """What to answer one who asks: READY, LOADING, LEAVING; None: it is neither here nor on its way."""
        entry = self._entries.get(model)
        if entry is None:
            return None
        if entry.ready is not None:
            return ModelState.READY
        if entry.loading is not None or entry.want:
            return ModelState.LOADING
        return ModelState.LEAVING if entry.copies else None

    def next_s(self, now_s: float) -> float | None:
        """When a Tick is due; None: not before something else happens."""
        due = [at_s for entry in self._entries.values() for at_s in self._due(entry)]
        return max(now_s, min(due)) if due else None

    def _due(self, entry: Entry) -> list[float]:
        due = []
        for copy in entry.copies.values():
            if copy.state is ModelState.LOADING:
                due.append(copy.since_s + LOAD_BOUND_S)
            elif copy.state is ModelState.LEAVING:
                due += [] if copy.hurried else [copy.since_s + DRAIN_BOUND_S]
            elif (expires_s := self._expires_s(entry, copy)) is not None:
                due.append(expires_s)
        if entry.want and not entry.fetching and entry.loading is None:
            if entry.retry_s > self._now_s:
                due.append(entry.retry_s)
            elif entry.files is not None:
                keeps = [other.keep_until_s for other in self._ready_copies() if other.keep_until_s > self._now_s]
                steps = [entry.want_s + BUSY_PATIENCE_S, *keeps]
                due += [at_s for at_s in steps if at_s > self._now_s]
                due += [entry.want_s + ROOM_WAIT_S] if entry.waiting else []
        return due

    # --- what has happened --------------------------------------------------------------------------------------------

    def step(self, given: Input, now_s: float) -> tuple[Action, ...]:
        """What to do after `given`, in order."""
        self._now_s = max(self._now_s, now_s)
        self._out = []
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
                known = given.available_bytes >= 0
                self._available = given.available_bytes - int(self.memory_bytes * MARGIN_SHARE) if known else None
            case Tick():
                self._tick()
        self._settle()
        return tuple(self._out)

    def _asked(self, given: Asked) -> None:
        use = self._use(given.model)
        entry = self._entry(given.model)
        ready = entry.ready
        if ready is not None:
            ready.keep_until_s = max(ready.keep_until_s, self._now_s + UNSERVED_S)
            return
        if not entry.waiting:
            use.note(1, self._now_s)  # so that a model that has just been asked for is worth something
        if entry.retry_s - self._now_s > PATIENT_S:
            again_s = entry.retry_s - self._now_s
            self._out.append(
                Refuse(given.model, entry.reason, f"{entry.message} It is tried again in {again_s:.0f} s.")
            )
            return
        self._want(entry, given.why, asked=True)

    def _used(self, given: Used) -> None:
        entry = self._entries.get(given.model)
        self._use(given.model).note(given.requests, self._now_s)
        copy = entry.ready if entry is not None else None
        if entry is None or copy is None:
            return
        copy.requests += given.requests
        copy.in_hand = given.in_hand
        copy.used_s = self._now_s
        if copy.requests and not given.in_hand and copy.keep_until_s - self._now_s <= UNSERVED_S:
            copy.keep_until_s = 0.0 if not self._is_thrashing(entry, copy) else copy.keep_until_s
        if not self._cache and not entry.held and copy.requests and not copy.in_hand:
            self._unload(
                entry, copy, "not cached", "models of this endpoint are not kept: ModelCacheSetting is Disabled"
            )

    def _fetched(self, given: Fetched) -> None:
        entry = self._entries.get(given.model)
        if entry is None or not entry.fetching:
            self._out.append(Forget(given.model, given.version))
            return
        entry.fetching = False
        there = entry.copies.get(given.version)
        if not entry.want or (there is not None and there.state is not ModelState.LEAVING):
            self._out.append(Forget(given.model, given.version))
            self._unwant(entry)
            return
        entry.files = Files(given.version, given.artifact_bytes, given.kind)

    def _fetch_failed(self, given: FetchFailed) -> None:
        entry = self._entries.get(given.model)
        if entry is None or not entry.fetching:
            return
        entry.fetching = False
        over = self._now_s - entry.want_s >= FETCH_FOR_S
        if given.transient and not (entry.waiting and over and not entry.held):
            entry.failed(given.reason, given.message, self._now_s + 0.25)
            entry.retry_s = min(entry.retry_s, self._now_s + PATIENT_S)
            return
        entry.failed(given.reason, given.message, self._now_s)
        self._give_up(entry, given.reason, given.message)
        if not entry.held:
            entry.forgive()  # the next who asks may find it: whoever adds a model need not wait

    def _loaded(self, given: Loaded) -> None:
        entry, copy = self._copy(given.model, given.version)
        if entry is None or copy is None or copy.state is not ModelState.LOADING:
            return
        self._loading_bytes -= copy.bytes
        copy.state, copy.since_s, copy.loaded_s = ModelState.READY, self._now_s, self._now_s
        copy.load_s, copy.gpu_bytes = given.took_s, given.gpu_bytes
        self._count(entry, copy, given.footprint_bytes, peak=given.footprint_bytes)
        self._load_s[given.model] = given.took_s
        stay_s = UNSERVED_S if entry.waiting else 0.0
        if self._now_s - entry.evicted_s < 3 * given.took_s:
            stay_s = max(stay_s, min(LONGEST_STAY_S, given.took_s))
        copy.keep_until_s = self._now_s + stay_s
        self._unwant(entry)
        for version, other in list(entry.copies.items()):
            if version != given.version and other.state is ModelState.READY:
                self._unload(entry, other, "new version", f"version {given.version} serves now")
        self._refresh(entry)

    def _load_failed(self, given: LoadFailed) -> None:
        entry, copy = self._copy(given.model, given.version)
        if entry is None or copy is None:
            return
        told = copy.state is ModelState.LEAVING
        tried_bytes = copy.bytes
        self._drop(entry, given.version)
        if told:
            return
        if given.out_of_memory:
            entry.no_memory += 1
            self._forecast.raise_to(given.model, copy.files.kind, copy.files.artifact_bytes, tried_bytes * 3 // 2)
            if entry.no_memory <= 2 and tried_bytes * 3 // 2 <= self._capacity(entry):
                return  # wanted still: fetched again, and given more room
        entry.failed(given.reason, given.message, self._now_s)
        self._give_up(entry, given.reason, given.message)

    def _measured(self, given: Measured) -> None:
        entry, copy = self._copy(given.model, given.version)
        if entry is None or copy is None or copy.state is ModelState.LOADING:
            return
        copy.gpu_bytes = given.gpu_bytes
        self._count(entry, copy, given.footprint_bytes, peak=max(copy.bytes, given.footprint_bytes))

    def _ended(self, given: Ended) -> None:
        entry, copy = self._copy(given.model, given.version)
        if entry is None or copy is None:
            return
        state = copy.state
        self._drop(entry, given.version)
        if state is ModelState.LEAVING:
            if copy.left == "evicted":
                entry.evicted_s = self._now_s
            return
        message = given.message or "The model's process has ended."
        if state is ModelState.LOADING:
            entry.failed("Exited", message, self._now_s)
            self._give_up(entry, "Exited", message)
            return
        if self._now_s - copy.loaded_s > SETTLED_S:
            entry.forgive()
        if given.crashed:
            entry.failed("Exited", message, self._now_s)
        if entry.held:
            self._want(entry, entry.held)

    def _changed(self, given: Changed) -> None:
        entry = self._entries.get(given.model)
        if entry is None:
            return
        entry.forgive()
        entry.stale = not given.deleted
        if entry.files is not None and entry.loading is None:
            self._out.append(Forget(entry.model, entry.files.version))
            entry.files = None  # fetched anew if it is wanted still
            entry.stale = False
        self._refresh(entry)

    def _refresh(self, entry: Entry) -> None:
        """The object has changed since what serves was fetched: get the new one."""
        if entry.stale and not entry.want and entry.loading is None:
            entry.stale = False
            if entry.ready is not None or entry.held:
                self._want(entry, "new version")

    def _set(self, given: Set) -> None:
        self._settings = {one.model: one for one in given.settings}
        for model, entry in self._entries.items():
            entry.held = given.hold.get(model, "")
            if not entry.held and not entry.waiting and entry.want in ("pinned", "copies") and entry.loading is None:
                self._unwant(entry)
        for model, why in given.hold.items():
            entry = self._entry(model)
            entry.held = why
            if entry.ready is None:
                self._want(entry, why)

    def _tick(self) -> None:
        for entry in list(self._entries.values()):
            for copy in list(entry.copies.values()):
                age_s = self._now_s - copy.since_s
                if copy.state is ModelState.LEAVING and not copy.hurried and age_s >= DRAIN_BOUND_S:
                    self._hurry(entry, copy, f"it was told to end {age_s:.0f} s ago")
                elif copy.state is ModelState.LOADING and age_s >= LOAD_BOUND_S:
                    self._hung(entry, copy)
                elif copy.state is ModelState.READY:
                    expires_s = self._expires_s(entry, copy)
                    if expires_s is not None and expires_s <= self._now_s:
                        self._expire(entry, copy)

    def _hung(self, entry: Entry, copy: Copy) -> None:
        text = f"The model was not loaded within {LOAD_BOUND_S:.0f} s."
        self._leave(copy, "hung")
        self._hurry(entry, copy, text)
        entry.failed("StartTimeout", text, self._now_s)
        self._give_up(entry, "StartTimeout", text)

    def _expire(self, entry: Entry, copy: Copy) -> None:
        idle_s = self._now_s - max(copy.used_s, copy.loaded_s)
        if self._cache:
            self._unload(entry, copy, "expired", f"not asked for in {idle_s:.0f} s")
        else:
            self._unload(
                entry, copy, "not cached", f"the requests that it was loaded for did not come in {idle_s:.0f} s"
            )

    def _expires_s(self, entry: Entry, copy: Copy) -> float | None:
        setting = self._settings.get(entry.model) or self._settings.get(EVERY_MODEL)
        ttl_s = setting.ttl_s if setting is not None else 0.0
        if not self._cache:
            ttl_s = min(ttl_s or 10.0, 10.0)
        if entry.held or copy.in_hand or not ttl_s:
            return None
        return max(copy.used_s, copy.loaded_s, copy.keep_until_s - UNSERVED_S) + ttl_s

    # --- what to do about it ------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self._shrink()
        promised = 0
        for entry in list(self._wanted.values()):
            if entry.fetching or entry.loading is not None or entry.retry_s > self._now_s:
                continue
            if entry.files is None:
                entry.fetching, entry.stale = True, False
                self._out.append(FetchModel(entry.model))
            else:
                promised += self._admit(entry, entry.files, promised)

    def _shrink(self) -> None:
        """Models grew, or others took memory: what is loaded must fit again."""
        for entry, copy in self._pairs(ModelState.READY):
            if copy.bytes > self._capacity(entry) and not entry.held:
                text = f"it takes {_mib(copy.bytes)} and there are {_mib(self._capacity(entry))} for models that are not pinned"
                self._unload(entry, copy, "evicted", text)
        over = self.used_bytes - self._leaving_bytes - self.memory_bytes
        if self._available is not None:
            over = max(over, -self._available - self._leaving_bytes)
        if over > 0:
            all_of_them = self._candidates(busy=True, kept=True)
            for victim in eviction.victims(all_of_them, min(over, sum(one.bytes for one in all_of_them))):
                self._evict(victim, "memory is short", None)

    def _admit(self, entry: Entry, files: Files, promised: int) -> int:
        """Load it if there is room, make room if not. Returns the bytes that it waits for."""
        capacity = self._capacity(entry)
        need = self._need(entry, files, capacity)
        if need > capacity:
            self._too_large(entry, files, capacity)
            return 0
        room = self._free() + self._leaving_bytes - promised
        if room < need:
            room += self._make_room(entry, need, need - room)
        draining = entry.copies.get(files.version)
        if room >= need and self._free() >= need and draining is None:
            self._load(entry, files, need)
            return 0
        if entry.waiting and self._now_s - entry.want_s >= ROOM_WAIT_S:
            text = f"It needs {_mib(need)}, and the models that are loaded have been in use for {ROOM_WAIT_S:.0f} s."
            self._give_up(entry, "NotReady", text)
            return 0
        return need

    def _need(self, entry: Entry, files: Files, capacity: int) -> int:
        need = self._forecast.bytes(entry.model, files.kind, files.artifact_bytes)
        if need > capacity >= self._forecast.least(entry.model, files.kind, files.artifact_bytes):
            return capacity  # it may fit: only a try can tell
        return need

    def _make_room(self, entry: Entry, need: int, missing: int) -> int:
        """Unload others for it; returns the bytes that will come of that."""
        old = entry.ready
        if old is not None and not entry.waiting:
            self._unload(entry, old, "new version", "there is no room for both")
            return old.bytes
        for busy in (False, True):
            if busy and self._now_s - entry.want_s < BUSY_PATIENCE_S:
                break
            chosen = eviction.victims(self._candidates(busy=busy, kept=False), missing)
            for victim in chosen:
                self._evict(victim, f"for {entry.model}", need)
            if chosen:
                return sum(victim.bytes for victim in chosen)
        return 0

    def _candidates(self, *, busy: bool, kept: bool) -> list[Candidate]:
        return [
            Candidate(entry.model, copy.files.version, copy.bytes, self._loss(entry.model, self._now_s))
            for entry, copy in self._pairs(ModelState.READY)
            if not entry.held and (busy or not copy.in_hand) and (kept or copy.keep_until_s <= self._now_s)
        ]

    def _evict(self, victim: Candidate, cause: str, need: int | None) -> None:
        entry, copy = self._copy(victim.model, victim.version)
        if entry is None or copy is None:
            return
        saves_ms = victim.density * MIB * 3600 * 1e3
        needs = f", which needs {_mib(need)}" if need is not None else ""
        text = f"{cause}{needs}: keeping its {_mib(victim.bytes)} saved {saves_ms:.3g} ms of loading a MiB and hour"
        self._unload(entry, copy, "evicted", text)

    def _too_large(self, entry: Entry, files: Files, capacity: int) -> None:
        need = self._forecast.bytes(entry.model, files.kind, files.artifact_bytes)
        if need > self.memory_bytes:
            reason = "OutOfMemory"
            text = f"The model needs {_mib(need)}, and a replica has {_mib(self.memory_bytes)} for models."
        else:
            reason = "NoCapacity"
            pinned = _mib(self.memory_bytes - capacity)
            text = f"The model needs {_mib(need)}; of {_mib(self.memory_bytes)}, {pinned} are taken by pinned models."
        entry.failed(reason, text, self._now_s)
        self._give_up(entry, reason, text)

    def _load(self, entry: Entry, files: Files, need: int) -> None:
        entry.files = None
        entry.copies[files.version] = Copy(files, entry.want, ModelState.LOADING, self._now_s, need)
        self.used_bytes += need
        self._loading_bytes += need
        self._out.append(Load(entry.model, files.version, entry.want, need))

    def _unload(self, entry: Entry, copy: Copy, why: str, text: str) -> None:
        self._leave(copy, why)
        self._out.append(Unload(entry.model, copy.files.version, why, text))

    def _leave(self, copy: Copy, why: str) -> None:
        if copy.state is ModelState.LOADING:
            self._loading_bytes -= copy.bytes
        self._leaving_bytes += copy.bytes
        copy.state, copy.since_s, copy.left = ModelState.LEAVING, self._now_s, why

    def _hurry(self, entry: Entry, copy: Copy, text: str) -> None:
        copy.hurried = True
        self._out.append(Unload(entry.model, copy.files.version, copy.left, text, at_once=True))

    def _drop(self, entry: Entry, version: str) -> None:
        """Its worker is dead: the memory and the artifact are free."""
        copy = entry.copies.pop(version)
        self.used_bytes -= copy.bytes
        if copy.state is ModelState.LOADING:
            self._loading_bytes -= copy.bytes
        if copy.state is ModelState.LEAVING:
            self._leaving_bytes -= copy.bytes
        if self._available is not None and copy.state is not ModelState.LOADING:
            self._available += copy.now_bytes
        self._out.append(Forget(entry.model, version))
        self._tidy(entry)

    def _count(self, entry: Entry, copy: Copy, now_bytes: int, *, peak: int) -> None:
        self.used_bytes += peak - copy.bytes
        if copy.state is ModelState.LEAVING:
            self._leaving_bytes += peak - copy.bytes
        copy.bytes, copy.now_bytes = peak, now_bytes
        self._forecast.learn(entry.model, copy.files.kind, copy.files.artifact_bytes, peak)

    def _want(self, entry: Entry, why: str, *, asked: bool = False) -> None:
        if not entry.want:
            entry.want, entry.want_s = why, self._now_s
            self._wanted[entry.model] = entry
        if asked and not entry.waiting:
            entry.waiting, entry.want_s = True, self._now_s

    def _unwant(self, entry: Entry) -> None:
        self._wanted.pop(entry.model, None)
        entry.want, entry.waiting = "", False
        if entry.files is not None:
            self._out.append(Forget(entry.model, entry.files.version))
            entry.files = None
        self._tidy(entry)

    def _give_up(self, entry: Entry, reason: str, message: str) -> None:
        """Tell those who wait. What is to be here whether asked for or not is tried again, later."""
        if entry.waiting:
            self._out.append(Refuse(entry.model, reason, message))
        self._unwant(entry)
        if entry.held and entry.ready is None:
            self._want(self._entry(entry.model), entry.held)

    # --- what is known ------------------------------------------------------------------------------------------------

    def _entry(self, model: str) -> Entry:
        return self._entries.setdefault(model, Entry(model))

    def _tidy(self, entry: Entry) -> None:
        if entry.is_idle and entry.retry_s <= self._now_s and not entry.failures:
            self._entries.pop(entry.model, None)

    def _copy(self, model: str, version: str) -> tuple[Entry | None, Copy | None]:
        entry = self._entries.get(model)
        return entry, entry.copies.get(version) if entry is not None else None

    def _pairs(self, state: ModelState) -> list[tuple[Entry, Copy]]:
        return [
            (entry, copy) for entry in self._entries.values() for copy in entry.copies.values() if copy.state is state
        ]

    def _ready_copies(self) -> list[Copy]:
        return [copy for _, copy in self._pairs(ModelState.READY)]

    def _capacity(self, entry: Entry) -> int:
        """Bytes that it could have if all went that may go."""
        held = sum(
            copy.bytes
            for other in self._entries.values()
            if other.held and other is not entry
            for copy in other.copies.values()
            if copy.state is not ModelState.LEAVING
        )
        return self.memory_bytes - held

    def _free(self) -> int:
        free = self.memory_bytes - self.used_bytes
        return free if self._available is None else min(free, self._available - self._loading_bytes)

    def _use(self, model: str) -> Use:
        use = self._uses.get(model)
        if use is None:
            use = self._uses[model] = Use()
            if len(self._uses) > USES:
                del self._uses[next(iter(self._uses))]
        return use

    def _loss(self, model: str, now_s: float) -> float:
        """Seconds of loading that its absence costs, per second."""
        use = self._uses.get(model)
        return use.rate(now_s) * self._load_s.get(model, 1.0) if use is not None else 0.0

    def _is_thrashing(self, entry: Entry, copy: Copy) -> bool:
        return copy.loaded_s - entry.evicted_s < 3 * copy.load_s


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.1f} MiB"
