"""Variants that are scaled: ManagedInstanceScaling, and what updates and deletions do to scalable targets."""

from __future__ import annotations

from typing import Any

import pytest
from sagemaker_shapes import variant

from trimtab.aws.registry import AwsError
from trimtab.errors import NotFound
from trimtab.resources.scaling import VARIANT_COUNT
from trimtab.testing.fake_scaling import FakeScaling


def managed(initial: int = 1, **scaling: Any) -> dict[str, Any]:
    return variant("e-model", InitialInstanceCount=initial, ManagedInstanceScaling=scaling)


def register(scaling: FakeScaling, endpoint: str = "e") -> None:
    scaling.register(
        endpoint, "AllTraffic", VARIANT_COUNT, min_capacity=1, max_capacity=2, role_arn="", suspended=None, tags={}
    )


async def refusal(awaitable: Any) -> str:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert caught.value.code == "ValidationException"
    return caught.value.message


@pytest.mark.parametrize(
    ("declared", "bounds"),
    [
        (managed(2, Status="ENABLED", MinInstanceCount=1, MaxInstanceCount=4), (1, 4)),
        (managed(2, Status="ENABLED", MinInstanceCount=0, MaxInstanceCount=2), (0, 2)),
        (managed(2, MaxInstanceCount=4), (1, 4)),
        (managed(2, Status="ENABLED", MinInstanceCount=2), (2, 2)),
        (managed(3, Status="ENABLED"), (1, 3)),
        (managed(2, Status="DISABLED", MinInstanceCount=5, MaxInstanceCount=4), (None, None)),
        (variant("e-model"), (None, None)),
    ],
)
async def test_bounds_reach_control(sagemaker, control, deployed, declared, bounds) -> None:
    await deployed("e")
    await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[declared])
    (spec,) = control.configs["c"].variants
    assert (spec.managed_min, spec.managed_max) == bounds
    described = await sagemaker("DescribeEndpointConfig", EndpointConfigName="c")
    assert described["ProductionVariants"] == [{**declared, "InitialVariantWeight": 1.0}]


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (managed(1, Status="ENABLED", MinInstanceCount=3, MaxInstanceCount=2), "is more than its MaxInstanceCount 2"),
        (managed(5, Status="ENABLED", MinInstanceCount=1, MaxInstanceCount=4), "InitialInstanceCount 5"),
        (managed(1, Status="ENABLED", MinInstanceCount=2, MaxInstanceCount=4), "InitialInstanceCount 1"),
    ],
)
async def test_bounds_that_contradict_each_other_are_refused(sagemaker, deployed, declared, message) -> None:
    await deployed("e")
    said = await refusal(sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[declared]))
    assert message in said
    assert "AllTraffic" in said


async def test_summaries_say_how_a_variant_is_managed(sagemaker, control, deployed) -> None:
    await deployed("e")
    declared = managed(1, Status="ENABLED", MinInstanceCount=1, MaxInstanceCount=4)
    await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[declared])
    await sagemaker("UpdateEndpoint", EndpointName="e", EndpointConfigName="c")
    described = await sagemaker("DescribeEndpoint", EndpointName="e")
    (pending,) = described["PendingDeploymentSummary"]["ProductionVariants"]
    assert pending["ManagedInstanceScaling"] == declared["ManagedInstanceScaling"]
    assert "ManagedInstanceScaling" not in described["ProductionVariants"][0]
    control.settle("e")
    described = await sagemaker("DescribeEndpoint", EndpointName="e")
    (serving,) = described["ProductionVariants"]
    assert serving["ManagedInstanceScaling"] == declared["ManagedInstanceScaling"]
    await sagemaker("DeleteEndpointConfig", EndpointConfigName="c")
    described = await sagemaker("DescribeEndpoint", EndpointName="e")
    assert "ManagedInstanceScaling" not in described["ProductionVariants"][0]


async def test_deleting_an_endpoint_deregisters_its_targets_and_no_others(sagemaker, scaling, deployed) -> None:
    await deployed("e")
    register(scaling)
    register(scaling, "other")
    assert "Could not find" in await refusal(sagemaker("DeleteEndpoint", EndpointName="other"))
    assert len(scaling.targets()) == 2
    await sagemaker("DeleteEndpoint", EndpointName="e")
    assert [target.endpoint for target in scaling.targets()] == ["other"]
    with pytest.raises(NotFound):
        scaling.deregister("e", "AllTraffic", VARIANT_COUNT)


async def test_no_instances_at_all_can_be_asked_for(sagemaker, control, deployed) -> None:
    await deployed("e")
    change = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 0}]
    await sagemaker("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=change)
    assert control.endpoints["e"].variants[0].desired_count == 0
