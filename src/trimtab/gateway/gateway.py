"""Gateway: endpoints by name, kept as the last RouteTable says; calls in, answers out."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from trimtab import logs
from trimtab.errors import Invalid, NotFound, TargetModelMissing, TargetModelRefused
from trimtab.gateway.calls import Call
from trimtab.gateway.frames_lane import FramesLane
from trimtab.gateway.http_lane import CONNECT_TIMEOUT_S, HttpLane
from trimtab.gateway.lane import Lane
from trimtab.gateway.looker import Looker
from trimtab.gateway.models.host_link import HostLink
from trimtab.gateway.models.hosted_variant import HostedVariant
from trimtab.gateway.serverless import ServerlessVariant
from trimtab.gateway.shared_count import Bounds, alone
from trimtab.gateway.variant import Variant
from trimtab.policies.routing import SmoothWeighted
from trimtab.resources.replica import Wire
from trimtab.resources.routing import EndpointRoute, RouteTable, VariantRoute
from trimtab.resources.routing import Lane as LaneRoute
from trimtab.wire.reports import VariantReport

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL_S = 0.05
_FRAMES_CONNECT_TIMEOUT_S = 1.0


class Watcher(Protocol):
    """Who is told of variants of which control wants to know at once."""

    def began(self, variant: Variant) -> None:
        """It has its first call after a while, and is active."""
        ...

    def starved(self, variant: Variant) -> None:
        """A call waits, and there is no lane to wait for."""
        ...

    def switched(self, active: Iterable[Variant]) -> None:
        """The table is another: variants are gone, or have begun or ceased to be of interest."""
        ...


class Share:
    """Variants that share an endpoint's traffic by their weights."""

    __slots__ = ("_variants", "_weighted")

    def __init__(self, variants: Iterable[Variant]) -> None:
        self._variants = tuple(variants)
        self._weighted = SmoothWeighted(variant.route.weight for variant in self._variants)

    def __bool__(self) -> bool:
        return bool(self._variants)

    def next(self) -> Variant | None:
        """The one whose turn it is. None when all weights are 0."""
        index = self._weighted.next()
        return self._variants[index] if index is not None else None


class EndpointEntry:
    """One endpoint of the table.

    Where some variants hold many models and others one, requests that name a model share the former, the rest the
    latter: no draw of a variant makes a request wrong.
    """

    __slots__ = ("_plain", "_with_models", "by_name", "max_payload_bytes", "only", "route", "variants")

    def __init__(self, route: EndpointRoute, variants: tuple[Variant, ...]) -> None:
        self.route = route
        self.variants = variants
        self.by_name = {variant.route.name: variant for variant in variants}
        self.max_payload_bytes = max((variant.route.max_payload_bytes for variant in variants), default=0)
        alone = len(variants) == 1 and variants[0].route.weight > 0
        self.only = variants[0] if alone else None  # takes all that fits it: no choice is needed
        self._plain = Share(variant for variant in variants if not variant.hosted)
        self._with_models = Share(variant for variant in variants if variant.hosted)

    def choose(self, target: str, *, model: str) -> Variant:
        """The variant named, else of those that take the request the one whose turn it is by weight.

        NotFound; Invalid when it names a model and the variant holds one, or none and it holds many, and when all
        weights are 0.
        """
        if target:
            named = self.by_name.get(target)
            if named is None:
                raise NotFound("variant", target)
            if named.hosted is (model == ""):
                raise self._mismatch(model, named.route.name)
            return named
        share = self._with_models if model else self._plain
        variant = share.next()
        if variant is not None:
            return variant
        if self.variants and not share:
            raise self._mismatch(model)
        mixed = self._plain and self._with_models
        kind = "" if not mixed else " with many models" if model else " with one model"
        raise Invalid(
            f"Every variant{kind} of endpoint {self.route.name} has weight 0. "
            "Name a TargetVariant, or change the weights."
        )

    def _mismatch(self, model: str, variant: str = "") -> Invalid:
        if not model:
            return TargetModelMissing()
        return TargetModelRefused(self.route.name, variant if self._with_models else "")


