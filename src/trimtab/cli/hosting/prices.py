"""What an endpoint's instances cost by the hour, by variant."""

from __future__ import annotations

from trimtab.advisor.prices.book import book
from trimtab.aws.client import CallFailed, Client
from trimtab.aws.loaded_endpoint import look_at
from trimtab.errors import NotFound

_DENIED = 403


def prices_of(client: Client, name: str) -> dict[str, float]:
    """Dollars an hour of each variant's instance, where the price book knows it.

    None of an endpoint that is no more, and none for a key that may not describe endpoint configs: they name
    the types.
    """
    known = book()
    try:
        variants = look_at(client, name).variants
    except NotFound:
        return {}
    except CallFailed as error:
        if error.status != _DENIED and "AccessDenied" not in error.code:
            raise
        return {}
    found = {v.name: known.instance(v.instance_type, "hosting", client.region) for v in variants if v.instance_type}
    return {name: float(price.usd) for name, price in found.items() if price is not None}
