"""Metering: gateways' reports become samples in the metric store, and totals for Prometheus.

A report, the number of it and the totals are written in one transaction; the gateway hears that its report is kept once
that is done. So a report counts exactly once, whatever is killed when.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct, field

from trimtab.clock import Clock
from trimtab.control import totals as totals_of
from trimtab.control.samples import MINUTE_S, SampleMaker, utilization
from trimtab.control.totals import Sum, VariantTotals
from trimtab.logs import fields
from trimtab.metrics.families import SAMPLED
from trimtab.metrics.names import ENDPOINT, INSTANCES, SAGEMAKER, TRIMTAB, VARIANT
from trimtab.metrics.store import Sample
from trimtab.resources.routing import RouteTable, VariantRoute
from trimtab.wire.merging import merge_variants
from trimtab.wire.reports import Range, Report, VariantReport

logger = logging.getLogger(__name__)

Place = tuple[str, str]
"""Endpoint and variant."""

_FRESH_S: Final = 3  # gauges of a variant that nobody has reported on for so long are zero
_IDLE_IN_S: Final = 50  # zeros are written in the first seconds of a minute, a part of them in each
_GATEWAYS_KEPT_S: Final = 86_400.0
_GATEWAY_NOTE: Final = "gateway/"
_TOTALS_NOTE: Final = "totals/"

_pack = msgspec.msgpack.Encoder().encode
_unpack_gateway = msgspec.msgpack.Decoder(tuple[int, float]).decode
_SAMPLED: Final = {sampled.metric: sampled for sampled in SAMPLED}


class Keeps(Protocol):
    """A metric store that keeps notes beside samples, in one transaction (`metrics/sqlite.py`)."""

    def record(
        self,
        samples: Sequence[Sample],
        *,
        durable: bool = False,
        notes: Mapping[str, bytes | None] | None = None,
        committed: Callable[[], None] | None = None,
    ) -> None: ...

    def notes(self, prefix: str = "") -> dict[str, bytes]: ...


Also = Callable[[Report], tuple[Sequence[Sample], Mapping[str, bytes | None]]]
"""Samples and notes that a report brings, beside those of Metering."""


class Variant(Struct):
    """What is known of one variant of the route table now."""

    route: VariantRoute
    asynchronous: bool = False  # of an asynchronous endpoint
    totals: VariantTotals = field(default_factory=VariantTotals)
    in_hand: int = 0
    waiting: int = 0
    busy: float = 0.0  # 0 to 1
    reported_s: int = 0  # start of the newest report
    sampled: dict[str, float] = field(default_factory=dict)  # gauges by metric name
    newest: dict[str, tuple[int, VariantReport]] = field(default_factory=dict)  # by gateway, when there are several
    costs: dict[str, int] = field(default_factory=dict)  # micro-dollars since it exists, by part


class Metering:
    """Takes reports (`report_server.Takes`); `tick` once a second. On the event loop."""

    def __init__(
        self,
        store: Keeps,
        table: Callable[[], RouteTable],
        clock: Clock,
        *,
        dropped: Callable[[str], None] = lambda endpoint: None,
        also: Also = lambda report: ((), {}),
        heard: Callable[[Report], None] = lambda report: None,
    ) -> None:
        """`dropped` hears of an endpoint whose tasks' notices were dropped. `also` says what else is written together
        with a report, of one that was not taken before; `heard` hears of it then."""
        self._store = store
        self._dropped = dropped
        self._also = also
        self._heard = heard
        self._table = table
        self._clock = clock
        self._maker = SampleMaker()
        self._numbers: dict[str, int] = {}  # last report that was taken, by gateway
        self._connected: set[str] = set()
        self._due: deque[Callable[[], None]] = deque()
        self._running = False
        self._seen: RouteTable | None = None
        self._fresh: set[Place] = set()  # variants whose gauges may not be zero
        self._zeros: list[Place] = []  # idle variants of this minute that still need theirs
        self._minute_s = 0
        self.variants: dict[Place, Variant] = {}
        self.changed: set[Place] = set()  # since the exposition was last rendered
        self._load()

    def _load(self) -> None:
        now_s = self._clock.now_s()
        old: dict[str, bytes | None] = {}
        for name, value in self._store.notes(_GATEWAY_NOTE).items():
            number, at_s = _unpack_gateway(value)
            if now_s - at_s > _GATEWAYS_KEPT_S:
                old[name] = None
            else:
                self._numbers[name.removeprefix(_GATEWAY_NOTE)] = number
        self._follow_table()
        for name, value in self._store.notes(_TOTALS_NOTE).items():
            endpoint, _, variant = name.removeprefix(_TOTALS_NOTE).partition("/")
            if (known := self.variants.get((endpoint, variant))) is None:
                old[name] = None
            else:
                known.totals = totals_of.unpacked(value)
        if old:
            self._store.record((), notes=old)

    # --- reports ---------------------------------------------------------------------------------------------------

    def welcome(self, gateway: str, answer: Callable[[int], None]) -> None:
        """See `Takes`."""
        self._connected.add(gateway)

        def when_done() -> None:
            number = self._numbers.get(gateway, 0)
            self._store.record((), committed=self._later(lambda: answer(number)))

        self._do(when_done)  # after the reports that it sent on an earlier connection

    def take(self, gateway: str, report: Report, acknowledge: Callable[[int], None]) -> None:
        """See `Takes`."""
        self._do(lambda: self._take(gateway, report, acknowledge))

    def left(self, gateway: str) -> None:
        """See `Takes`."""
        self._connected.discard(gateway)
        for variant in self.variants.values():
            variant.newest.pop(gateway, None)

    def _do(self, work: Callable[[], None]) -> None:
        """One report in one turn of the loop: many of them hold up nobody."""
        self._due.append(work)
        if not self._running:
            self._running = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        self._running = len(self._due) > 1
        work = self._due.popleft()
        if self._running:
            asyncio.get_running_loop().call_soon(self._next)
        work()

    def _take(self, gateway: str, report: Report, acknowledge: Callable[[int], None]) -> None:
        acknowledged = self._later(lambda: acknowledge(report.number))
        if report.number <= self._numbers.get(gateway, 0):
            self._store.record((), committed=acknowledged)  # it was taken before
            return
        self._follow_table()
        self._numbers[gateway] = report.number
        samples: list[Sample] = []
        notes: dict[str, bytes | None] = {
            _GATEWAY_NOTE + gateway: _pack((report.number, self._clock.now_s())),
        }
        for of in report.variants:
            if of.tasks is not None and of.tasks.notice_failures:
                self._dropped(of.endpoint)
            place = (of.endpoint, of.variant)
            variant = self.variants.get(place)
            whole = self._together(gateway, report.start_s, of, variant)
            samples += self._maker.active(whole, report.start_s, report.span_s, variant.route if variant else None)
            if variant is not None:
                variant.totals.add(of)
                self._show(place, variant, whole, report)
                notes[_note(place)] = totals_of.packed(variant.totals)
        more, noted = self._also(report)
        self._store.record([*samples, *more], notes={**notes, **noted}, committed=acknowledged)
        self._heard(report)

    def _together(self, gateway: str, start_s: int, of: VariantReport, variant: Variant | None) -> VariantReport:
        """`of` with the gauges of all gateways: what is in hand and busy adds up over them."""
        if variant is None or (len(self._connected) < 2 and not variant.newest):
            return of
        variant.newest[gateway] = (start_s, of)
        whole = msgspec.structs.replace(of, in_hand=of.in_hand, waiting=of.waiting, busy_s=dict(of.busy_s))
        for other, (at_s, theirs) in variant.newest.items():
            if other != gateway and abs(at_s - start_s) <= 1:
                gauges = VariantReport(
                    endpoint=of.endpoint,
                    variant=of.variant,
                    in_hand=Range(theirs.in_hand.least, theirs.in_hand.most),
                    waiting=Range(theirs.waiting.least, theirs.waiting.most),
                    busy_s=theirs.busy_s,
                )
                merge_variants(whole, gauges, at_once=True)
        return whole

    def _show(self, place: Place, variant: Variant, whole: VariantReport, report: Report) -> None:
        variant.in_hand, variant.waiting = whole.in_hand.most, whole.waiting.most
        busy = utilization(whole.busy_s, report.span_s, variant.route)
        variant.busy = busy.sum / busy.count / 100 if busy.count else 0.0
        variant.reported_s = max(variant.reported_s, report.start_s)
        self._fresh.add(place)
        self.changed.add(place)

    def _later(self, call: Callable[[], None]) -> Callable[[], None]:
        """`call`, on this loop, for a store that tells from its own thread."""
        loop = asyncio.get_running_loop()

        def tell() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(call)

        return tell

    # --- every second ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(1.0)
            try:
                self.tick()
            except Exception:  # the next second is another one
                logger.exception("metering: a tick failed")

    def tick(self) -> None:
        """Follow the route table; write the zeros of idle variants; let gauges of silent ones fall to zero."""
        self._follow_table()
        now_s = int(self._clock.now_s())
        for place in [place for place in self._fresh if self._is_silent(place, now_s)]:
            self._fresh.discard(place)
            if (variant := self.variants.get(place)) is not None:
                variant.in_hand, variant.waiting, variant.busy = 0, 0, 0.0
                self.changed.add(place)
        if now_s // MINUTE_S * MINUTE_S != self._minute_s:
            self._minute_s = now_s // MINUTE_S * MINUTE_S
            self._zeros = list(self.variants)
        part = max(1, -(-len(self.variants) // _IDLE_IN_S))
        turn, self._zeros = self._zeros[:part], self._zeros[part:]
        samples: list[Sample] = []
        for place in turn:
            if place in self.variants and place not in self._fresh:
                idle = self.variants[place]
                rules = idle.route.serverless
                samples += self._maker.idle(
                    *place,
                    self._minute_s,
                    asynchronous=idle.asynchronous,
                    provisioned=rules is not None and rules.provisioned > 0,
                )
        if samples:
            self._store.record(samples)

    def _is_silent(self, place: Place, now_s: int) -> bool:
        variant = self.variants.get(place)
        return variant is None or abs(now_s - variant.reported_s) > _FRESH_S

    def _follow_table(self) -> None:
        """Variants that are routed to are those that are published."""
        table = self._table()
        if table is self._seen:
            return
        self._seen = table
        routes = {(endpoint.name, route.name): route for endpoint in table.endpoints for route in endpoint.variants}
        asynchronous = {endpoint.name for endpoint in table.endpoints if endpoint.asynchronous is not None}
        gone = [place for place in self.variants if place not in routes]
        for place in gone:
            del self.variants[place]
            self.changed.add(place)
        for place, route in routes.items():
            known = self.variants.get(place)
            if known is None:
                self.variants[place] = known = Variant(route)
                self.changed.add(place)
            elif known.route is not route and known.route != route:
                known.route = route
                self.changed.add(place)
            known.asynchronous = place[0] in asynchronous
        if gone:
            logger.info("metering: variants gone %s", fields(count=len(gone)))
            self._store.record((), notes={_note(place): None for place in gone})

    def spent(self, place: Place, costs: Mapping[str, int]) -> None:
        """What a variant has cost since it exists, in micro-dollars by part."""
        if (variant := self.variants.get(place)) is not None:
            variant.costs = dict(costs)
            self.changed.add(place)

    # --- what others record ----------------------------------------------------------------------------------------

    def watch(self, samples: Sequence[Sample]) -> None:
        """See what is recorded (`SqliteMetricStore.watch`): gauges and counters of replicas are exposed, too."""
        self._follow_table()  # of a variant that was routed to a moment ago: its replicas' load times come at once
        together: dict[tuple[Place, str], list[float]] = {}
        for sample in samples:
            if sample.key.name in _SAMPLED and (place := self._place(sample)) is not None:
                values = together.setdefault((place, sample.key.name), [0.0, 0.0])
                values[0] += sample.sketch.count
                values[1] += sample.sketch.sum
        for (place, name), (count, total) in together.items():
            sampled, variant = _SAMPLED[name], self.variants[place]
            if sampled.how == "total":
                held = variant.totals.sampled.setdefault(name, Sum())
                held.count += count
                held.sum += total * sampled.scale
                self._store.record((), notes={_note(place): totals_of.packed(variant.totals)})
            else:
                variant.sampled[name] = total * sampled.scale / (count if sampled.how == "mean" and count else 1.0)
            self.changed.add(place)

    def _place(self, sample: Sample) -> Place | None:
        dimensions = dict(sample.key.dimensions)
        if len(dimensions) != 2 or sample.key.namespace not in (INSTANCES, SAGEMAKER, TRIMTAB):
            return None
        place = (dimensions.get(ENDPOINT, ""), dimensions.get(VARIANT, ""))
        return place if place in self.variants else None


def _note(place: Place) -> str:
    return f"{_TOTALS_NOTE}{place[0]}/{place[1]}"
