"""What serves an endpoint costs, by the hour and by the request, with the prices behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from trimtab.advisor.prices.book import HOME_REGION, Book
from trimtab.advisor.prices.price import Price

_GB_MB: Final = 1024


class Cost(Struct, frozen=True):
    """What instances cost, and what is billed by use. `missing`: instance types without a price, which are left out."""

    usd_per_hour: float
    prices: tuple[Price, ...] = ()
    missing: tuple[str, ...] = ()
    usd_per_1000: float = 0.0  # serverless: of 1,000 requests, as they were

    def per_1000_requests(self, requests_per_s: float) -> float | None:
        """Dollars for 1,000 requests at a rate; None at no rate."""
        return self.usd_per_hour / 3.6 / requests_per_s + self.usd_per_1000 if requests_per_s > 0 else None


def hosting_cost(instances: Iterable[tuple[str, int]], book: Book, region: str = HOME_REGION) -> Cost | None:
    """The cost of instances (type, how many) that host models; None where the book knows none of them."""
    total, prices, missing = 0.0, [], []
    for instance_type, count in instances:
        price = book.instance(instance_type, "hosting", region)
        if price is None:
            missing.append(instance_type)
        else:
            total += float(price.usd) * count
            prices.append(price)
    return Cost(total, tuple(prices), tuple(missing)) if prices else None


def with_serverless(cost: Cost | None, gb_s: float, book: Book, region: str = HOME_REGION) -> Cost | None:
    """`cost` with what each request is billed by serverless variants; None where nothing has a price."""
    price = book.serverless(_GB_MB, region)
    if price is None:
        return cost
    known = cost or Cost(0.0)
    return Cost(known.usd_per_hour, (*known.prices, price), known.missing, float(price.usd) * gb_s * 1000)
