"""World: a control plane in slow motion: real store, plan and route book; fake engine, gateways and clock.

Nothing moves unless told. Promises are checked at every move: requests only to ready replicas, drains only behind
every gateway's back, statuses only along drawn arrows.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from trimtab.clock import ManualClock
from trimtab.control.actions import Action
from trimtab.control.routes import RoutePublisher
from trimtab.control.seen import Seen
from trimtab.control.service import Control
from trimtab.control.turn import SCALED, SCALING_FAILED
from trimtab.resources.endpoint import Endpoint, EndpointStatus, Event
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.lifecycles import ENDPOINT, step
from trimtab.resources.model import Container, Model
from trimtab.resources.names import key_of
from trimtab.resources.replica import ReplicaSpec, ReplicaState
from trimtab.resources.routing import RouteTable
from trimtab.resources.runtime import Runtime
from trimtab.store.sqlite import open_sqlite
from trimtab.testing.engine import FakeEngine

T = TypeVar("T")

AT_REST = (EndpointStatus.IN_SERVICE, EndpointStatus.FAILED)


class Crash(BaseException):
    """Control is killed here."""


class Gateway(Struct):
    """A gateway: the table that it routes by."""

    table: RouteTable


def drive(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that gives way (`asyncio.sleep(0)`) and never waits."""
    for _ in range(10_000):
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]
        if waits_for is not None:
            break
    coroutine.close()
    raise AssertionError("the coroutine waits for something")


