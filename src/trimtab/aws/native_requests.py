"""Single requests in trimtab's own API; `trimtab record` is made of it.

    GET .../endpoints/NAME/requests    {"reports": what gateways reported each second of a multi-model variant: which
                                       models were asked when; and of an asynchronous one, once a task has ended, when
                                       it was accepted and for how long it was in work}; variant=, start=, end= (seconds
                                       since the epoch); 3,600 reports at most, the earliest, of the last day at most

A report has `start_s`, `span_s` and `models`: by name ("" of an asynchronous variant), the `count` of requests, and of
the first thousand of them `at_ms`, when they came after `start_s`, and of tasks `took_us`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import ceil, floor
from typing import Final

import msgspec

from trimtab.aws.native_queries import given, seconds
from trimtab.control.hosts.api import ModelsApi
from trimtab.control.hosts.came import CameRow
from trimtab.errors import Invalid

_FOR_EVER_S: Final = 1e12


async def requests_of(models: ModelsApi, name: str, query: str) -> bytes:
    """The document, as JSON. NotFound("endpoint"); Invalid; Unavailable."""
    asked = given("requests", query, "variant", "start", "end")
    if not asked.get("variant"):
        raise Invalid("Of which variant? Say variant=NAME.")
    start_s, end_s = _known(seconds(asked, "start", 0.0)), _known(seconds(asked, "end", _FOR_EVER_S))
    rows = await models.came(name, asked["variant"], start_s=floor(start_s), end_s=ceil(end_s))
    return await asyncio.to_thread(_document, rows)  # up to a second's work: nobody else is to wait for it


def _document(rows: Sequence[CameRow]) -> bytes:
    return b'{"reports":[' + b",".join(_encoded(row) for row in rows) + b"]}\n"


def _encoded(row: CameRow) -> bytes:
    """One by one: while it encodes, msgspec lets no other thread have its turn."""
    models = {
        model: {"count": one.count, "at_ms": one.at_ms} | ({"took_us": one.took_us} if one.took_us else {})
        for model, one in row.models.items()
    }
    return msgspec.json.encode({"start_s": row.start_s, "span_s": row.span_s, "models": models})


def _known(at_s: float) -> float:
    """As near as a time comes that a store can tell."""
    return min(max(at_s, -_FOR_EVER_S), _FOR_EVER_S)
