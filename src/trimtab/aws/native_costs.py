"""What `GET /_trimtab/v1/costs` is asked.

endpoint=NAME         only this one, also if it is deleted; without it, all that the key may see
since=, until=        seconds since the epoch; without them, the last 7 days
by=endpoint,variant   a row for each: of endpoint, variant, version, model, instance-type, hour, day

The answer is a CostReport (policies/costs/report.py). Money is in whole micro-dollars; parts sum to their row, rows to
the total.
"""

from __future__ import annotations

import time
from typing import Final

from trimtab.aws.native_queries import given, seconds
from trimtab.control.costs.asking import CostQuery

WEEK_S: Final = 7 * 86_400.0


def cost_query(query: str) -> CostQuery:
    """Read a query string. Invalid for what is not known or not a number."""
    asked = given("costs", query, "endpoint", "since", "until", "by")
    until_s = seconds(asked, "until", 0.0) or None
    since_s = seconds(asked, "since", (until_s or time.time()) - WEEK_S)
    by = tuple(part.strip() for part in asked.get("by", "endpoint,variant").split(",") if part.strip())
    by = tuple(dict.fromkeys(by))  # a row for each of `endpoint,endpoint` is one for each endpoint
    return CostQuery(endpoint=asked.get("endpoint", ""), since_s=since_s, until_s=until_s, by=by).check()
