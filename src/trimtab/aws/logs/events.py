"""GetLogEvents and FilterLogEvents."""

from __future__ import annotations

import hashlib
from typing import Any

from trimtab.aws.apart import Apart
from trimtab.aws.logs import patterns
from trimtab.aws.logs.lines import Event
from trimtab.aws.logs.naming import group_of, no_group, no_stream
from trimtab.aws.logs.pages import MAX_EVENTS, Search, Span, read_page, search
from trimtab.aws.logs.streams import LogFolder, Stream
from trimtab.aws.logs.tokens import Progress, Tokens
from trimtab.aws.registry import Call, operation
from trimtab.clock import Clock
from trimtab.errors import Invalid


class Events:
    """What replicas wrote. Files are read in threads, so many bytes a call."""

    def __init__(self, logs: LogFolder, clock: Clock, tokens: Tokens) -> None:
        self._logs = logs
        self._clock = clock
        self._tokens = tokens
        self._apart = Apart("logs", at_once=2)

    @operation("logs", "GetLogEvents", missing="unmask has nothing to do: nothing is masked")
    async def get_log_events(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """A page of one stream. At either end the token of that direction is the one that was given."""
        group = group_of(call, params.get("logGroupIdentifier"), params.get("logGroupName"))
        span = self._span(params)
        return await self._apart(self._page, group, params, span)

    @operation("logs", "FilterLogEvents", missing="regular expressions (`%...%`) in patterns")
    async def filter_log_events(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        """The events of a group's streams that match a pattern, by time."""
        group = group_of(call, params.get("logGroupIdentifier"), params.get("logGroupName"))
        if params.get("logStreamNames") and params.get("logStreamNamePrefix"):
            raise Invalid("logStreamNames and logStreamNamePrefix cannot be given together.")
        matches = patterns.parse(params.get("filterPattern", ""))
        span = self._span(params, end_counts=True)
        token, place = params.get("nextToken", ""), _search_name(group, params)
        backward = not params.get("startFromHead", True)
        progress = self._tokens.progress_of(place, token) if token else Progress({}, backward)
        limit = params.get("limit", MAX_EVENTS)
        found, more = await self._apart(
            lambda: search(Search(self._chosen(group, params), span, matches, limit), progress)
        )
        return {
            "events": [{"logStreamName": name, **_event(event), "eventId": _id(name, event)} for name, event in found],
            "searchedLogStreams": [],  # AWS: always empty since 2020
            **({"nextToken": self._tokens.progress(place, more)} if more is not None else {}),
        }

    def _page(self, group: str, params: dict[str, Any], span: Span) -> dict[str, Any]:
        name = params["logStreamName"]
        stream = next((stream for stream in self._streams(group) if stream.name == name), None)
        if stream is None:
            raise no_stream(name)
        about = f"{group}:{name}"
        backward, position = not params.get("startFromHead", False), None
        if token := params.get("nextToken", ""):
            backward, position = self._tokens.place_of(about, token)
        limit = params.get("limit", MAX_EVENTS)
        try:
            page = read_page(stream, span, limit, backward=backward, position=position)
        except FileNotFoundError:
            raise no_stream(name) from None
        return {
            "events": [_event(event) for event in page.events],
            "nextForwardToken": self._tokens.forward(about, page.after),
            "nextBackwardToken": self._tokens.backward(about, page.before),
        }

    def _chosen(self, group: str, params: dict[str, Any]) -> list[Stream]:
        streams = self._streams(group)
        names = set(params.get("logStreamNames", ()))
        if missing := names - {stream.name for stream in streams}:
            raise no_stream(min(missing))
        prefix = params.get("logStreamNamePrefix", "")
        return [stream for stream in streams if stream.name.startswith(prefix) and (not names or stream.name in names)]

    def _streams(self, group: str) -> list[Stream]:
        streams = self._logs.streams(group)
        if streams is None:
            raise no_group(group)
        return streams

    def _span(self, params: dict[str, Any], *, end_counts: bool = False) -> Span:
        """AWS: GetLogEvents leaves out what has the end's own time, FilterLogEvents does not."""
        start_ms, end_ms = params.get("startTime"), params.get("endTime")
        if start_ms is not None and end_ms is not None and end_ms < start_ms:
            raise Invalid("endTime must not be before startTime.")
        if end_ms is not None and end_counts:
            end_ms += 1
        return Span.of(start_ms, end_ms, self._clock.now_s() * 1000)


def _event(event: Event) -> dict[str, Any]:
    return {"timestamp": event.time_ms, "message": event.message, "ingestionTime": event.time_ms}


def _id(stream: str, event: Event) -> str:
    """56 digits, as AWS's: stable for one event, and unique in its group."""
    of_stream = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:14], "big") % 10**36
    return f"{of_stream:036d}{event.start:020d}"


def _search_name(group: str, params: dict[str, Any]) -> str:
    """What a search's token is good for. Times may change from page to page, as `aws logs tail` does it."""
    chosen = sorted(params.get("logStreamNames", ())), params.get("logStreamNamePrefix", "")
    return f"{group} {chosen} {params.get('filterPattern', '')}"
