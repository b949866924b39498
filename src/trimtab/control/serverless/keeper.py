"""EnvironmentKeeper: what each serverless variant wants, by what gateways have in hand of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from math import inf
from typing import Final

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.control.serverless.learned_file import pack
from trimtab.control.signal_server import NOTHING, Total
from trimtab.control.turn import REPLICA_IN_ROUTING
from trimtab.policies.serverless.environments import Environments, Wanted
from trimtab.policies.serverless.keep_warm import IdleTimes
from trimtab.policies.serverless.settings import KeepWarm, keep_warm_of
from trimtab.resources.deployment import Deployment, EndpointRecord
from trimtab.resources.endpoint import Event
from trimtab.resources.names import key_of
from trimtab.resources.replica import ReplicaState, ReplicaStatus, StartCause
from trimtab.resources.serverless import Serverless

KEEP_EVERY_S: Final = 60
TELLS_WITHIN_S: Final = 0.5  # a gateway tells its levels as soon as it is connected

Place = tuple[str, str]
"""Endpoint's key and variant."""

_LIVING = (ReplicaState.STARTING, ReplicaState.READY)


class _Kept(Struct):
    """One variant of one endpoint's life. `told`: how many were wanted when a plan asked last."""

    uid: str
    endpoint: str
    environments: Environments
    told: int = -1


class EnvironmentKeeper:
    """Plans ask what is wanted (`see`); levels of gateways come in by `hear`, and have an endpoint planned anew when
    something else is wanted (`wake`, with its name).

    `totals` are what gateways have told last, by endpoint and variant; `connected`: whether all of them are there to
    tell. While one is away what it has in hand is not known: nothing is taken away.
    """

    def __init__(
        self,
        wake: Callable[[str], None],
        totals: Callable[[], Mapping[tuple[str, str], Total]],
        connected: Callable[[], bool],
        clock: Clock,
        *,
        learned: Mapping[str, list[IdleTimes]] = {},
        keep: Callable[[bytes], None] = lambda packed: None,
    ) -> None:
        """`learned` are the idle times that `keep` was given last; it is called in a thread."""
        self._wake = wake
        self._totals = totals
        self._connected = connected
        self._clock = clock
        self._kept: dict[Place, _Kept] = {}
        self._connected_s = -inf if connected() else inf  # since when all gateways are there
        self._before = dict(learned)
        self._keep = keep
        self._counted = 0  # idle times, when they were kept last

    # control asks and tells

    def see(self, key: str, record: EndpointRecord | None, replicas: Sequence[ReplicaStatus]) -> dict[str, Wanted]:
        """What each serverless variant of an endpoint wants now, by name. `record` None: the endpoint is no more."""
        rules = _rules(record) if record is not None else {}
        for place in [place for place in self._kept if place[0] == key and place[1] not in rules]:
            del self._kept[place]
        if record is None:
            return {}
        return {name: self._want(key, name, record, *of, replicas) for name, of in rules.items()}

    def _want(
        self,
        key: str,
        name: str,
        record: EndpointRecord,
        rules: Serverless,
        keep_warm: KeepWarm,
        replicas: Iterable[ReplicaStatus],
    ) -> Wanted:
        now_s = self._clock.monotonic_s()
        there = sum(replica.variant == name and replica.state in _LIVING for replica in replicas)
        kept = self._kept.get((key, name))
        if kept is None or kept.uid != record.uid:
            learned = self._before.pop(f"{record.uid}/{name}", [])
            environments = Environments(rules=rules, keep_warm=keep_warm, learned=learned)
            kept = _Kept(record.uid, record.endpoint.name, environments)
            self._kept[key, name] = kept
            kept.environments.made(there, now_s)
        kept.environments.follow(rules, keep_warm)
        wanted = kept.environments.wanted(now_s)
        if not self._all_told() and there > wanted.count:
            wanted = Wanted(there, "kept until all gateways have told what they have in hand")
        kept.told = wanted.count
        return wanted

    def told(self, endpoint: str, events: Sequence[Event]) -> None:
        """Something is recorded of an endpoint. What a deployment has made was asked for by no request."""
        key = key_of(endpoint)
        for event in events:
            if event.what == REPLICA_IN_ROUTING and event.cause == StartCause.DEPLOYMENT:
                kept = self._kept.get((key, event.variant))
                if kept is not None:
                    kept.environments.made(kept.environments.in_hand + 1, self._clock.monotonic_s())

    # gateways tell

    def hear(self, endpoint: str, variant: str, total: Total) -> None:
        """`SignalServer.on_level`."""
        kept = self._kept.get((key_of(endpoint), variant))
        if kept is None:
            return
        self._saw(kept, total.now if self._all_told() else max(total.now, kept.environments.in_hand))

    def _saw(self, kept: _Kept, in_hand: int) -> None:
        now_s = self._clock.monotonic_s()
        kept.environments.saw(in_hand, now_s)
        if kept.environments.wanted(now_s).count != kept.told:
            self._wake(kept.endpoint)

    def _all_told(self) -> bool:
        """Whether all gateways are there, and have been for long enough to have told what they have in hand."""
        now_s = self._clock.monotonic_s()
        if not self._connected():
            self._connected_s = inf
            return False
        self._connected_s = min(self._connected_s, now_s)
        return now_s - self._connected_s >= TELLS_WITHIN_S

    # time

    async def run(self) -> None:
        """Once a second, until cancelled: what a gateway that came or went has changed is seen then. What was learned
        is kept once a minute, and in the end."""
        try:
            for second in count(1):
                await asyncio.sleep(1.0)
                self.second()
                if second % KEEP_EVERY_S == 0 and (packed := self.learned()):
                    await asyncio.to_thread(self._keep, packed)
        finally:
            if packed := self.learned():
                self._keep(packed)

    def learned(self) -> bytes:
        """What is to be kept of all that was learned; nothing when that is the same as the last time."""
        by_name = {f"{of.uid}/{variant}": of.environments.learned for (_, variant), of in self._kept.items()}
        counted = sum(times.seen for learned in by_name.values() for times in learned)
        if counted == self._counted:
            return b""
        self._counted = counted
        return pack(by_name)

    def second(self) -> None:
        """See what is in hand now."""
        if not self._all_told():
            return
        totals = self._totals()
        for (_, variant), kept in list(self._kept.items()):
            self._saw(kept, totals.get((kept.endpoint, variant), NOTHING).now)


def _rules(record: EndpointRecord) -> dict[str, tuple[Serverless, KeepWarm]]:
    """Of the serverless variants of what serves: as they are declared now."""
    serving: Deployment | None = record.serving
    if serving is None:
        return {}
    states = {state.name: state.serverless for state in record.sizes}
    environments = {variant.spec.name: variant.container.environment for variant in serving.variants}
    return {
        name: (rules, keep_warm_of(environments[name]))
        for name, rules in states.items()
        if rules is not None and name in environments
    }
