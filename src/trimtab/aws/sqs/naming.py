"""Names, URLs and ARNs of queues, and receipt handles.

A queue's URL is made of the host that the caller named, so that it leads back to this trimtab by whatever name it has.
Of a URL that is given, account and name count, the host does not.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from trimtab.aws.arns import partition_of
from trimtab.aws.registry import Call
from trimtab.aws.sqs import faults

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo|[A-Za-z0-9_-]{1,80}")
_AWS_HOST: Final = re.compile(r".*\.(amazonaws\.com(\.cn)?|api\.aws)(:\d+)?", re.IGNORECASE)


def is_name(name: str) -> bool:
    """Whether a queue may be called so: 1 to 80 letters, digits, `-` and `_`, `.fifo` included."""
    return _NAME.fullmatch(name) is not None


def url_of(call: Call, name: str) -> str:
    """The URL of the queue, on the caller's host. Callers that went by AWS's names (`trimtab run`) came by https."""
    host = call.request.headers.get("host") or f"sqs.{call.region}.amazonaws.com"
    scheme = "https" if _AWS_HOST.fullmatch(host) else "http"
    return f"{scheme}://{host}/{call.account}/{name}"


def name_of_url(call: Call, url: str) -> str:
    """The queue's name. Raises InvalidAddress for what is no queue's URL, NonExistentQueue for another account's."""
    parts = urlsplit(url).path.strip("/").split("/")
    if len(parts) != 2 or not is_name(parts[1]):
        raise faults.bad_address(url)
    if parts[0] != call.account:
        raise faults.no_queue()
    return parts[1]


def arn_of(call: Call, name: str) -> str:
    """The ARN of the queue."""
    return f"arn:{partition_of(call.region)}:sqs:{call.region}:{call.account}:{name}"


def name_of_arn(call: Call, arn: str) -> str | None:
    """The name in the ARN of a queue that could be here; None for others."""
    name = arn.removeprefix(arn_of(call, ""))
    return name if name != arn and is_name(name) else None


class Receipt(Struct, frozen=True, array_like=True):
    """What a receipt handle says: one lease of one message."""

    queue: str  # its name
    id: str
    token: int


_decode = msgspec.msgpack.Decoder(Receipt).decode


def handle_of(receipt: Receipt) -> str:
    """The receipt handle."""
    return base64.b64encode(msgspec.msgpack.encode(receipt)).decode("ascii")


def receipt_of(handle: str, name: str) -> Receipt:
    """What a handle says. Raises ReceiptHandleIsInvalid for what is none, or another queue's."""
    try:
        receipt = _decode(base64.b64decode(handle.encode("ascii"), validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise faults.bad_receipt() from None
    if receipt.queue != name:
        raise faults.bad_receipt()
    return receipt
