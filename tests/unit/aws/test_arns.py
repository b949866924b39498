"""Amazon Resource Names."""

import pytest

from trimtab.aws.arns import parse_arn, sagemaker_arn
from trimtab.errors import Invalid


def test_an_arn_survives_the_round_trip_and_keeps_its_case() -> None:
    text = sagemaker_arn("eu-west-1", "123456789012", "endpoint-config", "My-Config")
    assert text == "arn:aws:sagemaker:eu-west-1:123456789012:endpoint-config/My-Config"
    assert str(parse_arn(text)) == text


@pytest.mark.parametrize(
    ("region", "partition"), [("us-east-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_the_partition_follows_the_region(region, partition) -> None:
    assert sagemaker_arn(region, "123456789012", "model", "m").startswith(f"arn:{partition}:")


@pytest.mark.parametrize(
    "text", ["", "arn", "arn:aws:sagemaker:r:a:model", "arn:aws:sagemaker:r:a:/m", "x:a:b:c:d:e/f"]
)
def test_what_is_no_arn_is_refused(text) -> None:
    with pytest.raises(Invalid, match="is not an ARN"):
        parse_arn(text)
