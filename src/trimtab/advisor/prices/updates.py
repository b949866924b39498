"""Renewing prices: what a newer list changes, and laying it over the user's own list."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path

from msgspec import Struct

from trimtab.advisor.prices import tables
from trimtab.advisor.prices.book import SERVERLESS, Book, aws_list
from trimtab.advisor.prices.hardware import user_files
from trimtab.advisor.prices.offers import offer_file
from trimtab.advisor.prices.price import Price
from trimtab.advisor.prices.shapes import shapes
from trimtab.advisor.prices.tables import Prices
from trimtab.errors import Invalid
from trimtab.files import write_whole


class Change(Struct, frozen=True):
    """A price that is another now. `before`: None for one that was not listed, or only derived from others."""

    after: Price
    use: str  # or the service, of what is no instance
    before: Price | None

    @property
    def ratio(self) -> Decimal | None:
        """1.1: 10 % dearer than before."""
        return self.after.usd / self.before.usd if self.before is not None and self.before.usd else None


def read_list(path: Path) -> Prices:
    """A newer list: CSV in trimtab's columns, or JSON as AWS publishes it. Raises Invalid."""
    if not path.is_file():
        raise Invalid(f"{path} is a folder." if path.is_dir() else f"There is no file {path}.")
    if path.suffix == ".json":
        found = offer_file(path.read_bytes(), str(path))
    elif path.suffix == ".csv":
        found = tables.read(tables.text_of(path), str(path))
        _must_be_asked_for(found, str(path))
    else:
        raise Invalid(f"{path} must end in .csv (columns {','.join(tables.GENERAL)}) or .json (an offer file of AWS).")
    if not found.instances and not found.others:
        raise Invalid(f"{path} holds no price of a SageMaker or EC2 instance, nor of serverless inference.")
    return found


def _must_be_asked_for(found: Prices, origin: str) -> None:
    """Raises Invalid for a price that nothing would ever ask for: of a misspelt service, item or unit."""
    for kind, use, _ in found.instances:
        if kind.startswith("ml.") == use.startswith("ec2"):
            right = kind.removeprefix("ml.") if use.startswith("ec2") else f"ml.{kind}"
            raise Invalid(f"{origin}: {kind} is no type of {tables.SERVICES[use]}; it would be {right}.")
    units = {(service, item): price.unit for (service, item, _), price in aws_list().others()}
    units |= {
        (SERVERLESS, f"provisioned {item}"): unit for (service, item), unit in units.items() if service == SERVERLESS
    }
    for (service, item, _), price in found.others.items():
        if service in tables.SERVICES.values() and (service, item) not in units:
            raise Invalid(f"{origin}: {item} of {service} is priced by the hour, not by the {price.unit}.")
        unit = units.get((service, item))
        if unit is None:
            raise Invalid(f"{origin}: nothing is priced as {service}, {item}. `trimtab prices list` shows what is.")
        if unit != price.unit:
            raise Invalid(f"{origin}: {item} of {service} is priced by the {unit}, not by the {price.unit}.")


def strange(newer: Prices) -> Iterator[str]:
    """Types and regions that nothing but `newer` knows, new ones or misspelt ones: a sentence each."""
    listed = dict(aws_list().instances())
    types = {f"ml.{name}" for name in shapes()} | {kind for kind, _, _ in listed}
    types |= {kind.removeprefix("ml.") for kind in types}
    regions = {region for _, _, region in listed}
    asked = {kind: types for kind, _, _ in newer.instances} | {region: regions for _, _, region in newer.instances}
    for name, known in asked.items():
        if name not in known:
            near = get_close_matches(name, sorted(known), 1, cutoff=0.75)
            meant = f" (or is it {near[0]}?)" if near else ""
            yield f"nothing else knows of {name}{meant}: its price counts where that very name is asked for"


def changes(book: Book, newer: Prices) -> list[Change]:
    """What is new or different in `newer`; a price that is listed again, the same, is none."""
    listed, others = dict(book.instances()), dict(book.others())
    found = [Change(price, key[1], listed.get(key)) for key, price in newer.instances.items()]
    found += [Change(price, other[0], others.get(other)) for other, price in newer.others.items()]
    return [change for change in found if change.before is None or change.before.usd != change.after.usd]


def save(newer: Prices, path: Path | None = None) -> Path:
    """Lay `newer` over the user's list and write that, whole or not at all. Returns its path.

    `path`: one of the user's files instead of `$TRIMTAB_PRICES` or the usual place. Raises Invalid for what is wrong in
    the list that is there, OSError where it cannot be written.
    """
    listed, _ = user_files(path)
    listed.parent.mkdir(parents=True, exist_ok=True)
    with _alone_in(listed.parent):  # two updates at once: the later one keeps what the earlier one has written
        present = tables.read(tables.text_of(listed), str(listed)) if listed.exists() else Prices({}, {})
        merged = Prices(present.instances | newer.instances, present.others | newer.others)
        write_whole(listed, tables.written(merged), mode=0o600)
    return listed


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """No other process (nor thread) is within this for the same folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
