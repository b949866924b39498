"""Filters, order and pages of the List operations, the same for models, configurations and endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, TypeVar

from trimtab.aws.paging import Pager, Place

_DEFAULT_PAGE = 10  # AWS: "This value defaults to 10"


class Listed(Protocol):
    """What every listed resource has."""

    @property
    def name(self) -> str: ...
    @property
    def created_s(self) -> float: ...


T = TypeVar("T", bound=Listed)


def listed(
    pager: Pager,
    operation: str,
    items: Iterable[T],
    params: Mapping[str, Any],
    *,
    modified_s: Callable[[T], float] | None = None,
    status: Callable[[T], str] | None = None,
) -> tuple[list[T], dict[str, str]]:
    """Return one page of `items` as the caller asked for it, and `{"NextToken": ...}` or `{}`.

    Defaults are AWS's: newest first (CreationTime, Descending), ten a page. Raises Invalid for a bad token.
    """
    sort_by: str = params.get("SortBy", "CreationTime")
    order: str = params.get("SortOrder", "Descending")

    def place(item: T) -> Place:
        if sort_by == "Name":
            return (item.name.lower(), item.name)
        if sort_by == "Status" and status is not None:
            return (status(item), item.name)
        return (item.created_s, item.name)

    page, token = pager.page(
        (item for item in items if _matches(item, params, modified_s, status)),
        listing=f"sagemaker:{operation}:{sort_by}:{order}",
        place=place,
        descending=order == "Descending",
        limit=params.get("MaxResults", _DEFAULT_PAGE),
        token=params.get("NextToken", ""),
    )
    return page, {"NextToken": token} if token else {}


def _matches(
    item: T,
    params: Mapping[str, Any],
    modified_s: Callable[[T], float] | None,
    status: Callable[[T], str] | None,
) -> bool:
    if params.get("NameContains", "").lower() not in item.name.lower():
        return False
    if status is not None and params.get("StatusEquals", status(item)) != status(item):
        return False
    if not _within(item.created_s, params, "CreationTime"):
        return False
    return modified_s is None or _within(modified_s(item), params, "LastModifiedTime")


def _within(seconds: float, params: Mapping[str, Any], member: str) -> bool:
    """After is inclusive and Before exclusive, as AWS says; at the precision of AWS's timestamps, a millisecond."""
    milliseconds = round(seconds * 1000)
    after, before = params.get(f"{member}After"), params.get(f"{member}Before")
    return (after is None or milliseconds >= _ms(after)) and (before is None or milliseconds < _ms(before))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
