"""The ledger: charges what replicas cost, second by second, and keeps that for good.

All that it knows is in notes of the metrics file, and whatever changes is written in one transaction with what it
changes: a report's busy seconds with the report's number, a charge with the moment that it was charged to. So a ledger
that is killed goes on from what is written, and charges the time between when it is back: each second once.

Time is steady (`policies/costs/steady.py`): jumps of the wall clock charge nothing, and say only which hour a charge is
shown in. Charging waits some seconds for reports, and longer after a start, when gateways have to connect first.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from trimtab.clock import Clock
from trimtab.control.costs import notes as names
from trimtab.control.costs.looking import (
    Moment,
    look,
    look_at_prices,
    look_at_reserved,
    look_at_versions,
    rate_of,
)
from trimtab.control.costs.prices import Prices
from trimtab.control.costs.samples import Costs, cost_samples
from trimtab.control.metering import Keeps, Place
from trimtab.engines.engine import Engine
from trimtab.errors import NotFound
from trimtab.logs import fields
from trimtab.metrics.store import Sample
from trimtab.policies.costs.account import SECOND_US, Rate, Work
from trimtab.policies.costs.cells import HOUR_S, Cell, CellKey, add_charge
from trimtab.policies.costs.steady import Mark, SteadyTime
from trimtab.policies.costs.variant import VariantCosts, packed, packed_cell, unpacked, unpacked_cell
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.names import key_of
from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.serverless import Serverless
from trimtab.store.store import Store
from trimtab.wire.hosting import Holding, ModelEvent
from trimtab.wire.reports import Report, VariantReport

logger = logging.getLogger(__name__)

LAG_S: Final = 3.0  # charging waits so long for reports on the time that is charged
CONNECT_S: Final = 10.0  # and so long after a start, for gateways to connect and report what they have kept
IDLE_EVERY_S: Final = 60.0  # what nothing happens to is charged so often
MODELS_EVERY_S: Final = 10.0  # variants of many models: each of them has a part in each charge
_EVICTED_KEPT: Final = 50_000  # names of models of one variant
_LOST_BY_NAME: Final = ("evicted", "expired", "not cached", "no memory", "no longer pinned")  # a next load is a reload

_pack_mark = msgspec.msgpack.Encoder().encode
_unpack_mark = msgspec.msgpack.Decoder(Mark).decode
Written = dict[str, bytes | None]


class CostStore(Keeps, Protocol):
    """What keeps notes by name can tell those of a range of names, too (`metrics/sqlite.py`)."""

    def notes_between(self, first: str, until: str) -> dict[str, bytes]: ...


class Ledger:
    """Takes what is told from the beginning; `open` it once the engine is open, then `run`. On the event loop."""

    def __init__(
        self,
        store: CostStore,
        *,
        engine: Engine,
        records: Store,
        prices: Prices,
        clock: Clock,
        boot: str,
        spent: Callable[[Place, Mapping[str, int]], None] = lambda place, totals: None,
    ) -> None:
        """`boot` names this life of the machine. `spent` hears what a variant has cost since it exists, by part."""
        self._store = store
        self._engine = engine
        self._records = records
        self._prices = prices
        self._clock = clock
        self._boot = boot
        self._spent = spent
        self._variants: dict[Place, VariantCosts] = {}
        # Since the hour before this one, those of hours to come included: the wall clock may have gone back.
        self._cells: dict[CellKey, Cell] = {}
        self._charged_us: dict[Place, int] = {}
        self._held: dict[str, dict[str, int]] = {}  # replica -> model -> bytes
        self._lately: dict[Place, dict[str, int]] = {}  # how long each model worked before the last charge
        self._evicted: dict[Place, dict[str, None]] = {}  # models that were there and are not: the oldest first
        self._apart: set[str] = set()  # replicas that are not charged by time
        self._rates: dict[str, Rate | None] = {}  # of one look
        self._failing = False
        self._load()

    def _load(self) -> None:
        found = self._store.notes(names.TIME).get(names.TIME)
        before = None if found is None else _unpack_mark(found)
        wall_us, self._began_us = self._wall_us(), self._monotonic_us()
        self._time = SteadyTime(before, wall_us=wall_us, monotonic_us=self._began_us, boot=self._boot)
        self._seen_us = before.steady_us if before is not None else self._time.at(self._began_us)
        self._looked = self._announced = False
        for name, value in self._store.notes(names.VARIANTS).items():
            self._variants[names.place_of(name)] = unpacked(value)
        for name in self._store.notes(names.EVICTED):
            place, model = names.evicted_of(name)
            self._evicted.setdefault(place, {})[model] = None
        self._known_from_s = wall_us // SECOND_US // HOUR_S * HOUR_S - HOUR_S
        first = names.since(names.HOURS, self._known_from_s)
        for name, value in self._store.notes_between(first, names.HOURS + names.LAST).items():
            self._cells[names.cell_key(name)] = unpacked_cell(value)

    # --- time --------------------------------------------------------------------------------------------------------

    def _wall_us(self) -> int:
        return int(self._clock.now_s() * SECOND_US)

    def _monotonic_us(self) -> int:
        return int(self._clock.monotonic_s() * SECOND_US)

    def _moment(self) -> Moment:
        now_us = self._time.at(self._monotonic_us())
        return Moment(
            now_us=now_us,
            shift_us=now_us - self._wall_us(),
            first_us=self._time.at(0),
            missing_us=now_us if self._looked else min(now_us, self._seen_us),
        )

    # --- what is told -------------------------------------------------------------------------------------------------

    def taken(self, report: Report) -> tuple[list[Sample], Written]:
        """What a gateway's report, which is counted now for the first time, adds: to be written together with it."""
        at, samples, written = self._moment(), [], Written()
        start_us = report.start_s * SECOND_US + at.shift_us
        for of in report.variants:
            place = (of.endpoint, of.variant)
            costs = self._variants.get(place)
            if costs is None:
                costs = self._variants[place] = VariantCosts()
            wasted = _wasted(of)
            for replica_id, busy_s in of.busy_s.items():
                busy_us = int(busy_s * SECOND_US)
                end_us = start_us + report.span_s * SECOND_US
                costs.worked(replica_id, Work(start_us, end_us, busy_us, int(busy_us * wasted)))
            cells = self._counted(place, costs, of, report.start_s // HOUR_S * HOUR_S)
            samples += self._enter(place, costs, cells, report.start_s, written)
        return samples, written

    def _counted(self, place: Place, costs: VariantCosts, of: VariantReport, hour_s: int) -> dict[CellKey, Cell]:
        """Requests, and what serverless ones are billed for."""
        cells: dict[CellKey, Cell] = {}
        rules = self._serverless(of)
        if (models := of.models) is not None:
            costs.version = next((version.version for version in of.versions), costs.version)
            for model in {*models.models, *models.busy_s, *models.tokens}:
                requests, busy_s = sum(models.models.get(model, ())), models.busy_s.get(model, 0.0)
                costs.model_worked(model, requests, models.tokens.get(model, (0, 0)), int(busy_s * SECOND_US))
            return cells
        for version in of.versions:
            cell = cells.setdefault(CellKey(hour_s, *place, version.version), Cell())
            cell.requests += version.ended
            cell.input_tokens += version.input_tokens
            cell.output_tokens += version.output_tokens
            if rules is not None and version.billed_ms.count:
                price = self._prices.serverless_usd_per_s(rules.memory_mib)
                cell.add(costs.bill(round(version.billed_ms.sum), rules.memory_mib, rate_of(price)))
                cell.instance_type = rules.instance_type
        return cells

    def _serverless(self, of: VariantReport) -> Serverless | None:
        if not any(version.billed_ms.count for version in of.versions):
            return None
        record = self._record(of.endpoint)
        return _serverless_of(record, of.variant) if record is not None else None

    def noted(self, replica_id: str, place: Place, events: Sequence[ModelEvent]) -> Written:
        """What a model host's events, which are counted now for the first time, add: to be written with them."""
        costs = self._variants.get(place)
        if costs is None:
            costs = self._variants[place] = VariantCosts()
        at, written, evicted = self._moment(), Written(), self._evicted.setdefault(place, {})
        for event in events:
            model, end_us = event.model, min(at.now_us, int(event.at_s * SECOND_US) + at.shift_us)
            if event.what == "loaded":
                took_us = int(((event.download_s or 0.0) + (event.load_s or 0.0)) * SECOND_US)
                costs.loaded(replica_id, model, end_us - took_us, end_us, again=model in evicted)
                if model in evicted:
                    del evicted[model]
                    written[names.evicted_note(place, model)] = None
            elif event.what == "unloaded" and event.why in _LOST_BY_NAME:
                evicted[model] = None
                written[names.evicted_note(place, model)] = b""
        for model in list(evicted)[: max(0, len(evicted) - _EVICTED_KEPT)]:
            del evicted[model]
            written[names.evicted_note(place, model)] = None
        return {**written, names.variant_note(place): packed(costs)}

    def holds(self, replica_id: str, holding: Holding) -> None:
        """What a replica of many models holds now: what it stands ready for is theirs, by their size."""
        held: dict[str, int] = {}
        for resident in holding.residents:
            held[resident.model] = held.get(resident.model, 0) + resident.bytes
        held[""] = max(0, holding.memory_bytes - holding.used_bytes)
        self._held[replica_id] = held

    # --- looking ------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """The engine is open: what it lists is true. Before, what is not listed yet would seem gone."""
        self._engine.on_change(self.look)
        self.look()

    def look(self) -> None:
        """See which replicas there are. Called whenever that has changed, so that no short life is missed."""
        at, written = self._moment(), Written()
        by_place = self._by_place()
        for place in {*by_place, *self._variants}:
            costs = self._variants.get(place) or VariantCosts()
            replicas = [r for r in by_place.get(place, ()) if r.id not in self._apart]
            if not replicas and costs.is_empty:
                continue
            new = [r.id for r in replicas if r.id not in costs.accounts]
            if look(costs, replicas, self._record(place[0]) if new else None, at):
                self._variants[place] = costs
                self._look_at_prices(place, costs, at)
                written[names.variant_note(place)] = packed(costs)
            self._apart.update(replica_id for replica_id in new if replica_id not in costs.accounts)
        self._looked = True
        if written:
            self._store.record((), notes={**written, names.TIME: self._mark()})

    def _by_place(self) -> dict[Place, list[ReplicaStatus]]:
        found: dict[Place, list[ReplicaStatus]] = {}
        listed = self._engine.observe()
        self._apart.intersection_update([replica.id for replica in listed])
        for replica in listed:
            found.setdefault((replica.endpoint, replica.variant), []).append(replica)
        return found

    def _record(self, endpoint: str) -> EndpointRecord | None:
        try:
            return self._records.get_endpoint(key_of(endpoint))
        except NotFound:
            return None

    def _look_at_prices(self, place: Place, costs: VariantCosts, at: Moment) -> bool:
        return look_at_prices(costs, self._rate, lambda: self._settle_now(place, costs, at))

    def _rate(self, instance_type: str) -> Rate | None:
        if instance_type not in self._rates:
            self._rates[instance_type] = rate_of(self._prices.usd_per_hour(instance_type))
        return self._rates[instance_type]

    def _mark(self) -> bytes:
        return _pack_mark(self._time.mark(self._monotonic_us()))

    # --- every second -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Tick for ever."""
        await asyncio.to_thread(self._prices.notes, ())  # they are read before the first birth asks for one
        while True:
            await asyncio.sleep(1.0)
            try:
                self.tick()
            except Exception:
                if not self._failing:  # one traceback, not one a second: what is not charged now is charged later
                    logger.exception("costs could not be charged %s", fields(variants=len(self._variants)))
                self._failing = True
            else:
                self._failing = False

    def tick(self, *, everything: bool = False) -> None:
        """Look at replicas, versions and prices; charge what is due, or `everything` through the newest second that
        can be charged."""
        self._rates.clear()
        self.look()
        at = self._moment()
        records = {key_of(record.endpoint.name): record for record in self._records.list_endpoints()}
        self._find_reserved(records)
        for place, costs in list(self._variants.items()):
            record = records.get(key_of(place[0]))
            changed = self._look_closer(place, costs, record, at)
            if changed:
                self._store.record((), notes={names.variant_note(place): packed(costs)})
            to_us = self._chargeable_us(at)
            if to_us is not None and (everything or changed or self._is_due(place, costs, to_us)):
                self._settle(place, costs, to_us, at.shift_us)
            if costs.is_empty and not costs.models and record is None:
                self._forget(place)
        if not all(costs.is_empty for costs in self._variants.values()):
            self._store.record((), notes={names.TIME: self._mark()})
        self._drop_old()

    def _find_reserved(self, records: Mapping[str, EndpointRecord]) -> None:
        for record in records.values():
            for state in record.sizes:
                if state.serverless is not None and state.serverless.provisioned:
                    self._variants.setdefault((record.endpoint.name, state.name), VariantCosts())

    def _look_closer(self, place: Place, costs: VariantCosts, record: EndpointRecord | None, at: Moment) -> bool:
        def settle() -> None:
            self._settle_now(place, costs, at)

        changed = self._look_at_prices(place, costs, at)
        changed = look_at_versions(costs, record, at.now_us, settle) or changed
        rules = _serverless_of(record, place[1]) if record is not None else None
        version = record.serving.config_name if record is not None and record.serving is not None else ""
        return look_at_reserved(costs, rules, version, self._prices, at.now_us, settle) or changed

    def _chargeable_us(self, at: Moment) -> int | None:
        """Through which moment reports should be here: a whole second of wall time."""
        if self._monotonic_us() - self._began_us < CONNECT_S * SECOND_US:
            return None
        wall_us = at.now_us - at.shift_us - int(LAG_S * SECOND_US)
        return wall_us // SECOND_US * SECOND_US + at.shift_us

    def _is_due(self, place: Place, costs: VariantCosts, to_us: int) -> bool:
        since_us = to_us - self._charged_us.get(place, 0)
        if since_us >= IDLE_EVERY_S * SECOND_US:
            return True
        if costs.models or any(replica_id in self._held for replica_id in costs.accounts):
            return since_us >= MODELS_EVERY_S * SECOND_US
        return any(account.work or account.end_us is not None for account in costs.accounts.values())

    def _settle_now(self, place: Place, costs: VariantCosts, at: Moment) -> None:
        self._settle(place, costs, at.now_us, at.shift_us)

    def _settle(self, place: Place, costs: VariantCosts, to_us: int, shift_us: int) -> None:
        """Charge a variant through a moment, and write that down."""
        self._charged_us[place] = to_us
        cells: dict[CellKey, Cell] = {}
        used = self._models(place, costs, (to_us - shift_us) // SECOND_US // HOUR_S * HOUR_S, cells)
        for charge in costs.charge(to_us, shift_us, used, self._held):
            add_charge(cells, charge, *place, shift_us)
        written = Written()
        samples = self._enter(place, costs, cells, (to_us - shift_us) // SECOND_US, written)
        if written:
            self._store.record(samples, notes={**written, names.TIME: self._mark()})

    def _models(self, place: Place, costs: VariantCosts, hour_s: int, cells: dict[CellKey, Cell]) -> dict[str, int]:
        """How long each of several models worked lately. What they did is added to `cells`."""
        uses = costs.take_models()
        for model, use in uses.items():
            cell = cells.setdefault(CellKey(hour_s, *place, costs.version, model), Cell())
            cell.requests += use.requests
            cell.input_tokens += use.input_tokens
            cell.output_tokens += use.output_tokens
        if uses:  # reports come later than the time that they are of: what came last says it for a while
            self._lately[place] = {model: use.busy_us for model, use in uses.items()}
        return self._lately.get(place, {})

    def _enter(
        self, place: Place, costs: VariantCosts, cells: Mapping[CellKey, Cell], at_s: int, written: Written
    ) -> list[Sample]:
        """Add to cells and totals. `written` takes the notes; the samples are of what was added."""
        spent: Costs = {}
        for key, cell in cells.items():
            if not cell:
                continue
            held = self._cell(key)
            held.add(cell)
            written[names.cell_note(key)] = packed_cell(held)
            costs.paid(cell.parts)
            spent_on = spent.setdefault(key.version, {})
            for part, amount in cell.parts.items():
                spent_on[part] = spent_on.get(part, 0) + amount
        written[names.variant_note(place)] = packed(costs)
        if any(spent.values()):
            self._spent(place, costs.totals)
        return cost_samples(*place, spent, at_s)

    def _cell(self, key: CellKey) -> Cell:
        if key.start_s >= self._known_from_s:
            return self._cells.setdefault(key, Cell())
        name = names.cell_note(key)  # of a gap that is charged now: not kept here, for old hours become days
        found = self._store.notes(name).get(name)
        return Cell() if found is None else unpacked_cell(found)

    def _drop_old(self) -> None:
        if not self._announced:
            self._announced = True
            for place, costs in self._variants.items():
                self._spent(place, costs.totals)
        living = {replica_id for costs in self._variants.values() for replica_id in costs.accounts}
        for replica_id in self._held.keys() - living:
            del self._held[replica_id]
        oldest_s = int(self._clock.now_s()) // HOUR_S * HOUR_S - HOUR_S
        if oldest_s > self._known_from_s:
            self._known_from_s = oldest_s
            for key in [key for key in self._cells if key.start_s < oldest_s]:
                del self._cells[key]

    def _forget(self, place: Place) -> None:
        """The endpoint is no more, and its last replica is charged. What it has cost stays."""
        del self._variants[place]
        self._charged_us.pop(place, None)
        self._lately.pop(place, None)
        gone = [names.evicted_note(place, model) for model in self._evicted.pop(place, ())]
        self._store.record((), notes=dict.fromkeys([names.variant_note(place), *gone]))

    # --- what is asked ------------------------------------------------------------------------------------------------

    def usd_per_hour(self) -> dict[Place, float]:
        """What the replicas of each variant cost now, where a price is known."""
        return {
            place: costs.usd_per_hour()
            for place, costs in self._variants.items()
            if any(account.rate for account in costs.accounts.values())
        }

    @property
    def charged_s(self) -> float:
        """Wall time through which everything is charged."""
        at = self._moment()
        to_us = [account.through_us for costs in self._variants.values() for account in costs.accounts.values()]
        return (min(to_us, default=at.now_us) - at.shift_us) / SECOND_US

    @property
    def prices(self) -> Prices:
        """Those that are charged."""
        return self._prices


def _wasted(of: VariantReport) -> float:
    """Which part of the work was on attempts that nobody had an answer of."""
    wasted_us = sum(version.wasted_us for version in of.versions)
    answered_us = sum(version.model_latency.sum for version in of.versions)
    return wasted_us / (wasted_us + answered_us) if wasted_us > 0 else 0.0


def _serverless_of(record: EndpointRecord, variant: str) -> Serverless | None:
    return next((state.serverless for state in record.sizes if state.name == variant), None)
