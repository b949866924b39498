"""AsyncInferenceConfig in endpoint configurations."""

import pytest
from sagemaker_shapes import variant

from trimtab.aws.registry import AwsError
from trimtab.resources.asynchronous import AsyncSettings
from trimtab.resources.model import Container, Model

TOPIC = "arn:aws:sns:us-east-1:000000000000:told"
FULL = {
    "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 7},
    "OutputConfig": {
        "S3OutputPath": "s3://bucket/out/",
        "S3FailurePath": "https://bucket.s3.us-east-1.amazonaws.com/failed",
        "NotificationConfig": {
            "SuccessTopic": TOPIC,
            "ErrorTopic": TOPIC,
            "IncludeInferenceResponseIn": ["SUCCESS_NOTIFICATION_TOPIC"],
        },
    },
}


@pytest.fixture(autouse=True)
def model_m(control):
    control.create_model(Model(name="m", created_s=0.0, containers=(Container(image="i"),)), {})


async def create(sagemaker, config, **more):
    variants = [variant("m", **more)]
    await sagemaker(
        "CreateEndpointConfig", EndpointConfigName="c", ProductionVariants=variants, AsyncInferenceConfig=config
    )


async def test_all_that_can_be_declared(sagemaker, control):
    await create(sagemaker, FULL)
    assert control.configs["c"].asynchronous == AsyncSettings(
        output_path="s3://bucket/out",
        failure_path="s3://bucket/failed",
        success_topic=TOPIC,
        error_topic=TOPIC,
        include_success=True,
        max_concurrency=7,
    )
    found = await sagemaker("DescribeEndpointConfig", EndpointConfigName="c")
    assert found["AsyncInferenceConfig"] == FULL


async def test_describe_endpoint_repeats_it(sagemaker):
    await create(sagemaker, FULL)
    await sagemaker("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    assert (await sagemaker("DescribeEndpoint", EndpointName="e"))["AsyncInferenceConfig"] == FULL


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ({"S3OutputPath": "bucket/out"}, "S3OutputPath: 'bucket/out' is not an S3 URL"),
        ({"S3OutputPath": "s3://bucket/o", "S3FailurePath": "s3://B!/x"}, "S3FailurePath"),
        ({"NotificationConfig": {"ErrorTopic": "told"}}, "ErrorTopic is 'told': give the ARN of an SNS topic"),
    ],
)
async def test_paths_and_topics_that_are_none(sagemaker, output, says):
    with pytest.raises(AwsError) as caught:
        await create(sagemaker, {"OutputConfig": output})
    assert caught.value.code == "ValidationException"
    assert says in caught.value.message


async def test_multi_model_containers_are_refused(sagemaker, control):
    many = Container(image="i", multi_model=True)
    control.create_model(Model(name="many", created_s=0.0, containers=(many,)), {})
    with pytest.raises(AwsError, match="multi-model container"):
        await sagemaker(
            "CreateEndpointConfig",
            EndpointConfigName="c",
            ProductionVariants=[variant("many")],
            AsyncInferenceConfig=FULL,
        )
