"""One frame of `trimtab top`: a document of `GET /_trimtab/v1/top`, drawn into a width and a height. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from trimtab.cli.render import at, one_line, shortened, style_of
from trimtab.cli.top_columns import COLUMNS, GAP, NAME_LEAST, NAME_MOST, Column, cell, fitting, short

LEAST_WIDTH, LEAST_HEIGHT = 40, 8
STATE_WIDTH, READY_WIDTH = 9, 5
DEPTHS = ("endpoints", "variants", "replicas")
KEYS = "q quit  s sort  d depth  up, down, page up, page down scroll"
_EVENT_LINES = 12  # at most
_LOSSES_FIRST_S = 300.0
_NAME_IN_EVENT, _REPLICA_IN_EVENT = 20, 13  # columns, where the line is too long

Segment = tuple[str, str]
"""Text and style."""
Line = list[Segment]
Document = Mapping[str, Any]


class Row(Struct, frozen=True):
    """A line of the table before it is cut to a width. `note` takes the place of the figures."""

    depth: int
    name: str
    state: str
    ready: str
    figures: Mapping[str, Any]
    note: str = ""


def table_rows(endpoints: Sequence[Document], depth: int) -> Iterator[Row]:
    """The tree: endpoints, their variants, their replicas, as deep as `depth` says (an index of DEPTHS)."""
    for endpoint in endpoints:
        yield Row(0, endpoint["name"], endpoint["status"], _ready(endpoint), endpoint["figures"])
        for variant in endpoint["variants"] if depth >= 1 else ():
            weight = f"w {variant['weight']:.3g}"
            yield Row(1, variant["name"], weight, _ready(variant), variant["figures"])
            for replica in variant["replicas"] if depth >= 2 else ():
                figures = {**replica["figures"], "concurrency": replica["in_flight"]}
                yield Row(2, replica["id"], replica["state"], "", figures, replica.get("failure", ""))


def depth_that_fits(endpoints: Sequence[Document], lines: int) -> int:
    """The deepest tree that has at most so many lines; at least the endpoints."""
    for depth in (2, 1):
        if sum(1 for _ in table_rows(endpoints, depth)) <= lines:
            return depth
    return 0


def frame(
    document: Document, width: int, height: int | None, *, where: str, message: str = "", depth: int | None = None
) -> list[Line]:
    """The lines, each at most `width` wide, at most `height` of them (None: as many as there are).

    `depth` None shows as much of the tree as there is room for. `message` is told above the table.
    """
    if width < LEAST_WIDTH or (height is not None and height < LEAST_HEIGHT):
        text = f"{width}x{height} is too small for top: {LEAST_WIDTH}x{LEAST_HEIGHT}"
        return [[(text[:width], "")]]
    head = [_cut(line, width) for line in _head(document, where, message)]
    if height is None:
        return [*head, *_table(document, width, None, depth), [], *_reasons(document, width, None)]
    free = height - len(head) - 1  # the last line names the keys
    events = list(_reasons(document, width, min(_EVENT_LINES, free // 3)))
    body = list(_table(document, width, free - len(events), depth))
    filling: list[Line] = [[] for _ in range(free - len(body) - len(events))]
    return [*head, *body, *filling, *events, _cut([(KEYS, "dim")], width)]


def _ready(document: Document) -> str:
    return f"{document['replicas_ready']}/{document['replicas_desired']}"


def _head(document: Document, where: str, message: str) -> Iterator[Line]:
    first: Line = [("trimtab top", "bold")]
    if document:
        before, total = document["offset"], document["endpoints_total"]
        part = f" (from {before + 1} on)" if before else ""
        facts = [
            at(document["at_s"]),
            f"{total} endpoint{'' if total == 1 else 's'}{part}",
            f"{_ready(document)} replicas",
            f"last {document['window_s']} s",
            f"by {document['sort']}",
            where,
        ]
        first.append(("  " + "  ".join(facts), ""))
    yield first
    yield [(one_line(message), "bold yellow")] if message else []


def _table(document: Document, width: int, lines: int | None, depth: int | None) -> Iterator[Line]:
    """Titles, rows, and how much is left out, in at most so many lines."""
    endpoints = document.get("endpoints", ())
    if depth is None:
        depth = len(DEPTHS) - 1 if lines is None else depth_that_fits(endpoints, lines - 1)
    rows = list(table_rows(endpoints, depth))
    behind = document["endpoints_total"] - document["offset"] - len(endpoints) if document else 0
    cut = lines is not None and len(rows) + (behind > 0) > lines - 1
    if lines is not None and cut:
        behind += sum(row.depth == 0 for row in rows[lines - 2 :])
        rows = rows[: lines - 2]
    yield from _rows(rows, width)
    if behind > 0:
        yield [(f"... {behind} endpoint{'' if behind == 1 else 's'} more", "dim")]
    elif cut:
        yield [("... more replicas", "dim")]


def _rows(rows: Sequence[Row], width: int) -> Iterator[Line]:
    has_gpus = any(row.figures.get("gpu_percent") is not None or row.figures.get("gpu_memory_bytes") for row in rows)
    has_models = any(row.figures.get("models_loaded") is not None for row in rows)
    has_queues = any(row.figures.get("backlog") is not None for row in rows)
    has_prices = any(row.figures.get("usd_per_hour") is not None for row in rows)
    columns = [
        column
        for column in COLUMNS
        if (has_gpus or not column.title.startswith("GPU"))
        and (has_models or column.title not in ("MODELS", "HIT"))
        and (has_queues or column.title != "BACKLOG")
        and (has_prices or not column.title.startswith("$"))
    ]
    taken = STATE_WIDTH + READY_WIDTH + 2 * GAP
    chosen = fitting(columns, width, taken=taken)
    left = width - taken - sum(column.width + GAP for column in chosen)
    longest = max((2 * row.depth + len(row.name) for row in rows), default=0)
    name_width = min(left, max(NAME_LEAST, min(longest, NAME_MOST)))
    titles = [f"{'NAME':{name_width}}", f"{'STATE':{STATE_WIDTH}}", f"{'READY':>{READY_WIDTH}}"]
    yield [(" ".join([*titles, *(f"{column.title:>{column.width}}" for column in chosen)]), "bold")]
    for row in rows:
        yield _cut(_row(row, name_width, chosen), width)


def _row(row: Row, name_width: int, columns: Sequence[Column]) -> Line:
    name = shortened("  " * row.depth + row.name, name_width)
    line: Line = [
        (f"{name:{name_width}} ", "bold" if row.depth == 0 else ""),
        (f"{row.state[:STATE_WIDTH]:{STATE_WIDTH}}", style_of(row.state)),
        (f" {row.ready:>{READY_WIDTH}}", ""),
    ]
    if row.note:
        return [*line, (" " + one_line(row.note), "red")]
    for column in columns:
        text = cell(column, row.figures)
        alarming = column.figure == "errors_per_s" and row.figures.get(column.figure)
        line.append((f" {text:>{column.width}}", "red" if alarming else ""))
    return line


def _reasons(document: Document, width: int, most: int | None) -> Iterator[Line]:
    """Why failed endpoints are so, which errors there are, then what happened last, newest first.

    At most so many lines below their title (None: all). Where they are not enough, a loss of the last minutes has its
    place before what followed from it.
    """
    endpoints = document.get("endpoints", ())
    lines = [
        _cut([(f"{e['name']}: ", "bold"), (one_line(e["failure_reason"]), "red")], width)
        for e in endpoints
        if e.get("failure_reason")
    ]
    for endpoint in endpoints:
        if errors := endpoint.get("errors_by_reason"):
            told = ", ".join(f"{reason} {short(rate)}/s" for reason, rate in errors.items())
            lines.append(_cut([(f"{endpoint['name']}: ", "bold"), (f"errors: {one_line(told)}", "red")], width))
    events = [(event["at_s"], e["name"], event) for e in endpoints for event in reversed(e.get("events", ()))]
    if most is not None:
        recent_s = document.get("at_s", 0.0) - _LOSSES_FIRST_S
        events.sort(key=lambda entry: (bool(entry[2].get("failure")) and entry[0] > recent_s, entry[0]), reverse=True)
        events = events[: max(0, most - len(lines))]
        lines = lines[:most]
    lines += [_event(*entry, width) for entry in sorted(events, key=lambda entry: entry[0], reverse=True)]
    if lines:
        yield [("REASONS", "bold")]
        yield from lines


def _event(at_s: float, name: str, event: Document, width: int) -> Line:
    said = ": ".join(filter(None, (event["what"], one_line(event.get("reason", "")))))
    replica = event.get("replica_id", "")
    of = f"{name} {replica}".rstrip()
    if len(at(at_s)) + len(of) + len(said) + 4 > width:  # the reason matters more than whole names
        of = f"{shortened(name, _NAME_IN_EVENT)} {shortened(replica, _REPLICA_IN_EVENT)}".rstrip()
    style = "red" if event.get("failure") else ""
    return _cut([(f"{at(at_s)}  ", "dim"), (f"{of}  ", ""), (said, style)], width)


def _cut(line: Line, width: int) -> Line:
    cut: Line = []
    for text, style in line:
        if len(text) >= width:
            return [*cut, (text[:width], style)]
        cut.append((text, style))
        width -= len(text)
    return cut
