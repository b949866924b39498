"""CreateEndpoint, DescribeEndpoint, UpdateEndpoint, UpdateEndpointWeightsAndCapacities, DeleteEndpoint."""

import pytest
from sagemaker_shapes import variant

from trimtab.aws.registry import AwsError
from trimtab.resources.endpoint import EndpointStatus

PREFIX = "arn:aws:sagemaker:eu-west-1:123456789012"
ALL_AT_ONCE = {
    "BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}}
}


async def message_of(awaitable) -> str:
    with pytest.raises(AwsError) as caught:
        await awaitable
    assert caught.value.code == "ValidationException"
    return caught.value.message


async def test_a_new_endpoint_is_creating_with_nothing_current(sagemaker, control, deployed, clock) -> None:
    await deployed("e")
    answer = await sagemaker("CreateEndpoint", EndpointName="f", EndpointConfigName="e-config", Tags=[])
    assert answer == {"EndpointArn": f"{PREFIX}:endpoint/f"}
    assert await sagemaker("DescribeEndpoint", EndpointName="f") == {
        "EndpointName": "f",
        "EndpointArn": f"{PREFIX}:endpoint/f",
        "EndpointConfigName": "e-config",
        "EndpointStatus": "Creating",
        "CreationTime": clock.now_s(),
        "LastModifiedTime": clock.now_s(),
        "ProductionVariants": [
            {
                "VariantName": "AllTraffic",
                "DeployedImages": [{"SpecifiedImage": "trimtab://python", "ResolvedImage": "trimtab://python"}],
                "CurrentWeight": 0.0,
                "DesiredWeight": 1.0,
                "CurrentInstanceCount": 0,
                "DesiredInstanceCount": 1,
                "VariantStatus": [
                    {"Status": "Creating", "StatusMessage": "Launching 1 instance(s).", "StartTime": clock.now_s()}
                ],
            }
        ],
    }


async def test_in_service_has_current_sizes_and_no_variant_status(sagemaker, deployed) -> None:
    await deployed("e")
    described = await sagemaker("DescribeEndpoint", EndpointName="e")
    (summary,) = described["ProductionVariants"]
    assert described["EndpointStatus"] == "InService"
    assert (summary["CurrentWeight"], summary["CurrentInstanceCount"]) == (1.0, 1)
    assert "VariantStatus" not in summary
    assert "FailureReason" not in described


async def test_while_an_update_runs_the_old_config_is_named_and_the_new_one_pending(
    sagemaker, control, deployed, clock
) -> None:
    await deployed("e")
    await deployed("other")
    clock.advance(60)
    await sagemaker("UpdateEndpoint", EndpointName="e", EndpointConfigName="other-config", DeploymentConfig=ALL_AT_ONCE)
    during = await sagemaker("DescribeEndpoint", EndpointName="e")
    assert (during["EndpointStatus"], during["EndpointConfigName"]) == ("Updating", "e-config")
    assert during["LastDeploymentConfig"] == ALL_AT_ONCE
    pending = during["PendingDeploymentSummary"]
    assert (pending["EndpointConfigName"], pending["StartTime"]) == ("other-config", clock.now_s())
    assert pending["ProductionVariants"][0]["InstanceType"] == "ml.m5.large"
    assert pending["ProductionVariants"][0]["VariantStatus"][0]["StatusMessage"] == "Launching 1 instance(s)."
    control.settle("e")
    after = await sagemaker("DescribeEndpoint", EndpointName="e")
    assert after["EndpointConfigName"] == "other-config"
    assert "PendingDeploymentSummary" not in after


async def test_a_failed_update_keeps_the_old_config_and_says_why(sagemaker, control, deployed) -> None:
    await deployed("e")
    await deployed("bad")
    await sagemaker("UpdateEndpoint", EndpointName="e", EndpointConfigName="bad-config")
    control.fail("e", "The update to bad-config failed: model_fn raised. e-config still serves.")
    described = await sagemaker("DescribeEndpoint", EndpointName="e")
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", "e-config")
    assert "still serves" in described["FailureReason"]


async def test_a_long_failure_reason_keeps_its_beginning_and_its_end(sagemaker, control, deployed) -> None:
    await deployed("e")
    await sagemaker("CreateEndpoint", EndpointName="f", EndpointConfigName="e-config")
    control.fail("f", "model_fn raised:\n" + "  frame\n" * 500 + "ValueError: last line")
    reason = (await sagemaker("DescribeEndpoint", EndpointName="f"))["FailureReason"]
    assert len(reason) == 1024
    assert reason.startswith("model_fn raised")
    assert reason.endswith("ValueError: last line")


