"""The query protocol's form fields: `Tags.member.1.Key=k` to params."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from trimtab.aws.protocols import scalars
from trimtab.aws.protocols.errors import Malformed, Part
from trimtab.aws.services import Member, Shape

MAX_FIELDS = 100_000  # PutMetricData alone may have 1000 metrics of 150 values, within its 1 MB
MAX_PARTS = 2 * MAX_FIELDS  # different parts of their names, all together: each takes memory
MAX_DEPTH = 60
_FORM = "application/x-www-form-urlencoded"

# Names that the SQS of the query days had and that its model, JSON now, has lost. Source: the SQS API reference.
_OLD_NAMES = {
    "AttributeNames": "AttributeName",
    "Attributes": "Attribute",
    "MessageAttributeNames": "MessageAttributeName",
    "MessageAttributes": "MessageAttribute",
    "MessageSystemAttributes": "MessageSystemAttribute",
    "Tags": "Tag",
    "tags": "Tag",
    "TagKeys": "TagKey",
    "AWSAccountIds": "AWSAccountId",
    "Actions": "ActionName",
}
_OLD_ENTRIES = {
    "SendMessageBatch": "SendMessageBatchRequestEntry",
    "DeleteMessageBatch": "DeleteMessageBatchRequestEntry",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibilityBatchRequestEntry",
}


class _Tree(dict[str, "_Tree"]):
    """Fields by the parts of their dotted names; `text` is the value of the name that ends here."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        super().__init__()
        self.text: str | None = None


def fields(text: str, part: Part = Part.BODY) -> list[tuple[str, str]]:
    """The decoded pairs of a form body or query string. Raises Malformed."""
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise Malformed("A percent-encoded value is not valid UTF-8.", part) from None
    except ValueError:
        raise Malformed(f"There are more than {MAX_FIELDS} fields.", part) from None


def form(body: bytes) -> list[tuple[str, str]]:
    """The decoded pairs of a form body. Raises Malformed."""
    try:
        return fields(body.decode("ascii"))
    except UnicodeDecodeError:
        raise Malformed("The request's body is not a percent-encoded form.") from None


def is_form(content_type: str) -> bool:
    """Whether a Content-Type is that of the query protocol."""
    return content_type.partition(";")[0].strip().lower() == _FORM


def parse(shape: Shape, pairs: Iterable[tuple[str, str]], old_names_of: str = "") -> dict[str, Any]:
    """The params in the form's `pairs`. Raises Malformed.

    `old_names_of`: the operation, for a service whose model is JSON but which still takes query requests (SQS).
    """
    root, count = _Tree(), 0
    for name, value in pairs:
        node = root
        parts = name.split(".")
        if len(parts) > MAX_DEPTH:
            raise Malformed(f"The parameter {name[:100]!r} is nested too deeply.")
        for part in parts:
            child = node.get(part)
            if child is None:
                child = node[part] = _Tree()
                count += 1
            node = child
        node.text = value
        if count > MAX_PARTS:
            raise Malformed(f"The names of the parameters have more than {MAX_PARTS} different parts.")
    return _structure(shape, root, old_names_of)


def _structure(shape: Shape, tree: _Tree, old_names_of: str = "") -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, member in shape.members.items():
        found = _find(member, tree)
        if found is None and old_names_of:
            old = _OLD_ENTRIES.get(old_names_of, "") if name == "Entries" else _OLD_NAMES.get(name, "")
            found = tree.get(old)
        if found is not None:
            params[name] = _value(member, found, bool(old_names_of))
    return params


def _find(member: Member, tree: _Tree) -> _Tree | None:
    found = tree.get(member.wire_name)
    if member.flattened and member.shape.element is not None and member.shape.element.explicit_name:
        return tree.get(member.shape.element.wire_name, found)
    return found


def _value(member: Member, tree: _Tree, old_names: bool) -> Any:
    shape = member.shape
    if shape.type == "structure":
        return _structure(shape, tree, "*" if old_names else "")
    if shape.type == "list":
        assert shape.element is not None
        element = shape.element
        items = tree if member.flattened else tree.get(element.wire_name, tree.get("member"))
        return [_value(element, item, old_names) for item in _numbered(items, member)]
    if shape.type == "map":
        return _map(member, tree, old_names)
    if tree.text is None:
        raise Malformed(f"The parameter {member.wire_name} must be a single value: it is a {shape.type}.")
    return scalars.read(member, tree.text)


def _map(member: Member, tree: _Tree, old_names: bool) -> dict[str, Any]:
    key_member, value_member = member.shape.key, member.shape.value
    assert key_member is not None
    assert value_member is not None
    parsed: dict[str, Any] = {}
    for entry in _numbered(tree if member.flattened else tree.get("entry"), member):
        key, value = _half(entry, key_member, old_names), _half(entry, value_member, old_names)
        if key is None or value is None:
            raise Malformed(f"An entry of {member.wire_name} needs a {key_member.wire_name} and a"
                            f" {value_member.wire_name}.")  # fmt: skip
        parsed[_value(key_member, key, old_names)] = _value(value_member, value, old_names)
    return parsed


def _half(entry: _Tree, member: Member, old_names: bool) -> _Tree | None:
    """The key or the value of a map's entry; the query SQS wrote `Name`, `Key` and `Value`."""
    names = [member.wire_name]
    if old_names:
        names += ["Name", "Key"] if member.name == "key" else ["Value"]
    return next((entry[name] for name in names if name in entry), None)


def _numbered(tree: _Tree | None, member: Member) -> list[_Tree]:
    if tree is None:
        return []
    wrong = [name for name in tree if not (name.isascii() and name.isdecimal() and len(name) < 10)]
    if wrong:
        raise Malformed(f"The items of {member.wire_name} must be numbered from 1, not {wrong[0][:100]!r}.")
    return [tree[name] for name in sorted(tree, key=int)]
