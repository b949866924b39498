"""A world for the cost ledger: replicas that live and die, reports, time, and a store that a crash takes the end of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import cast

from msgspec.structs import replace

from trimtab.clock import ManualClock
from trimtab.control.costs import notes as names
from trimtab.control.costs.asking import CostBook
from trimtab.control.costs.ledger import Ledger
from trimtab.engines.engine import Engine
from trimtab.metrics.store import Sample
from trimtab.policies.costs.cells import Cell, CellKey
from trimtab.policies.costs.variant import unpacked_cell
from trimtab.resources.deployment import DeployedVariant, Deployment, EndpointRecord
from trimtab.resources.endpoint import Endpoint, EndpointStatus, VariantState
from trimtab.resources.endpoint_config import VariantSpec
from trimtab.resources.replica import ReplicaState, ReplicaStatus
from trimtab.resources.runtime import Runtime
from trimtab.resources.serverless import Serverless
from trimtab.store.store import Store
from trimtab.testing.store import a_model
from trimtab.wire.reports import Report, VariantReport, VersionReport

LARGE, OTHER = "ml.m5.large", "ml.g5.xlarge"
UID = "0000aaaa"


class GivenPrices:
    """By instance type; what is not in it has none."""

    def __init__(self) -> None:
        self.hourly = {LARGE: Fraction("0.115"), OTHER: Fraction("1.408")}
        self.serverless: Fraction | None = Fraction("0.00002")
        self.provisioned: Fraction | None = Fraction("0.00001")

    def usd_per_hour(self, instance_type: str) -> Fraction | None:
        """See Prices."""
        return self.hourly.get(instance_type)

    def serverless_usd_per_s(self, memory_mib: int) -> Fraction | None:
        """See Prices."""
        return None if self.serverless is None else self.serverless * memory_mib / 1024

    def provisioned_usd_per_s(self, memory_mib: int) -> Fraction | None:
        """See Prices."""
        return None if self.provisioned is None else self.provisioned * memory_mib / 1024

    def notes(self, instance_types: Iterable[str]) -> Sequence[str]:
        """See Prices."""
        return ("these prices are made up",)


class CrashingStore:
    """Notes and samples as the metrics file keeps them: what is recorded is there at once, and survives the end of the
    process once it is committed, all that was recorded together with it."""

    def __init__(self) -> None:
        self._durable: dict[str, bytes] = {}
        self._notes: dict[str, bytes] = {}
        self._durable_samples: list[Sample] = []
        self.samples: list[Sample] = []

    def record(
        self,
        samples: Sequence[Sample],
        *,
        durable: bool = False,
        notes: Mapping[str, bytes | None] | None = None,
        committed: Callable[[], None] | None = None,
    ) -> None:
        """See Keeps."""
        self.samples += samples
        for name, value in (notes or {}).items():
            self._notes.pop(name, None)
            if value is not None:
                self._notes[name] = value

    def notes(self, prefix: str = "") -> dict[str, bytes]:
        """See Keeps."""
        return {name: value for name, value in self._notes.items() if name.startswith(prefix)}

    def notes_between(self, first: str, until: str) -> dict[str, bytes]:
        """See SqliteMetricStore."""
        return {name: value for name, value in self._notes.items() if first <= name < until}

    def commit(self) -> None:
        """What was recorded survives from now on."""
        self._durable, self._durable_samples = dict(self._notes), list(self.samples)

    def crash(self) -> None:
        """The rest is lost."""
        self._notes, self.samples = dict(self._durable), list(self._durable_samples)


class LedgerWorld:
    """Is the engine and the store of records, too. `start` ... `ends` tell the ledger, as an engine does."""

    def __init__(self, *, instance_type: str = LARGE, serverless: Serverless | None = None) -> None:
        self.clock = ManualClock()
        self.store = CrashingStore()
        self.prices = GivenPrices()
        self.boot = "one"
        self.replicas: dict[str, ReplicaStatus] = {}
        self.told: dict[tuple[str, str], dict[str, int]] = {}
        self.records: dict[str, EndpointRecord] = {"fraud": self._record(instance_type, serverless)}
        self._reports: list[tuple[int, Report]] = []  # by number; those that are not durable are sent again
        self._number = 0
        self._births = 0
        self.ledger = self._ledger()
        self.ledger.open()

    def _ledger(self) -> Ledger:
        def told(place: tuple[str, str], totals: Mapping[str, int]) -> None:
            self.told[place] = dict(totals)

        return Ledger(
            self.store,
            engine=cast(Engine, self),
            records=cast(Store, self),
            prices=self.prices,
            clock=self.clock,
            boot=self.boot,
            spent=told,
        )

    @staticmethod
    def _record(instance_type: str, serverless: Serverless | None) -> EndpointRecord:
        spec = VariantSpec(name="main", model_name="fraud", instance_type=instance_type, serverless=serverless)
        variant = DeployedVariant(spec=spec, model=a_model(), runtime=Runtime())
        return EndpointRecord(
            uid=UID,
            endpoint=Endpoint(
                name="fraud",
                created_s=1.0,
                modified_s=1.0,
                status=EndpointStatus.IN_SERVICE,
                config_name="v1",
                variants=(VariantState(name="main", desired_count=1, desired_weight=1.0, serverless=serverless),),
            ),
            serving=Deployment(config_name="v1", generation=1, variants=(variant,)),
        )

    # --- what the ledger asks ----------------------------------------------------------------------------------------

    def observe(self) -> Sequence[ReplicaStatus]:
        """See Engine."""
        return list(self.replicas.values())

    def on_change(self, wake: Callable[[], None]) -> None:
        """See Engine. `start` and its like call the ledger themselves."""

    def list_endpoints(self) -> Sequence[EndpointRecord]:
        """See Store."""
        return list(self.records.values())

    def get_endpoint(self, name: str) -> EndpointRecord:
        """See Store."""
        return self.records[name]

    # --- what happens ------------------------------------------------------------------------------------------------

    def start(self, *, generation: int = 1, told: bool = True) -> str:
        """A replica is ordered; its id."""
        self._births += 1
        replica_id = f"{UID}-{generation}-{self._births:08x}"
        self.replicas[replica_id] = ReplicaStatus(
            id=replica_id,
            endpoint="fraud",
            variant="main",
            version=f"v{generation}",
            state=ReplicaState.STARTING,
            started_s=self.clock.now_s(),
        )
        if told:
            self.ledger.look()
        return replica_id

    def becomes(self, replica_id: str, state: ReplicaState) -> None:
        """A replica is seen in another state."""
        self.replicas[replica_id] = replace(self.replicas[replica_id], state=state)
        self.ledger.look()

    def ready(self, *, generation: int = 1) -> str:
        """A replica that is ready at once; its id."""
        replica_id = self.start(generation=generation)
        self.becomes(replica_id, ReplicaState.READY)
        return replica_id

    def ends(self, replica_id: str, *, told: bool = True) -> None:
        """A replica is no more."""
        del self.replicas[replica_id]
        if told:
            self.ledger.look()

    def reports(self, busy_s: Mapping[str, float] = {}, *, span_s: int = 1, **of: object) -> None:
        """A gateway reports on the last whole seconds."""
        start_s = int(self.clock.now_s()) - span_s
        variant = VariantReport(endpoint="fraud", variant="main", busy_s=dict(busy_s), **of)  # type: ignore[arg-type]
        self._number += 1
        report = Report(number=self._number, start_s=start_s, span_s=span_s, variants=[variant])
        self._reports.append((self._number, report))
        self._take(report)

    def answered(self, count: int, *, busy_s: Mapping[str, float] = {}, version: str = "v1") -> None:
        """So many requests were answered in the last second."""
        self.reports(busy_s, versions=[VersionReport(version=version, ended=count)])

    def _take(self, report: Report) -> None:
        samples, noted = self.ledger.taken(report)
        self.store.record(samples, notes={**noted, "gateway/one": str(report.number).encode()})

    def passes(self, seconds: float, *, step_s: float = 1.0) -> None:
        """Time passes, and the ledger ticks once in each step."""
        left = seconds
        while left > 0:
            self.clock.advance(min(step_s, left))
            left -= step_s
            self.ledger.tick()

    def crash(self, *, away_s: float = 1.0, boot: str | None = None, then: Callable[[], None] = lambda: None) -> None:
        """Control is killed; `then` is what happens while it is away; the next one is sent what was not kept."""
        self.store.crash()
        self.clock.advance(away_s)
        then()
        self.boot = boot or self.boot
        self.ledger = self._ledger()
        self.ledger.open()
        kept = int(self.store.notes("gateway/").get("gateway/one", b"0"))
        for number, report in self._reports:
            if number > kept:
                self._take(report)

    # --- what was spent ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Charge all that can be charged."""
        self.ledger.tick(everything=True)

    def cells(self) -> dict[CellKey, Cell]:
        """What is written, by hour."""
        return {names.cell_key(name): unpacked_cell(value) for name, value in self.store.notes(names.HOURS).items()}

    def spent(self) -> int:
        """Micro-dollars in all."""
        return sum(cell.micro_usd for cell in self.cells().values())

    def parts(self) -> dict[str, int]:
        """Micro-dollars by part."""
        found = Cell()
        for cell in self.cells().values():
            found.add(cell)
        return found.parts

    def sampled(self) -> int:
        """Micro-dollars in the metric."""
        costs = [s for s in self.store.samples if s.key.name == "Cost" and len(s.key.dimensions) == 2]
        return round(sum(sample.sketch.sum for sample in costs) * 1e6)

    def book(self) -> CostBook:
        """Answers queries."""
        return CostBook(self.ledger, self.store, self.clock)
