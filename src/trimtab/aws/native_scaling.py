"""What autoscaling saw and decided, in trimtab's own API; `trimtab explain` and `trimtab replay` are made of it.

    GET .../endpoints/NAME/scaling               JSON Lines: the journal's entries, oldest first, variant after variant;
                                                 variant=, start=, end= (seconds since the epoch), and
                                                 only=decisions: these, and the inputs that led to them
    GET .../endpoints/NAME/scaling/activities    targets, policies, and the newest activities; variant=, limit=100

A line has `variant`, `kind` (began, rules, decision; or an input's: load, alarm, schedule, bounds, finished, forecast,
tick) and the members of that entry (control/scaling/entries.py). `state` of `began` is base64.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec

from trimtab.aws.native_queries import count, given, seconds
from trimtab.control.scaling.api import ScalingApi
from trimtab.control.scaling.entries import Entry, document_of
from trimtab.control.scaling.journal import Journal
from trimtab.errors import Invalid, NotFound
from trimtab.policies.scaling.decisions import Decision
from trimtab.resources.names import key_of
from trimtab.resources.scaling import ScalableTarget, ScalingPolicy

_FOR_EVER_S = 1e12
_MOST_ACTIVITIES = 1000


class ScalingHistory:
    """The journal, and what was recorded of it."""

    def __init__(self, journal: Journal, scaling: ScalingApi) -> None:
        self._journal = journal
        self._scaling = scaling

    async def entries(self, name: str, query: str, exists: Callable[[], bool]) -> AsyncIterator[bytes]:
        """The lines of one endpoint. NotFound for one that neither is nor was; Invalid."""
        asked = given("scaling", query, "variant", "start", "end", "only")
        if asked.get("only", "") not in ("", "decisions"):
            raise Invalid(f"only takes decisions, not {asked['only'][:40]!r}.")
        start_s, end_s = seconds(asked, "start", 0.0), seconds(asked, "end", _FOR_EVER_S)
        known = [key for key in await asyncio.to_thread(self._journal.variants) if key_of(key[0]) == key_of(name)]
        if not known and not exists():
            raise NotFound("endpoint", name)
        wanted = asked.get("variant")
        keys = [key for key in known if not wanted or key_of(key[1]) == key_of(wanted)]
        return self._lines(keys, start_s, end_s, of_decisions=bool(asked.get("only")))

    async def _lines(
        self, keys: list[tuple[str, str]], start_s: float, end_s: float, *, of_decisions: bool
    ) -> AsyncIterator[bytes]:
        for endpoint, variant in keys:
            blocks = self._journal.blocks(endpoint, variant, start_s, end_s)
            last: Entry | None = None  # of the block before
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                kept = list(_that_decided(last, block)) if of_decisions else block
                last = block[-1] if block else last
                if kept:
                    yield await asyncio.to_thread(_encoded, variant, kept)

    def activities(self, name: str, query: str, exists: Callable[[], bool]) -> dict[str, Any]:
        """Targets, policies and activities of one endpoint. NotFound; Invalid."""
        asked = given("scaling", query, "variant", "limit")
        variant, limit = asked.get("variant", ""), count(asked, "limit", 100, _MOST_ACTIVITIES)
        place = key_of(name), key_of(variant)
        targets = [one for one in self._scaling.targets() if _is_at(one, *place)]
        found = self._scaling.activities(name, variant, limit=limit)
        if not targets and not found and not exists():
            raise NotFound("endpoint", name)
        policies = [one for one in self._scaling.policies() if _is_at(one, *place)]
        document: dict[str, Any] = msgspec.to_builtins(
            {"targets": targets, "policies": policies, "activities": list(found)}
        )
        return document


def _is_at(one: ScalableTarget | ScalingPolicy, endpoint: str, variant: str) -> bool:
    return key_of(one.endpoint) == endpoint and variant in ("", key_of(one.variant))


def _that_decided(last: Entry | None, block: list[Entry]) -> Iterator[Entry]:
    """Decisions, and the entry before the first of each step. `last` is the one before the block."""
    for entry in block:
        if isinstance(entry, Decision):
            if last is not None and not isinstance(last, Decision):
                yield last
            yield entry
        last = entry


def _encoded(variant: str, block: list[Entry]) -> bytes:
    encode = msgspec.json.encode
    return b"".join(encode({"variant": variant, **document_of(entry)}) + b"\n" for entry in block)
