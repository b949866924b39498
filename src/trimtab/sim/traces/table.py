"""Chosen columns of a CSV file as arrays: each number 8 bytes, each word a code; errors name the line."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.traces import is_number, opened, seconds_since
from trimtab.sim.load import Floats

Ints = np.ndarray[Any, np.dtype[np.int64]]
MOST_ROWS: Final = 200_000_000


class Words(Struct, frozen=True):
    """A column of names: row i has `labels[codes[i]]`."""

    codes: Ints
    labels: tuple[str, ...]


class Table(Struct, frozen=True):
    """The columns that were asked for, row by row. `is_dated`: times were dates; seconds since the epoch now."""

    numbers: dict[str, Floats]
    words: dict[str, Words]
    lines: Ints  # where each row stood
    is_dated: bool


def header_of(path: Path) -> list[str]:
    """The names of the columns. Raises Invalid."""
    with opened(path) as file:
        return _header(csv.reader(file), path.name)


def read_table(
    path: Path, *, times: tuple[str, ...] = (), numbers: tuple[str, ...] = (), words: tuple[str, ...] = (), zone: tzinfo
) -> Table:
    """These columns, which must be there. Dates without an offset are of `zone`; an empty number is NaN.

    Raises Invalid.
    """
    with opened(path) as file:
        return _table(csv.reader(file), path.name, times, numbers, words, zone)


def _header(rows: Iterator[list[str]], name: str) -> list[str]:
    header = [column.strip().removeprefix("\ufeff") for column in next(rows, [])]
    if not any(header):
        raise Invalid(f"The trace {name} is empty.")
    if all(is_number(column) for column in header):
        raise Invalid(f"{name}, line 1: there must be a line with the columns' names, such as t_s or timestamp,count.")
    return header


def _table(
    rows: Any, name: str, times: tuple[str, ...], numbers: tuple[str, ...], words: tuple[str, ...], zone: tzinfo
) -> Table:
    header = _header(rows, name)
    clock = _Clock(zone)
    readers: list[tuple[int, str, Callable[[str, str], float], array[float]]] = []
    readers += [(header.index(column), column, clock.read, array("d")) for column in times]
    readers += [(header.index(column), column, _number, array("d")) for column in numbers]
    named: list[tuple[int, dict[str, int], array[int]]] = [(header.index(column), {}, array("q")) for column in words]
    widest = max([at for at, *_ in readers] + [at for at, *_ in named], default=0)
    lines: array[int] = array("q")
    for row in rows:
        if not row:
            continue
        if len(row) <= widest:
            raise Invalid(f"{name}, line {rows.line_num}: {len(row)} columns, where the header has {len(header)}.")
        lines.append(rows.line_num)
        try:
            for at, column, cell, found in readers:
                found.append(cell(row[at].strip(), column))
        except ValueError as error:
            raise Invalid(f"{name}, line {rows.line_num}: {error}") from None
        for at, codes, coded in named:
            coded.append(codes.setdefault(row[at].strip(), len(codes)))
        if len(lines) > MOST_ROWS:
            raise Invalid(f"The trace {name} has more than {MOST_ROWS:,} rows.")
    return Table(
        {column: np.frombuffer(found, dtype=np.float64) for _, column, _, found in readers},
        {
            column: Words(np.frombuffer(coded, dtype=np.int64), tuple(codes))
            for column, (_, codes, coded) in zip(words, named, strict=True)
        },
        np.frombuffer(lines, dtype=np.int64),
        clock.is_dated,
    )


class _Clock:
    """Reads times: all of one file are numbers, or all are dates."""

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        self.is_dated = False
        self.is_counted = False

    def read(self, text: str, column: str) -> float:
        try:
            value = float(text)
        except ValueError:
            return self._date(text)
        if not math.isfinite(value):
            raise ValueError(f"the time {text!r} is not finite.")
        self.is_counted = True
        self._check(text)
        return seconds_since(value, text, column)

    def _date(self, text: str) -> float:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is neither a number nor a time (2026-01-31T12:00:00).") from None
        self.is_dated = True
        self._check(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=self.zone)).timestamp()

    def _check(self, text: str) -> None:
        if self.is_dated and self.is_counted:
            raise ValueError(f"{text!r}: times before it were {'numbers' if not is_number(text) else 'dates'}.")


def _number(text: str, column: str) -> float:
    if text == "":
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, which is no number.") from None


def rows_of(columns: Mapping[str, Floats], chosen: Any) -> dict[str, Floats]:
    """Each column's chosen rows: a mask, or an order."""
    return {name: values[chosen] for name, values in columns.items()}
