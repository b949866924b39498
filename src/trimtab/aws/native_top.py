"""What `GET /_trimtab/v1/top` is asked.

endpoint=NAME    only this one; without it, all that the key may see
window_s=10      seconds over which requests are counted, 1 to 60
sort=name        or rate, errors, p99, queue, cpu, memory: the largest first
limit=50         endpoints in the answer, at most 1000;     offset=0   so many are left out before them
events=3         of each endpoint, the newest; 0 to 100
"""

from __future__ import annotations

from urllib.parse import parse_qs

from trimtab.control.top import TopQuery
from trimtab.errors import Invalid

_NUMBERS = ("window_s", "limit", "offset", "events")
_TEXTS = ("endpoint", "sort")


def top_query(query: str) -> TopQuery:
    """Read a query string. Invalid for what is not known, not a number, or out of its range."""
    given = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    if unknown := sorted(given.keys() - {*_NUMBERS, *_TEXTS}):
        raise Invalid(f"top knows no {unknown[0]!r}; it takes {', '.join((*_TEXTS, *_NUMBERS))}.")
    texts = {key: given[key] for key in _TEXTS if key in given}
    numbers = {key: _number(key, given[key]) for key in _NUMBERS if key in given}
    return TopQuery(**texts, **numbers).check()  # type: ignore[arg-type]


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Invalid(f"{name} must be a whole number, not {text[:40]!r}.")
    return int(text)
