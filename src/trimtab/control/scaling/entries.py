"""What the journal holds: everything that scaling decided by, upon and to, in order; its bytes, and its names in JSON.

A replay begins at a `Began`: it takes its rules and state, then feeds every input to `reducer.step` and compares what
that decides with the `Decision`s that follow.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import Struct

from trimtab.errors import Invalid
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Input


class Began(Struct, frozen=True, kw_only=True):
    """Rules and state before the input that follows.

    `state` is the whole `State`, as MessagePack: more than what survives a restart, so that a replay can begin here.
    `continues`: it is what the entries before have led to; else control has started, or the state was changed.
    """

    at_s: float
    rules: Rules
    state: bytes
    continues: bool = False


Entry = Began | Rules | Input | Decision

RAW: Final = 1  # formats of a block
PACKED: Final = 2

_RULES, _INPUT, _DECISION, _BEGAN = range(4)
_OTHERS: Final[dict[type, int]] = {Rules: _RULES, Decision: _DECISION, Began: _BEGAN}
_NAMES: Final[dict[type, str]] = {Rules: "rules", Decision: "decision", Began: "began"}
_KINDS: Final[dict[Any, Any]] = {name: made for made, name in _NAMES.items()}
_INPUTS: Final = {kind.__struct_config__.tag: kind for kind in get_args(Input)}

_encoder = msgspec.msgpack.Encoder()
_decode_pairs = msgspec.msgpack.Decoder(tuple[tuple[int, msgspec.Raw], ...]).decode
_decoders: Final = (
    msgspec.msgpack.Decoder(Rules).decode,
    msgspec.msgpack.Decoder(Input).decode,
    msgspec.msgpack.Decoder(Decision).decode,
    msgspec.msgpack.Decoder(Began).decode,
)


def packed_state(state: Struct) -> bytes:
    """A whole state, for `Began.state`."""
    return _encoder.encode(state)


def encode(entries: Iterable[Entry], form: int = RAW) -> bytes:
    """As bytes of that format."""
    body = _encoder.encode([(_OTHERS.get(type(entry), _INPUT), entry) for entry in entries])
    return zlib.compress(body, 6) if form == PACKED else body


def decode(body: bytes, form: int) -> list[Entry]:
    """Raises ValueError for bytes that `encode` has not made, or that another version of trimtab has."""
    if form not in (RAW, PACKED):
        raise ValueError(f"a block has format {form}, which this trimtab does not know")
    try:
        pairs = _decode_pairs(zlib.decompress(body) if form == PACKED else body)
        return [_decoders[kind](raw) for kind, raw in pairs]
    except (zlib.error, msgspec.MsgspecError, IndexError) as error:
        raise ValueError(f"a block cannot be read: {error}") from error


def time_of(entry: Entry) -> float | None:
    """When it was; None for rules, which hold from where they stand."""
    return None if isinstance(entry, Rules) else entry.at_s


def document_of(entry: Entry) -> dict[str, Any]:
    """As JSON: `kind`, and the members by name."""
    name = _NAMES.get(type(entry))
    if name is not None:
        return {"kind": name, **msgspec.to_builtins(entry)}
    given: Any = entry
    members = {key: getattr(given, key) for key in given.__struct_fields__}
    return {"kind": given.__struct_config__.tag, **members}


def entry_of(document: Mapping[str, Any]) -> Entry:
    """The other way. Invalid for what `document_of` has not made."""
    members = {key: value for key, value in document.items() if key != "kind"}
    kind = document.get("kind")
    try:
        if kind in _INPUTS:
            ordered = [members[key] for key in _INPUTS[kind].__struct_fields__]
            given: Entry = msgspec.convert([kind, *ordered], Input)
            return given
        if kind in _KINDS:
            found: Entry = msgspec.convert(members, _KINDS[kind])
            return found
    except (KeyError, msgspec.ValidationError) as error:
        raise Invalid(f"A journal's {kind} entry cannot be read: {error}.") from error
    raise Invalid(f"A journal has no entries of the kind {kind!r}; another version of trimtab wrote it.")


def without_repeats(blocks: Iterable[Sequence[Entry]]) -> Iterable[list[Entry]]:
    """The entries of following blocks, less each `Began` that says only what those before it have led to."""
    first = True
    for block in blocks:
        kept = [entry for entry in block if first or not (isinstance(entry, Began) and entry.continues)]
        first = first and not block
        yield kept
