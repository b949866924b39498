"""ServerlessConfig through the SageMaker API: declared, described, changed; and what AWS refuses."""

import pytest
from sagemaker_shapes import variant

from trimtab.aws.faults import AwsError
from trimtab.resources.serverless import Serverless

RULES = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}


def on_demand(model_name, **more):
    return {"VariantName": "AllTraffic", "ModelName": model_name, "ServerlessConfig": RULES, **more}


@pytest.fixture
async def made(sagemaker):
    await sagemaker(
        "CreateModel",
        ModelName="m",
        ExecutionRoleArn="arn:aws:iam::000000000000:role/r",
        PrimaryContainer={"Image": "trimtab://python", "ModelDataUrl": "s3://models/m.tar.gz"},
    )
    return "m"


async def create(sagemaker, *variants, **more):
    await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=list(variants), **more)


async def refusal(sagemaker, *variants, **more):
    with pytest.raises(AwsError) as caught:
        await create(sagemaker, *variants, **more)
    assert caught.value.code == "ValidationException"
    return caught.value.message


async def test_a_serverless_variant_is_recorded_and_described_as_declared(sagemaker, control, made) -> None:
    rules = {**RULES, "ProvisionedConcurrency": 2}
    await create(sagemaker, on_demand(made, ServerlessConfig=rules))
    (spec,) = control.configs["c"].variants
    assert spec.serverless == Serverless(memory_mib=2048, max_concurrency=5, provisioned=2)
    (described,) = (await sagemaker("DescribeEndpointConfig", EndpointConfigName="c"))["ProductionVariants"]
    assert described["ServerlessConfig"] == rules
    assert "InstanceType" not in described


async def test_describe_shows_settings_in_place_of_counts(sagemaker, control, made) -> None:
    await create(sagemaker, on_demand(made))
    await sagemaker("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    (before,) = (await sagemaker("DescribeEndpoint", EndpointName="e"))["ProductionVariants"]
    assert before["DesiredServerlessConfig"] == RULES
    assert before.keys().isdisjoint({"CurrentServerlessConfig", "CurrentInstanceCount", "DesiredInstanceCount"})
    assert before["VariantStatus"][0]["StatusMessage"] == "Launching an environment."
    control.settle("e")
    (after,) = (await sagemaker("DescribeEndpoint", EndpointName="e"))["ProductionVariants"]
    assert after["CurrentServerlessConfig"] == after["DesiredServerlessConfig"] == RULES


async def test_settings_are_changed_where_they_are_named(sagemaker, control, made) -> None:
    await create(sagemaker, on_demand(made))
    await sagemaker("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    control.settle("e")
    await sagemaker(
        "UpdateEndpointWeightsAndCapacities",
        EndpointName="e",
        DesiredWeightsAndCapacities=[
            {"VariantName": "AllTraffic", "ServerlessUpdateConfig": {"ProvisionedConcurrency": 3}}
        ],
    )
    (changing,) = (await sagemaker("DescribeEndpoint", EndpointName="e"))["ProductionVariants"]
    assert changing["CurrentServerlessConfig"] == RULES
    assert changing["DesiredServerlessConfig"] == {**RULES, "ProvisionedConcurrency": 3}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("InstanceType", "ml.m5.large"),
        ("InitialInstanceCount", 1),
        ("AcceleratorType", "ml.eia1.medium"),
        ("VolumeSizeInGB", 10),
        ("ManagedInstanceScaling", {"Status": "ENABLED", "MinInstanceCount": 1, "MaxInstanceCount": 2}),
        ("RoutingConfig", {"RoutingStrategy": "RANDOM"}),
    ],
)
async def test_members_of_instances_are_refused_by_name(sagemaker, made, member, value) -> None:
    message = await refusal(sagemaker, on_demand(made, **{member: value}))
    assert f"ServerlessConfig and {member}, which exclude one another" in message


@pytest.mark.parametrize(
    ("member", "value"),
    [
        (
            "DataCaptureConfig",
            {
                "InitialSamplingPercentage": 10,
                "DestinationS3Uri": "s3://b/capture",
                "CaptureOptions": [{"CaptureMode": "Input"}],
            },
        ),
        ("AsyncInferenceConfig", {"OutputConfig": {"S3OutputPath": "s3://b/out"}}),
        ("ShadowProductionVariants", [variant("m", "shadow")]),
        ("VpcConfig", {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}),
        ("EnableNetworkIsolation", True),
    ],
)
async def test_what_a_serverless_endpoint_cannot_have_is_refused_by_name(sagemaker, made, member, value) -> None:
    assert f"does not support {member}" in await refusal(sagemaker, on_demand(made), **{member: value})
