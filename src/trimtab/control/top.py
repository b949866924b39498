"""Top: what every endpoint, variant and replica does and takes at the moment, as one document.

Requests are counted over a window of whole seconds that ends a second ago, so that gateways have reported all of it.
What replicas take is the last reading. What is not known is None and left out of the document: no data is not zero.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from trimtab.clock import Clock
from trimtab.control.api import ControlApi
from trimtab.control.figures import Figures, Reading, Window, figures, priced, rank, usage_figures
from trimtab.control.fleet import wanted_of
from trimtab.errors import Invalid, NotFound
from trimtab.metrics.store import MetricStore
from trimtab.resources.endpoint import Endpoint, Event
from trimtab.resources.names import key_of
from trimtab.resources.replica import ReplicaState, ReplicaStatus
from trimtab.resources.usage import ReplicaUsage

MAX_WINDOW_S = 60
MAX_LIMIT = 1000
MAX_EVENTS = 100
LAG_S = 1
_RANGES = {"window_s": (1, MAX_WINDOW_S), "limit": (1, MAX_LIMIT), "offset": (0, 10**9), "events": (0, MAX_EVENTS)}
_AT_A_TIME = 8  # endpoints read before others get their turn in the event loop


class Sort(enum.StrEnum):
    """What endpoints are sorted by: their name, or a figure (the largest first, those without it last)."""

    NAME = "name"
    RATE = "rate"
    ERRORS = "errors"
    P99 = "p99"
    QUEUE = "queue"
    CPU = "cpu"
    MEMORY = "memory"


class TopQuery(Struct, frozen=True, kw_only=True):
    """What is asked. `endpoint` "" means all. Invalid where a number is out of its range."""

    endpoint: str = ""
    window_s: int = 10
    sort: str = Sort.NAME.value
    limit: int = 50  # endpoints
    offset: int = 0
    events: int = 3  # for each endpoint, the newest

    def check(self) -> TopQuery:
        """Return it; Invalid when it asks for something that there is not."""
        if self.sort not in tuple(Sort):
            raise Invalid(f"sort must be one of {', '.join(Sort)}, not {self.sort[:40]!r}.")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise Invalid(f"{name} must be from {least} to {most}, not {getattr(self, name)}.")
        return self


class ReplicaTop(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One replica."""

    id: str
    state: str
    version: str
    figures: Figures
    in_flight: int
    started_s: float
    pids: tuple[int, ...] = ()
    gpus: tuple[int, ...] = ()
    failure: str = ""


class VariantTop(Struct, frozen=True, kw_only=True):
    """One variant, all its replicas together."""

    name: str
    weight: float
    replicas_ready: int
    replicas_desired: int
    figures: Figures
    replicas: tuple[ReplicaTop, ...]


