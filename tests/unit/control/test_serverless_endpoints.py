"""Serverless endpoints: environments come and go with requests, and the endpoint is InService all the time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.control.serverless import learned_file
from trimtab.control.serverless.keeper import EnvironmentKeeper
from trimtab.control.signal_server import NOTHING, Total
from trimtab.errors import Invalid
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import Failure, StartCause
from trimtab.resources.replica import ReplicaState as R
from trimtab.resources.serverless import MAX_PAYLOAD_BYTES, Serverless
from trimtab.testing.engine import Fault
from trimtab.testing.world import World

RULES = Serverless(memory_mib=2048, max_concurrency=3)


class OnDemand(World):
    """A World with a keeper, and what its gateways have in hand."""

    def __init__(self, folder: Path, *, keep_warm: str = "60") -> None:
        self.totals: dict[tuple[str, str], Total] = {}
        self.all_connected = True
        self.woken: list[str] = []
        self.keep_warm = keep_warm
        self.learned = folder / "idle-times"
        super().__init__(folder)

    def hooks(self) -> dict[str, Any]:
        """A new control has a new keeper."""
        self.keeper = EnvironmentKeeper(
            self.woken.append,
            lambda: self.totals,
            lambda: self.all_connected,
            self.clock,
            learned=learned_file.read(self.learned),
        )
        hooks = super().hooks()
        told = hooks["told"]

        def tell(endpoint: str, events: Any) -> None:
            told(endpoint, events)
            self.keeper.told(endpoint, events)

        return {**hooks, "told": tell, "environments": lambda *of: self.keeper.see(*of)}

    def on_demand(self, name: str = "c", rules: Serverless | None = RULES) -> str:
        """A config, serverless unless `rules` is None, and its model."""
        if not self.control.list_models():
            container = Container(image="trimtab://python", environment={"TRIMTAB_KEEP_WARM": self.keep_warm})
            self.control.create_model(Model(name="m", created_s=0.0, containers=(container,)), {})
        variant = VariantSpec(name="main", model_name="m", serverless=rules, initial_count=0 if rules else 1)
        self.control.create_endpoint_config(EndpointConfig(name=name, created_s=0.0, variants=(variant,)), {})
        return name

    def serve(self, rules: Serverless = RULES) -> None:
        """The endpoint `ep` is InService."""
        self.create("ep", self.on_demand(rules=rules))
        self.rest()

    def hand(self, count: int) -> None:
        """Gateways have so many requests in hand now."""
        total = replace(self.totals.get(("ep", "main"), NOTHING), now=count)
        self.totals["ep", "main"] = total
        self.keeper.hear("ep", "main", total)
        self.rest()

    def rest(self) -> None:
        """Everything moves until nothing does, but time."""
        for _ in range(200):
            acted = self.turn() == 0.0
            moved = self.deliver()
            if not (self.engine.step() or moved or acted):
                return
        raise AssertionError("no rest")

    def pass_s(self, seconds: float) -> None:
        """Time passes; whoever is due is woken."""
        self.clock.advance(seconds)
        self.rest()

    @property
    def environments(self) -> int:
        """Routed to."""
        return self.lanes("ep")["main"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OnDemand]:
    world = OnDemand(tmp_path)
    yield world
    world.close()


def test_an_endpoint_is_made_with_one_environment_which_ends_when_nobody_asks(world: OnDemand) -> None:
    world.serve()
    assert (world.endpoint("ep").status, world.environments) == (E.IN_SERVICE, 1)
    world.pass_s(59.0)
    assert world.environments == 1
    world.pass_s(1.1)
    assert world.environments == 0
    assert world.engine.observe() == []


def test_each_request_gets_an_environment_up_to_max_concurrency_and_the_endpoint_stays_in_service(
    world: OnDemand,
) -> None:
    world.serve()
    world.pass_s(61.0)
    history = len(world.history["ep"])
    for count, there in ((1, 1), (2, 2), (9, 3)):
        world.hand(count)
        assert world.woken[-1] == "ep"
        assert world.environments == there
    assert len(world.history["ep"]) == history
    started = [replica.cause for replica in world.engine.observe()]
    assert started == [StartCause.ON_DEMAND] * 3
    world.hand(0)
    assert world.environments == 3
    world.pass_s(60.1)
    assert world.environments == 0


def test_routes_have_the_limits_of_serverless_and_one_request_for_each_environment(world: OnDemand) -> None:
    world.serve()
    route = world.book.route("ep")
    assert route is not None
    (variant,) = route.variants
    assert (variant.most_in_hand, variant.serverless, variant.signals) == (3, RULES, True)
    assert (variant.max_payload_bytes, variant.timeout_s) == (MAX_PAYLOAD_BYTES, 60.0)
    assert [(lane.concurrency, lane.batch_size, lane.alone) for lane in variant.lanes] == [(1, 0, True)]
    (replica,) = world.engine.observe()
    spec = world.engine.spec(replica.id)
    assert spec.instance_type == "ml.serverless.2048"
    assert spec.environment["SAGEMAKER_MODEL_SERVER_WORKERS"] == "1"


def test_provisioned_environments_are_always_there_and_come_back(world: OnDemand) -> None:
    world.serve(replace(RULES, provisioned=2))
    world.pass_s(3600.0)
    assert world.environments == 2
    world.engine.fail(world.engine.ids(R.READY)[0], Failure(reason="Exited", message="killed"))
    world.rest()
    assert world.environments == 2


def test_settings_change_without_an_update_of_the_config(world: OnDemand) -> None:
    world.serve()
    world.pass_s(61.0)
    world.control.update_weights_and_counts("ep", {}, {}, {"main": replace(RULES, max_concurrency=5, provisioned=1)})
    assert world.endpoint("ep").status is E.UPDATING
    world.rest()
    (state,) = world.endpoint("ep").variants
    assert (world.endpoint("ep").status, world.environments) == (E.IN_SERVICE, 1)
    assert state.serverless == state.current_serverless == replace(RULES, max_concurrency=5, provisioned=1)
    world.hand(5)
    assert world.environments == 5
    with pytest.raises(Invalid, match="must not be more than its MaxConcurrency"):
        world.control.update_weights_and_counts("ep", {}, {}, {"main": replace(RULES, provisioned=4)})
    with pytest.raises(Invalid, match="is serverless and has no instances"):
        world.control.update_weights_and_counts("ep", {}, {"main": 2})


def test_requests_are_served_during_an_update_and_after_it(world: OnDemand) -> None:
    world.serve()
    world.hand(2)
    world.update("ep", world.on_demand("c2"))
    world.turn()
    total = replace(NOTHING, now=3)
    world.totals["ep", "main"] = total
    world.keeper.hear("ep", "main", total)
    world.rest()
    assert (world.endpoint("ep").config_name, world.endpoint("ep").status) == ("c2", E.IN_SERVICE)
    assert world.environments == 3


def test_serverless_becomes_instances_and_there_is_no_way_back(world: OnDemand) -> None:
    world.serve()
    world.update("ep", world.on_demand("instances", rules=None))
    world.rest()
    assert (world.endpoint("ep").status, world.environments) == (E.IN_SERVICE, 1)
    with pytest.raises(Invalid, match="cannot be updated to the serverless endpoint configuration"):
        world.update("ep", "c")
    world.pass_s(3600.0)
    assert world.environments == 1


def test_a_model_that_cannot_be_loaded_fails_the_endpoint_when_it_is_made(world: OnDemand) -> None:
    world.engine.standing_faults["c"] = Fault(failure=Failure(reason="ModelLoadFailed", message="model_fn raised."))
    world.create("ep", world.on_demand())
    world.rest()
    assert world.endpoint("ep").status is E.FAILED
    assert "model_fn raised" in world.endpoint("ep").failure_reason


def test_a_new_control_keeps_what_there_is_until_gateways_have_told_what_they_have(tmp_path: Path) -> None:
    world = OnDemand(tmp_path, keep_warm="off")
    world.serve()
    world.hand(3)
    world.all_connected = False
    world.restart()
    world.rest()
    world.pass_s(5.0)
    assert world.environments == 3
    world.all_connected = True
    world.totals.clear()  # they are there, and have not told yet
    world.keeper.second()
    world.rest()
    assert world.environments == 3
    world.hand(3)
    world.pass_s(0.6)
    world.keeper.second()
    world.rest()
    assert world.environments == 3
    world.hand(1)
    assert world.environments == 1
    world.close()


def test_a_deleted_endpoint_is_forgotten_and_one_of_its_name_begins_anew(world: OnDemand) -> None:
    world.serve()
    world.hand(3)
    world.control.delete_endpoint("ep")
    world.rest()
    assert world.engine.observe() == []
    world.create("ep", "c")
    world.rest()
    assert world.environments == 1


def test_a_new_control_goes_on_with_the_pattern_that_was_learned(tmp_path: Path) -> None:
    world = OnDemand(tmp_path, keep_warm="pattern")
    world.serve()
    world.pass_s(1800.0)
    for _ in range(8):
        world.hand(1)
        world.hand(0)
        world.pass_s(1800.0)
    packed = world.keeper.learned()
    assert packed
    assert world.keeper.learned() == b""  # nothing new
    learned_file.write(world.learned, packed)
    world.restart()
    world.rest()
    world.hand(1)
    world.hand(0)
    world.pass_s(60.0)
    assert world.environments == 0
    world.pass_s(1735.0)
    assert world.environments == 1
    world.close()


@pytest.mark.parametrize("content", [b"", b"\xff", b"\x80\x81", b"\x81\xa1x\x91\x01"])
def test_a_file_of_idle_times_that_cannot_be_read_counts_for_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "idle-times"
    file.write_bytes(content)
    assert learned_file.read(file) == {}
    learned_file.write(file, learned_file.pack({"u/v": []}))
    assert learned_file.read(file) == {"u/v": []}
    learned_file.write(tmp_path / "no" / "folder", b"")  # said, and nothing else


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (replace(RULES, memory_mib=1500), "MemorySizeInMB of variant 'main' is 1500"),
        (replace(RULES, max_concurrency=201), "MaxConcurrency of variant 'main' is 201"),
        (replace(RULES, provisioned=4), "must not be more than its MaxConcurrency, 3"),
    ],
)
def test_settings_out_of_range_are_refused(world: OnDemand, rules: Serverless, says: str) -> None:
    with pytest.raises(Invalid, match=says):
        world.on_demand(rules=rules)


@pytest.mark.parametrize(
    ("container", "document", "says"),
    [
        (Container(image="trimtab://python", multi_model=True), {}, "multi-model"),
        (Container(image="trimtab://python"), {"VpcConfig": {"Subnets": ["s"]}}, "VpcConfig"),
        (Container(image="trimtab://python"), {"EnableNetworkIsolation": True}, "EnableNetworkIsolation"),
    ],
)
def test_models_that_a_serverless_endpoint_cannot_have_are_refused(
    world: OnDemand, container: Container, document: dict[str, Any], says: str
) -> None:
    world.store.add_model(Model(name="m", created_s=0.0, containers=(container,), document=document), {})
    with pytest.raises(Invalid, match=says):
        world.on_demand()


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 5), st.floats(0.0, 90.0), st.booleans()), max_size=12))
def test_whatever_comes_requests_find_their_environments(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, float, bool]]
) -> None:
    world = OnDemand(tmp_path_factory.mktemp("w"), keep_warm="30")
    try:
        world.serve()
        for in_hand, after_s, restarts in steps:
            world.hand(in_hand)
            if restarts:
                world.restart()
                world.keeper.second()
                world.rest()
                world.keeper.second()
                world.rest()
            assert min(in_hand, RULES.max_concurrency) <= world.environments <= RULES.max_concurrency
            world.pass_s(after_s)
            assert world.environments >= min(in_hand, RULES.max_concurrency)
            assert world.endpoint("ep").status is E.IN_SERVICE
        world.hand(0)
        world.pass_s(30.1)
        assert world.environments == 0
    finally:
        world.close()