class World:
    """See the module. `gateways` gateways are connected; a crashed control is succeeded by `restart`."""

    def __init__(self, folder: Path, *, gateways: int = 2, address_of: Callable[..., tuple[str, ...]] | None = None):
        self.folder = folder
        self.clock = ManualClock()
        self.store = open_sqlite(folder / "trimtab.db", synchronous="OFF")
        self.engine = _WatchedEngine(self, **({"address_of": address_of} if address_of else {}))
        self.gateways = {number: Gateway(table=RouteTable(version=0)) for number in range(gateways)}
        self.statuses: dict[str, EndpointStatus] = {}
        self.history: dict[str, list[EndpointStatus]] = {}
        self.actions: list[Action] = []
        self.fuse: int | None = None  # control crashes after so many more actions
        self.told: list[tuple[str, Event]] = []  # what control told whoever listens, by endpoint
        self.signals: set[tuple[str, str]] = set()  # variants that control wants to hear of at once
        self.targets: dict[tuple[str, str], int] = {}  # scalable targets, with their minimum
        self.floors: dict[str, int] = {}  # endpoint -> ready lanes that every gateway must hold, whatever happens
        self.restart()

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    # control's life

    def restart(self) -> None:
        """A new control takes over; gateways connect to it. Nothing of the old one's memory is left."""
        self.fuse = None
        publisher = RoutePublisher(
            self.folder / "routes", self.folder / "s", self.clock, expected_gateways=len(self.gateways)
        )
        self.control = Control(
            store=self.store,
            engine=self.engine,
            publisher=publisher,
            clock=self.clock,
            resolve_runtime=lambda image, environment: Runtime(image=image),
            artifact_exists=lambda url, compressed: "missing" not in url,
            bucket_exists=lambda url: "missing" not in url,
            **self.hooks(),
        )
        self.book = publisher.book
        apply = self.control.reconciler.apply

        async def watched(action: Action, seen: Seen) -> None:
            await apply(action, seen)
            self.actions.append(action)
            self.check()
            if self.fuse is not None:
                self.fuse -= 1
                if self.fuse < 0:
                    raise Crash

        self.control.reconciler.apply = watched  # type: ignore[method-assign]
        for number in self.gateways:
            self.book.connected(number)

    def hooks(self) -> dict[str, Any]:
        """What control asks, and whom it tells."""
        return {
            "told": lambda endpoint, events: self.told.extend((endpoint, event) for event in events),
            "signals": lambda endpoint, variant: (endpoint, variant) in self.signals,
            "floor": lambda endpoint, variant: self.targets.get((endpoint, variant), 1),
            "scalable": lambda endpoint, variant: (endpoint, variant) in self.targets,
        }

    # moves

    def turn(self) -> float | None:
        """One turn of every endpoint. Returns the seconds until the next is due; 0 when one has acted."""
        self.check()
        self.control.observer.room()
        due: list[float] = []
        for key in sorted(self.control.observer.names()):
            outcome = drive(self.control.reconciler.turn(key))
            self.check()
            if outcome.acted:
                due.append(0.0)
            elif outcome.wake_in_s is not None:
                due.append(outcome.wake_in_s)
        return min(due, default=None)

    def deliver(self) -> bool:
        """Every gateway applies the newest table; return whether one had an older one."""
        late = [n for n, g in self.gateways.items() if g.table != self.book.table or self.book.behind(n)]
        for number in late:
            self.gateways[number].table = self.book.table
            self.book.applied(number, self.book.table.version)
        self.check()
        return bool(late)

    def settle(self, *, patience_s: float = 7200.0, crashes_at: int | None = None) -> None:
        """Let everything move until nothing does, time too; a control that crashes is succeeded.

        `crashes_at`: crash after so many actions, once. Raises AssertionError when it does not come to rest.
        """
        self.fuse = crashes_at
        end_s = self.clock.now_s() + patience_s
        for _ in range(2000):
            try:
                due_s = self.turn()
            except Crash:
                self.restart()
                continue
            moved = self.deliver()
            moved = self.engine.step() or moved
            self.check()
            if due_s == 0.0 or moved:
                continue
            if self.at_rest():
                self.fuse = None
                return
            if due_s is None or self.clock.now_s() + due_s > end_s:
                break
            self.clock.advance(due_s)
        raise AssertionError(f"no rest: {self.statuses}, {self.engine.observe()}")

    def at_rest(self) -> bool:
        """Every endpoint is InService with all its replicas ready and routed to, or Failed with none."""
        endpoints = self.control.list_endpoints()
        wanted = 0
        for endpoint in endpoints:
            if endpoint.status not in AT_REST:
                return False
            if endpoint.status is EndpointStatus.IN_SERVICE:
                wanted += sum(variant.capacity for variant in endpoint.variants)
                if any(self.lanes(endpoint.name)[v.name] != v.capacity for v in endpoint.variants):
                    return False
        return len(self.engine.observe()) == wanted == len(self.engine.ids(ReplicaState.READY))

    def lanes(self, name: str) -> Mapping[str, int]:
        """Lanes per variant in the published table."""
        route = self.book.route(key_of(name))
        return {variant.name: len(variant.lanes) for variant in route.variants} if route else {}

    # shorthands

    def config(
        self, name: str, *, counts: Mapping[str, int] | None = None, managed: tuple[int, int] | None = None
    ) -> str:
        """Make a config (and the model `m`) whose variants have these counts; `managed`: ManagedInstanceScaling."""
        least, most = managed or (None, None)
        if not self.control.list_models():
            container = Container(image="trimtab://python", environment={"K": "V"})
            self.control.create_model(Model(name="m", created_s=0.0, containers=(container,)), {})
        variants = tuple(
            VariantSpec(name=variant, model_name="m", initial_count=count, managed_min=least, managed_max=most)
            for variant, count in (counts or {"main": 1}).items()
        )
        self.control.create_endpoint_config(EndpointConfig(name=name, created_s=0.0, variants=variants), {})
        return name

    def create(self, name: str, config: str) -> Endpoint:
        """Create an endpoint."""
        return self.control.create_endpoint(name, config, {}, {})

    def update(self, name: str, config: str, **retain: bool) -> Endpoint:
        """Update an endpoint."""
        flags = {"retain_counts": False, "retain_weights": False, **retain}
        return self.control.update_endpoint(name, config, document={}, **flags)

    def scale(self, name: str, count: int, variant: str = "main", **about: Any) -> bool:
        """Change a count as autoscaling would."""
        return self.control.scale(name, variant, count, **{"why": "more load", **about})

    def outcomes(self, name: str) -> list[tuple[str, str, str]]:
        """How each scaling of an endpoint that was told of ended: what, variant, failure."""
        return [
            (e.what, e.variant, e.failure) for n, e in self.told if n == name and e.what in (SCALED, SCALING_FAILED)
        ]

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint as recorded."""
        return self.control.get_endpoint(name).endpoint

    # promises

    def check(self) -> None:
        """Raise AssertionError when a promise is broken."""
        for endpoint in self.control.list_endpoints():
            old = self.statuses.get(endpoint.name)
            if old is not None and old is not endpoint.status:
                step(ENDPOINT, old, endpoint.status)
            if old is not endpoint.status:
                self.history.setdefault(endpoint.name, []).append(endpoint.status)
            self.statuses[endpoint.name] = endpoint.status
        present = {endpoint.name for endpoint in self.control.list_endpoints()}
        for gone in self.statuses.keys() - present:
            assert self.statuses.pop(gone) is EndpointStatus.DELETING, f"{gone} vanished"
        states = {replica.id: replica.state for replica in self.engine.observe()}
        for table in self.tables():
            for replica_id in lanes_in(table):
                state = states.get(replica_id)
                assert state not in (ReplicaState.STARTING, ReplicaState.DRAINING), f"{replica_id} is {state}"
            for name, floor in self.floors.items():
                lanes = [lane for lane in lanes_in(table, name) if states.get(lane) is ReplicaState.READY]
                assert len(lanes) >= floor, f"{name} has {len(lanes)} of {floor} lanes"

    def tables(self) -> list[RouteTable]:
        """All tables that requests go by."""
        return [self.book.table, *(gateway.table for gateway in self.gateways.values())]


def lanes_in(table: RouteTable, name: str = "") -> list[str]:
    """Ids of the replicas that a table sends requests to: of one endpoint, or of all."""
    endpoints = [endpoint for endpoint in table.endpoints if name in ("", endpoint.name)]
    return [lane.replica_id for endpoint in endpoints for variant in endpoint.variants for lane in variant.lanes]


class _WatchedEngine(FakeEngine):
    """Refuses to let go of a replica with work: no gateway may still send it requests."""

    def __init__(self, world: World, **options: Any) -> None:
        super().__init__(world.clock, **options)
        self._world = world

    async def drain(self, replica_id: str, *, grace_s: float) -> None:
        self._unrouted(replica_id)
        await super().drain(replica_id, grace_s=grace_s)

    async def stop(self, replica_id: str) -> None:
        if replica_id in self.ids(ReplicaState.READY):
            raise AssertionError(f"{replica_id} is ready and was stopped without a drain")
        await super().stop(replica_id)

    async def start(self, spec: ReplicaSpec) -> None:
        assert len(spec.id) <= 32, "socket paths are short"
        await super().start(spec)

    def _unrouted(self, replica_id: str) -> None:
        for table in self._world.tables():
            assert replica_id not in lanes_in(table), f"{replica_id} is drained and still routed to"
