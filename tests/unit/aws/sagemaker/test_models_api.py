"""CreateModel, DescribeModel, ListModels, DeleteModel."""

import pytest

from trimtab.aws.registry import AwsError
from trimtab.resources.model import Artifact

ROLE = "arn:aws:iam::123456789012:role/service/Runner"
ARN = "arn:aws:sagemaker:eu-west-1:123456789012:model/m"


async def refused(sagemaker, *expected: str, **container) -> None:
    with pytest.raises(AwsError) as caught:
        await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i", **container})
    assert caught.value.code == "ValidationException"
    for text in expected:
        assert text in caught.value.message


async def test_describe_says_again_what_was_declared_and_leaves_out_what_says_nothing(sagemaker, clock) -> None:
    container = {"Image": "i", "ModelDataUrl": "s3://b/m.tar.gz", "Environment": {"K": "V"}, "Mode": "SingleModel"}
    created = await sagemaker(
        "CreateModel",
        ModelName="m",
        PrimaryContainer={**container, "MultiModelConfig": {}},
        ExecutionRoleArn=ROLE,
        VpcConfig={"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        Containers=[],
        Tags=[],
    )
    assert created == {"ModelArn": ARN}
    assert await sagemaker("DescribeModel", ModelName="m") == {
        "ModelName": "m",
        "ModelArn": ARN,
        "CreationTime": clock.now_s(),
        "PrimaryContainer": container,
        "ExecutionRoleArn": ROLE,
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
    }


async def test_the_container_reaches_control_without_aws_words(sagemaker, control) -> None:
    await sagemaker(
        "CreateModel",
        ModelName="m",
        PrimaryContainer={"Image": "i", "ContainerHostname": "host", "ModelDataUrl": "s3://b/m.tar.gz"},
        Tags=[{"Key": "team", "Value": "fraud"}],
    )
    (container,) = control.models["m"].containers
    assert (container.image, container.hostname) == ("i", "host")
    assert container.artifact == Artifact(url="s3://b/m.tar.gz", compressed=True)
    assert control.tags["model", "m"] == {"team": "fraud"}


@pytest.mark.parametrize(
    ("kind", "compression", "uri", "artifact"),
    [
        ("S3Prefix", "None", "s3://b/model/", Artifact(url="s3://b/model/", compressed=False)),
        ("S3Object", "None", "s3://b/model.onnx", Artifact(url="s3://b/model.onnx", compressed=False)),
        ("S3Object", "Gzip", "s3://b/m.tar.gz", Artifact(url="s3://b/m.tar.gz", compressed=True)),
    ],
)
async def test_a_data_source_becomes_an_artifact(sagemaker, control, kind, compression, uri, artifact) -> None:
    source = {"S3DataSource": {"S3Uri": uri, "S3DataType": kind, "CompressionType": compression}}
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i", "ModelDataSource": source})
    assert control.models["m"].containers[0].artifact == artifact
    assert (await sagemaker("DescribeModel", ModelName="m"))["PrimaryContainer"]["ModelDataSource"] == source


async def test_one_container_in_a_list_works_and_is_described_as_a_list(sagemaker) -> None:
    await sagemaker("CreateModel", ModelName="m", Containers=[{"Image": "i"}])
    assert (await sagemaker("DescribeModel", ModelName="m"))["Containers"] == [{"Image": "i"}]


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({"ModelPackageName": "p"}, "ModelPackageName is not supported yet"),
        ({"MultiModelConfig": {"ModelCacheSetting": "Enabled"}}, "belongs to a container with Mode MultiModel"),
        ({"Image": ""}, "Image is missing"),
        ({"ModelDataUrl": "s3://bucket"}, "must name one object"),
        ({"ModelDataUrl": "s3://bucket/prefix/"}, "must name one object"),
        ({"ModelDataUrl": "https://bucket.s3.amazonaws.com/k"}, "s3://BUCKET/KEY"),
        ({"Environment": {"K": "v" * 40_000}}, "32768"),
    ],
)
async def test_what_would_not_work_is_refused_by_name(sagemaker, container, expected) -> None:
    await refused(sagemaker, expected, **container)


