"""SQS's answers in the query protocol, as clients of the query days read them.

SQS's model is JSON now and has lost how its lists and maps were written: flat, under names in the singular. Source: the
SQS API reference of 2012-11-05, examples of answers.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

from trimtab.aws.protocols.xmlbody import Writer

_ITEMS: Final[Mapping[str, str]] = {
    "QueueUrls": "QueueUrl",
    "queueUrls": "QueueUrl",
    "Messages": "Message",
    "Failed": "BatchResultErrorEntry",
    "Results": "ListMessageMoveTasksResultEntry",
}
_MAPS: Final[Mapping[str, tuple[str, str]]] = {  # the name of an entry, and of its key
    "Attributes": ("Attribute", "Name"),
    "MessageAttributes": ("MessageAttribute", "Name"),
    "Tags": ("Tag", "Key"),
}


def write(writer: Writer, operation: str, result: Mapping[str, Any]) -> None:
    """The members of a result, without an element around them."""
    for name, value in result.items():
        if value is None:
            continue
        if name in _MAPS:
            _write_map(writer, operation, *_MAPS[name], value)
        elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
            tag = f"{operation}ResultEntry" if name == "Successful" else _ITEMS[name]
            for item in value:
                _write(writer, operation, tag, item)
        else:
            _write(writer, operation, name, value)


def _write_map(writer: Writer, operation: str, entry: str, key: str, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        writer.open(entry)
        writer.element(key, name)
        _write(writer, operation, "Value", value)
        writer.close(entry)


def _write(writer: Writer, operation: str, tag: str, value: Any) -> None:
    if isinstance(value, Mapping):
        writer.open(tag)
        write(writer, operation, value)
        writer.close(tag)
    elif isinstance(value, bool):
        writer.element(tag, "true" if value else "false")
    elif isinstance(value, bytes):
        writer.element(tag, base64.b64encode(value).decode("ascii"))
    else:
        writer.element(tag, str(value))
