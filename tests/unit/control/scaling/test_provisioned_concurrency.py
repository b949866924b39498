"""The scalable dimension of serverless variants: provisioned environments, scaled as instance counts are."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.resources.endpoint import EndpointStatus
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.scaling import (
    PROVISIONED,
    VARIANT_COUNT,
    ActivityStatus,
    ScalableTarget,
    ScheduledAction,
    StepAdjustment,
    StepScaling,
)
from trimtab.resources.serverless import Serverless
from trimtab.testing.live_scaling import LiveScalingWorld
from trimtab.testing.scaling import a_policy

RULES = Serverless(memory_mib=2048, max_concurrency=4, provisioned=1)


class OnDemand(LiveScalingWorld):
    """The endpoint `ep` beside it is serverless: `sls`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        container = Container(image="trimtab://python", environment={})
        self.control.create_model(Model(name="s", created_s=0.0, containers=(container,)), {})
        variant = VariantSpec(name="main", model_name="s", serverless=RULES, initial_count=0)
        self.control.create_endpoint_config(EndpointConfig(name="s", created_s=0.0, variants=(variant,)), {})
        self.create("sls", "s")
        self.settle()

    def scales(self, least: int, most: int) -> ScalableTarget:
        """Register it."""
        made: ScalableTarget = self.api.register(
            "sls", "main", PROVISIONED, min_capacity=least, max_capacity=most, role_arn="", suspended=None, tags={}
        )
        return made

    @property
    def provisioned(self) -> tuple[int, int]:
        """Wanted and current."""
        [state] = self.endpoint("sls").variants
        return state.capacity, state.current_capacity


@pytest.fixture
def world(tmp_path: Path) -> Iterator[OnDemand]:
    world = OnDemand(tmp_path)
    yield world
    world.close()


def test_registering_moves_provisioned_concurrency_inside_the_bounds_at_once(world: OnDemand) -> None:
    world.scales(3, 4)
    assert world.provisioned == (3, 1)
    world.settle()
    assert world.provisioned == (3, 3)
    assert world.lanes("sls") == {"main": 3}
    assert world.endpoint("sls").status is EndpointStatus.IN_SERVICE
    [activity] = world.activities()
    assert (activity.dimension, activity.status) == (PROVISIONED, ActivityStatus.SUCCESSFUL)
    assert activity.description == "Setting desired provisioned concurrency to 3."
    assert activity.status_message == (
        "Successfully set desired provisioned concurrency to 3. Change successfully fulfilled by sagemaker."
    )
    world.scales(1, 2)
    world.settle()
    assert world.provisioned == (2, 2)


def test_a_dimension_is_of_one_kind_of_variants(world: OnDemand) -> None:
    bounds = {"min_capacity": 1, "max_capacity": 2, "role_arn": "", "suspended": None, "tags": {}}
    with pytest.raises(Invalid, match="is serverless"):
        world.api.register("sls", "main", VARIANT_COUNT, **bounds)
    with pytest.raises(Invalid, match="has instances"):
        world.api.register("ep", "main", PROVISIONED, **bounds)
    with pytest.raises(Invalid, match="must be 1 or more"):
        world.scales(0, 2)
    world.scales(1, 2)
    action = ScheduledAction(
        name="off", arn="", endpoint="sls", variant="main", dimension=PROVISIONED, schedule="rate(1 hour)",
        created_s=0.0, min_capacity=0,
    )  # fmt: skip
    with pytest.raises(Invalid, match="must be 1 or more"):
        world.api.put_action(action)


def test_policies_and_schedules_ask_for_no_more_than_max_concurrency(world: OnDemand) -> None:
    world.scales(1, 10)
    steps = StepScaling(adjustment_type="ExactCapacity", steps=(StepAdjustment(0.0, None, 9),))
    policy = world.api.put_policy(a_policy("nine", "sls", "main", dimension=PROVISIONED, tracking=None, step=steps))
    scaler = world.live.scalers.fresh(("sls", "main"))
    assert scaler is not None
    assert policy.dimension == PROVISIONED
    assert scaler.rules.ceiling == 4
    world.control.scale("sls", "main", 4, why="as much as there may be")
    world.settle()
    assert world.provisioned == (4, 4)
    world.scales(6, 10)
    world.settle()
    assert world.provisioned == (4, 4)
    with pytest.raises(Invalid, match="must not be more than its MaxConcurrency"):
        world.control.scale("sls", "main", 5, why="more than that")
    raised = {"main": replace(RULES, max_concurrency=8, provisioned=4)}
    world.control.update_weights_and_counts("sls", {}, {}, raised)
    world.settle()
    scaler = world.live.scalers.fresh(("sls", "main"))
    assert scaler is not None
    assert scaler.rules.ceiling == 8


def test_environments_that_cannot_start_fail_the_activity_and_what_there_is_stays(world: OnDemand) -> None:
    world.engine.capacity = 2
    world.scales(3, 4)
    world.settle()
    assert world.provisioned == (1, 1)
    [activity] = world.activities()
    assert activity.status is ActivityStatus.FAILED
    assert activity.status_message.startswith("Failed to set desired provisioned concurrency to 3. Reason: ")


def test_requests_wake_nothing_through_the_scaler(world: OnDemand) -> None:
    world.scales(1, 4)
    world.control.update_weights_and_counts("sls", {}, {}, {"main": replace(RULES, provisioned=0)})
    world.settle()
    scaler = world.live.scalers.fresh(("sls", "main"))
    assert scaler is not None
    assert (scaler.capacity, scaler.looks_at_load) == (0, False)


def test_a_target_outlives_control_and_goes_with_its_endpoint(world: OnDemand) -> None:
    target = world.scales(2, 4)
    world.settle()
    world.restart()
    assert world.api.targets() == [target]
    world.control.delete_endpoint("sls")
    world.settle()
    assert world.api.targets() == []
