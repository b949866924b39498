"""One price: how much, of what, where, since when, and who says so."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

from msgspec import Struct

from trimtab.resources.cost import MICRO

Use = Literal["hosting", "training", "async", "batch-transform", "ec2", "ec2-spot", "ec2-reserved"]
"""What an instance is paid for as. `ec2-reserved`: one year, nothing up front."""

HOURS_PER_MONTH: Final = 730
OLD_DAYS: Final = 365
"""A price that was read longer ago is said to be old."""
AHEAD_DAYS: Final = 1
"""A price of a day further ahead is said to be of the future; one day may be a matter of time zones."""
ANYWHERE: Final = ""
"""Region of a price that holds wherever the thing is."""


class Price(Struct, frozen=True, kw_only=True):
    """`usd` for one `unit` of `item`."""

    item: str  # ml.g5.xlarge, hosting
    unit: str  # hour, second, GB, GB-month, 1000 requests
    region: str
    usd: Decimal
    as_of: str  # YYYY-MM-DD, or the year alone
    source: str
    is_derived: bool = False  # worked out from another price: `source` says how

    @property
    def exact(self) -> Fraction:
        """`usd` for exact arithmetic."""
        return Fraction(self.usd)

    def micro_usd(self, units: Fraction | int) -> int:
        """What so many units cost, in whole micro-dollars, rounded down."""
        return int(self.exact * units * MICRO)

    def age_days(self, today: date) -> int:
        """Days since it was read; less than 0 for a date to come."""
        return (today - day_of(self.as_of)).days

    def mark(self, today: date) -> str:
        """The same as `note`, in a word or two for a table: `derived`, `derived, of 2025-01-26`."""
        marks = ["derived"] if self.is_derived else []
        age = self.age_days(today)
        if age > OLD_DAYS:
            marks.append(f"of {self.as_of}")
        elif age < -AHEAD_DAYS:
            marks.append(f"of {self.as_of}, to come")
        return ", ".join(marks)

    def note(self, today: date) -> str:
        """What to say beside a figure that rests on it: derived, old, of the future; "" for a fresh one from a list."""
        said = []
        if self.is_derived:
            said.append(self.source)
        age = self.age_days(today)
        if age > OLD_DAYS:
            said.append(f"as of {self.as_of}, {age} days ago: it may have changed (`trimtab prices update`)")
        elif age < -AHEAD_DAYS:
            said.append(f"as of {self.as_of}, {-age} days from now: it may not hold yet, or the date is wrong")
        return "; ".join(said)


def oldest(*prices: Price) -> str:
    """`as_of` of what is worked out from all of these: it is as old as its oldest part."""
    return min((price.as_of for price in prices), key=day_of)


def day_of(as_of: str) -> date:
    """The day of a price; the first one of a year that is given alone. ValueError for anything else."""
    return date(int(as_of), 1, 1) if len(as_of) == 4 and as_of.isdigit() else date.fromisoformat(as_of)
