"""Price tables in CSV, in the columns of `data/prices.csv` and `data/other_prices.csv`, checked as they are read."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

from trimtab.advisor.prices.price import Price, Use, day_of
from trimtab.errors import Invalid

COLUMNS: Final = ("instance_type", "service", "region", "usd_per_hour", "as_of", "source")
SERVICES: Final[Mapping[Use, str]] = {
    "hosting": "sagemaker-hosting",
    "training": "sagemaker-training",
    "async": "sagemaker-async",
    "batch-transform": "sagemaker-batch-transform",
    "ec2": "ec2",
    "ec2-spot": "ec2-spot",
    "ec2-reserved": "ec2-reserved-1yr-no-upfront",
}
_USES: Final = {service: use for use, service in SERVICES.items()}

Key = tuple[str, Use, str]
"""Instance type, use, region."""


class Discount(Struct, frozen=True, kw_only=True):
    """What a commitment takes off the price on demand."""

    applies_to: str  # ec2, ec2-gpu, sagemaker
    term: str  # 1yr, 3yr
    payment: str
    off: Decimal  # 0.32: 32 % less
    as_of: str
    source: str


def own(name: str) -> str:
    """Text of a data file that comes with trimtab."""
    return (files("trimtab.advisor") / "data" / name).read_text(encoding="utf-8")


def instance_prices(text: str, origin: str) -> dict[Key, Price]:
    """Of a CSV of instances by the hour. Raises Invalid, naming `origin`, line and column, for what cannot be meant."""
    rows = csv.DictReader(text.splitlines())
    missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise Invalid(f"{origin}: no column {missing[0]!r}. It needs a first line `{','.join(COLUMNS)}`.")
    found: dict[Key, Price] = {}
    for row in rows:
        key, price = _instance(row, f"{origin}, line {rows.line_num}")
        found[key] = price
    return found


def _instance(row: Mapping[str, str | None], where: str) -> tuple[Key, Price]:
    kind, service, region = ((row[column] or "").strip() for column in COLUMNS[:3])
    if not kind or not region:
        raise Invalid(f"{where}: instance_type and region must not be empty.")
    use = _USES.get(service)
    if use is None:
        raise Invalid(f"{where}: service {service!r} is none of {', '.join(_USES)}.")
    as_of, source = (row["as_of"] or "").strip(), (row["source"] or "").strip()
    price = Price(
        item=kind,
        unit="hour",
        region=region,
        usd=usd_of(row["usd_per_hour"] or "", f"{where}, usd_per_hour"),
        as_of=checked_day(as_of, where),
        source=source,
        is_derived=source.startswith("derived"),
    )
    return (kind, use, region), price


def other_prices(text: str) -> dict[tuple[str, str, str], Price]:
    """By service, item and region."""
    return {
        (row["service"], row["item"], row["region"]): Price(
            item=row["item"],
            unit=row["unit"],
            region=row["region"],
            usd=Decimal(row["usd_per_unit"]),
            as_of=row["as_of"],
            source=row["source"],
            is_derived=row["source"].startswith("derived"),
        )
        for row in csv.DictReader(text.splitlines())
    }


@cache
def discounts() -> tuple[Discount, ...]:
    """What commitments take off, as far as it is known: averages, and AWS's own headline."""
    return tuple(
        Discount(
            applies_to=row["applies_to"],
            term=row["term"],
            payment=row["payment"],
            off=Decimal(row["discount_fraction_off_on_demand"]),
            as_of=row["as_of"],
            source=row["source"],
        )
        for row in csv.DictReader(own("commitment_discounts.csv").splitlines())
    )


def spot_estimates() -> Iterator[tuple[Key, Price]]:
    """What a month's average saving makes of the price on demand: an estimate, said to be derived."""
    for row in csv.DictReader(own("spot_advisor.csv").splitlines()):
        if row["est_spot_usd_per_hour"]:
            saving = row["saving_vs_on_demand_pct"]
            yield (
                (row["instance_type"], "ec2-spot", row["region"]),
                Price(
                    item=row["instance_type"],
                    unit="hour",
                    region=row["region"],
                    usd=Decimal(row["est_spot_usd_per_hour"]),
                    as_of=row["as_of"],
                    source=f"derived: on demand less the {saving} % of AWS's Spot Instance Advisor",
                    is_derived=True,
                ),
            )


def usd_of(text: str, where: str) -> Decimal:
    """Dollars, 0 or more. Raises Invalid naming `where`."""
    try:
        usd = Decimal(text.strip())
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or usd < 0:
        raise Invalid(f"{where}: {text!r} is no number of dollars.")
    return usd


def checked_day(text: str, where: str) -> str:
    """`text` where it is a date. Raises Invalid naming `where`."""
    try:
        day_of(text)
    except ValueError:
        raise Invalid(f"{where}: as_of {text!r} is no date such as 2026-07-20.") from None
    return text


def written(prices: Iterable[tuple[Key, Price]]) -> str:
    """The CSV that `instance_prices` reads."""
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for (kind, use, region), price in sorted(prices, key=lambda pair: pair[0]):
        writer.writerow([kind, SERVICES[use], region, format(price.usd, "f"), price.as_of, price.source])
    return out.getvalue()
