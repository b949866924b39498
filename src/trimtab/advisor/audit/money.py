"""What things cost a month, with what is to be said beside the figure."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, Protocol

from msgspec import Struct

from trimtab.resources.cost import MICRO

MONTH_HOURS: Final = 730  # AWS: of an average month, as its calculator has it


class Priced(Protocol):
    """One price, as `advisor.prices` has it."""

    @property
    def usd(self) -> Decimal: ...

    def note(self, today: date) -> str: ...


class Prices(Protocol):
    """What findings ask of the price book (`advisor.prices.book.Book`). None where nobody knows."""

    def instance(self, instance_type: str, use: str = ..., region: str = ...) -> Priced | None: ...

    def serverless(self, memory_mb: int, region: str = ...) -> Priced | None: ...

    def other(self, service: str, item: str, region: str = ...) -> Priced | None: ...


class Money(Struct, frozen=True):
    """Micro-dollars a month; None: not known, and `note` says why. `note` also tells of derived and old prices."""

    micro_usd: int | None
    note: str = ""

    def minus(self, other: Money) -> Money:
        """What is saved by going from this to `other`."""
        note = "; ".join(dict.fromkeys(part for part in (self.note, other.note) if part))
        if self.micro_usd is None or other.micro_usd is None:
            return Money(None, note)
        return Money(self.micro_usd - other.micro_usd, note)


def instances_month(
    prices: Prices, instance_type: str, count: float | Fraction, *, region: str, at_s: float, use: str = "hosting"
) -> Money:
    """So many instances, all month long; a mean count may be a fraction."""
    price = prices.instance(instance_type, use, region)
    if price is None:
        return Money(None, f"no price of {instance_type} in {region} is known")
    usd = Fraction(price.usd) * MONTH_HOURS * Fraction(count)
    return Money(int(usd * MICRO), price.note(datetime.fromtimestamp(at_s, UTC).date()))
