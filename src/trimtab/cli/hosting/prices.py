"""What an endpoint's instances cost by the hour, by variant, and what is to be said of these prices."""

from __future__ import annotations

from datetime import date

from msgspec import Struct, field

from trimtab.advisor.prices.book import book
from trimtab.aws.client import CallFailed, Client
from trimtab.aws.loaded_endpoint import look_at
from trimtab.errors import NotFound

_DENIED = 403


class VariantPrices(Struct, frozen=True):
    """By variant, where the price book knows its instance type."""

    usd_per_hour: dict[str, float] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)  # in a word or two: derived, of 2025-01-26
    notes: tuple[str, ...] = ()  # in sentences


def prices_of(client: Client, name: str) -> VariantPrices:
    """Of an endpoint.

    Nothing of one that is no more, and nothing for a key that may not describe endpoint configs: they name the types.
    """
    try:
        variants = look_at(client, name).variants
    except NotFound:
        return VariantPrices()
    except CallFailed as error:
        if error.status != _DENIED and "AccessDenied" not in error.code:
            raise
        return VariantPrices()
    known, today = book(), date.today()
    found = {v.name: known.instance(v.instance_type, "hosting", client.region) for v in variants if v.instance_type}
    priced = {name: price for name, price in found.items() if price is not None}
    return VariantPrices(
        {name: float(price.usd) for name, price in priced.items()},
        {name: mark for name, price in priced.items() if (mark := price.mark(today))},
        tuple(known.notes(today)),
    )
