"""AWS's own price lists: offer files, and what the pricing API's GetProducts answers; both hold the same products.

Which product is which follows from its usage type, as it stands on a bill: `USE1-Host:ml.g5.xlarge` is hosting,
`Train:` training, `AsyncInf:` asynchronous inference, `Tsform:` batch transform, `ServerlessInf:Mem-3GB` a second of
serverless inference, `BoxUsage:g5.xlarge` EC2 on demand. Everything else is passed over.
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/reading-service-price-list-file-for-services.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec
from msgspec import Struct, field

from trimtab.advisor.prices.book import DATA_PROCESSED, HOSTING, SERVERLESS, memory_item
from trimtab.advisor.prices.price import Price, Use
from trimtab.advisor.prices.tables import Prices
from trimtab.errors import Invalid

SAGEMAKER: Final = "AmazonSageMaker"
EC2: Final = "AmazonEC2"
EC2_ATTRIBUTES: Final = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
"""Of the product that the price of an EC2 instance is of, among some hundred that differ in software and tenancy."""

_USES: Final[dict[str, Use]] = {
    "Host": "hosting",
    "Train": "training",
    "AsyncInf": "async",
    "Tsform": "batch-transform",
}
_INSTANCE: Final = re.compile(r"(?:^|-)(Host|Train|AsyncInf|Tsform):(ml\.[a-z0-9-]+\.[a-z0-9-]+)$")
_BOX: Final = re.compile(r"(?:^|-)BoxUsage:([a-z0-9-]+\.[a-z0-9-]+)$")
_SERVERLESS: Final = re.compile(r"(?:^|-)ServerlessInf:Mem-(\d+)GB$")
_DATA: Final = re.compile(r"(?:^|-)Hst:Data-Bytes-Out$")


class _Dimension(Struct):
    unit: str = ""
    pricePerUnit: dict[str, str] = field(default_factory=dict)
    beginRange: str = "0"


class _Term(Struct):
    priceDimensions: dict[str, _Dimension] = field(default_factory=dict)


class _Product(Struct):
    sku: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


class _Terms(Struct):
    OnDemand: dict[str, _Term] = field(default_factory=dict)


class _Entry(Struct):
    """One string of GetProducts' PriceList."""

    product: _Product
    terms: _Terms = field(default_factory=_Terms)
    publicationDate: str = ""


class _AllTerms(Struct):
    OnDemand: dict[str, dict[str, _Term]] = field(default_factory=dict)


class _File(Struct):
    """An offer file, or a saved answer of GetProducts: each has what the other lacks."""

    publicationDate: str = ""
    products: dict[str, _Product] = field(default_factory=dict)
    terms: _AllTerms = field(default_factory=_AllTerms)
    PriceList: list[str] = field(default_factory=list)


def offer_file(data: bytes, origin: str) -> Prices:
    """Prices of an offer file (JSON), or of a saved answer of `aws pricing get-products`. Raises Invalid."""
    try:
        document = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"{origin} is no price list of AWS: {error}.") from None
    if document.PriceList:
        return products_of(document.PriceList)
    if not document.products or not document.publicationDate:
        raise Invalid(f"{origin} is no price list of AWS: it has no products, or no publicationDate.")
    found = Prices({}, {})
    for sku, product in document.products.items():
        terms = document.terms.OnDemand.get(sku, {})
        _add(found, product.attributes, terms.values(), document.publicationDate, sku)
    return found


def products_of(entries: Iterable[str]) -> Prices:
    """Prices of GetProducts' answers: each entry is a JSON document of its own. Raises Invalid."""
    found = Prices({}, {})
    for text in entries:
        try:
            entry = msgspec.json.decode(text, type=_Entry)
        except msgspec.DecodeError as error:
            raise Invalid(f"The price list has a product that cannot be read: {error}.") from None
        _add(found, entry.product.attributes, entry.terms.OnDemand.values(), entry.publicationDate, entry.product.sku)
    return found


def _add(found: Prices, attributes: Mapping[str, str], terms: Iterable[_Term], published: str, sku: str) -> None:
    region, usage = attributes.get("regionCode", ""), attributes.get("usagetype", "")
    priced = _first_paid(terms)
    if not region or priced is None:
        return
    usd, unit = priced
    source = f"listed: AWS Price List, published {published[:10]}, SKU {sku}"
    price = Price(item="", unit=unit, region=region, usd=usd, as_of=published[:10], source=source)
    if unit == "hour":
        if hourly := _instance(usage, attributes):
            kind, use = hourly
            found.instances[kind, use, region] = msgspec.structs.replace(price, item=kind)
    elif unit == "second" and (match := _SERVERLESS.search(usage)):
        item = memory_item(int(match[1]) * 1024)
        found.others[SERVERLESS, item, region] = msgspec.structs.replace(price, item=item)
    elif unit == "GB" and _DATA.search(usage):
        found.others[HOSTING, DATA_PROCESSED, region] = msgspec.structs.replace(price, item=DATA_PROCESSED)


def _instance(usage: str, attributes: Mapping[str, str]) -> tuple[str, Use] | None:
    if match := _INSTANCE.search(usage):
        return match[2], _USES[match[1]]
    if (match := _BOX.search(usage)) and all(attributes.get(k) == v for k, v in EC2_ATTRIBUTES.items()):
        return match[1], "ec2"
    return None


_UNITS: Final = {"hrs": "hour", "hours": "hour", "seconds": "second", "second": "second", "gb": "GB"}


def _first_paid(terms: Iterable[_Term]) -> tuple[Decimal, str] | None:
    """The price of the first range that costs something (a first one for nothing is the free tier's), and its unit."""
    dimensions = [each for term in terms for each in term.priceDimensions.values()]
    for dimension in sorted(dimensions, key=lambda each: _number(each.beginRange)):
        usd, unit = _number(dimension.pricePerUnit.get("USD", "0")), _UNITS.get(dimension.unit.lower())
        if usd > 0 and unit is not None:
            return usd, unit
    return None


def _number(text: str) -> Decimal:
    """0 for what is none: such a price is passed over."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return Decimal(0)
    return value.normalize() if value.is_finite() else Decimal(0)
