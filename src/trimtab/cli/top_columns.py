"""The columns of `trimtab top`: what is in them, and which of them fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

NAME_LEAST = 16  # columns
NAME_MOST = 44
GAP = 1
NOTHING = "-"

Figures = Mapping[str, Any]


class Column(NamedTuple):
    """`figure` is a member of the document's figures. The ones with the lowest `rank` go first when room is short."""

    title: str
    width: int
    rank: int
    figure: str
    text: Callable[[float], str]


def short(value: float) -> str:
    """A number in at most five characters: `0`, `0.42`, `3.1`, `123`, `12.3k`, `4.56M`."""
    for unit, size in (("", 1.0), ("k", 1e3), ("M", 1e6), ("G", 1e9)):
        scaled = value / size
        if scaled < 999.5 or unit == "G":
            break
    if not unit and (scaled == 0 or scaled >= 99.95):
        return f"{scaled:.0f}"
    return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f}{unit}"


def count(value: float) -> str:
    """A number of things: without a fraction where it has none."""
    return f"{value:.0f}" if value == int(value) and value < 1000 else short(value)


def percent(value: float) -> str:
    """`45%`."""
    return f"{value:.0f}%"


def ratio(value: float) -> str:
    """`97.3%`; 100 % only where nothing is missing."""
    return f"{min(value, 99.9):.1f}%" if value < 100 else "100%"


def size(value: float) -> str:
    """Bytes: `512M`, `1.42G`. Multiples of 1024, as `top` and `ps` have them."""
    unit = ""
    for unit in ("K", "M", "G", "T"):  # noqa: B007 the last one is used below
        value /= 1024
        if value < 999.5:
            break
    return f"{value:.{0 if value >= 99.5 else 1 if value >= 9.95 else 2}f}{unit}"


def usd(value: float) -> str:
    """Dollars, often far below a cent, where a cent more is a tenth of a price: `1.24`, `0.115`, `0.0168`, `4e-05`."""
    if value >= 0.9995 or value == 0:
        return short(value)
    return f"{value:.3f}" if value >= 0.0995 else f"{value:.4f}" if value >= 0.0001 else f"{value:.0e}"


def usd_per_hour(value: float) -> str:
    """The same in five places: `0.115`, `0.002`."""
    return f"{value:.3f}" if 0.001 <= value < 0.0995 else usd(value)


COLUMNS = (
    Column("REQ/S", 5, 90, "rate_per_s", short),
    Column("ERR/S", 5, 80, "errors_per_s", short),
    Column("P50ms", 5, 50, "p50_ms", short),
    Column("P95ms", 5, 25, "p95_ms", short),
    Column("P99ms", 5, 85, "p99_ms", short),
    Column("QUEUE", 5, 70, "queue", count),
    Column("BACKLOG", 7, 73, "backlog", count),
    Column("CONC", 5, 30, "concurrency", count),
    Column("BATCH", 5, 28, "batch_size", short),
    Column("MODELS", 6, 60, "models_loaded", count),
    Column("HIT", 5, 58, "model_hit_percent", ratio),
    Column("BUSY", 4, 40, "utilization_percent", percent),
    Column("CPU", 5, 75, "cpu_percent", percent),
    Column("MEM", 5, 72, "memory_bytes", size),
    Column("GPU", 5, 74, "gpu_percent", percent),
    Column("GPUMEM", 6, 71, "gpu_memory_bytes", size),
    Column("$/H", 5, 65, "usd_per_hour", usd_per_hour),
    Column("$/1k", 6, 55, "usd_per_1000", usd),
)


def fitting(columns: Sequence[Column], width: int, *, taken: int) -> list[Column]:
    """Those of `columns` that fit beside a name and `taken` other columns of text, in their order."""
    room = width - NAME_LEAST - taken
    chosen: list[Column] = []
    for column in sorted(columns, key=lambda column: -column.rank):
        if column.width + GAP > room:
            break
        room -= column.width + GAP
        chosen.append(column)
    return [column for column in columns if column in chosen]


def cell(column: Column, figures: Figures) -> str:
    """What is known, or a dash."""
    value = figures.get(column.figure)
    return NOTHING if value is None else column.text(value)
