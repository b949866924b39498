"""Variants without replicas, and what gateways are told of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from scaling_moves import SCALED, counts, move, serve

from trimtab.errors import Invalid
from trimtab.resources.endpoint import EndpointStatus as E
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.testing.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def test_a_variant_is_scaled_to_none_and_keeps_its_place_in_the_routes(world: World) -> None:
    serve(world)
    world.scale("ep", 0, why="idle")
    world.settle()
    assert counts(world) == {"main": (0, 0)}
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.engine.observe() == []
    route = world.book.route("ep")
    assert route is not None
    assert [(v.name, v.lanes, v.signals) for v in route.variants] == [("main", (), True)]
    world.scale("ep", 1, why="a request waits")
    world.settle()
    assert world.lanes("ep") == {"main": 1}
    route = world.book.route("ep")
    assert route is not None
    assert not route.variants[0].signals
    assert world.outcomes("ep") == [SCALED, SCALED]


def test_waking_that_fails_leaves_one_wanted_and_goes_on_trying(world: World) -> None:
    serve(world)
    world.scale("ep", 0)
    world.settle()
    world.engine.capacity = 0
    world.scale("ep", 1)
    move(world, 3)
    assert world.outcomes("ep")[-1] == ("scaling failed", "main", "InsufficientInstanceCapacity")
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.endpoint("ep").variants[0].desired_count == 1
    world.engine.capacity = 1
    world.settle()
    assert world.lanes("ep") == {"main": 1}


def test_a_caller_may_ask_for_none_where_a_scalable_target_allows_it(world: World) -> None:
    serve(world)
    with pytest.raises(Invalid, match="register a scalable target for the variant with MinCapacity 0"):
        world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.targets["ep", "main"] = 2
    with pytest.raises(Invalid, match="at least 1"):
        world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.control.update_weights_and_counts("ep", {}, {"main": 1})  # AWS: a caller is not bound by the target's minimum
    world.settle()
    world.targets["ep", "main"] = 0
    world.control.update_weights_and_counts("ep", {}, {"main": 0})
    world.settle()
    assert counts(world) == {"main": (0, 0)}


def test_an_endpoint_whose_managed_scaling_begins_at_none_is_created_without_replicas(world: World) -> None:
    world.config("c1")
    none = VariantSpec(name="main", model_name="m", initial_count=0)
    with pytest.raises(Invalid, match="ManagedInstanceScaling with MinInstanceCount 0"):
        world.control.create_endpoint_config(EndpointConfig(name="c2", created_s=0.0, variants=(none,)), {})
    managed = replace(none, managed_min=0, managed_max=3)
    world.control.create_endpoint_config(EndpointConfig(name="c2", created_s=0.0, variants=(managed,)), {})
    world.create("ep", "c2")
    world.settle()
    assert world.endpoint("ep").status is E.IN_SERVICE
    assert world.lanes("ep") == {"main": 0}
    world.scale("ep", 1)
    world.settle()
    assert world.lanes("ep") == {"main": 1}


def test_an_endpoint_at_none_is_updated_and_deleted(world: World) -> None:
    serve(world)
    world.scale("ep", 0)
    world.settle()
    world.update("ep", world.config("c2"), retain_counts=True)
    world.settle()
    assert (world.endpoint("ep").config_name, counts(world)) == ("c2", {"main": (0, 0)})
    world.control.delete_endpoint("ep")
    world.settle()
    assert world.control.list_endpoints() == []


def test_a_variant_that_begins_or_ceases_to_be_scaled_by_events_is_published_so(world: World) -> None:
    serve(world)
    for wanted in (True, False):
        (world.signals.add if wanted else world.signals.discard)(("ep", "main"))
        world.settle()
        route = world.book.route("ep")
        assert route is not None
        assert route.variants[0].signals is wanted
