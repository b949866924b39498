"""How much of a page's text was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

RUN = 4  # letters or digits


def texts_of(truth: Any) -> Iterator[str]:
    """All texts of a page in ground_truth.json, whatever they are put into."""
    if isinstance(truth, str):
        yield truth
    elif isinstance(truth, dict):
        for name, value in truth.items():
            yield from texts_of(value)
            if isinstance(value, str):
                yield name  # of a field: it is on the page, too
    else:
        for value in truth:
            yield from texts_of(value)


def found_share(lines: Iterable[str], truth: Iterable[str]) -> float:
    """The share of the true texts' runs of four letters or digits that were read somewhere on the page. Spaces, signs and
    case do not count, nor in which order columns are read."""
    read = {run for line in ("".join(lines), *lines) for run in _runs(line)}
    wanted = [run for text in truth for run in _runs(text)]
    return sum(run in read for run in wanted) / len(wanted)


def _runs(text: str) -> list[str]:
    plain = "".join(letter for letter in text.casefold() if letter.isalnum())
    return [plain[at : at + RUN] for at in range(max(1, len(plain) - RUN + 1))] if plain else []
