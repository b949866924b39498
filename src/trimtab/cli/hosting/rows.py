"""From what hosts hold, what was counted and what was set, to one row a model. Pure."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec
from msgspec import Struct

from trimtab.advisor.model_costs import memory_usd_per_hour, time_usd
from trimtab.control.hosts.api import HostView, ModelCount
from trimtab.resources.hosting import EVERY_MODEL, ModelSetting
from trimtab.wire.hosting import ModelState, Resident

Prices = Mapping[str, float]
"""Dollars an hour of a variant's instance, by variant; without those whose price nobody knows."""

IDLE_S: Final = 600.0  # a model that nobody has asked for in so long keeps memory for nothing
ABSENT: Final = "-"


class Sort(enum.StrEnum):
    """What models are sorted by: their name, or a number (the largest first)."""

    NAME = "name"
    REQUESTS = "requests"
    MEMORY = "memory"
    LOADS = "loads"
    COST = "cost"


class Copy(Struct, frozen=True, kw_only=True):
    """One version of a model in one replica."""

    replica_id: str
    variant: str
    version: str
    state: str
    bytes: int
    peak_bytes: int
    pid: int
    in_hand: int
    loaded_s: float
    load_s: float
    value: float
    why: str


class ModelRow(Struct, frozen=True, kw_only=True):
    """One model. Dollars are None where no price is known."""

    model: str
    state: str  # of the copy that is nearest to serving; "-" while no replica has one
    versions: tuple[str, ...]  # in memory, those that serve first
    ready: int  # replicas that serve it
    bytes: int  # of all copies
    peak_bytes: int  # the most that one copy took
    requests: int
    misses: int  # requests that had to wait for a load
    in_hand: int
    loads: int
    failures: int
    evictions: int
    unloads: int
    crashes: int
    load_s: float  # all loads together, downloads included
    used_s: float  # wall time of the last request; 0: not known
    last_why: str
    pinned: bool
    setting: ModelSetting | None
    copies: tuple[Copy, ...]
    loads_usd: float | None
    kept_usd_per_hour: float | None

    @property
    def mean_load_s(self) -> float | None:
        """How long a load took, on average."""
        return self.load_s / self.loads if self.loads else None


class Page(Struct, frozen=True, kw_only=True):
    """All that was asked of an endpoint, with sums."""

    endpoint: str
    at_s: float
    hosts: tuple[HostView, ...]
    rows: tuple[ModelRow, ...]
    otherwise: ModelSetting | None  # what is set for each model that has no setting of its own
    prices: dict[str, float]
    price_notes: tuple[str, ...] = ()

    @property
    def used_bytes(self) -> int:
        """Memory that models take, of all replicas."""
        return sum(host.used_bytes for host in self.hosts)

    @property
    def memory_bytes(self) -> int:
        """Memory that models may take, of all replicas."""
        return sum(host.memory_bytes for host in self.hosts)

    @property
    def hits(self) -> int:
        """Requests whose model was loaded when they came, at the replicas that there are."""
        return sum(host.hits for host in self.hosts)

    @property
    def misses(self) -> int:
        """And those that waited for it."""
        return sum(host.misses for host in self.hosts)

    @property
    def idle_bytes(self) -> int:
        """Memory of copies that are not pinned, and of which nobody has asked for anything in IDLE_S."""
        return sum(one.bytes for one in self._idle())

    @property
    def idle_usd_per_hour(self) -> float | None:
        """What that memory costs."""
        if not self.prices:
            return None
        return sum(
            memory_usd_per_hour(one.bytes, host.memory_bytes, self.prices.get(host.variant, 0.0))
            for host in self.hosts
            for one in host.residents
            if self._is_idle(one)
        )

    def _idle(self) -> list[Resident]:
        return [one for host in self.hosts for one in host.residents if self._is_idle(one)]

    def _is_idle(self, one: Resident) -> bool:
        since_s = max(one.used_s, one.loaded_s)
        return one.state is ModelState.READY and not one.pinned and not one.in_hand and self.at_s - since_s > IDLE_S


