"""Tags of endpoints: which of them are for production."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from trimtab.advisor.audit.account import Endpoint
from trimtab.advisor.audit.reading.reader import Reader


def with_tags(reader: Reader, endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Each with its tags; None where they may not be listed."""

    def ask(endpoint: Endpoint) -> Endpoint:
        listed = reader.pages("sagemaker", "list_tags", "Tags", "Tags of endpoints", ResourceArn=endpoint.arn)
        return replace(endpoint, tags=None if listed is None else {each["Key"]: each["Value"] for each in listed})

    return tuple(reader.each(ask, endpoints))
