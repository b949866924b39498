"""What an endpoint's instances cost by the hour, by variant."""

from __future__ import annotations

from trimtab.advisor.prices import hosting_prices
from trimtab.aws.client import CallFailed, Client
from trimtab.aws.loaded_endpoint import look_at
from trimtab.errors import NotFound

_DENIED = 403


def prices_of(client: Client, name: str) -> dict[str, float]:
    """Dollars an hour of each variant's instance, where AWS's price is known.

    None of an endpoint that is no more, and none for a key that may not describe endpoint configs: they name
    the types.
    """
    known = hosting_prices()
    try:
        variants = look_at(client, name).variants
    except NotFound:
        return {}
    except CallFailed as error:
        if error.status != _DENIED and "AccessDenied" not in error.code:
            raise
        return {}
    return {v.name: known[v.instance_type].usd_per_hour for v in variants if v.instance_type in known}
