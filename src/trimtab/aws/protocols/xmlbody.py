"""XML bodies: bytes to params, results to bytes. A DOCTYPE is refused, so no entity is ever expanded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from msgspec import Struct, field

from trimtab.aws.protocols import scalars
from trimtab.aws.protocols.errors import Malformed, Part
from trimtab.aws.services import Member, Shape

MAX_DEPTH = 100
_PLAIN = re.compile(r"[\w /:.,+=@%()\"-]*", re.ASCII)  # needs no escaping
# Characters that no XML 1.0 document may hold, not even as a reference.
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Node(Struct, eq=False):
    """An element: local names without prefixes, text of its own."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)
    text: str = ""

    def named(self, name: str) -> list[Node]:
        """The children of that local name."""
        return [child for child in self.children if child.tag == name]


def parse(shape: Shape, body: bytes) -> dict[str, Any]:
    """The params in `body`'s root element, whatever its name is. Raises Malformed."""
    return _structure(shape, tree(body))


def tree(body: bytes) -> Node:
    """The root element of a document. Raises Malformed."""
    builder = _TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = builder.doctype
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an encoding that nobody knows
        raise Malformed(f"The XML you provided was not well-formed: {error}") from None
    assert builder.root is not None  # expat refuses a document without an element
    return builder.root


def dump(
    root: str, shape: Shape, result: Mapping[str, Any], namespace: str = "", *, always_millis: bool = False
) -> bytes:
    """`<root>` with the members of `result` that belong into the body. Raises ValueError for unknown members."""
    writer = Writer(always_millis=always_millis)
    writer.open(root, {"xmlns": namespace} if namespace else {})
    writer.structure(shape, result)
    writer.close(root)
    return writer.document()


class Writer:
    """Appends elements to a document."""

    def __init__(self, *, always_millis: bool = False) -> None:
        self._parts = ['<?xml version="1.0" encoding="UTF-8"?>\n']
        self._always_millis = always_millis

    def document(self) -> bytes:
        """What was written so far."""
        return "".join(self._parts).encode()

    def open(self, tag: str, attributes: Mapping[str, str] | None = None) -> None:
        """`<tag a="b">`."""
        rendered = "".join(f" {k}={quoteattr(_legal(v))}" for k, v in (attributes or {}).items())
        self._parts.append(f"<{tag}{rendered}>")

    def close(self, tag: str) -> None:
        """`</tag>`."""
        self._parts.append(f"</{tag}>")

    def element(self, tag: str, text: str) -> None:
        """`<tag>text</tag>`."""
        if _PLAIN.fullmatch(text):  # nearly all of the thousands of elements of a listing
            self._parts.append(f"<{tag}>{text}</{tag}>")
            return
        self.open(tag)
        self.text(text)
        self.close(tag)

    def text(self, text: str) -> None:
        """Text, escaped; characters that no XML can hold become U+FFFD."""
        # A bare carriage return would come back as a line feed.
        self._parts.append(escape(_legal(text), {"\r": "&#13;"}))

    def structure(self, shape: Shape, result: Mapping[str, Any]) -> None:
        """The members of `result`, without an element around them."""
        for name, value in result.items():
            member = shape.members.get(name)
            if member is None:
                raise ValueError(f"{shape.name} has no member {name!r}")
            if value is not None and not member.location and not member.xml_attribute:
                self.member(member, value, member.wire_name)

    def member(self, member: Member, value: Any, tag: str) -> None:
        """One member under the name `tag`."""
        shape = member.shape
        if shape.type == "structure":
            self.open(tag, _attributes(member, value))
            self.structure(shape, value)
            self.close(tag)
        elif shape.type == "list":
            self._list(member, value, tag)
        elif shape.type == "map":
            self._map(member, value, tag)
        else:
            self.element(tag, scalars.write(member, value, "iso8601", always_millis=self._always_millis))

    def _list(self, member: Member, value: Any, tag: str) -> None:
        element = member.shape.element
        assert element is not None
        if member.flattened:
            for item in value:
                self.member(element, item, element.wire_name if element.explicit_name else tag)
            return
        self.open(tag)
        for item in value:
            self.member(element, item, element.wire_name)
        self.close(tag)

    def _map(self, member: Member, value: Mapping[str, Any], tag: str) -> None:
        key_member, value_member = member.shape.key, member.shape.value
        assert key_member is not None
        assert value_member is not None
        if not member.flattened:
            self.open(tag)
        for key, inner in value.items():
            entry = tag if member.flattened else "entry"
            self.open(entry)
            self.member(key_member, key, key_member.wire_name)
            self.member(value_member, inner, value_member.wire_name)
            self.close(entry)
        if not member.flattened:
            self.close(tag)


