"""Pages of a listing: in order, with an opaque token that stays true while things come and go.

A token names the last item that was handed out, by its place in the order, not by a count: what is created or deleted
between two pages neither repeats nor hides an item that was there all the time. Tokens are signed, so that one that
was made up, cut short or taken from another listing is refused instead of answered with nonsense.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import hmac
from collections.abc import Callable, Iterable
from typing import TypeAlias, TypeVar

import msgspec

from trimtab.errors import Invalid

T = TypeVar("T")
Place: TypeAlias = tuple[float | str, ...]  # where an item stands in the order; unique per item
_MAC_SIZE = 16
MOST_SCANNED = 20_000  # items that one call looks at; a page may be short, its token goes on


class Pager:
    """Makes and reads the tokens. `secret` should outlive the process: tokens made before a restart stay good."""

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("a Pager needs a secret that is not empty")
        self._secret = secret

    def page(
        self,
        items: Iterable[T],
        *,
        listing: str,
        place: Callable[[T], Place],
        descending: bool,
        limit: int,
        token: str = "",
    ) -> tuple[list[T], str]:
        """Return at most `limit` items that follow `token`, and the token of the next page ("" at the end).

        `listing` names operation and order; a token is good for the listing that made it. Raises Invalid for others.
        """
        placed: Iterable[tuple[Place, int, T]] = ((place(item), index, item) for index, item in enumerate(items))
        if token:
            last = self._read(listing, token)
            placed = (entry for entry in placed if (entry[0] < last if descending else entry[0] > last))
        pick = heapq.nlargest if descending else heapq.nsmallest  # what is far behind is not sorted, page after page
        try:
            found = pick(limit + 1, placed)
        except TypeError:  # a token signed by us, yet for places of another type: an older version's order
            if not token:
                raise
            raise _bad_token() from None
        chosen = found[:limit]
        more = len(found) > len(chosen)
        return [item for _, _, item in chosen], self._write(listing, chosen[-1][0]) if chosen and more else ""

    def token(self, listing: str, last: Place) -> str:
        """The token of what follows `last`, for listings that are too long to be sorted here."""
        return self._write(listing, last)

    def place(self, listing: str, token: str) -> Place:
        """The place that `token` follows. Raises Invalid for what `token` did not make for this listing."""
        return self._read(listing, token)

    def _write(self, listing: str, last: Place) -> str:
        payload = msgspec.msgpack.encode(last)
        return base64.urlsafe_b64encode(self._mac(listing, payload) + payload).decode("ascii")

    def _read(self, listing: str, token: str) -> Place:
        try:
            raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _bad_token() from None
        mac, payload = raw[:_MAC_SIZE], raw[_MAC_SIZE:]
        if base64.urlsafe_b64encode(raw).decode("ascii") != token or not hmac.compare_digest(
            mac, self._mac(listing, payload)
        ):
            raise _bad_token()
        return msgspec.msgpack.decode(payload, type=tuple[float | str, ...])

    def _mac(self, listing: str, payload: bytes) -> bytes:
        return hmac.digest(self._secret, listing.encode() + b"\0" + payload, hashlib.sha256)[:_MAC_SIZE]


def scan(items: Iterable[T], is_wanted: Callable[[T], bool], *, limit: int) -> tuple[list[T], T | None]:
    """The first `limit` items that are wanted, and the last item that was looked at; None when there are no more."""
    found: list[T] = []
    last: T | None = None
    for count, item in enumerate(items, 1):
        if len(found) == limit or count > MOST_SCANNED:
            return found, last
        last = item
        if is_wanted(item):
            found.append(item)
    return found, None


def _bad_token() -> Invalid:
    return Invalid(
        "The NextToken is not one that this listing returned. Start again without NextToken, and keep SortBy and "
        "SortOrder the same from page to page."
    )
