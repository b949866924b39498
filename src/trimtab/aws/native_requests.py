"""Single requests in trimtab's own API; `trimtab record` is made of it.

    GET .../endpoints/NAME/requests    {"reports": what gateways reported each second of a multi-model variant: which
                                       models were asked when; and of an asynchronous one, once a task has ended, when
                                       it was accepted and for how long it was in work}; variant=, start=, end= (seconds
                                       since the epoch); 3,600 reports at most, the earliest, of the last day

A report has `start_s`, `span_s` and `models`: by name ("" of an asynchronous variant), the `count` of requests, and of
the first thousand of them `at_ms`, when they came after `start_s`, and of tasks `took_us`.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any, Final

from trimtab.aws.native_queries import given, seconds
from trimtab.control.hosts.api import ModelsApi
from trimtab.errors import Invalid

_FOR_EVER_S: Final = 1e12


async def requests_of(models: ModelsApi, name: str, query: str) -> dict[str, Any]:
    """The document. NotFound("endpoint"); Invalid; Unavailable."""
    asked = given("requests", query, "variant", "start", "end")
    if not asked.get("variant"):
        raise Invalid("Of which variant? Say variant=NAME.")
    start_s, end_s = _known(seconds(asked, "start", 0.0)), _known(seconds(asked, "end", _FOR_EVER_S))
    rows = await models.came(name, asked["variant"], start_s=floor(start_s), end_s=ceil(end_s))
    return {
        "reports": [
            {
                "start_s": row.start_s,
                "span_s": row.span_s,
                "models": {
                    model: {"count": one.count, "at_ms": one.at_ms} | ({"took_us": one.took_us} if one.took_us else {})
                    for model, one in row.models.items()
                },
            }
            for row in rows
        ]
    }


def _known(at_s: float) -> float:
    """As near as a time comes that a store can tell."""
    return min(max(at_s, -_FOR_EVER_S), _FOR_EVER_S)