class _TreeBuilder:
    def __init__(self) -> None:
        self.root: Node | None = None
        self._open: list[Node] = []

    def doctype(self, *_: object) -> None:
        raise Malformed("The XML you provided has a DOCTYPE, which is not accepted.")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        node = Node(tag=_local(tag), attributes={_local(k): v for k, v in attributes.items()})
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)
        if len(self._open) > MAX_DEPTH:
            raise Malformed(f"The XML you provided is nested more than {MAX_DEPTH} levels deep.")

    def end(self, _: str) -> None:
        self._open.pop()

    def data(self, text: str) -> None:
        self._open[-1].text += text


def _structure(shape: Shape, node: Node) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for name, member in shape.members.items():
        if member.location:
            continue
        if member.xml_attribute:
            attribute = node.attributes.get(_local(member.wire_name))
            if attribute is not None:
                params[name] = scalars.read(member, attribute)
            continue
        nodes = node.named(member.wire_name)
        if not nodes and member.flattened and member.shape.element is not None:
            nodes = node.named(member.shape.element.wire_name)
        if nodes:
            params[name] = _value(member, nodes)
    return params


def _value(member: Member, nodes: list[Node]) -> Any:
    shape = member.shape
    if shape.type == "list":
        assert shape.element is not None
        element = shape.element
        items = nodes if member.flattened else [child for node in nodes for child in node.children]
        return [_value(element, [item]) for item in items]
    if shape.type == "map":
        return _map(member, nodes)
    if len(nodes) > 1:
        raise Malformed(f"The XML you provided has more than one {member.wire_name} where one is expected.")
    node = nodes[0]
    if shape.type == "structure":
        return _structure(shape, node)
    if node.children:
        raise Malformed(f"The XML you provided has elements in {member.wire_name}, which is a {shape.type}.", Part.BODY)
    return scalars.read(member, node.text)


def _map(member: Member, nodes: list[Node]) -> dict[str, Any]:
    key_member, value_member = member.shape.key, member.shape.value
    assert key_member is not None
    assert value_member is not None
    entries = nodes if member.flattened else [child for node in nodes for child in node.children]
    parsed: dict[str, Any] = {}
    for entry in entries:
        keys, values = entry.named(key_member.wire_name), entry.named(value_member.wire_name)
        if len(keys) != 1 or len(values) != 1:
            raise Malformed(f"An entry of {member.wire_name} needs one {key_member.wire_name} and one"
                            f" {value_member.wire_name}.")  # fmt: skip
        parsed[_value(key_member, keys)] = _value(value_member, values)
    return parsed


def _attributes(member: Member, value: Mapping[str, Any]) -> dict[str, str]:
    prefix, uri = member.xml_namespace
    attributes = {f"xmlns:{prefix}" if prefix else "xmlns": uri} if uri else {}
    for name, inner in member.shape.members.items():
        if inner.xml_attribute and value.get(name) is not None:
            attributes[inner.wire_name] = str(value[name])
    return attributes


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _legal(text: str) -> str:
    return _ILLEGAL.sub("�", text)
