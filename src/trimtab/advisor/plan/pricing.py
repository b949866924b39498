"""What a plan's endpoints cost, by the price book."""

from __future__ import annotations

from functools import cache
from typing import Final

from trimtab.advisor.bill import USES, bill_of
from trimtab.advisor.plan.limits import GIB, MEMORY_SHARE
from trimtab.advisor.prices.book import Book
from trimtab.advisor.prices.price import Use
from trimtab.advisor.prices.shapes import shape_of
from trimtab.errors import Invalid
from trimtab.sim.world import Mode, Outcome

PROVISIONED: Final = "provisioned concurrency"  # as `bill` names it; AWS's list has no price of it here


class BookPricing:
    """Prices of one region out of a book."""

    def __init__(self, book: Book, region: str) -> None:
        self.book = book
        self.region = region
        self._hour = cache(self._usd_per_hour)
        self._second = cache(self._usd_per_serverless_s)

    def usd_per_hour(self, instance_type: str, mode: Mode, *, is_spot: bool = False) -> float | None:
        """Of one instance; None: not known."""
        return self._hour(instance_type, mode, is_spot)

    def usd_per_serverless_s(self, memory_mb: int) -> float | None:
        """Of an environment of so much memory that works; None: not known."""
        return self._second(memory_mb)

    def micro_usd(self, outcome: Outcome) -> int:
        """What all of it costs, but provisioned concurrency. Invalid where something else has no price."""
        bill = bill_of(outcome, self.book, self.region)
        missing = [item for item in bill.missing if item != PROVISIONED]
        if missing:
            raise Invalid(
                f"There is no price of {', '.join(missing)} in {self.region}. Tell it: `trimtab prices` says how."
            )
        return bill.micro_usd

    def _usd_per_hour(self, instance_type: str, mode: Mode, is_spot: bool) -> float | None:
        use: Use = "ec2-spot" if is_spot and not self.book.is_own(instance_type) else USES[mode]
        price = self.book.instance(instance_type, use, self.region)
        return None if price is None else float(price.usd)

    def _usd_per_serverless_s(self, memory_mb: int) -> float | None:
        price = self.book.serverless(memory_mb, self.region)
        return None if price is None else float(price.usd)


def model_memory(instance_type: str) -> int:
    """Bytes that a replica on such an instance may fill with models; 0 where its hardware is not known.

    Of the accelerators' memory where it has some, else of the machine's: `MEMORY_SHARE` of it.
    """
    shape = shape_of(instance_type)
    if shape is None:
        return 0
    return int((shape.accelerator_gib or shape.memory_gib) * GIB * MEMORY_SHARE)