@pytest.mark.parametrize(
    ("params", "counts", "weights"),
    [
        ({}, False, False),
        ({"RetainAllVariantProperties": False}, False, False),
        ({"RetainAllVariantProperties": True}, True, True),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
            },
            True,
            False,
        ),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [
                    {"VariantPropertyType": "DesiredInstanceCount"},
                    {"VariantPropertyType": "DataCaptureConfig"},
                ],
            },
            False,
            True,
        ),
        ({"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]}, False, False),
    ],
)
async def test_retained_properties_are_those_that_are_not_excluded(
    sagemaker, control, deployed, params, counts, weights
) -> None:
    await deployed("e")
    await deployed("other")
    await sagemaker("UpdateEndpoint", EndpointName="e", EndpointConfigName="other-config", **params)
    assert control.calls[-1] == ("update_endpoint", {"retain_counts": counts, "retain_weights": weights})


async def test_the_last_deployment_config_is_used_again_only_when_asked(sagemaker, control, deployed) -> None:
    await deployed("e")
    for retain, expected in ((False, {}), (True, {"DeploymentConfig": ALL_AT_ONCE})):
        await sagemaker("UpdateEndpoint", EndpointName="e", EndpointConfigName="e-config", DeploymentConfig=ALL_AT_ONCE)
        control.settle("e")
        await sagemaker(
            "UpdateEndpoint", EndpointName="e", EndpointConfigName="e-config", RetainDeploymentConfig=retain
        )
        control.settle("e")
        assert control.endpoints["e"].document == expected


@pytest.mark.parametrize(
    ("config", "member"),
    [
        (
            {
                "BlueGreenUpdatePolicy": {
                    "TrafficRoutingConfiguration": {
                        "Type": "CANARY",
                        "WaitIntervalInSeconds": 60,
                        "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": 10},
                    }
                }
            },
            "CANARY",
        ),
        (
            {
                "RollingUpdatePolicy": {
                    "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 20},
                    "WaitIntervalInSeconds": 0,
                }
            },
            "RollingUpdatePolicy",
        ),
        ({**ALL_AT_ONCE, "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]}}, "AutoRollback"),
    ],
)
async def test_deployment_strategies_that_are_not_there_are_refused(sagemaker, deployed, config, member) -> None:
    await deployed("e")
    for operation in ("CreateEndpoint", "UpdateEndpoint"):
        message = await message_of(
            sagemaker(operation, EndpointName="e", EndpointConfigName="e-config", DeploymentConfig=config)
        )
        assert member in message
        assert "not supported yet" in message


async def test_weights_and_counts_change_only_where_named(sagemaker, control, deployed) -> None:
    await deployed("e")
    two = [variant("e-model", "A"), variant("e-model", "B", InitialVariantWeight=3.0)]
    await sagemaker("CreateEndpointConfig", EndpointConfigName="two", ProductionVariants=two)
    await sagemaker("CreateEndpoint", EndpointName="ab", EndpointConfigName="two")
    control.settle("ab")
    answer = await sagemaker(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="ab",
        DesiredWeightsAndCapacities=[
            {"VariantName": "A", "DesiredWeight": 0},
            {"VariantName": "B", "DesiredInstanceCount": 2},
        ],
    )
    assert answer == {"EndpointArn": f"{PREFIX}:endpoint/ab"}
    a, b = (await sagemaker("DescribeEndpoint", EndpointName="ab"))["ProductionVariants"]
    assert (a["DesiredWeight"], a["CurrentWeight"], a["DesiredInstanceCount"]) == (0.0, 1.0, 1)
    assert (b["DesiredWeight"], b["DesiredInstanceCount"], b["CurrentInstanceCount"]) == (3.0, 2, 1)
    assert b["VariantStatus"][0]["StatusMessage"] == "Scaling out desired instance count to 2."
    assert "VariantStatus" not in a


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [{"VariantName": "X", "DesiredWeight": 1.0}, {"VariantName": "Y", "DesiredWeight": 1.0}],
            f'The variant name(s) "X", "Y" is/are not present within endpoint configuration "{PREFIX}:endpoint-config/'
            'e-config".',
        ),
        ([{"VariantName": "AllTraffic", "DesiredWeight": 1.0}] * 2, "non-unique"),
        ([{"VariantName": "AllTraffic"}], "needs DesiredWeight, DesiredInstanceCount or ServerlessUpdateConfig"),
        (
            [{"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"MaxConcurrency": 2}}],
            "has instances: ServerlessUpdateConfig is not for it",
        ),
    ],
)
async def test_changes_that_name_no_variant_are_refused(sagemaker, deployed, changes, expected) -> None:
    await deployed("e")
    assert expected in await message_of(
        sagemaker("UpdateEndpointWeightsAndCapacities", EndpointName="e", DesiredWeightsAndCapacities=changes)
    )


