"""A large ONNX file without its weights: the same model, which refers to them where they lie in that file. Pure.

onnxruntime reads a file whole and copies each weight twice before it packs it for its kernels. Weights that a model
refers to ("external data") it maps from the page cache and packs from there; nothing says that the file with the
weights may not be the model's own. Field numbers are those of onnx.proto3, the encoding is protobuf's.

Only weights whose every use is known to take data at any address are referred to: a file does not align them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

LEAST_FILE_BYTES = 8 * 2**20  # of a smaller file, reading is not what costs
_LEAST_WEIGHT_BYTES = 64 * 1024
_LEAST_SHARE = 0.5  # of the file: where less of it can be referred to, it is not worth its while

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
_GRAPH = 7  # in ModelProto
_NODE, _INITIALIZER = 1, 5  # in GraphProto
_INPUT, _OP_TYPE, _DOMAIN = 1, 4, 7  # in NodeProto
_DATA_TYPE, _NAME, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 2, 8, 9, 13, 14  # in TensorProto
_FLOAT = 1  # TensorProto.DataType
_EXTERNAL = 1  # TensorProto.DataLocation

# Which input of an operator packs, reorders or copies what it is given, by instructions that need no alignment.
_PLACES = {b"MatMul": 1, b"Gemm": 1, b"Conv": 1, b"Gather": 0}
_WITH_BODIES = {b"If", b"Loop", b"Scan"}  # a body may use the weights, too, and is not looked into


class _Field(Struct, frozen=True, array_like=True):
    number: int
    wire_type: int
    start: int  # of the tag
    value: int  # where what it holds begins; a varint's value itself
    end: int


def referring(model: bytes | memoryview, file_name: str) -> bytes | None:
    """`model`, the content of a file of that name, with its weights replaced by their places in that file.

    None where that is impossible, does not pay, or would not be safe; also for what is no ONNX model at all.
    """
    if len(model) < LEAST_FILE_BYTES:
        return None
    try:
        return _referring(model, file_name.encode())
    except (ValueError, IndexError):
        return None


def _referring(model: bytes | memoryview, file_name: bytes) -> bytes | None:
    parts: list[bytes] = []
    referred = 0
    for field in _fields(model, 0, len(model)):
        if field.number != _GRAPH or field.wire_type != _BYTES:
            parts.append(bytes(model[field.start : field.end]))
            continue
        graph = tuple(_fields(model, field.value, field.end))
        wanted = _weights(model, graph)
        inside: list[bytes] = []
        for part in graph:
            moved = wanted.get(part.start)
            if moved is None:
                inside.append(bytes(model[part.start : part.end]))
            else:
                inside.append(_message(_INITIALIZER, _moved(model, part, moved, file_name)))
                referred += moved.end - moved.value
        parts.append(_message(_GRAPH, b"".join(inside)))
    return b"".join(parts) if referred >= len(model) * _LEAST_SHARE else None


def _weights(model: bytes | memoryview, graph: tuple[_Field, ...]) -> dict[int, _Field]:
    """The data of each initializer that may be referred to, by where that initializer starts."""
    large: dict[bytes, tuple[int, _Field]] = {}
    for field in graph:
        if field.number == _INITIALIZER and field.end - field.value >= _LEAST_WEIGHT_BYTES:
            name, data = _weight(model, field)
            if data is not None:
                large[name] = (field.start, data)
    for field in graph if large else ():
        if field.number == _NODE:
            operator, inputs = _node(model, field)
            if operator in _WITH_BODIES:
                return {}
            for place, name in enumerate(inputs):
                if name in large and _PLACES.get(operator) != place:
                    del large[name]
    return dict(large.values())


def _weight(model: bytes | memoryview, tensor: _Field) -> tuple[bytes, _Field | None]:
    """An initializer's name and its data; no data where it is not plain float32 that lies in the model."""
    name, data, data_type = b"", None, 0
    for field in _fields(model, tensor.value, tensor.end):
        if field.number == _NAME:
            name = bytes(model[field.value : field.end])
        elif field.number == _DATA_TYPE:
            data_type = field.value
        elif field.number == _RAW_DATA and data is None:
            data = field
        elif field.number in (_RAW_DATA, _EXTERNAL_DATA) or (field.number == _DATA_LOCATION and field.value):
            return name, None
    is_plain = data is not None and data_type == _FLOAT and data.end - data.value >= _LEAST_WEIGHT_BYTES
    return name, data if is_plain else None


def _node(model: bytes | memoryview, node: _Field) -> tuple[bytes, list[bytes]]:
    """A node's operator, b"" for one of another domain than ONNX's, and the names of its inputs."""
    operator, inputs, is_onnx = b"", [], True
    for field in _fields(model, node.value, node.end):
        if field.number == _INPUT:
            inputs.append(bytes(model[field.value : field.end]))
        elif field.number == _OP_TYPE:
            operator = bytes(model[field.value : field.end])
        elif field.number == _DOMAIN:
            is_onnx = bytes(model[field.value : field.end]) in (b"", b"ai.onnx")
    return operator if is_onnx or operator in _WITH_BODIES else b"", inputs


def _moved(model: bytes | memoryview, tensor: _Field, data: _Field, file_name: bytes) -> bytes:
    """The tensor with a reference to its data in place of it."""
    place = {b"location": file_name, b"offset": b"%d" % data.value, b"length": b"%d" % (data.end - data.value)}
    entries = (_message(_EXTERNAL_DATA, _message(1, key) + _message(2, value)) for key, value in place.items())
    location = _varint(_DATA_LOCATION << 3 | _VARINT) + _varint(_EXTERNAL)
    before, after = model[tensor.value : data.start], model[data.end : tensor.end]
    return b"".join((bytes(before), bytes(after), *entries, location))


def _fields(model: bytes | memoryview, at: int, end: int) -> Iterator[_Field]:
    """The fields of one message. Raises ValueError or IndexError where it is none."""
    while at < end:
        start = at
        tag, at = _read_varint(model, at)
        wire_type, value = tag & 7, at
        if wire_type == _BYTES:
            size, value = _read_varint(model, at)
            at = value + size
        elif wire_type == _VARINT:
            value, at = _read_varint(model, at)
        elif wire_type in (_FIXED32, _FIXED64):
            at += 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire_type}")
        if at > end:
            raise ValueError("a field is longer than what holds it")
        yield _Field(tag >> 3, wire_type, start, value, at)


def _read_varint(model: bytes | memoryview, at: int) -> tuple[int, int]:
    """The number, and where what follows it begins."""
    number = shift = 0
    while True:
        byte = model[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
