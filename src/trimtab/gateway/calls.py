"""Call: one invocation on its way through the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab.errors import TrimtabError
from trimtab.policies.admission import overlong
from trimtab.wire.frames import AnswerMeta

if TYPE_CHECKING:
    from trimtab.gateway.lane import Lane
    from trimtab.gateway.variant import Variant


class Call:
    """One invocation: what is asked, where it stands, and (in subclasses) what becomes of the answer.

    Exactly one of these happens, once: `answered`; or `began`, any number of `received`, then `ended` or `failed`; or
    `failed` alone; or nothing more, after `cancel`. A caller that wants the answer whole need not override
    `began`, `received` and `ended`: a streamed answer is collected for it.
    """

    wants_stream = False  # the answer is passed on piece by piece, within the time limit of a stream

    # Defaults stand on the class: a call is made for every request, and most never change most of these.
    target_variant = ""
    content_type = ""
    accept = ""
    custom_attributes = ""
    inference_id = ""
    target_model = ""
    session_id = ""
    timeout_s = 0.0  # that it may take; 0: as its variant says
    trace = ""  # as RequestMeta.trace
    # where it stands
    variant: Variant | None = None
    lane: Lane | None = None
    stream_id = 0
    arrived_s = 0.0
    sent_s = 0.0
    deadline_s = 0.0
    first_chunk_s = 0.0  # of a stream, when its first piece came
    streamed = False  # a streamed answer has begun
    streamed_bytes = 0  # of which so much is here
    done = False
    short = 0  # so many times has its model run out of memory over it
    missed = False  # it came before its model was loaded
    _meta = AnswerMeta()
    _parts: list[bytes]
    _collected_bytes = 0

    def __init__(self, endpoint: str, body: Sequence[bytes], size_bytes: int) -> None:
        self.endpoint = endpoint
        self.body = body  # pieces, in order; together `size_bytes`
        self.size_bytes = size_bytes

    # --- what becomes of the answer ----------------------------------------------------------------------------

    def answered(self, meta: AnswerMeta, body: bytes) -> None:
        """The whole answer."""
        raise NotImplementedError

    def failed(self, error: TrimtabError) -> None:
        """There is no (more of an) answer."""
        raise NotImplementedError

    def began(self, meta: AnswerMeta) -> None:
        """A streamed answer begins."""
        self._meta = meta
        self._parts = []

    def received(self, data: bytes) -> None:
        """A piece of a streamed answer. Say `consumed` when it is out of the way, or the model is made to wait."""
        self._parts.append(data)
        self._collected_bytes += len(data)
        if self.variant is not None and (error := overlong(self._collected_bytes)) is not None:
            self._parts.clear()
            self.variant.give_up(self, error)
            return
        self.consumed(len(data))

    def ended(self) -> None:
        """The streamed answer is complete."""
        self.answered(self._meta, b"".join(self._parts))

    # --- for the caller ----------------------------------------------------------------------------------------

    def consumed(self, size_bytes: int) -> None:
        """So many bytes of the streamed answer are out of the way: the model may send as many more."""
        if self.lane is not None:
            self.lane.credit(self, size_bytes)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if not self.done and self.variant is not None:
            self.variant.cancel(self)
