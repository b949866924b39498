"""SageMaker's price of an instance type that no list has: EC2's price, marked up as AWS marks up types like it.

The mark-ups are those between the listed prices of data/prices.csv (tests/unit/advisor/prices/test_derived.py).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.prices.price import Price
from trimtab.advisor.prices.shapes import shapes

FAMILIES: Final = frozenset(
    {
        "c5", "c6i", "c7g", "c7i", "c8g", "g4dn", "g5", "g6", "g6e", "g7e", "inf1", "inf2", "m5", "m6i", "m7i",
        "p4d", "p4de", "p5", "p5en", "p6-b200", "p6-b300", "r5", "r6i", "r7i", "trn1", "trn1n",
    }
)  # fmt: skip
"""Families of types that SageMaker hosts on, by its API's ProductionVariantInstanceType."""


def marked_up(plain: str, ec2: Price | None) -> Price | None:
    """The price of `ml.PLAIN` from EC2's of `plain`; None for a family that SageMaker has not, or without a price."""
    ratio = mark_up(plain)
    if ec2 is None or ratio is None or plain.split(".")[0] not in FAMILIES:
        return None
    source = f"derived: EC2 on demand x {ratio}, as SageMaker's listed prices of types like it are; {ec2.source}"
    return replace(ec2, item=f"ml.{plain}", usd=ec2.usd * ratio, source=source, is_derived=True)


def mark_up(plain: str) -> Decimal | None:
    """By kind and size of `g5.xlarge`; None for a type whose hardware is not known."""
    shape = shapes().get(plain)
    if shape is None:
        return None
    size = plain.partition(".")[2]
    if shape.family.startswith("g"):
        return Decimal("1.40") if size == "xlarge" else Decimal("1.25")
    if shape.family.startswith(("p", "trn")):
        return Decimal("1.15")
    return Decimal("1.20")
