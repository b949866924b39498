"""What the three batch operations share. Source: the SQS API reference, SendMessageBatch and its siblings."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from trimtab.aws.registry import AwsError
from trimtab.aws.sqs import faults

MOST_ENTRIES: Final = 10
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")

Entry = dict[str, Any]


def check(entries: Sequence[Entry], kind: str) -> None:
    """Raises what SQS says of a batch that is empty, too long, or whose ids are wrong or not distinct."""
    if not entries:
        raise faults.empty_batch(kind)
    if len(entries) > MOST_ENTRIES:
        raise faults.too_many(len(entries), MOST_ENTRIES)
    seen: set[str] = set()
    for entry in entries:
        if not _ID.fullmatch(entry["Id"]):
            raise faults.bad_id()
        if entry["Id"] in seen:
            raise faults.repeated_id(entry["Id"])
        seen.add(entry["Id"])


async def carry_out(entries: Sequence[Entry], one: Callable[[Entry], Awaitable[Entry]]) -> dict[str, Any]:
    """Do `one` with each entry, all at once and in order: what the queues are asked leaves in that order."""
    results = await asyncio.gather(*(one(entry) for entry in entries), return_exceptions=True)
    successful, failed = [], []
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, AwsError):
            failed.append(_failure(entry["Id"], result))
        elif isinstance(result, BaseException):
            raise result
        else:
            successful.append({"Id": entry["Id"], **result})
    return {"Successful": successful, "Failed": failed}


def _failure(entry_id: str, error: AwsError) -> Entry:
    return {"Id": entry_id, "Code": error.code, "Message": error.message, "SenderFault": error.status < 500}
