"""What a set of instances costs by the hour, with the prices behind it."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from trimtab.advisor.prices.book import HOME_REGION, Book
from trimtab.advisor.prices.price import Price


class Cost(Struct, frozen=True):
    """What a set of instances costs. `missing`: instance types without a price, which are left out."""

    usd_per_hour: float
    prices: tuple[Price, ...] = ()
    missing: tuple[str, ...] = ()

    def per_1000_requests(self, requests_per_s: float) -> float | None:
        """Dollars for 1,000 requests at a rate; None at no rate."""
        return self.usd_per_hour / 3.6 / requests_per_s if requests_per_s > 0 else None


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
