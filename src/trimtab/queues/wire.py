"""What clients and the keeper of the queues say to each other: u32 little-endian size, then MessagePack.

    client -> keeper: Hello (first), then Ask, Cancel and Watch
    keeper -> client: Answer to each Ask, Changed to a Watch

Answers come in any order. A client whose connection is lost asks what was not answered again, in the order of asking.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from trimtab.queues.model import Depth, Op, Result
from trimtab.wire.sized import sized

MAX_BYTES = 64 * 2**20


class Hello(Struct, frozen=True, kw_only=True, tag="hello"):
    """Who asks: unique for each life of a client. Its leases are freed when its last connection is gone."""

    owner: str


class Ask(Struct, frozen=True, kw_only=True, tag="ask"):
    """One op. `number` grows. `again`: it was asked before, of a keeper that is gone."""

    number: int
    op: Op
    again: bool = False


class Cancel(Struct, frozen=True, kw_only=True, tag="cancel"):
    """A Lease that waits is not wanted any more. It is answered all the same, perhaps with messages."""

    number: int


class Watch(Struct, frozen=True, kw_only=True, tag="watch"):
    """Tell how queues below `prefix` are, now and when they change."""

    prefix: str


class Answer(Struct, frozen=True, kw_only=True, tag="answer"):
    """What came of an Ask. With None, `failure` says why not: `full` (the disk; nothing was done), `unavailable` (for
    now), or `broken` (a defect)."""

    number: int
    result: Result | None = None
    failure: str = ""
    error: str = ""


class Changed(Struct, frozen=True, kw_only=True, tag="changed"):
    """How a watched queue is. `dropped`: it is no more."""

    depth: Depth
    dropped: bool = False


Say = Hello | Ask | Cancel | Watch
Reply = Answer | Changed

decode_say = msgspec.msgpack.Decoder(Say).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode
_encode = msgspec.msgpack.Encoder().encode


def encode(message: Say | Reply) -> bytes:
    """A message as it travels."""
    return sized(_encode(message))
