"""Amazon Resource Names: written and read here, nowhere else."""

from __future__ import annotations

from msgspec import Struct

from trimtab.errors import Invalid


def partition_of(region: str) -> str:
    """The partition that AWS puts into the ARNs of `region`: `aws`, `aws-cn` or `aws-us-gov`."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


class Arn(Struct, frozen=True, kw_only=True):
    """One ARN, taken apart. `kind` and `name` are the halves of `endpoint/my-endpoint`."""

    partition: str
    service: str
    region: str
    account: str
    kind: str
    name: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.kind}/{self.name}"


def parse_arn(text: str) -> Arn:
    """Take `arn:PARTITION:SERVICE:REGION:ACCOUNT:KIND/NAME` apart. Raises Invalid for anything else."""
    parts = text.split(":", 5)
    kind, slash, name = parts[5].partition("/") if len(parts) == 6 else ("", "", "")
    if parts[0] != "arn" or not (kind and slash and name):
        raise Invalid(f"{text!r} is not an ARN of the form arn:PARTITION:SERVICE:REGION:ACCOUNT:KIND/NAME.")
    return Arn(partition=parts[1], service=parts[2], region=parts[3], account=parts[4], kind=kind, name=name)


def sagemaker_arn(region: str, account: str, kind: str, name: str) -> str:
    """The ARN of a SageMaker resource; `kind` is `model`, `endpoint` or `endpoint-config`. Names keep their case."""
    return str(
        Arn(partition=partition_of(region), service="sagemaker", region=region, account=account, kind=kind, name=name)
    )
