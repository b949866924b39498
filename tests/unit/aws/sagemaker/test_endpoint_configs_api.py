"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

import pytest
from sagemaker_shapes import variant

from trimtab.aws.registry import AwsError
from trimtab.resources.endpoint_config import VariantSpec

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:endpoint-config/c"


@pytest.fixture(autouse=True)
async def a_model(sagemaker) -> None:
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})


async def test_describe_says_again_what_was_declared_with_the_default_weight(sagemaker, clock) -> None:
    created = await sagemaker(
        "CreateEndpointConfig",
        EndpointConfigName="c",
        ProductionVariants=[
            variant("m"),
            variant("m", "B", InitialVariantWeight=0.25, RoutingConfig={"RoutingStrategy": "RANDOM"}),
        ],
        KmsKeyId="key",
        DataCaptureConfig={
            "EnableCapture": False,
            "InitialSamplingPercentage": 10,
            "DestinationS3Uri": "s3://b/capture",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
        Tags=[],
    )
    assert created == {"EndpointConfigArn": ARN}
    described = await sagemaker("DescribeEndpointConfig", EndpointConfigName="c")
    assert described["ProductionVariants"][0] == {**variant("m"), "InitialVariantWeight": 1.0}
    assert described["ProductionVariants"][1]["InitialVariantWeight"] == 0.25
    assert described["KmsKeyId"] == "key"
    assert described["DataCaptureConfig"]["EnableCapture"] is False
    assert described["CreationTime"] == clock.now_s()
    assert "Tags" not in described


async def test_variants_reach_control_with_units(sagemaker, control) -> None:
    declared = variant(
        "m",
        InitialVariantWeight=3,
        ContainerStartupHealthCheckTimeoutInSeconds=600,
        ModelDataDownloadTimeoutInSeconds=90,
    )
    await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[declared])
    assert control.configs["c"].variants == (
        VariantSpec(
            name="AllTraffic", model_name="m", initial_weight=3.0, startup_timeout_s=600.0, download_timeout_s=90.0
        ),
    )


async def test_the_variant_name_that_is_there_twice_is_named(sagemaker) -> None:
    with pytest.raises(AwsError) as caught:
        await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant("m")] * 2)
    assert caught.value.message == 'The variant name "AllTraffic" was non-unique within the request.'


@pytest.mark.parametrize(
    ("change", "member"),
    [
        ({"ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5}}, "ServerlessConfig"),
        ({"AcceleratorType": "ml.eia1.medium"}, "AcceleratorType"),
        (
            {"ManagedInstanceScaling": {"Status": "ENABLED", "ScaleInPolicy": {"Strategy": "IDLE_RELEASE"}}},
            "ManagedInstanceScaling.ScaleInPolicy",
        ),
        ({"RoutingConfig": {"RoutingStrategy": "PREFIX_AWARE"}}, "RoutingStrategy PREFIX_AWARE"),
        ({"InstancePools": [{"InstanceType": "ml.m5.large", "Priority": 1}]}, "InstancePools"),
    ],
)
async def test_variant_members_without_effect_are_refused_by_name(sagemaker, change, member) -> None:
    with pytest.raises(AwsError, match="not supported yet") as caught:
        await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant("m", **change)])
    assert caught.value.code == "ValidationException"
    assert member in caught.value.message
    assert "AllTraffic" in caught.value.message


CAPTURE = {
    "InitialSamplingPercentage": 10,
    "DestinationS3Uri": "s3://b/capture",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}


@pytest.mark.parametrize(
    "params",
    [
        {"ShadowProductionVariants": [variant("m", "shadow")]},
        {"DataCaptureConfig": CAPTURE},
        {"DataCaptureConfig": {**CAPTURE, "EnableCapture": True}},
        {
            "ExplainerConfig": {
                "ClarifyExplainerConfig": {"ShapConfig": {"ShapBaselineConfig": {"ShapBaseline": "1,2"}}},
            }
        },
    ],
)
async def test_config_members_without_effect_are_refused_by_name(sagemaker, params) -> None:
    with pytest.raises(AwsError, match=f"{next(iter(params))} is not supported yet"):
        await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant("m")], **params)


@pytest.mark.parametrize("member", ["InstanceType", "InitialInstanceCount", "ModelName"])
async def test_a_variant_that_lacks_what_it_needs_is_refused(sagemaker, member) -> None:
    declared = variant("m")
    del declared[member]
    with pytest.raises(AwsError, match=member):
        await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[declared])


async def test_a_missing_model_is_named_by_its_arn(sagemaker) -> None:
    with pytest.raises(AwsError) as caught:
        await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant("other")])
    assert caught.value.message == ('Could not find model "arn:aws:sagemaker:eu-west-1:123456789012:model/other".')


async def test_messages_are_those_that_the_sdks_look_for(sagemaker) -> None:
    for operation in ("DescribeEndpointConfig", "DeleteEndpointConfig"):
        with pytest.raises(AwsError) as missing:
            await sagemaker(operation, EndpointConfigName="c")
        assert missing.value.message == f'Could not find endpoint configuration "{ARN}".'
    await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant("m")])
    with pytest.raises(AwsError) as existing:
        await sagemaker("CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=[variant("m")])
    assert existing.value.message == f'Cannot create already existing endpoint configuration "{ARN}".'
    assert await sagemaker("DeleteEndpointConfig", EndpointConfigName="c") == {}
    assert await sagemaker("ListEndpointConfigs") == {"EndpointConfigs": []}
