"""Book: every price that is known, AWS's list under the user's own; it remembers what it was asked for.

prices = book()
price = prices.instance("ml.g5.xlarge", "hosting", "us-east-1")   # None where nobody knows
prices.notes(date.today())                                        # what was derived, is old, was missing
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from trimtab.advisor.prices import tables
from trimtab.advisor.prices.derived import marked_up
from trimtab.advisor.prices.hardware import own_prices
from trimtab.advisor.prices.price import ANYWHERE, Price, Use, oldest

HOME_REGION: Final = "us-east-1"
"""Where most prices of the list that comes with trimtab are from, and where those of other regions are derived from."""

SERVERLESS: Final = "sagemaker-serverless"
HOSTING: Final = "sagemaker-hosting"
DATA_PROCESSED: Final = "request and response data processed"
GB_BYTES: Final = 2**30
"""A gigabyte as AWS bills data."""

_GB_MB: Final = 1024
_SIZES_MB: Final = tuple(gb * _GB_MB for gb in (3, 1, 2, 4, 5, 6))  # 3 GB first: its price is listed, not derived
_ESTIMATED: Final = "ec2-spot"  # a month's average: no other price makes it untrue
_AS_HOSTING: Final = ("training", "async", "batch-transform")


def memory_item(memory_mb: int) -> str:
    """What the price of serverless inference is called, for whole gigabytes."""
    return f"inference compute, {memory_mb // _GB_MB} GB memory"


class Book:
    """Prices by what is asked for. `own`: the user's own hardware, by instance type, in every region and use."""

    def __init__(
        self,
        instances: Mapping[tables.Key, Price],
        others: Mapping[tuple[str, str, str], Price],
        own: Mapping[str, Price] | None = None,
    ) -> None:
        self._instances = instances
        self._others = others
        self._own = own or {}
        self._asked: dict[Price, None] = {}
        self._missing: dict[str, None] = {}

    def instance(self, instance_type: str, use: Use = "hosting", region: str = HOME_REGION) -> Price | None:
        """By the hour; None where nobody knows. SageMaker's types begin with `ml.`; EC2's are found with it or without.

        Where a region's list is not known, but EC2's price there is: SageMaker's price at home in the same proportion;
        without that, the price at home as it is. Training, asynchronous and batch use without a price of their own cost
        what hosting costs; a type that no list of SageMaker has follows EC2's price. All these are said to be derived.
        """
        price = self._own.get(instance_type) or self._listed(instance_type, use, region)
        return self._told(price, f"{instance_type} ({use}, {region})")

    def serverless(self, memory_mb: int, region: str = HOME_REGION) -> Price | None:
        """By the second of one environment with so much memory (AWS: in proportion to memory, by the millisecond)."""
        return self._told(self._by_memory("", memory_mb, region), f"serverless inference ({region})")

    def provisioned(self, memory_mb: int, region: str = HOME_REGION) -> Price | None:
        """By the second that one environment is kept ready: what provisioned concurrency costs beside what is served.

        No list that comes with trimtab has it; the user's may, as `provisioned inference compute, N GB memory`.
        """
        price = self._by_memory("provisioned ", memory_mb, region)
        return self._told(price, f"provisioned concurrency of serverless inference ({region})")

    def other(self, service: str, item: str, region: str = HOME_REGION) -> Price | None:
        """Storage, requests, transfer, by the names of data/other_prices.csv."""
        return self._told(self._other(service, item, region), f"{service}, {item} ({region})")

    def notes(self, today: date) -> list[str]:
        """Of all that was asked for until now: prices that are derived or old, and what had none. One sentence each."""
        items: dict[tuple[str, str], dict[str, None]] = {}
        for price in self._asked:
            if note := price.note(today):
                items.setdefault((price.region or "any region", note), {})[price.item] = None
        said = [f"{', '.join(of)} in {region}: {note}" for (region, note), of in items.items()]
        return said + [f"{what}: no price is known, so it is left out" for what in self._missing]

    def is_own(self, instance_type: str) -> bool:
        """Whether it is hardware of the user's own: AWS charges nothing beside it."""
        return instance_type in self._own

    def own_types(self) -> tuple[str, ...]:
        """Names of the user's own hardware."""
        return tuple(self._own)

    def instances(self) -> Iterator[tuple[tables.Key, Price]]:
        """Every price by the hour that stands in a list, the user's own hardware first (use `hosting`)."""
        for name, price in self._own.items():
            yield (name, "hosting", ANYWHERE), price
        yield from self._instances.items()

    def others(self) -> Iterator[tuple[tuple[str, str, str], Price]]:
        """Every other price, by service, item and region."""
        yield from self._others.items()

    def under(self, newer: tables.Prices, own: Mapping[str, Price]) -> Book:
        """These prices with newer ones laid over them. What was derived from a price that is renewed goes with it."""
        renewed = {(kind.removeprefix("ml."), region) for kind, _, region in newer.instances}
        serverless = {region for service, _, region in newer.others if service == SERVERLESS}

        def is_instance_kept(key: tables.Key, price: Price) -> bool:
            kind, use, region = key
            return not price.is_derived or use == _ESTIMATED or (kind.removeprefix("ml."), region) not in renewed

        instances = {key: price for key, price in self._instances.items() if is_instance_kept(key, price)}
        others = {
            (service, item, region): price
            for (service, item, region), price in self._others.items()
            if not (price.is_derived and service == SERVERLESS and region in serverless)
        }
        return Book(instances | newer.instances, others | newer.others, own)

    def fresh(self) -> Book:
        """The same prices, asked for nothing yet."""
        return Book(self._instances, self._others, self._own)

    def _told(self, price: Price | None, what: str) -> Price | None:
        if price is None:
            self._missing[what] = None
        else:
            self._asked[price] = None
        return price

    def _listed(self, instance_type: str, use: Use, region: str) -> Price | None:
        plain = instance_type.removeprefix("ml.")
        if use.startswith("ec2"):
            there = self._instances.get((plain, use, region))
            return there or _moved(self._instances.get((plain, use, HOME_REGION)), region)
        kind = f"ml.{plain}"
        if price := self._instances.get((kind, use, region)):
            return price
        if use in _AS_HOSTING and (hosting := self._listed(kind, "hosting", region)):
            note = hosting.source if hosting.is_derived else f"derived: {use} at the rate of hosting; {hosting.source}"
            return replace(hosting, source=note, is_derived=True)
        return self._from_home(kind, use, region) or self._marked_up(plain, region)

    def _marked_up(self, plain: str, region: str) -> Price | None:
        return marked_up(plain, self._instances.get((plain, "ec2", region))) or _moved(
            marked_up(plain, self._instances.get((plain, "ec2", HOME_REGION))), region
        )

    def _from_home(self, kind: str, use: Use, region: str) -> Price | None:
        """SageMaker's price at home, in the proportion of EC2's prices where both are known."""
        plain = kind.removeprefix("ml.")
        home = self._instances.get((kind, use, HOME_REGION))
        there = self._instances.get((plain, "ec2", region))
        here = self._instances.get((plain, "ec2", HOME_REGION))
        if home is None or there is None or here is None or not here.usd:
            return _moved(home, region)
        usd = (home.usd * there.usd / here.usd).quantize(Decimal("0.0001"))
        source = (
            f"derived: {HOME_REGION}'s price in the proportion of EC2's, {there.usd} / {here.usd} "
            f"(of {home.as_of}, {there.as_of} and {here.as_of})"
        )
        as_of = oldest(home, there, here)
        return replace(home, region=region, usd=usd, as_of=as_of, source=source, is_derived=True)

    def _by_memory(self, prefix: str, memory_mb: int, region: str) -> Price | None:
        """The price of that size, else another size's in proportion."""
        listed = {mb: self._others.get((SERVERLESS, prefix + memory_item(mb), region)) for mb in _SIZES_MB}
        known = {mb: price for mb, price in listed.items() if price is not None}
        if not known:
            return _moved(self._by_memory(prefix, memory_mb, HOME_REGION), region) if region != HOME_REGION else None
        if memory_mb in known:
            return known[memory_mb]
        size_mb, price = next(iter(known.items()))
        return replace(
            price,
            item=f"{prefix}inference compute, {memory_mb} MB memory",
            usd=price.usd * memory_mb / size_mb,
            source=f"derived: in proportion to memory from the price of {size_mb // _GB_MB} GB; {price.source}",
            is_derived=True,
        )

    def _other(self, service: str, item: str, region: str) -> Price | None:
        there = self._others.get((service, item, region))
        return there or _moved(self._others.get((service, item, HOME_REGION)), region)


def _moved(home: Price | None, region: str) -> Price | None:
    """A price at home where that of a region is not known."""
    if home is None or region == HOME_REGION:
        return home
    source = f"derived: {HOME_REGION}'s price, since none of {region} is known; {home.source}"
    return replace(home, region=region, source=source, is_derived=True)


@cache
def aws_list() -> Book:
    """The list that comes with trimtab, alone."""
    listed = tables.read(tables.own("prices.csv"), "prices.csv").instances
    others = tables.read(tables.own("other_prices.csv"), "other_prices.csv").others
    return Book(dict(tables.spot_estimates()) | listed, others)


def book(path: Path | None = None, *, must_exist: bool = True) -> Book:
    """AWS's list under the user's files. `path`: one of them, instead of `$TRIMTAB_PRICES` or the usual place.

    Two files of one name lie beside each other: `prices.csv` (a newer list, as `trimtab prices update` writes it) and
    `prices.toml` (hardware of the user's own). Either may be missing. Raises Invalid, saying where, for what is wrong
    in them, and, with `must_exist`, where files were named of which neither is there.
    """
    newer, own = own_prices(path, must_exist=must_exist)
    return aws_list().under(newer, own)
