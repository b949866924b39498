"""What things cost a month, with what is to be said beside the figure."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from msgspec import Struct

from trimtab.advisor.prices.book import Book
from trimtab.advisor.prices.price import Use
from trimtab.resources.cost import MICRO

MONTH_HOURS: Final = 730  # AWS: of an average month, as its calculator has it
MONTH_S: Final = MONTH_HOURS * 3600
NOT_KNOWN: Final = "not known"
"""Evidence where there is no price: no 0, which would read as free."""
_GB_BYTES: Final = 2**30  # AWS: of storage


class Money(Struct, frozen=True):
    """Micro-dollars a month; None: not known, and `note` says why. `note` also tells of derived and old prices."""

    micro_usd: int | None
    note: str = ""

    def minus(self, other: Money) -> Money:
        """What is saved by going from this to `other`."""
        note = _both(self.note, other.note)
        if self.micro_usd is None or other.micro_usd is None:
            return Money(None, note)
        return Money(self.micro_usd - other.micro_usd, note)

    def plus(self, other: Money) -> Money:
        """Both together."""
        note = _both(self.note, other.note)
        if self.micro_usd is None or other.micro_usd is None:
            return Money(None, note)
        return Money(self.micro_usd + other.micro_usd, note)

    @property
    def usd(self) -> float | str:
        """Dollars, for evidence."""
        return NOT_KNOWN if self.micro_usd is None else self.micro_usd / MICRO


def instances_month(
    book: Book, instance_type: str, count: float | Fraction, *, region: str, at_s: float, use: Use = "hosting"
) -> Money:
    """So many instances, all month long; a mean count may be a fraction."""
    price = book.instance(instance_type, use, region)
    if price is None:
        return Money(None, f"no price of {instance_type} in {region} is known")
    note = price.note(datetime.fromtimestamp(at_s, UTC).date())
    return Money(_micro(price.usd, MONTH_HOURS * count), f"{instance_type}: {note}" if note else "")


def serverless_month(book: Book, memory_mib: int, busy_s: float, *, region: str, at_s: float) -> Money:
    """`busy_s` seconds a month of environments with so much memory."""
    price = book.serverless(memory_mib, region)
    if price is None:
        return Money(None, f"no price of serverless inference in {region} is known")
    note = price.note(datetime.fromtimestamp(at_s, UTC).date())
    return Money(_micro(price.usd, busy_s), f"serverless inference: {note}" if note else "")


def storage_month(book: Book, service: str, item: str, size_bytes: int, *, region: str, at_s: float) -> Money:
    """So much stored all month long, at a price by the GB (2^30 bytes) and month."""
    price = book.other(service, item, region)
    if price is None:
        return Money(None, f"no price of {service}, {item}, in {region} is known")
    note = price.note(datetime.fromtimestamp(at_s, UTC).date())
    usd = Fraction(price.usd) * Fraction(size_bytes, _GB_BYTES)
    return Money(int(usd * MICRO), f"{service}, {item}: {note}" if note else "")


def _micro(usd: Decimal, times: float | Fraction) -> int:
    return int(Fraction(usd) * Fraction(times) * MICRO)


def _both(*notes: str) -> str:
    return "; ".join(dict.fromkeys(note for note in notes if note))
