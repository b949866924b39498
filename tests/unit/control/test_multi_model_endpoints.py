"""Endpoints whose replicas hold many models: what control orders, and what gateways are told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.control.actions import Publish, StartReplica
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.hosting import Hosting, ModelSetting
from trimtab.resources.model import Artifact, Container, Model
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.routing import HostedRoute, VariantRoute
from trimtab.testing.engine import Fault
from trimtab.testing.world import World

PREFIX = "s3://b/models/"


class Hosts(World):
    """A World with a multi-model model `many`, and what users have set of its models."""

    since: tuple[ModelSetting, ...] = ()

    def hooks(self) -> dict[str, object]:
        return {**super().hooks(), "model_settings": lambda endpoint: self.since}

    def hosted(self, config: str = "hosted", *, model: str = "many", cache: bool = True, **environment: str) -> str:
        container = Container(
            image="trimtab://python",
            multi_model=True,
            model_cache=cache,
            artifact=Artifact(url=PREFIX, compressed=False),
            environment=environment,
        )
        self.control.create_model(Model(name=model, created_s=0.0, containers=(container,)), {})
        variant = VariantSpec(name="main", model_name=model, startup_timeout_s=30.0)
        self.control.create_endpoint_config(EndpointConfig(name=config, created_s=0.0, variants=(variant,)), {})
        return config

    def specs(self) -> list[ReplicaSpec]:
        return [action.spec for action in self.actions if isinstance(action, StartReplica)]

    def variant(self) -> VariantRoute:
        route = self.book.route("ep")
        assert route is not None
        return route.variants[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Hosts]:
    world = Hosts(tmp_path)
    yield world
    world.close()


def test_a_replica_of_many_models_has_a_prefix_and_no_artifact(world: Hosts) -> None:
    world.create("ep", world.hosted(cache=False, TRIMTAB_MODEL_MEMORY_MIB="64"))
    world.settle()
    (spec,) = world.specs()
    assert (spec.artifact_url, spec.hosting) == ("", Hosting(prefix=PREFIX, cache=False, memory_bytes=64 * 2**20))
    assert world.variant().hosting == HostedRoute(prefix=PREFIX, cache=False)


def test_gateways_are_told_what_is_set_and_what_was_set_since(world: Hosts) -> None:
    world.create("ep", world.hosted(TRIMTAB_PINNED_MODELS="a,b"))
    world.settle()
    world.since = (ModelSetting(model="a", pinned=False, max_copies=2), ModelSetting(model="c", min_copies=1))
    world.control.wake("ep")
    world.settle()
    assert world.variant().hosting == HostedRoute(
        prefix=PREFIX, settings=(world.since[0], ModelSetting(model="b", pinned=True), world.since[1])
    )
    assert len(world.specs()) == 1, "settings start no replica"


def test_a_host_has_its_startup_time_and_no_time_to_download(world: Hosts) -> None:
    world.engine.faults.append(Fault(never_ready=True))
    world.create("ep", world.hosted())
    before_s = world.clock.now_s()
    world.settle()
    assert world.clock.now_s() - before_s < 60, "the 3600 s that a download may take do not count"
    assert [event.what for event in world.control.get_endpoint("ep").events].count("replica lost") == 1


def test_an_endpoint_of_one_model_becomes_one_of_many_and_back(world: Hosts) -> None:
    world.create("ep", world.config("single"))
    world.settle()
    world.floors["ep"] = 1
    assert world.variant().hosting is None
    world.hosted()
    for config, hosted in (("hosted", True), ("single", False)):
        world.update("ep", config)
        world.settle()
        assert world.endpoint("ep").status is E.IN_SERVICE
        assert (world.variant().hosting is not None) is hosted
        assert (world.specs()[-1].hosting is not None) is hosted


def test_a_route_of_a_variant_changes_its_hosting_and_its_lanes_together(world: Hosts) -> None:
    world.create("ep", world.config("single"))
    world.settle()
    world.update("ep", world.hosted())
    world.settle()
    by_prefix = {spec.id: spec.hosting is not None for spec in world.specs()}
    for action in world.actions:
        if isinstance(action, Publish) and action.route is not None:
            for variant in action.route.variants:
                assert {by_prefix[lane.replica_id] for lane in variant.lanes} <= {variant.hosting is not None}
