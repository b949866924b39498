"""Cells: what was spent in one hour on one model of one version of a variant. Pure.

A cell is the smallest thing that can be asked for later; days are made of hours that are long ago.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct, field

from trimtab.policies.costs.account import Charge
from trimtab.resources.cost import Part, divided_among, spread

HOUR_S: Final = 3600
DAY_S: Final = 86_400


class CellKey(NamedTuple):
    """Which cell. `model` is "" where replicas have one model, and for what belongs to none of several."""

    start_s: int  # wall time, a whole hour or (of what is long ago) day
    endpoint: str
    variant: str
    version: str
    model: str = ""


class Cell(Struct, array_like=True):
    """What has come together so far; all of it only grows. `parts` are micro-dollars by Part."""

    parts: dict[str, int] = field(default_factory=dict)
    replica_us: int = 0
    unpriced_us: int = 0  # of these, without a known price: they are not in `parts`
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    billed_gb_us: int = 0  # serverless: GB x microseconds
    instance_type: str = ""
    unpriced_gb_us: int = 0

    @property
    def micro_usd(self) -> int:
        """All parts together."""
        return sum(self.parts.values())

    def pay(self, part: Part, amount: int) -> None:
        """Add to a part."""
        if amount:
            self.parts[part.value] = self.parts.get(part.value, 0) + amount

    def add(self, other: Cell) -> None:
        """Add what another one holds."""
        for part, amount in other.parts.items():
            self.parts[part] = self.parts.get(part, 0) + amount
        self.replica_us += other.replica_us
        self.unpriced_us += other.unpriced_us
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.billed_gb_us += other.billed_gb_us
        self.unpriced_gb_us += other.unpriced_gb_us
        self.instance_type = self.instance_type or other.instance_type

    def __bool__(self) -> bool:
        return bool(
            self.parts or self.replica_us or self.requests or self.input_tokens or self.output_tokens
            or self.billed_gb_us
        )  # fmt: skip


def entries(charge: Charge, endpoint: str, variant: str, shift_us: int) -> Iterable[tuple[CellKey, Cell]]:
    """What a charge adds to which cells. `shift_us`: steady time less wall time. The amounts sum to the charge's."""
    hour_s = (charge.start_us - shift_us) // (HOUR_S * 1_000_000) * HOUR_S
    span_us = charge.end_us - charge.start_us
    rest = min(charge.weights, default=(Part.IDLE, ""))
    amounts = spread(charge.micro_usd, charge.weights, rest=rest, turn=charge.turn)
    times = divided_among(span_us, charge.weights, rest=rest)
    for part, model in sorted(charge.weights):
        us = times.get((part, model), 0)
        cell = Cell(replica_us=us, unpriced_us=0 if charge.is_priced else us, instance_type=charge.instance_type)
        cell.pay(part, amounts.get((part, model), 0))
        yield CellKey(hour_s, endpoint, variant, charge.version, model), cell


def by_day(hours: Mapping[CellKey, Cell]) -> dict[CellKey, Cell]:
    """The same, added up by days."""
    days: dict[CellKey, Cell] = {}
    for key, cell in hours.items():
        days.setdefault(key._replace(start_s=key.start_s // DAY_S * DAY_S), Cell()).add(cell)
    return days
