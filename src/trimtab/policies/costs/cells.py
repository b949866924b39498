"""Cells: what was spent in one hour on one model of one version of a variant. Pure.

A cell is the smallest thing that can be asked for later; days are made of hours that are long ago.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from msgspec import Struct, field

from trimtab.policies.costs.account import Charge
from trimtab.resources.cost import Part, spread

HOUR_S: Final = 3600
DAY_S: Final = 86_400


_NOBODYS: Final = {"": 1}


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


def add_charge(cells: dict[CellKey, Cell], charge: Charge, endpoint: str, variant: str, shift_us: int) -> None:
    """Add a charge to the cells that it belongs to. `shift_us`: steady time less wall time. All of it is added.

    Models are rounded at other places than parts (the square of a turn): else a part that is rounded up at some turns
    only would come to the same model at each of them.
    """
    hour_s = (charge.start_us - shift_us) // (HOUR_S * 1_000_000) * HOUR_S
    amounts = spread(charge.micro_usd, charge.parts, rest=Part.IDLE, turn=charge.turn)
    times = spread(charge.end_us - charge.start_us, charge.parts, rest=Part.IDLE, turn=0)
    for part, us in times.items():
        whose = charge.models.get(part) or _NOBODYS
        by_model = spread(amounts.get(part, 0), whose, rest="", turn=charge.turn**2)
        for model, model_us in spread(us, whose, rest="", turn=0).items():
            key = CellKey(hour_s, endpoint, variant, charge.version, model)
            if (cell := cells.get(key)) is None:
                cell = cells[key] = Cell(instance_type=charge.instance_type)
            cell.replica_us += model_us
            if not charge.is_priced:
                cell.unpriced_us += model_us
            cell.pay(part, by_model.pop(model, 0))
        for model, amount in by_model.items():  # of a time too short to be told
            key = CellKey(hour_s, endpoint, variant, charge.version, model)
            cells.setdefault(key, Cell(instance_type=charge.instance_type)).pay(part, amount)


def by_day(hours: Mapping[CellKey, Cell]) -> dict[CellKey, Cell]:
    """The same, added up by days."""
    days: dict[CellKey, Cell] = {}
    for key, cell in hours.items():
        days.setdefault(key._replace(start_s=key.start_s // DAY_S * DAY_S), Cell()).add(cell)
    return days
