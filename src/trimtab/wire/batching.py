"""What a worker says of its batching, beside the rest of its description."""

from __future__ import annotations

from trimtab.wire.frames import WorkerDescription


class BatchingDescription(WorkerDescription, frozen=True, kw_only=True):
    """A WorkerDescription with two fields more; whoever does not know them reads past them."""

    batch_size: int = 0  # the most rows that are worked on together; 0: one request at a time
    batching: str = ""  # its bounds, or why there is none, for people; "" = nobody asked for it
