"""AddTags, ListTags, DeleteTags; and the Tags of every Create call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.aws.arns import parse_arn
from trimtab.aws.paging import Pager
from trimtab.aws.registry import Call, operation
from trimtab.control.api import ControlApi
from trimtab.errors import Invalid

_PAGE = 50  # AWS: ListTagsMaxResults is at least 50; the default too
_KINDS = ("model", "endpoint", "endpoint-config")


class Tags:
    """The tag operations, on a ControlApi."""

    def __init__(self, control: ControlApi, pager: Pager) -> None:
        self._control = control
        self._pager = pager

    @operation("sagemaker", "AddTags")
    async def add_tags(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Add or overwrite; answers all tags."""
        kind, name = _resource(call, params["ResourceArn"])
        return {"Tags": _as_list(self._control.add_tags(kind, name, tags_of(params)))}

    @operation("sagemaker", "ListTags")
    async def list_tags(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """One page of tags, by key. `Tags` is always there: the sagemaker SDK v2 reads it without looking."""
        kind, name = _resource(call, params["ResourceArn"])
        page, token = self._pager.page(
            self._control.get_tags(kind, name).items(),
            listing=f"sagemaker:ListTags:{kind}/{name}",
            place=lambda item: (item[0],),
            descending=False,
            limit=params.get("MaxResults", _PAGE),
            token=params.get("NextToken", ""),
        )
        return {"Tags": _as_list(dict(page)), **({"NextToken": token} if token else {})}

    @operation("sagemaker", "DeleteTags")
    async def delete_tags(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Remove; keys that are not there do no harm."""
        kind, name = _resource(call, params["ResourceArn"])
        keys: Sequence[str] = params["TagKeys"]
        self._control.delete_tags(kind, name, keys)
        return {}


def tags_of(params: Mapping[str, Any]) -> dict[str, str]:
    """The `Tags` member as a mapping. Refuses a key given twice and AWS's own `aws:` prefix."""
    tags: dict[str, str] = {}
    for tag in params.get("Tags") or ():
        key = tag["Key"]
        if key in tags:
            raise Invalid(f"The tag key {key!r} is given twice.")
        if key.lower().startswith("aws:"):
            raise Invalid(f"The tag key {key!r} begins with aws:, which AWS keeps for itself.")
        tags[key] = tag["Value"]
    return tags


def _as_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in sorted(tags.items())]


def _resource(call: Call, text: str) -> tuple[str, str]:
    arn = parse_arn(text)
    if (arn.service, arn.region, arn.account) != ("sagemaker", call.region, call.account):
        raise Invalid(f"The resource {text!r} is not of region {call.region} and account {call.account}.")
    if arn.kind not in _KINDS:
        raise Invalid(f"trimtab has no tags for {arn.kind!r} resources; it has them for {', '.join(_KINDS)}.")
    return arn.kind, arn.name
