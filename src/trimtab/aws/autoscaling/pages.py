"""Pages of Describe calls: MaxResults, NextToken, and the code that AWS gives a token that it does not know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec

from trimtab.aws.paging import Pager, Place
from trimtab.aws.registry import AwsError, Call
from trimtab.errors import Invalid

T = TypeVar("T")
MOST: Final = 50  # AWS: MaxResults


def page_of(
    pager: Pager,
    call: Call,
    params: Mapping[str, Any],
    items: Iterable[T],
    place: Callable[[T], Place],
    *,
    default: int = MOST,
) -> tuple[list[T], dict[str, str]]:
    """One page of `items` in the order of `place`, and the NextToken member when there are more."""
    limit = limit_of(params, default)
    page, token = known_token(
        lambda: pager.page(
            items,
            listing=listing_of(call, params),
            place=place,
            descending=False,
            limit=limit,
            token=params.get("NextToken", ""),
        )
    )
    return page, {"NextToken": token} if token else {}


def limit_of(params: Mapping[str, Any], default: int = MOST) -> int:
    """MaxResults. Raises Invalid outside 1 to 50."""
    limit: int = params.get("MaxResults", default)
    if not 1 <= limit <= MOST:
        bound = f"less than or equal to {MOST}" if limit > MOST else "greater than or equal to 1"
        raise Invalid(
            f"1 validation error detected: Value '{limit}' at 'maxResults' failed to satisfy constraint: Member must"
            f" have value {bound}"
        )
    return limit


def listing_of(call: Call, params: Mapping[str, Any]) -> str:
    """What is listed, for a Pager: a token is good for nothing else."""
    asked = {key: value for key, value in params.items() if key not in ("NextToken", "MaxResults")}
    digest = sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()
    return f"{call.service}:{call.operation}:{digest}"


def known_token(page: Callable[[], T]) -> T:
    """`page()`, a Pager's; a token that is not one of ours has a code of its own."""
    try:
        return page()
    except Invalid as error:
        raise AwsError("InvalidNextTokenException", str(error)) from None
