"""A table that is wider than its terminal. Pure.

What can be wrapped between words is. Where that is not enough, a row takes several lines: no number, name or id is
ever broken, since half of one is worse than none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

_GAP = 2  # columns of the terminal between two of the table
_INDENT = 4  # of what belongs to the line above


class _Column(NamedTuple):
    cells: tuple[str, ...]  # the title first
    is_right: bool
    natural: int  # columns of the terminal without any wrapping
    least: int  # with a wrap between all words


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    right: Collection[str] = (),
    whole: Collection[str] = (),
    styles: Mapping[str, str] | None = None,
) -> list[list[Text]]:
    """The lines of the titles, then those of each row, in at most `width` columns of the terminal (more only where one
    word is wider). Cells may have several lines. `right` names the columns of numbers, `whole` those without wraps;
    `styles` are of whole cells."""
    known = [
        _column((title, *(row[at] for row in rows)), is_right=title in right, is_whole=title in {*right, *whole})
        for at, title in enumerate(columns)
    ]
    bands = [(band, _INDENT if number else 0) for number, band in enumerate(_bands(known, width))]
    return [
        [line for band, indent in bands for line in _lines(band, at, width, indent, styles or {})]
        for at in range(len(rows) + 1)
    ]


def _column(cells: Sequence[str], *, is_right: bool, is_whole: bool) -> _Column:
    """A title may be wrapped; a number and its unit, or what is to stay whole, may not."""
    lines = [line for cell in cells for line in cell.split("\n")]
    words = cells[0].split()
    words += lines[1:] if is_whole else [word for line in lines[1:] for word in line.split()]
    longest = [max(map(cell_len, texts), default=0) for texts in (lines, words)]
    return _Column(tuple(cells), is_right, *longest)


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * max(0, len(widths) - 1)


def _bands(columns: Sequence[_Column], width: int) -> list[list[_Column]]:
    """The columns of each line of a row: all on one, else names and numbers apart, else as many as have room."""
    if _together([column.least for column in columns]) <= width:
        return [list(columns)]
    names = next((at for at, column in enumerate(columns) if column.is_right), 0)
    halves = [list(columns[:names]), list(columns[names:])]
    if all(half and _together([one.least for one in half]) <= width - _INDENT for half in halves):
        return halves
    bands: list[list[_Column]] = []
    for column in columns:
        room = width - (_INDENT if len(bands) > 1 else 0)
        if bands and _together([one.least for one in (*bands[-1], column)]) <= room:
            bands[-1].append(column)
        else:
            bands.append([column])
    return bands


def _lines(band: Sequence[_Column], at: int, width: int, indent: int, styles: Mapping[str, str]) -> list[Text]:
    """The lines of row `at` (0 is the titles) in this band; none where all of its cells are empty."""
    widths = _widths(band, width - indent)
    if not any(column.cells[at] for column in band):
        return []
    wrapped = [_wrapped(column.cells[at], cells) for column, cells in zip(band, widths, strict=True)]
    lines = []
    for parts in zip_longest(*wrapped, fillvalue=""):
        line = Text(" " * indent)
        for number, (part, column, cells) in enumerate(zip(parts, band, widths, strict=True)):
            room = " " * (cells - cell_len(part))
            line.append(" " * _GAP if number else "")
            line.append(room if column.is_right else "")
            line.append(part, style=styles.get(column.cells[at], ""))
            line.append("" if column.is_right else room)
        line.rstrip()
        lines.append(line)
    return lines


def _widths(band: Sequence[_Column], width: int) -> list[int]:
    """Of each column: the widest give way until all have room, none below its longest word."""
    widths = [column.natural for column in band]
    while _together(widths) > width:
        can = [at for at, column in enumerate(band) if widths[at] > column.least]
        if not can:
            break
        widths[max(can, key=lambda at: widths[at])] -= 1
    return widths


def _wrapped(cell: str, width: int) -> list[str]:
    """Its lines, of at most `width` columns where its words are not longer."""
    lines = []
    for line in cell.split("\n"):
        if cell_len(line) <= width:
            lines.append(line)
            continue
        made = ""
        for word in line.split():
            if made and cell_len(made) + 1 + cell_len(word) > width:
                lines.append(made)
                made = word
            else:
                made = f"{made} {word}" if made else word
        lines.append(made)
    return lines
