"""What instances cost by the hour on AWS: a small table (us-east-1, on demand), with date and source of each price.

AWS publishes the prices; `prices.csv` says where each figure was read. Those that are derived from EC2's price say so.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files

from msgspec import Struct


class Price(Struct, frozen=True):
    """Dollars an hour of one instance that hosts a model."""

    instance_type: str
    region: str
    usd_per_hour: float
    as_of: str  # YYYY-MM-DD
    source: str


class Cost(Struct, frozen=True):
    """What a set of instances costs. `missing`: instance types without a price in the table, which are left out."""

    usd_per_hour: float
    prices: tuple[Price, ...] = ()
    missing: tuple[str, ...] = ()

    def per_1000_requests(self, requests_per_s: float) -> float | None:
        """Dollars for 1,000 requests at a rate; None at no rate."""
        return self.usd_per_hour / 3.6 / requests_per_s if requests_per_s > 0 else None


@cache
def hosting_prices() -> Mapping[str, Price]:
    """By instance type (`ml.m5.large`)."""
    text = (files("trimtab.advisor") / "prices.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return {
        row["instance_type"]: Price(
            row["instance_type"], row["region"], float(row["usd_per_hour"]), row["as_of"], row["source"]
        )
        for row in rows
    }


def hosting_cost(instances: Iterable[tuple[str, int]]) -> Cost | None:
    """The cost of instances (type, how many) by the table; None where it knows none of them."""
    total, prices, missing = 0.0, [], []
    for instance_type, count in instances:
        price = hosting_prices().get(instance_type)
        if price is None:
            missing.append(instance_type)
        else:
            total += price.usd_per_hour * count
            prices.append(price)
    return Cost(total, tuple(prices), tuple(missing)) if prices else None
