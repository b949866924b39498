"""Where a model fits: instance types with a price, what each holds, and which to try first."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from msgspec import Struct

from trimtab.advisor.fitting.size import Need
from trimtab.advisor.prices import tables
from trimtab.advisor.prices.book import Book
from trimtab.advisor.prices.price import Price, Use
from trimtab.advisor.prices.shapes import Shape, shapes

USABLE: Final = 0.9
"""Of a device's memory: the rest is the driver's and the runtime's (vLLM's default)."""

_HOST_GIB: Final = 1.0  # on CPU types: the system and the interpreter
_GIB: Final = 2**30
_LACKING: Final = {  # types that came with later generations: Ampere, then Ada and Hopper
    "bf16": ("T4", "V100"),
    "fp8": ("T4", "V100", "A10G", "A100"),
}
_SPLITS: Final = (1, 2, 4, 8, 16)  # devices that a model is split over: they divide the heads of every known model


class Speed(Struct, frozen=True):
    """Of one accelerator, from its maker's data sheet: dense, without sparsity."""

    tflops_fp16: float
    bandwidth_gb_s: float
    source: str


class Place(Struct, frozen=True, kw_only=True):
    """An instance type with its price. With a model: what it holds of it; `copies` 0 where it does not fit."""

    instance_type: str
    shape: Shape
    price: Price
    speed: Speed | None
    copies: int = 0  # one for each device, or group of devices, that holds one
    devices: int = 0  # that each copy is split over; 0: on the CPUs
    most_requests: int = 0  # at once, of full context, of one copy
    full: float = 0.0  # part of the usable memory of its devices that one copy takes
    caveat: str = ""  # why it is not to be tried first, although it has the memory

    @property
    def usd(self) -> float:
        """An hour."""
        return float(self.price.usd)

    @property
    def usd_per_gib(self) -> float | None:
        """An hour, of accelerator memory (of the machine's where it has none)."""
        memory = self.shape.accelerator_gib or self.shape.memory_gib
        return self.usd / memory if memory else None

    @property
    def usd_per_tflop(self) -> float | None:
        """An hour, of 16-bit tensor arithmetic; None where that is not known."""
        if self.speed is None or not self.shape.accelerators:
            return None
        return self.usd / (self.speed.tflops_fp16 * self.shape.accelerators)

    @property
    def usd_per_copy(self) -> float | None:
        """An hour, when it holds as many copies as fit."""
        return self.usd / self.copies if self.copies else None


def places(
    book: Book,
    *,
    region: str,
    use: Use = "hosting",
    need: Need | None = None,
    max_usd_per_hour: float | None = None,
    own: Mapping[str, Shape] | None = None,
) -> list[Place]:
    """Every instance type whose hardware and price are known, cheapest first; with `need`, what each holds of it.

    `own`: shapes of the user's own hardware, by name.
    """
    found = []
    prefix = "" if use.startswith("ec2") else "ml."
    known = {f"{prefix}{name}": shape for name, shape in shapes().items()} | dict(own or {})
    for name, shape in known.items():
        price = book.instance(name, use, region)
        if price is None:
            continue
        place = Place(instance_type=name, shape=shape, price=price, speed=speed_of(shape))
        if max_usd_per_hour is None or place.usd <= max_usd_per_hour:
            found.append(_holding(place, need) if need else place)
    return sorted(found, key=lambda place: (place.usd, place.instance_type))


def _holding(place: Place, need: Need) -> Place:
    """`place` with what it holds: each copy on as few devices as can be."""
    shape = place.shape
    if not shape.accelerators:
        usable = int((shape.memory_gib * USABLE - _HOST_GIB) * _GIB)
        return _with(place, need, copies=1, devices=0, usable=usable) if need.total <= usable else place
    usable = int(shape.accelerator_gib_each * USABLE * _GIB)
    if shape.accelerators < 1:  # a part of one: what EC2 calls each is the part
        return _with(place, need, copies=1, devices=1, usable=usable) if need.total <= usable else place
    for devices in _SPLITS:
        if devices <= shape.accelerators and need.each_of(devices) <= usable:
            copies = int(shape.accelerators) // devices
            return _with(place, need, copies=copies, devices=devices, usable=usable)
    return place


def _with(place: Place, need: Need, *, copies: int, devices: int, usable: int) -> Place:
    over = max(1, devices)
    room = over * (usable - need.activations) - need.weights
    each = need.kv_per_request
    return Place(
        instance_type=place.instance_type,
        shape=place.shape,
        price=place.price,
        speed=place.speed,
        copies=copies,
        devices=devices,
        most_requests=room // each if each else need.concurrency,
        full=need.each_of(over) / usable,
        caveat=_caveat(place.shape, need.dtype),
    )


def _caveat(shape: Shape, dtype: str) -> str:
    if shape.accelerator_maker == "AWS":
        return "the model must be compiled for it (Neuron)"
    if shape.accelerator in _LACKING.get(dtype, ()):
        return f"its {shape.accelerator} does not compute in {dtype}"
    return ""


def first_choice(found: list[Place]) -> tuple[Place, list[str]] | None:
    """What to try first, and why: the cheapest that holds a copy; None where none does.

    GPUs and CPUs come before Inferentia and Trainium, for which a model must be compiled anew, and before GPUs that do
    not compute in the model's type.
    """
    holding = [place for place in found if place.copies]
    if not holding:
        return None
    plain = [place for place in holding if not place.caveat] or holding
    return plain[0], list(_reasons(plain[0], plain, holding))


def _reasons(best: Place, plain: list[Place], holding: list[Place]) -> Iterator[str]:
    alone = (
        f"the cheapest of {len(holding)} types that hold a copy" if len(holding) > 1 else "nothing else holds a copy"
    )
    yield f"{alone}; a copy takes {best.full:.0%} of what it may"
    if best.full > _TIGHT:
        yield "that is tight: a longer context or more requests at once may not fit"
    if best.caveat:
        yield best.caveat
    if best.copies > 1:
        yield f"it holds {best.copies} copies"
    per_copy = min(plain, key=lambda place: place.usd / place.copies)
    if per_copy.usd / per_copy.copies < best.usd / best.copies * _WORTH:
        yield (
            f"for many copies {per_copy.instance_type} costs less each: ${per_copy.usd_per_copy:.3f} an hour "
            f"beside ${best.usd_per_copy:.3f}"
        )
    cheaper = [place for place in holding if place.caveat and place.usd < best.usd]
    if cheaper and not best.caveat:
        yield f"{cheaper[0].instance_type} at ${cheaper[0].usd:.3f} is cheaper, but: {cheaper[0].caveat}"


_TIGHT: Final = 0.95
_WORTH: Final = 0.9  # a saving below a tenth is no reason


@cache
def _speeds() -> tuple[tuple[str, float, Speed], ...]:
    rows = csv.DictReader(tables.own("accelerators.csv").splitlines())
    return tuple(
        (
            row["accelerator"],
            float(row["gib_each_over"]),
            Speed(float(row["tflops_fp16"]), float(row["bandwidth_gb_s"]), row["source"]),
        )
        for row in rows
    )


def speed_of(shape: Shape) -> Speed | None:
    """Of one of its accelerators; None where no data sheet is known."""
    found = [
        (over, speed)
        for name, over, speed in _speeds()
        if name == shape.accelerator and shape.accelerator_gib_each > over
    ]
    return max(found, key=lambda each: each[0])[1] if found else None
