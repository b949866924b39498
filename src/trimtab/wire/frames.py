"""The framed wire between a gateway (or control) and trimtab's own worker.

A connection is a Unix or TCP stream of frames in both directions; requests are told apart by `stream`, so one
connection carries many at once and answers come back in any order.

    frame := header payload-of-meta payload
    header := u32 payload_size | u32 stream | u16 meta_size | u8 kind | u8 flags      (12 bytes, little endian)

`meta` is MessagePack of the struct that belongs to the kind (array-like, so names do not travel); `payload` is the
body's own bytes, never re-encoded.

Gateway -> worker: REQUEST, CANCEL, CREDIT.     Worker -> gateway: ANSWER | HEAD CHUNK* END | FAILURE | REFUSED.
Control -> worker: DESCRIBE, DRAIN, STOP.       Worker -> control: DESCRIPTION (the answer, and on every change).
Gateway -> model host: WANT, USED.     Model host -> gateway: MODEL (`wire/hosting.py`).
"""

from __future__ import annotations

import enum
import struct

import msgspec

HEADER = struct.Struct("<IIHBB")
HEADER_SIZE = HEADER.size
INITIAL_CREDIT_BYTES = 1 << 20  # a stream may send this much before the gateway's first CREDIT
MAX_STREAMS = 256  # answers that one worker streams at once, beside its other work; further ones wait


class Kind(enum.IntEnum):
    """What a frame is."""

    REQUEST = 1  # meta RequestMeta, payload the body
    CANCEL = 2  # the caller has gone: stop if it can be stopped, answer nothing
    CREDIT = 3  # payload: u32 more bytes of CHUNKs that may be sent on this stream
    WANT = 4  # payload MessagePack of hosting.Want: requests wait for a model
    USED = 5  # payload MessagePack of hosting.Used
    DESCRIBE = 16  # answer with DESCRIPTION now and on every change (stream 0)
    DRAIN = 17  # take nothing new (REFUSED), finish what is in hand, then exit 0
    STOP = 18  # exit now
    ANSWER = 32  # meta AnswerMeta, payload the whole body
    HEAD = 33  # meta AnswerMeta: a streamed answer begins
    CHUNK = 34  # payload: some bytes of the streamed body
    END = 35  # the streamed body is complete
    FAILURE = 36  # meta FailureMeta, payload what the model said; also ends a stream that has begun
    REFUSED = 37  # not worked on at all (draining): safe to send elsewhere
    DESCRIPTION = 48  # meta empty, payload MessagePack of WorkerDescription
    MODEL = 49  # payload MessagePack of hosting.ModelAt


class RequestMeta(msgspec.Struct, array_like=True, frozen=True):
    """What travels beside a request body. Empty strings mean that the caller sent none."""

    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    inference_id: str = ""
    target_model: str = ""
    session_id: str = ""
    timeout_s: float = 60.0
    alone: bool = False  # the variant has nothing else in hand in this gateway: requests come one at a time
    trace: str = ""  # W3C traceparent, and after a space tracestate where there is one; empty: not traced


class AnswerMeta(msgspec.Struct, array_like=True, frozen=True):
    """What travels beside an answer body."""

    content_type: str = ""
    custom_attributes: str = ""
    compute_us: int = 0  # time in the model's handlers, rounded up; of a batch, the whole batch's; 0: not known
    wait_us: int = 0  # in the worker, until it was worked on, rounded up; 0: not known
    batch: int = 0  # requests that were worked on together; 0: the worker does not batch


class FailureMeta(msgspec.Struct, array_like=True, frozen=True):
    """A model's failure: the HTTP status that its container would have answered, and the body's type."""

    status: int = 500
    content_type: str = "text/plain"
    custom_attributes: str = ""


class WorkerDescription(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker says of itself; enough for a new control to adopt it."""

    replica_id: str
    index: int  # which of the replica's model server processes
    pid: int
    state: str  # ReplicaState value: Starting, Ready, Draining, Failed
    spec: bytes = b""  # MessagePack of the ReplicaSpec that it was born from, for adoption
    in_flight: int = 0
    busy_since_monotonic_s: float = 0.0  # start of the request in hand; 0 = idle
    fork_s: float | None = None
    import_s: float | None = None
    load_s: float | None = None
    warm_s: float | None = None
    first_answer_s: float | None = None
    failure_reason: str = ""
    failure_message: str = ""
    failure_tail: str = ""
    batch_size: int = 0  # the most rows that are worked on together; 0: one request at a time
    batching: str = ""  # its bounds, or why there is none, for people; "" = nobody asked for it
    family: tuple[int, ...] = ()  # a model host's workers, by process id: what they take, the replica takes


def pack(kind: Kind, stream: int, meta: bytes = b"", payload: bytes = b"", flags: int = 0) -> bytes:
    """One frame as bytes. For large payloads write header+meta and payload apart instead of copying."""
    return HEADER.pack(len(payload), stream, len(meta), kind, flags) + meta + payload
