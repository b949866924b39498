"""What an endpoint's instances cost by the hour, by variant."""

from __future__ import annotations

from trimtab.advisor.prices import hosting_prices
from trimtab.aws.client import Client
from trimtab.aws.loaded_endpoint import look_at
from trimtab.errors import NotFound


def prices_of(client: Client, name: str) -> dict[str, float]:
    """Dollars an hour of each variant's instance, where AWS's price is known; none of an endpoint that is no more."""
    known = hosting_prices()
    try:
        variants = look_at(client, name).variants
    except NotFound:
        return {}
    return {v.name: known[v.instance_type].usd_per_hour for v in variants if v.instance_type in known}
