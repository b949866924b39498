"""Host: carries out what the cache policy decides, and tells it, gateways and control what has happened.

Everything is decided in `policies/models/cache.py`; here are the tasks that fetch, load and unload, and the order in
which others hear of it: READY before an old version is LEAVING, LEAVING before a worker is told to drain.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from trimtab.clock import Clock
from trimtab.host.background import Background
from trimtab.host.hands import Hands
from trimtab.host.happenings import Happenings
from trimtab.host.leaves import Leaves
from trimtab.host.needs import Cache, Control
from trimtab.host.runner import Footprint, Key, LoadFault, Runner, Running
from trimtab.host.showing import Showing
from trimtab.logs import fields
from trimtab.policies.models.actions import FetchModel, Forget, Load, Refuse, Unload
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
)
from trimtab.policies.models.inputs import Used as UsedInput
from trimtab.resources.replica import Failure
from trimtab.wire import hosting as wire
from trimtab.wire.hosting import ABSENT, SHORT, Files, ModelAt, ModelState, NoFiles, Used, Want

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
DRAIN_S = 120.0  # a worker that the policy does not hurry gets so long
MORE_MEMORY = 1.25  # of what a model takes, for one that ran out of memory while it worked
_SAME_BYTES = 64 * 1024  # a footprint that has changed by less is no news


class Host:
    """Called on the event loop only. `runner` and `tell` are given by whoever wires (`main.py`)."""

    def __init__(
        self,
        cache: Cache,
        control: Control,
        clock: Clock,
        *,
        tell: Callable[[ModelAt], Collection[int]],
        kind_of: Callable[[Path], str] = lambda path: "",
        available_bytes: Callable[[], int] = lambda: -1,
        is_ending: Callable[[int], bool] = lambda pid: False,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`tell` reaches all gateways before it returns, and gives their numbers; `kind_of` looks what an artifact
        holds (I/O, in a thread); `is_ending` knows of a process that dies before it is dead."""
        self.runner: Runner
        self._cache = cache
        self._control = control
        self._clock = clock
        self._tell = tell
        self._kind_of = kind_of
        self._available_bytes = available_bytes
        self._is_ending = is_ending
        self._look_every_s = look_every_s
        self._happenings = Happenings(control.note, clock)
        self._at: dict[Key, ModelAt] = {}  # loading, ready and leaving copies, oldest first
        self._files: dict[Key, list[Files]] = {}  # by lease
        self._pids: dict[Key, int] = {}
        self._told: dict[Key, Footprint] = {}  # measured last
        self._loads: dict[Key, asyncio.Task[None]] = {}
        self._raised: dict[Key, asyncio.Task[None]] = {}  # from its order to load until it has been weighed
        self._downs: set[Key] = set()  # told to end
        self._missed: set[str] = set()  # models whose end gateways have seen before this host
        self._doubted: set[str] = set()  # whoever holds them is asked whether it does, or they are given up unasked
        self._again: dict[str, str] = {}  # asked for meanwhile, and why
        self._leaves = Leaves()
        self._background = Background()
        self._hands = Hands()
        self._requests = self._misses = 0
        self._showing = Showing(cache, control, clock)
        self._tick: asyncio.TimerHandle | None = None
        self._tick_due = False
        self._leaving = False

    def open(self) -> None:
        """Begin to look at memory and to list what is held, once a second."""
        self._background.start(self._look(), "look after the cache")

    # --- gateways (clients.Takes) ---------------------------------------------------------------------------------

    def known(self) -> Iterable[ModelAt]:
        """All that is here."""
        return list(self._at.values())

    def wanted(self, want: Want, answer: Callable[[ModelAt], None]) -> None:
        """Answered at once when it is ready; else when it is, or when it is known not to be."""
        if self._leaving:
            answer(_failed(want.model, "NotReady", "The replica is about to end."))
            return
        ready = self._ready(want.model)
        if ready is not None and want.why in (ABSENT, SHORT):
            self._doubt(Key(want.model, ready.version), want.why)
        if want.why == SHORT:
            return
        if want.model in self._doubted:
            self._again.setdefault(want.model, want.why)
            answer(ModelAt(want.model, "", ModelState.LOADING, text=want.why))
            return
        if ready is not None and want.why == "gone" and self._is_dying(ready):
            self._missed.add(want.model)
            answer(ModelAt(want.model, "", ModelState.LOADING, text=want.why))  # once its end is here, too
            return
        if ready is not None:
            answer(ready)
        else:
            self._happenings.asked(want.model)
            answer(ModelAt(want.model, "", ModelState.LOADING, text=want.why))  # heard, however long the fetch takes
        self._step(Asked(want.model, want.why))

    def used(self, gateway: int, used: Used) -> None:
        """Requests, and what is in hand of all gateways together."""
        for use in used.uses:
            for version in use.done:
                self._leaves.done(Key(use.model, version), gateway)
            self._requests += use.requests
            self._misses += use.misses
            self._happenings.used(use.model, use.requests, use.misses)
            self._hands.tell(gateway, use.model, use.in_hand)
            self._step(UsedInput(use.model, use.requests, self._hands.of(use.model)))

    def lost(self, gateway: int) -> None:
        """A gateway has gone, and what it had in hand with it."""
        self._leaves.lost(gateway)
        for model in self._hands.lost(gateway):
            self._step(UsedInput(model, 0, self._hands.of(model)))

    def in_hand(self, key: Key) -> int:
        """Requests of all gateways that a model has not answered yet."""
        return self._hands.of(key.model)

    @property
    def in_hand_of_all(self) -> int:
        """Requests that models have not answered yet."""
        return self._hands.total

    # --- control --------------------------------------------------------------------------------------------------

    def changed(self, said: wire.Changed) -> None:
        """An object was overwritten or deleted."""
        if any(key.model == said.model for key in self._at):
            self._happenings.changed(said.model, deleted=said.deleted)
        self._step(Changed(said.model, said.deleted))

    def settings(self, said: wire.Settings) -> None:
        """What users want, and what is to be here unasked."""
        self._step(Set(said.settings, said.hold))

    # --- the runner -----------------------------------------------------------------------------------------------

    def ended(self, key: Key, failure: Failure) -> None:
        """A loaded model has gone by itself."""
        self._happenings.crashed(key, failure)
        self._left(key, failure.message)
        self._gone(key)
        self._step(Ended(key.model, key.version, crashed=True, message=failure.message))
        self._ask_again(key.model)

    def _ask_again(self, model: str) -> None:
        """For gateways that had seen its end before it was known here."""
        if model in self._missed:
            self._missed.discard(model)
            self._happenings.asked(model)
            self._step(Asked(model, "gone"))

    async def quiet(self, key: Key) -> None:
        """Wait until no gateway has a request in hand for a version that is LEAVING."""
        await self._leaves.quiet(key)

    def _doubt(self, key: Key, why: str) -> None:
        """A gateway was told by whoever holds a model that it does not, or that it has no memory for its work."""
        if key.model not in self._doubted and key not in self._downs:
            self._doubted.add(key.model)
            self._background.start(self._settle(key, why), f"look for {key.model}")

    async def _settle(self, key: Key, why: str) -> None:
        try:
            if (load := self._raised.get(key)) is not None:
                await asyncio.wait({load})  # until the policy knows that it was loaded
            if why == SHORT:
                await self._give_back(key)
            elif await self.runner.has(key) and (at := self._ready(key.model)) is not None:
                self._again.pop(key.model, None)
                self._tell(at)
        finally:
            self._doubted.discard(key.model)
        if (asked := self._again.pop(key.model, None)) is not None:
            if (at := self._ready(key.model)) is not None:
                self._tell(at)
            else:
                self._happenings.asked(key.model)
            self._step(Asked(key.model, asked))

    async def _give_back(self, key: Key) -> None:
        """It ran out of memory while it worked: it is unloaded, and the next load is given more room."""
        told = self._told.get(key, Footprint(0))
        self._left(key, "it ran out of memory while it worked")
        self._step(Measured(key.model, key.version, int(told.bytes * MORE_MEMORY), told.gpu_bytes))
        if key not in self._downs:  # else the policy has just had it unloaded
            self._downs.add(key)
            await self._bring_down(key, "no memory", "it ran out of memory while it worked", DRAIN_S)

    # --- decisions ------------------------------------------------------------------------------------------------

    def _step(self, given: Input) -> None:
        if self._leaving:
            return
        refused = False
        for action in self._cache.step(given, self._clock.monotonic_s()):
            match action:
                case FetchModel(model):
                    self._background.start(self._fetch(model), f"fetch {model}")
                case Load():
                    self._load(action)
                case Unload():
                    self._unload(action)
                case Forget(model, version):
                    self._release(Key(model, version))
                case Refuse(model) if isinstance(given, Ended) and given.crashed and given.model == model:
                    pass  # it took requests, though it was not measured yet: nobody has waited since
                case Refuse():
                    refused = True
                    self._happenings.refused(action, told=isinstance(given, LoadFailed | FetchFailed))
                    self._tell(_failed(action.model, action.reason, action.message))
        if isinstance(given, LoadFailed | FetchFailed) and not refused:  # who has begun to wait meanwhile asks again
            self._tell(_failed(given.model, "NotReady", given.message))
        if not self._tick_due:  # once for all steps of this turn
            self._tick_due = True
            asyncio.get_running_loop().call_soon(self._set_tick)

    def _set_tick(self) -> None:
        self._tick_due = False
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        now_s = self._clock.monotonic_s()
        due_s = self._cache.next_s(now_s)
        if due_s is not None and not self._leaving:
            self._tick = asyncio.get_running_loop().call_later(max(0.001, due_s - now_s), self._step, Tick())

    async def _fetch(self, model: str) -> None:
        began_s = self._clock.monotonic_s()
        said = await self._control.fetch(model)
        if isinstance(said, NoFiles):
            self._happenings.fetch_failed(model, said)
            self._step(FetchFailed(model, said.reason, said.message, said.transient))
            return
        key = Key(model, said.version)
        try:
            kind = await asyncio.to_thread(self._kind_of, Path(said.path))
        except OSError as error:  # somebody has removed or locked the files: brought here again, they may be there
            self._control.release(said.path)
            message = f"The files of the model cannot be read: {error}."
            self._step(FetchFailed(model, "ArtifactInvalid", message, transient=True))
            return
        self._files.setdefault(key, []).append(said)
        took_s = self._clock.monotonic_s() - began_s
        self._happenings.fetched(key, said.took_s if said.fetched else 0.0)
        self._step(Fetched(model, said.version, said.size_bytes, kind, took_s))

    def _release(self, key: Key) -> None:
        self._happenings.forgotten(key)
        held = self._files[key]
        self._control.release(held.pop().path)
        if not held:
            del self._files[key]

    def _load(self, order: Load) -> None:
        key = Key(order.model, order.version)
        logger.info("loading %s", fields(model=key.model, version=key.version[:12], why=order.why))
        self._at.pop(key, None)
        self._at[key] = at = ModelAt(key.model, key.version, ModelState.LOADING, text=order.why)
        self._tell(at)
        self._loads[key] = self._raised[key] = self._background.start(self._bring_up(key, order), f"load {key.model}")

    async def _bring_up(self, key: Key, order: Load) -> None:
        try:
            running = await self.runner.load(key, self._files[key][-1])
        except LoadFault as fault:
            self._loads.pop(key, None)
            self._happenings.load_failed(key, order.why, fault.failure)
            self._left(key, fault.failure.message)
            self._gone(key)
            reason, message = fault.failure.reason, _words(fault.failure)
            why_not = LoadFailed(key.model, key.version, reason, message, fault.out_of_memory, fault.full, fault.died)
            self._step(why_not)
            return
        except asyncio.CancelledError:  # the policy has given it up, or the host ends
            self._loads.pop(key, None)
            self._happenings.load_failed(key, order.why, Failure(reason="StartTimeout", message="It was given up."))
            self._left(key, "its load was given up")
            self._gone(key)
            if self._leaving:
                raise
            self._step(LoadFailed(key.model, key.version, "StartTimeout", "Its load was given up."))
            return
        self._loads.pop(key, None)
        await self._up(key, order, running)

    async def _up(self, key: Key, order: Load, running: Running) -> None:
        """Requests may come at once; the policy, which counts its forecast until then, is told what it takes."""
        wait_s = self._happenings.ready(key.model)
        self._pids[key] = running.pid
        self._at[key] = at = ModelAt(key.model, key.version, ModelState.READY, running.lanes, text=order.why)
        self._tell(at)
        footprint = await self.runner.weigh(key)
        if footprint is not None and self._at.get(key) is at:  # else it has ended already, and all have been told
            self._told[key] = footprint
            artifact_bytes = self._files[key][-1].size_bytes
            self._happenings.loaded(key, order.why, wait_s, running.took_s, footprint.bytes, artifact_bytes)
            self._step(Loaded(key.model, key.version, footprint.bytes, running.took_s, footprint.gpu_bytes))

    def _unload(self, order: Unload) -> None:
        key = Key(order.model, order.version)
        logger.info("unloading %s", fields(model=key.model, version=key.version[:12], why=order.why, text=order.text))
        self._left(key, order.text)
        if (load := self._loads.get(key)) is not None:
            load.cancel()
        elif key in self._downs:  # whoever waits for its end is told of it
            self._background.start(self.runner.unload(key, grace_s=0.0), f"end {key.model}")
        else:
            grace_s = 0.0 if order.at_once else DRAIN_S
            self._downs.add(key)
            self._background.start(self._bring_down(key, order.why, order.text, grace_s), f"unload {key.model}")

    async def _bring_down(self, key: Key, why: str, text: str, grace_s: float) -> None:
        began_s, leaving = self._clock.monotonic_s(), self._at.get(key)
        try:
            await self.runner.unload(key, grace_s=grace_s)
        finally:
            self._downs.discard(key)
        if self._at.get(key) is not leaving:
            return  # it has ended by itself before it could be told
        footprint = self._told.get(key, Footprint(0))
        self._gone(key)
        self._happenings.unloaded(key, why, text, footprint.bytes, self._clock.monotonic_s() - began_s)
        self._step(Ended(key.model, key.version))
        self._ask_again(key.model)

    def _left(self, key: Key, text: str) -> None:
        """Tell gateways that nothing new is to be sent there; once."""
        at = self._at.get(key)
        if at is not None and at.state is not ModelState.LEAVING:
            self._at[key] = left = msgspec.structs.replace(at, state=ModelState.LEAVING, text=text)
            gateways = self._tell(left)
            if at.state is ModelState.READY:
                self._leaves.told(key, gateways)

    def _gone(self, key: Key) -> None:
        self._leaves.gone(key)
        self._raised.pop(key, None)
        self._at.pop(key, None)
        self._pids.pop(key, None)
        self._told.pop(key, None)

    def _ready(self, model: str) -> ModelAt | None:
        """The newest version that serves."""
        found = (at for at in self._at.values() if at.model == model and at.state is ModelState.READY)
        return next(reversed(list(found)), None)

    def _is_dying(self, at: ModelAt) -> bool:
        pid = self._pids.get(Key(at.model, at.version))
        return pid is not None and self._is_ending(pid)

    # --- once a second --------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            self._note(await self.runner.measure())
            self._step(Pressure(self._available_bytes()))
            self._show()

    def _note(self, found: Mapping[Key, Footprint]) -> None:
        for key, footprint in found.items():
            told = self._told.get(key)
            if told is None or _rounded(told) == _rounded(footprint):
                continue
            self._told[key] = footprint
            peak_bytes = max(footprint.bytes, footprint.peak_bytes)
            if peak_bytes > max(told.bytes, told.peak_bytes) + _SAME_BYTES:  # the policy remembers the most
                self._step(Measured(key.model, key.version, peak_bytes, footprint.gpu_bytes))
            self._step(Measured(key.model, key.version, footprint.bytes, footprint.gpu_bytes))

    def _show(self) -> None:
        self._showing.show(self._happenings, self._pids, self._requests, self._misses)

    # --- the end --------------------------------------------------------------------------------------------------

    async def leave(self, grace_s: float) -> None:
        """Nothing new: give up what is on its way, let what is loaded finish, end it. Returns when all is gone."""
        if not self._leaving:
            self._leaving = True
            self.runner.leave()
            if self._tick is not None:
                self._tick.cancel()
            for key in list(self._at):
                self._left(key, "the replica ends")
            for model in self._happenings.waiting():
                self._tell(_failed(model, "NotReady", "The replica is about to end."))
        up = [key for key in self._at if key not in self._loads]
        downs = [self._bring_down(key, "stopped", "the replica ends", grace_s) for key in up]
        await asyncio.gather(*downs, *self._background.cancel(), return_exceptions=True)


def _failed(model: str, reason: str, message: str) -> ModelAt:
    return ModelAt(model, "", ModelState.FAILED, reason=reason, message=message)


def _rounded(footprint: Footprint) -> tuple[int, int, int]:
    return footprint.bytes // _SAME_BYTES, footprint.peak_bytes // _SAME_BYTES, footprint.gpu_bytes


def _words(failure: Failure) -> str:
    """The message; with the last line of the traceback or log, which says what the model's code said."""
    last = failure.tail.strip().rpartition("\n")[2]
    return f"{failure.message} {last}" if last and last not in failure.message else failure.message
