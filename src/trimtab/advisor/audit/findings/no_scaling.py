"""Instances that are there whatever comes: no scaling policy, no schedule."""

from __future__ import annotations

from collections.abc import Iterator

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.money import Prices
from trimtab.advisor.finding import Finding


def find(account: Account, prices: Prices) -> Iterator[Finding]:
    """Variants on instances with neither."""
    yield from ()
