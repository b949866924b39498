"""What the ledger asks of prices; `app` hands them in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Protocol


class Prices(Protocol):
    """Asked again every second, so that a new price counts from then on. Cheap. None: no price is known."""

    def usd_per_hour(self, instance_type: str) -> Fraction | None:
        """Of one instance that hosts models."""
        ...

    def serverless_usd_per_s(self, memory_mib: int) -> Fraction | None:
        """Of a second of one serverless request."""
        ...

    def provisioned_usd_per_s(self, memory_mib: int) -> Fraction | None:
        """Of a second of one provisioned environment, used or not."""
        ...

    def notes(self, instance_types: Iterable[str]) -> Sequence[str]:
        """What is to be said beside figures made of these prices: that one is derived, or old, or not known. A
        serverless environment has an instance type, too (`resources.serverless`)."""
        ...
