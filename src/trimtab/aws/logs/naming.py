"""Names and ARNs of log groups and streams, and AWS's words for those that are not there."""

from __future__ import annotations

from typing import Any, Final

from trimtab.aws.arns import partition_of
from trimtab.aws.logs.streams import GROUP_PREFIX
from trimtab.aws.registry import Call
from trimtab.errors import Invalid, NotFound

_KIND: Final = "log-group:"


def group_arn(call: Call, group: str) -> str:
    """Without the `:*` that AWS puts behind it in some places."""
    return f"arn:{partition_of(call.region)}:logs:{call.region}:{call.account}:{_KIND}{group}"


def group_of(call: Call, identifier: str | None, name: str | None = None) -> str:
    """The group that a call means by its name or by an identifier (name or ARN). Raises Invalid for both or neither."""
    if (identifier is None) == (name is None):
        raise Invalid("Exactly one of logGroupName and logGroupIdentifier must be given.")
    return name if name is not None else _named(identifier or "", f"{group_arn(call, '')}")


def endpoint_of(params: dict[str, Any]) -> str | None:
    """The endpoint whose logs a call names, in whatever way; None when it names none."""
    given = params.get("logGroupName") or params.get("logGroupIdentifier")
    name = given.rpartition(_KIND)[2].removesuffix(":*") if isinstance(given, str) else ""
    return name.removeprefix(GROUP_PREFIX) if name.startswith(GROUP_PREFIX) else None


def no_group(name: str) -> NotFound:
    """AWS's sentence."""
    return NotFound("log-group", name, "The specified log group does not exist.")


def no_stream(name: str) -> NotFound:
    """AWS's sentence."""
    return NotFound("log-stream", name, "The specified log stream does not exist.")


def _named(identifier: str, prefix: str) -> str:
    """Another account's or region's ARN names a group that is not here."""
    return identifier.removeprefix(prefix).removesuffix(":*") if identifier.startswith(prefix) else identifier
