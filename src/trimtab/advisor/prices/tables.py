"""Price tables in CSV, in the columns of `data/prices.csv` and `data/other_prices.csv`, checked as they are read."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct

from trimtab.advisor.prices.price import Price, Use, day_of
from trimtab.errors import Invalid

BY_THE_HOUR: Final = ("instance_type", "service", "region", "usd_per_hour", "as_of", "source")
GENERAL: Final = ("service", "item", "region", "unit", "usd_per_unit", "as_of", "source")
SERVICES: Final[Mapping[Use, str]] = {
    "hosting": "sagemaker-hosting",
    "training": "sagemaker-training",
    "async": "sagemaker-async",
    "batch-transform": "sagemaker-batch-transform",
    "ec2": "ec2",
    "ec2-spot": "ec2-spot",
    "ec2-reserved": "ec2-reserved-1yr-no-upfront",
}
_MOST_USD: Final = 10**9  # of one thing: more is a slip, and cannot be reckoned with exactly
_USES: Final = {service: use for use, service in SERVICES.items()}

Key = tuple[str, Use, str]
"""Instance type, use, region."""


OtherKey = tuple[str, str, str]
"""Service, item, region."""


class Prices(NamedTuple):
    """What a table says."""

    instances: dict[Key, Price]  # by the hour
    others: dict[OtherKey, Price]


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


def read(text: str, origin: str) -> Prices:
    """Of a CSV, in the columns BY_THE_HOUR or GENERAL. Raises Invalid, naming `origin`, line and column.

    A row of GENERAL is an instance's where its service is one of SERVICES; its unit is then `hour`.
    """
    rows = csv.DictReader(text.splitlines())
    header = set(rows.fieldnames or ())
    if not header.issuperset(BY_THE_HOUR) and not header.issuperset(GENERAL):
        nearest = BY_THE_HOUR if "instance_type" in header else GENERAL
        missing = next(column for column in nearest if column not in header)
        raise Invalid(f"{origin}: no column {missing!r}. It needs a first line `{','.join(nearest)}`.")
    is_hourly = header.issuperset(BY_THE_HOUR)
    found = Prices({}, {})
    for row in rows:
        where = f"{origin}, line {rows.line_num}"
        cells = {name: (row[name] or "").strip() for name in (BY_THE_HOUR if is_hourly else GENERAL)}
        if is_hourly:
            cells |= {"item": cells["instance_type"], "unit": "hour"}
        _add(found, cells, where, "usd_per_hour" if is_hourly else "usd_per_unit", is_hourly=is_hourly)
    return found


def _add(found: Prices, cells: Mapping[str, str], where: str, amount: str, *, is_hourly: bool) -> None:
    service, item, region, unit = cells["service"], cells["item"], cells["region"], cells["unit"]
    if not item or not region or not service or not unit:
        raise Invalid(f"{where}: only the source may be empty.")
    price = Price(
        item=item,
        unit=unit,
        region=region,
        usd=usd_of(cells[amount], f"{where}, {amount}"),
        as_of=checked_day(cells["as_of"], where),
        source=cells["source"],
        is_derived=cells["source"].startswith("derived"),
    )
    use = _USES.get(service)
    if use is None and is_hourly:
        raise Invalid(f"{where}: service {service!r} is none of {', '.join(_USES)}.")
    if use is not None and unit == "hour":
        before = found.instances.get((item, use, region))
        found.instances[item, use, region] = price
    else:
        before = found.others.get((service, item, region))
        found.others[service, item, region] = price
    if before is not None and before.usd != price.usd:
        raise Invalid(f"{where}: {item} of {service} in {region} costs {before.usd} in a line before: which is it?")


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


def use_of(name: str) -> Use:
    """`name` where it is a use. Raises Invalid."""
    for use in SERVICES:
        if use == name:
            return use
    raise Invalid(f"There is no use {name!r}: it is one of {', '.join(SERVICES)}.")


def usd_of(text: str, where: str) -> Decimal:
    """Dollars, 0 or more. Raises Invalid naming `where`."""
    try:
        usd = Decimal(text.strip())
    except InvalidOperation:
        usd = Decimal("NaN")
    if not usd.is_finite() or not 0 <= usd <= _MOST_USD:
        raise Invalid(f"{where}: {text!r} is no number of dollars.")
    return usd


def checked_day(text: str, where: str) -> str:
    """`text` where it is a date. Raises Invalid naming `where`."""
    try:
        day_of(text)
    except ValueError:
        raise Invalid(f"{where}: as_of {text!r} is no date such as 2026-07-20.") from None
    return text


def written(prices: Prices) -> str:
    """The CSV that `read` reads, in the columns GENERAL."""
    rows = [(SERVICES[use], kind, region, price) for (kind, use, region), price in prices.instances.items()]
    rows += [(service, item, region, price) for (service, item, region), price in prices.others.items()]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(GENERAL)
    for service, item, region, price in sorted(rows, key=lambda row: row[:3]):
        writer.writerow([service, item, region, price.unit, format(price.usd, "f"), price.as_of, price.source])
    return out.getvalue()


def text_of(path: Path) -> str:
    """The text of a file, without the mark that Excel begins it with. Raises Invalid where it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid(f"{path} is no text in UTF-8.") from None
