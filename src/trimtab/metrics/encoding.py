"""Sketches as few bytes: MessagePack with whole numbers as integers and buckets as steps from one to the next."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trimtab.metrics.sketch import Sketch

_WHOLE = 2.0**53  # above it a float need not be a whole number that an integer of MessagePack can hold

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[float, float, float, float, list[int | float]]).decode


def packed(sketch: Sketch) -> bytes:
    """`sketch` as bytes; equal sketches give equal bytes."""
    steps: list[int | float] = []
    last = 0
    buckets = sketch.buckets
    for bucket in sorted(buckets):
        count = buckets[bucket]
        steps.append(bucket - last)
        steps.append(count if count.__class__ is int else _short(count))
        last = bucket
    return _encode((_short(sketch.count), _short(sketch.sum), _short(sketch.min), _short(sketch.max), steps))


def unpacked(data: bytes) -> Sketch:
    """The sketch that `packed` was given. ValueError (msgspec's) when `data` is something else."""
    count, total, low, high, steps = _decode(data)
    buckets: dict[int, float] = {}
    last = 0
    places = iter(steps)
    for step, counted in zip(places, places, strict=True):
        last += int(step)
        buckets[last] = float(counted)
    return Sketch(count, total, low, high, buckets)


def merged(pieces: Iterable[bytes]) -> bytes:
    """One packed sketch of all that `pieces` (packed, at least one) have counted."""
    pieces = list(pieces)
    if len(pieces) == 1:
        return pieces[0]
    total = unpacked(pieces[0])
    for piece in pieces[1:]:
        total.merge(unpacked(piece))
    return packed(total)


def _short(value: float) -> int | float:
    value = float(value)
    return int(value) if value.is_integer() and -_WHOLE < value < _WHOLE else value