class Gateway:
    """Routes calls by the last applied table; it needs nothing else, so it serves while control is away."""

    def __init__(
        self,
        *,
        now_s: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        metered: bool = True,
        bounds: Bounds = alone,
    ) -> None:
        """`bounds` are what gateways count together, where there are several."""
        self._bounds = bounds
        self.table = RouteTable(version=0)
        self.endpoints: dict[str, EndpointEntry] = {}
        self.watcher: Watcher | None = None
        self._now_s = now_s
        self._draw = draw
        self._metered = metered
        self._looker = Looker(now_s)
        self._retired: list[Variant] = []  # lanes of theirs still finish what they have
        self._unreported: list[VariantReport] = []  # of variants that are no more
        self._active: dict[Variant, None] = {}  # those that may have something in hand or to report: a few of many
        self._timer: asyncio.TimerHandle | None = None
        self._applying = asyncio.Lock()

    # --- calls -------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Take a call. What becomes of it, it is told; nothing is raised."""
        entry = self.endpoints.get(call.endpoint)
        if entry is None:
            call.done = True
            call.failed(NotFound("endpoint", call.endpoint))
            return
        variant = entry.only
        if variant is None or call.target_variant or variant.hosted is (call.target_model == ""):
            try:
                variant = entry.choose(call.target_variant, model=call.target_model)
            except (NotFound, Invalid) as error:
                call.done = True
                call.failed(error)
                return
        if not variant.active:
            self._activate(variant)
        variant.admit(call)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_INTERVAL_S, self._sweep)

    def _activate(self, variant: Variant) -> None:
        variant.active = True
        self._active[variant] = None
        if self.watcher is not None and variant.signals:
            self.watcher.began(variant)

    def _starved(self, variant: Variant) -> None:
        if self.watcher is not None and variant.signals:
            self.watcher.starved(variant)

    def _sweep(self) -> None:
        """Enforce time limits; runs only while there is anything in hand."""
        now_s = self._now_s()
        busy = False
        for variant in list(self._active):  # what fails here may be asked again at once
            busy = variant.sweep(now_s) or busy
        self._let_go(now_s)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SWEEP_INTERVAL_S, self._sweep) if busy else None

    def _let_go(self, now_s: float) -> None:
        """Forget retired variants that have finished."""
        finished = [v for v in self._retired if not any(lane.calls() for lane in v.retiring)]
        for variant in finished:
            self._retired.remove(variant)
            if (report := variant.report(now_s)) is not None:
                self._unreported.append(report)

    def reports(self) -> Iterator[VariantReport]:
        """What happened at each variant since this was last asked. Each is looked at when it is its turn."""
        self._let_go(self._now_s())
        while self._unreported:
            yield self._unreported.pop(0)
        for variant in list(self._active):
            now_s = self._now_s()
            if (report := variant.report(now_s)) is not None:
                yield report
            elif not variant.sweep(now_s):
                variant.active = False  # until it is called again
                del self._active[variant]

    def active(self) -> Iterable[Variant]:
        """Variants that have had calls lately."""
        return self._active

    def variants(self) -> list[Variant]:
        """All variants, those that are finishing included."""
        return [v for entry in self.endpoints.values() for v in entry.variants] + self._retired

    # --- change ------------------------------------------------------------------------------------------------

    async def apply(self, table: RouteTable) -> None:
        """Serve as `table` says.

        New lanes are connected first, so that the switch itself costs no request; a lane that cannot be reached in
        time is tried again in the background. When this returns, no request will be sent to a lane that is not in
        `table`. A table older than the one in force is ignored.
        """
        async with self._applying:
            if table.version < self.table.version:
                return
            plan = self._prepare(table)
            fresh = [lane for _, _, rows in plan for _, _, lanes in rows for lane in lanes if not lane.opened]
            await asyncio.gather(*(self._open(lane) for lane in fresh))
            self._switch(table, plan)

    def forget_version(self) -> None:
        """Accept the next table whatever its version."""
        self.table = msgspec.structs.replace(self.table, version=0)

    @staticmethod
    async def _open(lane: Lane) -> None:
        timeout_s = CONNECT_TIMEOUT_S if lane.route.wire is Wire.HTTP else _FRAMES_CONNECT_TIMEOUT_S
        if not await lane.open(timeout_s=timeout_s):
            fields = logs.fields(replica=lane.route.replica_id, address=lane.route.address)
            logger.info("lane not reachable yet %s", fields)  # so at each start with a table of workers that are gone

    def _prepare(self, table: RouteTable) -> _Plan:
        """Variants and lanes for `table`, reusing those that go on; what has not changed costs next to nothing."""
        plan: _Plan = []
        for endpoint in table.endpoints:
            before = self.endpoints.get(endpoint.name)
            if before is not None and before.route == endpoint:
                plan.append((endpoint, before, []))
                continue
            rows = []
            for route in endpoint.variants:
                kind = _kind(route)
                variant = before.by_name.get(route.name) if before is not None else None
                if type(variant) is not kind:  # from one model to many, say: what waits is asked anew
                    variant = self._new_variant(endpoint.name, route)
                known = {_lane_key(lane.route): lane for lane in variant.lanes}
                usable = [r for r in route.lanes if (r.wire is Wire.MODELS) is kind.hosted]
                lanes = tuple(known.get(_lane_key(r)) or self._new_lane(r, variant, route.version) for r in usable)
                rows.append((variant, route, lanes))
            plan.append((endpoint, None, rows))
        return plan

    def _new_variant(self, endpoint: str, route: VariantRoute) -> Variant:
        variant = _kind(route)(
            route,
            now_s=self._now_s,
            random=self._draw,
            readmit=self.submit,
            starved=self._starved,
            endpoint=endpoint,
            metered=self._metered,
        )
        if isinstance(variant, ServerlessVariant) and self._metered:
            variant.bound = self._bounds(endpoint, route.name)
        return variant

    def _new_lane(self, route: LaneRoute, variant: Variant, version: str) -> Lane:
        lane: Lane
        if route.wire is Wire.FRAMES:
            lane = FramesLane(route, variant, self._now_s, self._looker)
        elif isinstance(variant, HostedVariant):
            lane = HostLink(route, variant, self._now_s, self._looker)
        else:
            lane = HttpLane(route, variant, self._now_s)
        if variant.meter is not None:
            lane.meter = variant.meter.version(version)
        return lane

    def _switch(self, table: RouteTable, plan: _Plan) -> None:
        endpoints: dict[str, EndpointEntry] = {}
        for endpoint, unchanged, rows in plan:
            for variant, route, lanes in rows:
                variant.change(route, lanes)
            endpoints[endpoint.name] = unchanged or EndpointEntry(endpoint, tuple(variant for variant, _, _ in rows))
        before, self.table, self.endpoints = self.endpoints, table, endpoints
        for entry in before.values():
            now = endpoints.get(entry.route.name)
            for variant in entry.variants if now is not entry else ():
                if now is None or variant not in now.variants:
                    variant.retire()  # what waits there is submitted again, under the new table
                    self._retired.append(variant)
        if self.watcher is not None:
            self.watcher.switched(self._active)

    async def close(self) -> None:
        """Disconnect from every lane."""
        if self._timer is not None:
            self._timer.cancel()
        lanes = [lane for variant in self.variants() for lane in (*variant.lanes, *variant.retiring)]
        await asyncio.gather(*(lane.close() for lane in lanes))


_Plan = list[tuple[EndpointRoute, EndpointEntry | None, list[tuple[Variant, VariantRoute, tuple[Lane, ...]]]]]


def _kind(route: VariantRoute) -> type[Variant]:
    if route.serverless is not None:
        return ServerlessVariant
    return Variant if route.hosting is None else HostedVariant


def _lane_key(route: LaneRoute) -> tuple[str, str, int, int, str]:
    return (route.replica_id, route.address, route.concurrency, route.batch_size, route.wire)