class EndpointTop(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One endpoint, all its variants together, and its newest events (newest last)."""

    name: str
    status: str
    replicas_ready: int
    replicas_desired: int
    figures: Figures
    variants: tuple[VariantTop, ...]
    failure_reason: str = ""
    errors_by_reason: dict[str, float] = {}  # a second; the most frequent first
    events: tuple[Event, ...] = ()


class Top(Struct, frozen=True, kw_only=True):
    """The answer. `endpoints_total` counts those before and behind this page, too."""

    at_s: float
    window_s: int
    sort: str
    offset: int
    endpoints_total: int
    replicas_ready: int
    replicas_desired: int
    endpoints: tuple[EndpointTop, ...]


class Overview:
    """Answers `TopQuery`s from control, the metric store and the last readings of replicas."""

    def __init__(
        self,
        control: ControlApi,
        metrics: MetricStore,
        usages: Callable[[], Mapping[str, ReplicaUsage]],
        clock: Clock,
        models: Callable[[], Mapping[str, int]] = dict,
        backlog: Callable[[str], int | None] = lambda endpoint: None,
        costs: Callable[[], Mapping[tuple[str, str], float]] = dict,
    ) -> None:
        """`models`: how many models each replica of a multi-model variant has loaded, by its id. `backlog`: how many
        requests wait or are worked on at an asynchronous endpoint; None of any other. `costs`: dollars an hour of each
        endpoint's variants whose replicas have a price."""
        self._control = control
        self._metrics = metrics
        self._usages = usages
        self._models = models
        self._backlog = backlog
        self._costs = costs
        self._clock = clock

    async def top(self, query: TopQuery, sees: Callable[[str], bool] = lambda name: True) -> Top:
        """One page. `sees` says which endpoints the caller may see. NotFound for an endpoint that is not there."""
        query.check()
        now_s = self._clock.now_s()
        end_s = int(now_s) - LAG_S
        found = self._found(query, sees)
        replicas: dict[str, list[ReplicaStatus]] = {}
        for replica in self._control.list_replicas():
            replicas.setdefault(key_of(replica.endpoint), []).append(replica)
        asked = _Asked(Window(self._metrics, end_s - query.window_s, end_s), self._usages(), self._models(), replicas)
        page = (await self._sorted(found, query.sort, asked))[query.offset : query.offset + query.limit]
        rows, costs = [], self._costs()
        for number, endpoint in enumerate(page, 1):
            events = self._control.get_events(endpoint.name, last=query.events) if query.events else ()
            rows.append(asked.endpoint(endpoint, events, self._backlog(endpoint.name), costs))
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        wanted = {key_of(endpoint.name) for endpoint in found}
        return Top(
            at_s=now_s,
            window_s=query.window_s,
            sort=query.sort,
            offset=query.offset,
            endpoints_total=len(found),
            replicas_ready=sum(_ready(mine) for key, mine in replicas.items() if key in wanted),
            replicas_desired=sum(_desired(endpoint, replicas.get(key_of(endpoint.name), ())) for endpoint in found),
            endpoints=tuple(rows),
        )

    def _found(self, query: TopQuery, sees: Callable[[str], bool]) -> list[Endpoint]:
        key = key_of(query.endpoint)
        found = [e for e in self._control.list_endpoints() if (not key or key_of(e.name) == key) and sees(e.name)]
        if key and not found:
            raise NotFound("endpoint", query.endpoint)
        return sorted(found, key=lambda endpoint: endpoint.name)

    async def _sorted(self, found: list[Endpoint], sort: str, asked: _Asked) -> list[Endpoint]:
        if sort == "name":
            return found
        values: dict[str, float | None] = {}
        for number, endpoint in enumerate(found, 1):
            values[endpoint.name] = asked.rank(endpoint, sort)
            if number % (4 * _AT_A_TIME) == 0:
                await asyncio.sleep(0)
        return sorted(found, key=lambda e: (values[e.name] is None, -(values[e.name] or 0.0), e.name))


class _Asked:
    """One question's sources."""

    def __init__(
        self,
        window: Window,
        usages: Mapping[str, ReplicaUsage],
        models: Mapping[str, int],
        replicas: Mapping[str, Sequence[ReplicaStatus]],
    ) -> None:
        self._window = window
        self._usages = usages
        self._models = models
        self._replicas = replicas

    def rank(self, endpoint: Endpoint, sort: str) -> float | None:
        """What an endpoint is sorted by."""
        return rank(
            sort,
            lambda: [self._reading(endpoint, name, only=sort) for name in _variant_names(endpoint, ())],
            self._taken(self._replicas.get(key_of(endpoint.name), ())),
        )

    def endpoint(
        self,
        endpoint: Endpoint,
        events: Sequence[Event],
        backlog: int | None = None,
        costs: Mapping[tuple[str, str], float] = {},
    ) -> EndpointTop:
        replicas = self._replicas.get(key_of(endpoint.name), ())
        names = _variant_names(endpoint, replicas)
        readings = {name: self._reading(endpoint, name) for name in names}
        usd = {name: costs[endpoint.name, name] for name in names if (endpoint.name, name) in costs}
        found = figures(list(readings.values()), self._taken(replicas), self._held(replicas))
        return EndpointTop(
            name=endpoint.name,
            status=endpoint.status.value,
            replicas_ready=_ready(replicas),
            replicas_desired=_desired(endpoint, replicas),
            figures=priced(replace(found, backlog=backlog), sum(usd.values()) if usd else None),
            variants=tuple(self._variant(endpoint, name, replicas, readings[name], usd.get(name)) for name in names),
            failure_reason=endpoint.failure_reason,
            errors_by_reason=self._window.errors_by_reason(endpoint.name, since_s=endpoint.created_s),
            events=tuple(events),
        )

    def _variant(
        self,
        endpoint: Endpoint,
        name: str,
        replicas: Sequence[ReplicaStatus],
        reading: Reading,
        usd_per_hour: float | None = None,
    ) -> VariantTop:
        mine = sorted((r for r in replicas if r.variant == name), key=lambda r: (r.started_s, r.id))
        states = [state for state in (*endpoint.pending_variants, *endpoint.variants) if state.name == name]
        return VariantTop(
            name=name,
            weight=states[0].desired_weight if states else 0.0,
            replicas_ready=_ready(mine),
            replicas_desired=wanted_of(states[0], endpoint.name, mine) if states else 0,
            figures=priced(figures([reading], self._taken(mine), self._held(mine)), usd_per_hour),
            replicas=tuple(self._replica(replica) for replica in mine),
        )

    def _replica(self, replica: ReplicaStatus) -> ReplicaTop:
        failure = replica.failure
        return ReplicaTop(
            id=replica.id,
            state=replica.state.value,
            version=replica.version,
            figures=usage_figures(self._taken([replica]), self._held([replica])),
            in_flight=replica.in_flight,
            started_s=replica.started_s,
            pids=replica.pids,
            gpus=replica.gpus,
            failure=f"{failure.reason}: {failure.message}" if failure else "",
        )

    def _taken(self, replicas: Iterable[ReplicaStatus]) -> list[ReplicaUsage]:
        return [self._usages[replica.id] for replica in replicas if replica.id in self._usages]

    def _held(self, replicas: Iterable[ReplicaStatus]) -> list[int]:
        return [self._models[replica.id] for replica in replicas if replica.id in self._models]

    def _reading(self, endpoint: Endpoint, variant: str, *, only: str = "") -> Reading:
        return self._window.read(endpoint.name, variant, since_s=endpoint.created_s, only=only)


def _variant_names(endpoint: Endpoint, replicas: Sequence[ReplicaStatus]) -> list[str]:
    """Those that there are, will be, or still run."""
    declared = [state.name for state in (*endpoint.variants, *endpoint.pending_variants)]
    return list(dict.fromkeys([*declared, *sorted(replica.variant for replica in replicas)]))


def _ready(replicas: Iterable[ReplicaStatus]) -> int:
    return sum(replica.state is ReplicaState.READY for replica in replicas)


def _desired(endpoint: Endpoint, replicas: Sequence[ReplicaStatus]) -> int:
    return sum(wanted_of(state, endpoint.name, replicas) for state in endpoint.variants)