@pytest.mark.parametrize("url", ["s3://b/p/", "s3://b/p/q/", "s3://b/"])
@pytest.mark.parametrize(
    ("config", "cache"),
    [({}, True), ({"ModelCacheSetting": "Enabled"}, True), ({"ModelCacheSetting": "Disabled"}, False)],
)
async def test_a_multi_model_container_has_a_prefix_and_says_whether_models_stay(
    sagemaker, control, url, config, cache
) -> None:
    container = {"Image": "i", "Mode": "MultiModel", "ModelDataUrl": url}
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={**container, "MultiModelConfig": config})
    (kept,) = control.models["m"].containers
    assert (kept.multi_model, kept.model_cache, kept.artifact) == (True, cache, Artifact(url=url, compressed=False))
    described = (await sagemaker("DescribeModel", ModelName="m"))["PrimaryContainer"]
    assert described == {**container, **({"MultiModelConfig": config} if config else {})}


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        ({}, "needs ModelDataUrl"),
        ({"ModelDataUrl": "s3://b/p"}, "ending in a slash"),
        ({"ModelDataUrl": "s3://b/m.tar.gz"}, "ending in a slash"),
        ({"ModelDataUrl": "s3:///p/"}, "s3://BUCKET/PREFIX/"),
        ({"ModelDataUrl": "https://b.s3.amazonaws.com/p/"}, "s3://BUCKET/KEY"),
        (
            {
                "ModelDataUrl": "s3://b/p/",
                "ModelDataSource": {
                    "S3DataSource": {"S3Uri": "s3://b/p/", "S3DataType": "S3Prefix", "CompressionType": "None"}
                },
            },
            "ModelDataSource cannot be used with Mode MultiModel",
        ),
    ],
)
async def test_multi_model_containers_that_would_not_work_are_refused_by_name(sagemaker, container, expected) -> None:
    await refused(sagemaker, expected, Mode="MultiModel", **container)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"S3DataType": "S3Prefix", "CompressionType": "Gzip"}, "S3Prefix with CompressionType Gzip"),
        ({"S3DataType": "S3Prefix", "S3Uri": "s3://b/model"}, "must end in a slash"),
        ({"ManifestS3Uri": "s3://b/manifest"}, "ManifestS3Uri is not supported yet"),
        ({"HubAccessConfig": {"HubContentArn": "arn:aws:sagemaker:::hub/x"}}, "HubAccessConfig is not supported yet"),
    ],
)
async def test_data_sources_that_would_not_work_are_refused_by_name(sagemaker, change, expected) -> None:
    source = {"S3Uri": "s3://b/model/", "S3DataType": "S3Object", "CompressionType": "None", **change}
    await refused(sagemaker, expected, ModelDataSource={"S3DataSource": source})


async def test_two_different_places_for_the_model_data_are_refused(sagemaker) -> None:
    source = {"S3Uri": "s3://b/x.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}
    await refused(sagemaker, "different data", ModelDataUrl="s3://b/y.tar.gz", ModelDataSource={"S3DataSource": source})


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "PrimaryContainer is missing"),
        ({"PrimaryContainer": {"Image": "i"}, "Containers": [{"Image": "i"}]}, "exclude one another"),
        ({"Containers": [{"Image": "i"}, {"Image": "j"}]}, "more than one container"),
        ({"PrimaryContainer": {"Image": "i"}, "InferenceExecutionConfig": {"Mode": "Direct"}}, "Mode Direct"),
        (
            {"PrimaryContainer": {"Image": "i"}, "Tags": [{"Key": "k", "Value": "1"}, {"Key": "k", "Value": "2"}]},
            "given twice",
        ),
        ({"PrimaryContainer": {"Image": "i"}, "Tags": [{"Key": "aws:k", "Value": "1"}]}, "begins with aws:"),
    ],
)
async def test_models_that_make_no_sense_are_refused(sagemaker, params, expected) -> None:
    with pytest.raises(AwsError, match=expected) as caught:
        await sagemaker("CreateModel", ModelName="m", **params)
    assert caught.value.code == "ValidationException"


async def test_messages_are_those_that_the_sdks_look_for(sagemaker) -> None:
    for operation in ("DescribeModel", "DeleteModel"):
        with pytest.raises(AwsError) as missing:
            await sagemaker(operation, ModelName="m")
        assert (missing.value.code, missing.value.message) == (
            "ValidationException",
            f'Could not find model "{ARN}".',
        )
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    with pytest.raises(AwsError) as existing:
        await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    assert existing.value.message == f'Cannot create already existing model "{ARN}".'


async def test_a_deleted_model_is_gone(sagemaker) -> None:
    await sagemaker("CreateModel", ModelName="m", PrimaryContainer={"Image": "i"})
    assert await sagemaker("DeleteModel", ModelName="m") == {}
    assert await sagemaker("ListModels") == {"Models": []}
