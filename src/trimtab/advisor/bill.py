"""Bill: what a simulated outcome costs, line by line and by what it was spent for; exact in micro-dollars."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from msgspec import Struct

from trimtab.advisor.prices.book import DATA_PROCESSED, GB_BYTES, HOME_REGION, HOSTING, Book
from trimtab.advisor.prices.price import HOURS_PER_MONTH, Price, Use
from trimtab.resources.cost import Part, divided
from trimtab.sim.world import Mode, Outcome, Used

_HOUR_S: Final = 3600
_GB_MB: Final = 1024
SPOT: Final = "ec2-spot"
USES: Final[dict[Mode, Use]] = {
    Mode.REAL_TIME: "hosting",
    Mode.MULTI_MODEL: "hosting",
    Mode.ASYNC: "async",
    Mode.BATCH: "batch-transform",
}


class Line(Struct, frozen=True, kw_only=True):
    """`quantity` of `item` for one endpoint. Without a price its amount is 0, and the bill says that it is missing."""

    endpoint: str
    item: str  # ml.g5.xlarge (hosting)
    quantity: float
    unit: str  # hour, GB-second, GB
    price: Price | None
    micro_usd: int
    parts: dict[Part, int]  # of this line; they sum to `micro_usd`


class Bill(Struct, frozen=True, kw_only=True):
    """Of one architecture over `seconds`. `micro_usd` is the sum of the lines, and the sum of the parts."""

    architecture: str
    region: str
    seconds: float
    requests: int
    lines: tuple[Line, ...]
    parts: dict[Part, int]
    micro_usd: int
    missing: tuple[str, ...] = ()  # what had no price, and is left out

    @property
    def usd(self) -> float:
        """Dollars, to show."""
        return self.micro_usd / 1e6

    @property
    def micro_usd_per_month(self) -> int:
        """What 730 hours like these cost; 0 of no time."""
        return round(self.micro_usd * HOURS_PER_MONTH * _HOUR_S / self.seconds) if self.seconds > 0 else 0

    @property
    def usd_per_1000_requests(self) -> float | None:
        """None without a request."""
        return self.usd * 1000 / self.requests if self.requests else None

    def of_endpoint(self, endpoint: str) -> int:
        """Micro-dollars of one endpoint."""
        return sum(line.micro_usd for line in self.lines if line.endpoint == endpoint)


def bill_of(outcome: Outcome, book: Book, region: str = HOME_REGION) -> Bill:
    """Price what an outcome has used. Nothing is charged by AWS beside the user's own hardware."""
    lines = tuple(line for used in outcome.used for line in _lines(used, book, region))
    parts: dict[Part, int] = {}
    for line in lines:
        for part, amount in line.parts.items():
            parts[part] = parts.get(part, 0) + amount
    return Bill(
        architecture=outcome.architecture,
        region=region,
        seconds=outcome.end_s - outcome.start_s,
        requests=sum(served.requests for served in outcome.served),
        lines=lines,
        parts=parts,
        micro_usd=sum(line.micro_usd for line in lines),
        missing=tuple(dict.fromkeys(line.item for line in lines if line.price is None)),
    )


def _lines(used: Used, book: Book, region: str) -> Iterator[Line]:
    if used.mode is Mode.SERVERLESS:
        yield from _serverless(used, book, region)
    elif used.replica_s:
        yield _instances(used, book, region)
    if used.request_bytes and not book.is_own(used.instance_type):
        price = book.other(HOSTING, DATA_PROCESSED, region)
        yield _line(used, DATA_PROCESSED, Fraction(used.request_bytes) / GB_BYTES, "GB", price, {Part.SERVING: 1.0})


def _instances(used: Used, book: Book, region: str) -> Line:
    use: Use = SPOT if used.is_spot and not book.is_own(used.instance_type) else USES[used.mode]
    price = book.instance(used.instance_type, use, region)
    hours = Fraction(used.replica_s) / _HOUR_S
    return _line(used, f"{used.instance_type} ({use})", hours, "hour", price, used.parts)


def _serverless(used: Used, book: Book, region: str) -> Iterator[Line]:
    price = book.serverless(_GB_MB, region)
    yield _line(used, "serverless inference", Fraction(used.billed_gb_s), "GB-second", price, used.parts)
    if used.provisioned_gb_s:
        held, kept = Fraction(used.provisioned_gb_s), book.provisioned(_GB_MB, region)
        yield _line(used, "provisioned concurrency", held, "GB-second", kept, {Part.HEADROOM: 1.0})


def _line(
    used: Used, item: str, quantity: Fraction, unit: str, price: Price | None, weights: dict[Part, float]
) -> Line:
    amount = price.micro_usd(quantity) if price else 0
    return Line(
        endpoint=used.endpoint,
        item=item,
        quantity=float(quantity),
        unit=unit,
        price=price,
        micro_usd=amount,
        parts=divided(amount, weights),
    )
