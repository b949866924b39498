"""A worker's frames, as tests read them."""

from __future__ import annotations

import msgspec

from trimtab.wire.frames import AnswerMeta, FailureMeta, Kind

BOUND_S = 20.0  # on everything that is waited for


class Frame(msgspec.Struct):
    kind: Kind
    stream: int
    meta: bytes
    payload: bytes

    @property
    def answer(self) -> AnswerMeta:
        return msgspec.msgpack.decode(self.meta, type=AnswerMeta)

    @property
    def failure(self) -> FailureMeta:
        return msgspec.msgpack.decode(self.meta, type=FailureMeta)
