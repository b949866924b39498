"""TagResource, UntagResource, ListTagsForResource: of scalable targets, found by their ARNs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from trimtab.aws.arns import Arn, partition_of
from trimtab.aws.registry import AwsError, Call, operation
from trimtab.control.scaling.api import ScalingApi
from trimtab.errors import Invalid
from trimtab.resources.scaling import ScalableTarget

MAX_TAGS: Final = 50  # AWS: of a target


class Tags:
    """The tags of scalable targets."""

    def __init__(self, scaling: ScalingApi) -> None:
        self._scaling = scaling

    @operation("application-autoscaling", "TagResource")
    def tag(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Add or overwrite tags."""
        target = self._target(call, params)
        tags = {**target.tags, **_named(params["Tags"])}
        if len(tags) > MAX_TAGS:
            raise AwsError(
                "TooManyTagsException",
                f"A scalable target may have {MAX_TAGS} tags; this would make {len(tags)}.",
                extra={"ResourceName": params["ResourceARN"]},
            )
        self._scaling.set_tags(target.id, tags)
        return {}

    @operation("application-autoscaling", "UntagResource")
    def untag(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Remove tags; keys that are not there do no harm."""
        target = self._target(call, params)
        gone = set(params["TagKeys"])
        self._scaling.set_tags(target.id, {key: value for key, value in target.tags.items() if key not in gone})
        return {}

    @operation("application-autoscaling", "ListTagsForResource")
    def list_tags(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """All tags of a target."""
        return {"Tags": dict(self._target(call, params).tags)}

    def _target(self, call: Call, params: Mapping[str, Any]) -> ScalableTarget:
        arn = params["ResourceARN"]
        for target in self._scaling.targets():
            if not target.managed and target_arn(call, target) == arn:
                return target
        raise AwsError(
            "ResourceNotFoundException",
            f"There is no scalable target {arn[:300]!r} here.",
            extra={"ResourceName": arn},
        )


def target_arn(call: Call, target: ScalableTarget) -> str:
    """ScalableTargetARN."""
    return str(
        Arn(
            partition=partition_of(call.region),
            service="application-autoscaling",
            region=call.region,
            account=call.account,
            kind="scalable-target",
            name=target.id,
        )
    )


def checked_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of a new target. Raises Invalid for too many, and for AWS's own `aws:` prefix."""
    if len(tags) > MAX_TAGS:
        raise Invalid(f"A scalable target may have {MAX_TAGS} tags, not {len(tags)}.")
    return _named(tags)


def _named(tags: Mapping[str, str]) -> dict[str, str]:
    for key in tags:
        if key.lower().startswith("aws:"):
            raise Invalid(f"The tag key {key!r} begins with aws:, which AWS keeps for itself.")
    return dict(tags)
