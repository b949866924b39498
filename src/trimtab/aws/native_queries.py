"""Queries of trimtab's own API, read strictly: what nobody knows is refused."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final
from urllib.parse import parse_qs

from trimtab.errors import Invalid

Methods = Mapping[tuple[str, ...], tuple[str, ...]]
"""What can be done, by the path below a part of an endpoint."""

READS: Final = ("GET", "HEAD")


def given(of: str, query: str, *known: str) -> dict[str, str]:
    """The parameters of a query. Invalid for one that is not among `known`; `of` is what the path speaks of."""
    found = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    if unknown := sorted(found.keys() - set(known)):
        raise Invalid(f"{of} knows no {unknown[0][:40]!r}; it takes {', '.join(known) or 'nothing'}.")
    return found


def seconds(found: dict[str, str], name: str, otherwise: float) -> float:
    """A time in seconds since the epoch. Invalid."""
    if name not in found:
        return otherwise
    try:
        value = float(found[name])
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise Invalid(f"{name} must be a time in seconds since the epoch, not {found[name][:40]!r}.")
    return value


def count(found: dict[str, str], name: str, otherwise: int, most: int) -> int:
    """A number from 1 to `most`. Invalid."""
    text = found.get(name, str(otherwise))
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= most):
        raise Invalid(f"{name} must be a number from 1 to {most}, not {text[:40]!r}.")
    return int(text)
