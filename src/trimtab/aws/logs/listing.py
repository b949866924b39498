"""DescribeLogGroups and DescribeLogStreams."""

from __future__ import annotations

import asyncio
from fnmatch import fnmatchcase
from typing import Any, Final

from trimtab.aws.logs.naming import group_arn, group_of, no_group
from trimtab.aws.logs.streams import GROUP_PREFIX, LogFolder, StreamFacts
from trimtab.aws.paging import Pager, Place
from trimtab.aws.registry import Call, operation
from trimtab.errors import Invalid

_PAGE: Final = 50  # AWS: the default and the most, of groups and of streams
_NAME_ONLY: Final = ("logGroupName", "creationTime", "arn", "logGroupArn")  # AWS, where a pattern is given


class Listing:
    """What there is to read."""

    def __init__(self, logs: LogFolder, pager: Pager) -> None:
        self._logs = logs
        self._pager = pager

    @operation("logs", "DescribeLogGroups", missing="groups of endpoints; linked accounts are none")
    async def describe_log_groups(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """Groups by name, prefix or part; a key that is limited to endpoints sees theirs."""
        prefix, pattern = params.get("logGroupNamePrefix"), params.get("logGroupNamePattern")
        if prefix and pattern:
            raise Invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        if params.get("logGroupClass", "STANDARD") != "STANDARD":
            return {"logGroups": []}
        wanted = {group_of(call, identifier) for identifier in params.get("logGroupIdentifiers", ())}
        names = [
            name
            for name in await asyncio.to_thread(self._logs.groups)
            if name.startswith(prefix or "")
            and (pattern or "") in name
            and (not wanted or name in wanted)
            and _sees(call, name)
        ]
        page, token = self._page(names, "log-groups", lambda name: (name,), params)
        groups = await asyncio.to_thread(lambda: [self._group(call, name) for name in page])
        if pattern:
            groups = [{key: group[key] for key in _NAME_ONLY} for group in groups]
        return {"logGroups": groups, **({"nextToken": token} if token else {})}

    @operation("logs", "DescribeLogStreams")
    async def describe_log_streams(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """A group's streams by name or by their last event."""
        by_time, descending = params.get("orderBy") == "LastEventTime", params.get("descending", False)
        prefix = params.get("logStreamNamePrefix", "")
        if by_time and prefix:
            raise Invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        group = group_of(call, params.get("logGroupIdentifier"), params.get("logGroupName"))
        facts = await asyncio.to_thread(self._facts, group, prefix)

        def place(of: StreamFacts) -> Place:
            return (of.last_ms or 0, of.name) if by_time else (of.name,)

        listing = f"log-streams {group} {prefix} {by_time} {descending}"
        page, token = self._page(facts, listing, place, params, descending=descending)
        arn = f"{group_arn(call, group)}:log-stream:"
        return {"logStreams": [_stream(of, arn) for of in page], **({"nextToken": token} if token else {})}

    def _facts(self, group: str, prefix: str) -> list[StreamFacts]:
        streams = self._logs.streams(group)
        if streams is None:
            raise no_group(group)
        known = (self._logs.facts(stream) for stream in streams if stream.name.startswith(prefix))
        return [facts for facts in known if facts is not None]

    def _group(self, call: Call, name: str) -> dict[str, Any]:
        arn = group_arn(call, name)
        created_ms, size_bytes = self._logs.totals(name)
        return {
            "logGroupName": name,
            "creationTime": created_ms,
            "metricFilterCount": 0,
            "arn": f"{arn}:*",
            "logGroupArn": arn,
            "storedBytes": size_bytes,
            "logGroupClass": "STANDARD",
        }

    def _page(
        self, items: list[Any], listing: str, place: Any, params: dict[str, Any], *, descending: bool = False
    ) -> tuple[list[Any], str]:
        token, limit = params.get("nextToken", ""), params.get("limit", _PAGE)
        try:
            return self._pager.page(
                items, listing=listing, place=place, descending=descending, limit=limit, token=token
            )
        except Invalid:
            raise Invalid("The specified nextToken is invalid.") from None


def _sees(call: Call, group: str) -> bool:
    key = call.identity
    endpoint = group.removeprefix(GROUP_PREFIX)
    return key is None or not key.endpoints or any(fnmatchcase(endpoint, pattern) for pattern in key.endpoints)


def _stream(facts: StreamFacts, arn: str) -> dict[str, Any]:
    return {
        "logStreamName": facts.name,
        "creationTime": facts.created_ms,
        "firstEventTimestamp": facts.first_ms,
        "lastEventTimestamp": facts.last_ms,
        "lastIngestionTime": facts.written_ms,
        "arn": arn + facts.name,
        "storedBytes": facts.size_bytes,
    }
