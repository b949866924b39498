"""AWS's pricing API: prices of SageMaker and EC2 in some regions, page by page, with botocore's adaptive retries.

The caller needs the permission `pricing:GetProducts`. The API answers from us-east-1 (and a few other regions) for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ProfileNotFound

from trimtab.advisor.prices.offers import EC2, EC2_ATTRIBUTES, SAGEMAKER, products_of
from trimtab.advisor.prices.tables import Prices
from trimtab.errors import Invalid, Unavailable

PERMISSION: Final = "pricing:GetProducts"
ENDPOINT_VARIABLE: Final = "AWS_ENDPOINT_URL_PRICING"

_REGION: Final = "us-east-1"
_PAGE: Final = 100  # the most that GetProducts gives at once
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_STRANGERS: Final = frozenset({"UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId"})


def fetch(
    regions: Sequence[str], *, profile: str = "", attempts: int = 8, told: Callable[[str], None] = lambda _: None
) -> Prices:
    """Prices of `regions`. `told` hears what is being read. Raises Invalid (no credentials, not allowed, no such
    region) and Unavailable (throttled or unreachable for long).

    AWS_ENDPOINT_URL does not count: as a rule it leads to a trimtab, which has no price list.
    AWS_ENDPOINT_URL_PRICING does.
    """
    client = _client(profile, attempts)
    found = Prices({}, {})
    try:
        for region in regions:
            before = len(found.instances)
            for service, fixed in ((SAGEMAKER, {}), (EC2, EC2_ATTRIBUTES)):
                told(f"{service} in {region}")
                page = products_of(_products(client, service, fixed | {"regionCode": region}))
                found.instances.update(page.instances)
                found.others.update(page.others)
            if len(found.instances) == before:
                raise Invalid(f"AWS's price list has nothing of the region {region!r}.")
    finally:
        client.close()
    return found


def _client(profile: str, attempts: int) -> Any:
    settings: dict[str, Any] = {
        "region_name": _REGION,
        "retries": {"mode": "adaptive", "total_max_attempts": attempts},
        "ignore_configured_endpoint_urls": True,
        "connect_timeout": 10,
        "read_timeout": 60,
    }
    try:
        session = botocore.session.Session(profile=profile or None)
        return session.create_client(
            "pricing", config=Config(**settings), endpoint_url=os.environ.get(ENDPOINT_VARIABLE)
        )
    except ProfileNotFound as error:
        raise Invalid(f"{error}.") from None
    except (BotoCoreError, ValueError) as error:
        raise Invalid(f"The pricing API cannot be called: {error}") from None


def _products(client: Any, service: str, attributes: dict[str, str]) -> Iterator[str]:
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in attributes.items()]
    pages = client.get_paginator("get_products").paginate(
        ServiceCode=service, Filters=filters, FormatVersion="aws_v1", PaginationConfig={"PageSize": _PAGE}
    )
    try:
        for page in pages:
            yield from page["PriceList"]
    except NoCredentialsError:
        raise Invalid("No AWS credentials were found. Name a profile with --profile, or set AWS_PROFILE.") from None
    except ClientError as error:
        raise _failure(error) from None
    except BotoCoreError as error:
        raise Unavailable(f"The pricing API does not answer: {error}") from None


def _failure(error: ClientError) -> Exception:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _DENIED:
        return Invalid(f"These credentials may not read prices: they need the permission {PERMISSION}.")
    if code in _STRANGERS:
        return Invalid("These credentials are not AWS's (a trimtab's, perhaps). Name a profile with --profile.")
    message = error.response.get("Error", {}).get("Message", "")
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500 or "Throttl" in code:
        return Unavailable(f"The pricing API is busy ({code}): {message} Try again later.")
    return Invalid(f"The pricing API refuses ({code}): {message}")