def page_of(
    endpoint: str, document: Mapping[str, Any], prices: Prices, at_s: float, price_notes: Sequence[str] = ()
) -> Page:
    """From the document of `GET .../endpoints/NAME/models`."""
    hosts = msgspec.convert(document.get("hosts", ()), tuple[HostView, ...])
    counts = {one.model: one for one in msgspec.convert(document.get("models", ()), tuple[ModelCount, ...])}
    settings = {one.model: one for one in msgspec.convert(document.get("settings", ()), tuple[ModelSetting, ...])}
    otherwise = settings.pop(EVERY_MODEL, None)
    held: dict[str, list[tuple[HostView, Resident]]] = {}
    for host in hosts:
        for resident in host.residents:
            held.setdefault(resident.model, []).append((host, resident))
    rows = tuple(
        _row(model, held.get(model, ()), counts.get(model) or ModelCount(model=model), settings.get(model), prices)
        for model in sorted(held.keys() | counts.keys() | settings.keys())
    )
    return Page(
        endpoint=endpoint,
        at_s=at_s,
        hosts=hosts,
        rows=rows,
        otherwise=otherwise,
        prices=dict(prices),
        price_notes=tuple(price_notes),
    )


_NEAREST: Final = {ModelState.READY: 0, ModelState.LOADING: 1, ModelState.LEAVING: 2, ModelState.FAILED: 3}


def _row(
    model: str,
    held: Sequence[tuple[HostView, Resident]],
    count: ModelCount,
    setting: ModelSetting | None,
    prices: Prices,
) -> ModelRow:
    held = sorted(held, key=lambda one: (_NEAREST[one[1].state], one[0].replica_id, one[1].version))
    residents = [resident for _, resident in held]
    variants = {host.variant for host, _ in held}
    price = _mean(prices[variant] for variant in (variants or prices) if variant in prices)
    kept = [memory_usd_per_hour(r.bytes, host.memory_bytes, prices.get(host.variant, 0.0)) for host, r in held]
    return ModelRow(
        model=model,
        state=residents[0].state.value if residents else ABSENT,
        versions=tuple(dict.fromkeys(one.version for one in residents if one.version)),
        ready=len({host.replica_id for host, one in held if one.state is ModelState.READY}),
        bytes=sum(one.bytes for one in residents),
        peak_bytes=max((one.peak_bytes for one in residents), default=0),
        requests=count.requests,
        misses=count.misses,
        in_hand=sum(one.in_hand for one in residents),
        loads=count.loads,
        failures=count.failures,
        evictions=count.evictions,
        unloads=count.unloads,
        crashes=count.crashes,
        load_s=count.load_s,
        used_s=max((one.used_s for one in residents), default=0.0),
        last_why=count.last_why,
        pinned=any(one.pinned for one in residents) or (setting is not None and setting.pinned),
        setting=setting,
        copies=tuple(_copy(host, one) for host, one in held),
        loads_usd=None if price is None else time_usd(count.load_s, price),
        kept_usd_per_hour=sum(kept) if prices else None,
    )


def _copy(host: HostView, one: Resident) -> Copy:
    return Copy(
        replica_id=host.replica_id,
        variant=host.variant,
        version=one.version,
        state=one.state.value,
        bytes=one.bytes,
        peak_bytes=one.peak_bytes,
        pid=one.pid,
        in_hand=one.in_hand,
        loaded_s=one.loaded_s,
        load_s=one.load_s,
        value=one.value,
        why=one.why,
    )


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


_KEYS: Final[Mapping[Sort, Callable[[ModelRow], float]]] = {
    Sort.REQUESTS: lambda row: row.requests,
    Sort.MEMORY: lambda row: row.bytes,
    Sort.LOADS: lambda row: row.loads,
    Sort.COST: lambda row: row.loads_usd if row.loads_usd is not None else row.load_s,
}


def chosen(rows: Iterable[ModelRow], sort: Sort, match: str) -> list[ModelRow]:
    """Those whose name fits the pattern (`*` and `?`; empty: all), sorted."""
    found = [row for row in rows if not match or fnmatchcase(row.model, match)]
    key = _KEYS.get(sort)
    return found if key is None else sorted(found, key=lambda row: (-key(row), row.model))