async def test_an_endpoint_in_progress_refuses_every_change(sagemaker, deployed) -> None:
    await deployed("e")
    await sagemaker("CreateEndpoint", EndpointName="f", EndpointConfigName="e-config")
    expected = f'Cannot update in-progress endpoint "{PREFIX}:endpoint/f".'
    changes = [{"VariantName": "AllTraffic", "DesiredWeight": 1.0}]
    assert await message_of(sagemaker("DeleteEndpoint", EndpointName="f")) == expected
    assert await message_of(sagemaker("UpdateEndpoint", EndpointName="f", EndpointConfigName="e-config")) == expected
    assert expected == await message_of(
        sagemaker("UpdateEndpointWeightsAndCapacities", EndpointName="f", DesiredWeightsAndCapacities=changes)
    )


async def test_messages_are_those_that_the_sdks_look_for(sagemaker, deployed) -> None:
    await deployed("e")
    missing = f'Could not find endpoint "{PREFIX}:endpoint/x".'
    assert await message_of(sagemaker("DescribeEndpoint", EndpointName="x")) == missing
    assert await message_of(sagemaker("DeleteEndpoint", EndpointName="x")) == missing
    assert await message_of(sagemaker("UpdateEndpoint", EndpointName="x", EndpointConfigName="e-config")) == missing
    assert await message_of(sagemaker("CreateEndpoint", EndpointName="e", EndpointConfigName="e-config")) == (
        f'Cannot create already existing endpoint "{PREFIX}:endpoint/e".'
    )
    assert await message_of(sagemaker("CreateEndpoint", EndpointName="f", EndpointConfigName="x")) == (
        f'Could not find endpoint configuration "{PREFIX}:endpoint-config/x".'
    )


async def test_describe_survives_the_deletion_of_config_and_model(sagemaker, deployed) -> None:
    await deployed("e")
    await sagemaker("DeleteModel", ModelName="e-model")
    assert "DeployedImages" not in (await sagemaker("DescribeEndpoint", EndpointName="e"))["ProductionVariants"][0]
    await sagemaker("DeleteEndpointConfig", EndpointConfigName="e-config")
    described = await sagemaker("DescribeEndpoint", EndpointName="e")
    assert described["EndpointConfigName"] == "e-config"
    assert described["ProductionVariants"][0]["CurrentInstanceCount"] == 1


async def test_an_image_that_was_not_deployed_is_not_claimed(sagemaker, deployed, clock) -> None:
    await deployed("e")
    await sagemaker("DeleteModel", ModelName="e-model")
    clock.advance(1)
    await sagemaker("CreateModel", ModelName="e-model", PrimaryContainer={"Image": "another"})
    assert "DeployedImages" not in (await sagemaker("DescribeEndpoint", EndpointName="e"))["ProductionVariants"][0]


async def test_a_deleted_endpoint_leaves_its_config_and_model(sagemaker, control, deployed) -> None:
    await deployed("e")
    assert await sagemaker("DeleteEndpoint", EndpointName="e") == {}
    assert await sagemaker("ListEndpoints") == {"Endpoints": []}
    assert (set(control.configs), set(control.models)) == ({"e-config"}, {"e-model"})


async def test_statuses_are_filtered_and_sorted(sagemaker, control, deployed, clock) -> None:
    await deployed("e")
    for name in ("b", "a"):
        clock.advance(1)
        await sagemaker("CreateEndpoint", EndpointName=name, EndpointConfigName="e-config")
    by_status = await sagemaker("ListEndpoints", SortBy="Status", SortOrder="Ascending")
    assert [e["EndpointName"] for e in by_status["Endpoints"]] == ["a", "b", "e"]
    creating = await sagemaker("ListEndpoints", StatusEquals="Creating")
    assert {e["EndpointStatus"] for e in creating["Endpoints"]} == {EndpointStatus.CREATING.value}
    assert [e["EndpointName"] for e in creating["Endpoints"]] == ["a", "b"]
