"""What was spent, added up by what is asked for. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct, field

from trimtab.policies.costs.cells import DAY_S, HOUR_S, Cell, CellKey
from trimtab.resources.cost import MICRO

DIMENSIONS: Final = ("endpoint", "variant", "version", "model", "instance-type", "hour", "day")


class CostRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was spent on one thing. `parts` sum to `micro_usd`. What has no price is not in them: `unpriced_hours`.

    `usd_per_1000_requests` is of everything that was spent, idle time included; so is `usd_per_million_tokens`, but
    without variants that told no tokens.
    """

    of: dict[str, str | int]  # by dimension; of `hour` and `day`, seconds since the epoch
    micro_usd: int
    parts: dict[str, int]
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    replica_hours: float = 0.0
    unpriced_hours: float = 0.0
    billed_gb_s: float = 0.0  # serverless
    unpriced_gb_s: float = 0.0
    usd_per_1000_requests: float | None = None
    usd_per_million_tokens: float | None = None


class CostReport(Struct, frozen=True, kw_only=True):
    """The answer. Whole hours are told: `since_s` and `until_s` are theirs; `charged_s`: what is later is not charged
    yet. `notes`: what is to be said beside the figures."""

    since_s: int
    until_s: int
    charged_s: float
    by: tuple[str, ...]
    rows: tuple[CostRow, ...]
    total: CostRow
    usd_per_hour: float | None = None  # of the replicas that there are now
    notes: tuple[str, ...] = field(default_factory=tuple)


def rows_of(cells: Sequence[tuple[CellKey, Cell]], by: tuple[str, ...]) -> list[CostRow]:
    """A row for each value of the dimensions: those of a time in order of time, else the most expensive first."""
    found: dict[tuple[str | int, ...], list[tuple[CellKey, Cell]]] = {}
    for key, cell in cells:
        of = tuple(_value(dimension, key, cell) for dimension in by)
        found.setdefault(of, []).append((key, cell))
    telling = _telling(cells)
    rows = [_row(dict(zip(by, of, strict=True)), mine, telling) for of, mine in found.items()]
    times = [dimension for dimension in by if dimension in ("hour", "day")]
    return sorted(
        rows,
        key=lambda row: (
            *(int(row.of[dimension]) for dimension in times),
            -row.micro_usd,
            *(str(row.of[dimension]) for dimension in by if dimension not in times),
        ),
    )


def total_of(cells: Sequence[tuple[CellKey, Cell]]) -> CostRow:
    """One row of all of them."""
    return _row({}, cells, _telling(cells))


def _telling(cells: Iterable[tuple[CellKey, Cell]]) -> frozenset[tuple[str, str]]:
    """Endpoint and variant of those that told tokens at any time: others' dollars are not the price of a token."""
    return frozenset((key.endpoint, key.variant) for key, cell in cells if cell.input_tokens or cell.output_tokens)


def _row(
    of: dict[str, str | int], cells: Iterable[tuple[CellKey, Cell]], telling: frozenset[tuple[str, str]]
) -> CostRow:
    """What these cells say together, for people."""
    cell, for_tokens = Cell(), 0
    for key, part in cells:
        cell.add(part)
        for_tokens += part.micro_usd if (key.endpoint, key.variant) in telling else 0
    usd, tokens = cell.micro_usd / MICRO, cell.input_tokens + cell.output_tokens
    return CostRow(
        of=of,
        micro_usd=cell.micro_usd,
        parts=dict(sorted(cell.parts.items(), key=lambda item: -item[1])),
        requests=cell.requests,
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        replica_hours=cell.replica_us / 3.6e9,
        unpriced_hours=cell.unpriced_us / 3.6e9,
        billed_gb_s=cell.billed_gb_us / 1e6,
        unpriced_gb_s=cell.unpriced_gb_us / 1e6,
        usd_per_1000_requests=usd * 1000 / cell.requests if cell.requests else None,
        usd_per_million_tokens=for_tokens / tokens if tokens else None,
    )


def _value(dimension: str, key: CellKey, cell: Cell) -> str | int:
    match dimension:
        case "hour":
            return key.start_s // HOUR_S * HOUR_S
        case "day":
            return key.start_s // DAY_S * DAY_S
        case "instance-type":
            return cell.instance_type
        case "endpoint":
            return key.endpoint
        case "variant":
            return key.variant
        case "version":
            return key.version
        case _:
            return key.model
