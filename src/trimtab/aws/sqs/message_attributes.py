"""Attributes of messages: checked, kept, chosen, and their MD5. Source: SQS developer guide, "Message metadata"."""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Collection, Mapping
from typing import Any, Final

from trimtab.aws.sqs import faults
from trimtab.queues.user_queues import MessageAttribute

MOST: Final = 10
TRACE_HEADER: Final = "AWSTraceHeader"  # the one system attribute that a sender may set
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_RESERVED: Final = ("aws.", "amazon.")
_TYPE: Final = re.compile(r"(String|Number|Binary)(\..+)?")
_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_MOST_NAME: Final = 256
# Characters that a message may hold. Source: SendMessage.
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_legal(text: str) -> bool:
    """Whether SQS takes the text."""
    return _ILLEGAL.search(text) is None


def attributes_of(given: Mapping[str, Any], *, most: int | None = MOST) -> dict[str, MessageAttribute]:
    """The attributes in a call. Raises InvalidParameterValue, with AWS's words. SNS has no bound of their number."""
    if most is not None and len(given) > most:
        raise faults.bad_value("MessageAttributes", len(given), f"A message may have at most {most} attributes.")
    return {name: _attribute(name, value) for name, value in given.items()}


def system_attributes_of(given: Mapping[str, Any]) -> dict[str, MessageAttribute]:
    """The system attributes in a call: AWSTraceHeader, a String."""
    for name, value in given.items():
        if name != TRACE_HEADER or value.get("DataType") != "String":
            raise faults.bad_value("MessageSystemAttributes", name, f"Only {TRACE_HEADER}, a String, can be set.")
    return {name: _attribute(name, value, reserved=True) for name, value in given.items()}


def _attribute(name: str, value: Mapping[str, Any], *, reserved: bool = False) -> MessageAttribute:
    wrong = _NAME.fullmatch(name) is None or len(name) > _MOST_NAME
    if wrong or (name.lower().startswith(_RESERVED) and not reserved):
        raise faults.bad_value(
            "MessageAttributes",
            name,
            "The message attribute name can contain A-Z, a-z, 0-9, _, - and . (neither first, last nor doubled), has at"
            " most 256 characters, and does not start with AWS. or Amazon.",
        )
    kind = value.get("DataType", "")
    match = _TYPE.fullmatch(kind)
    if match is None or len(kind) > _MOST_NAME:
        raise faults.bad_message(
            f"The type of message attribute '{name}' is invalid. You must use only the following supported type"
            " prefixes: Binary, Number, String."
        )
    text, data = value.get("StringValue"), value.get("BinaryValue")
    is_binary = match[1] == "Binary"
    if not (data if is_binary else text):
        what = "binary" if is_binary else "string"
        raise faults.bad_message(
            f"The message attribute '{name}' must contain a non-empty message attribute {what} value for type {kind}."
        )
    if (text if is_binary else data) is not None:
        raise faults.bad_message(f"The message attribute '{name}' must have one value, of its type {kind}.")
    if match[1] == "Number" and not _NUMBER.fullmatch(text or ""):
        raise faults.bad_message(f"Could not cast message attribute '{name}' value to number.")
    if text is not None and not is_legal(text):
        raise faults.bad_contents()
    return MessageAttribute(type=kind, string=text, binary=data)


def size_bytes(attributes: Mapping[str, MessageAttribute]) -> int:
    """What attributes take of a message's size: names, types and values."""
    return sum(len(name.encode()) + len(a.type.encode()) + len(_value(a)) for name, a in attributes.items())


def chosen(attributes: Mapping[str, MessageAttribute], names: Collection[str]) -> dict[str, MessageAttribute]:
    """Those that a receiver asks for: by name, by `prefix.*`, or all of them by `All` or `.*`."""
    if "All" in names or ".*" in names:
        return dict(attributes)
    prefixes = tuple(name[:-1] for name in names if name.endswith(".*"))
    return {name: a for name, a in attributes.items() if name in names or (prefixes and name.startswith(prefixes))}


def rendered(attributes: Mapping[str, MessageAttribute]) -> dict[str, dict[str, Any]]:
    """Attributes in an answer's form."""
    return {name: _rendered(a) for name, a in attributes.items()}


def _rendered(attribute: MessageAttribute) -> dict[str, Any]:
    if attribute.binary is not None:
        return {"DataType": attribute.type, "BinaryValue": attribute.binary}
    return {"DataType": attribute.type, "StringValue": attribute.string}


def md5(attributes: Mapping[str, MessageAttribute]) -> str | None:
    """The digest that clients compare; None of none. Source: developer guide, "Calculating the MD5 message digest"."""
    if not attributes:
        return None
    digest = hashlib.md5(usedforsecurity=False)
    for name in sorted(attributes):
        attribute = attributes[name]
        for part in (name.encode(), attribute.type.encode()):
            digest.update(struct.pack(">I", len(part)) + part)
        value = _value(attribute)
        digest.update((b"\x02" if attribute.binary is not None else b"\x01") + struct.pack(">I", len(value)) + value)
    return digest.hexdigest()


def md5_of_text(text: str) -> str:
    """The digest of a body."""
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _value(attribute: MessageAttribute) -> bytes:
    return attribute.binary if attribute.binary is not None else (attribute.string or "").encode()
