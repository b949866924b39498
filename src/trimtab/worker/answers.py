"""What comes out of a model for one request: an answer, a streamed answer, or a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.wire.frames import RequestMeta

if TYPE_CHECKING:
    from trimtab.worker.batchable import Batchable

Buffer = bytes | bytearray | memoryview

Answer = tuple[Buffer, str, str]
"""Body, content type, custom attributes ("" = the model set none). A tuple: one is made for every request."""


class Streamed:
    """An answer that is still being made. `head` is asked once, when the first piece is there.

    `chunks` yields bytes; its `close`, if it has one, is called when the stream ends for whatever reason.
    """

    __slots__ = ("chunks", "head")

    def __init__(self, chunks: Iterator[bytes], head: Callable[[], tuple[str, str]]) -> None:
        self.chunks = chunks
        self.head = head  # content type, custom attributes


class Fault(Exception):
    """The model server answers this request with an error: `status` as a container would, `text` as the body."""

    def __init__(
        self, status: int, text: str, *, content_type: str = "text/plain", custom_attributes: str = "", body: Any = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.body: Buffer = text.encode(errors="replace") if body is None else body
        self.content_type = content_type
        self.custom_attributes = custom_attributes


class Served(Protocol):
    """A model that is loaded."""

    def warm(self) -> None:
        """Do once what makes the first answer slow. Called before the first request; may do nothing."""
        ...

    def answer(self, body: bytes, meta: RequestMeta) -> Answer | Streamed:
        """Answer one request. Raises Fault, or whatever the model's code raises."""
        ...

    def in_batches(self) -> Batchable | str:
        """The model as one that can be asked for several requests at once; or why it cannot, for people."""
        ...
