"""What a gateway reports to control of its requests, once a second, over a Unix socket.

    gateway -> control: u32 little-endian size, MessagePack of Hello (once), then of Report, each.
    control -> gateway: u64 little-endian number: the last report of this gateway that is durable. Once after Hello,
                        then whenever it grows.

A gateway is one life of a process: its number begins at 1, and a report that was sent is sent again unchanged until it
is acknowledged or control, when connected anew, says that it has it. So nothing is lost or counted twice when either
side is killed, but for what a killed gateway had not sent yet.
"""

from __future__ import annotations

import struct

from msgspec import Struct, field

NUMBER = struct.Struct("<Q")
MAX_BYTES = 1 << 28


class Hello(Struct, array_like=True, frozen=True):
    """Who reports: unique for each life of a gateway process."""

    gateway: str


class Tally(Struct, array_like=True, gc=False):
    """The distribution of some values; the same fields and buckets as `metrics.sketch.Sketch`."""

    count: int = 0
    sum: float = 0.0
    min: float = 0.0
    max: float = 0.0
    buckets: dict[int, int] = field(default_factory=dict)


class Range(Struct, array_like=True, gc=False):
    """The least and the most that a gauge was in the time of a report."""

    least: int = 0
    most: int = 0


class VersionReport(Struct, array_like=True, gc=False, kw_only=True):
    """What came of the requests of one version of a variant. Times in microseconds. Counts are of this report alone."""

    version: str
    ended: int = 0  # answered or failed; callers who left not included
    errors: dict[str, int] = field(default_factory=dict)  # by reason; of `ended`
    client_faults: int = 0  # the model answered 4xx
    server_faults: int = 0  # it answered 5xx, not in time, or its replica died
    model_faults: int = 0  # anything but 2xx
    latency: Tally = field(default_factory=Tally)  # received until answered, of answers without error
    model_latency: Tally = field(default_factory=Tally)  # of these, in a replica's hands
    queue_time: Tally = field(default_factory=Tally)  # of these, before that
    compute_time: Tally = field(default_factory=Tally)  # in the model's handlers, as the worker says
    first_chunk: Tally = field(default_factory=Tally)  # of streams: received until the first piece
    first_chunk_model: Tally = field(default_factory=Tally)  # of these, in a replica's hands
    broken_streams: int = 0  # failed after they had begun
    batched: dict[int, int] = field(default_factory=dict)  # answers by the size of the batch that they were in
    billed_ms: Tally = field(default_factory=Tally)  # serverless: in a replica's hands, begun milliseconds
    wasted_us: float = 0.0  # in a replica's hands, of attempts that nobody had an answer of: lost, too late, unwanted
    input_tokens: int = 0  # as the model told
    output_tokens: int = 0
    request_bytes: int = 0  # bodies of answers without error, all together, and of what they answer
    response_bytes: int = 0


class ModelsReport(Struct, array_like=True, gc=False):
    """How the requests of a multi-model variant found their models. Counts are of this report alone."""

    hits: int = 0  # requests whose model was loaded somewhere when they came
    misses: int = 0  # the others
    waits: Tally = field(default_factory=Tally)  # us; of misses: received until their model was loaded
    models: dict[str, tuple[int, int]] = field(default_factory=dict)  # hits and misses by model
    busy_s: dict[str, float] = field(default_factory=dict)  # by model: time with a request in hand, of all its copies
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)  # by model: input and output, as it told
    came_ms: dict[str, list[int]] = field(default_factory=dict)  # by model: when requests came (wall time); not all
    firsts: Tally = field(default_factory=Tally)  # us; the first of those that a model was loaded for, in its hands


class TasksReport(Struct, array_like=True, gc=False, kw_only=True):
    """How tasks of an asynchronous variant have ended, or how their notices did. Counts are of this report alone.

    Each ended task is in one of the first four.
    """

    ok: int = 0
    failed: int = 0  # by the model, for its input, its output, or for replicas that died
    expired: int = 0  # in the queue
    dropped: int = 0  # with their endpoint
    download_failures: int = 0  # of `failed`: the input could not be had
    upload_failures: int = 0  # of `failed`: the answer could not be put where it was to go
    notice_failures: int = 0  # there was no such topic
    download: Tally = field(default_factory=Tally)  # us
    upload: Tally = field(default_factory=Tally)  # us
    in_backlog: Tally = field(default_factory=Tally)  # ms; accepted until first taken
    whole: Tally = field(default_factory=Tally)  # ms; accepted until ended
    in_work: Tally = field(default_factory=Tally)  # us; of `ok` and `failed`: in one of the places for tasks in work
    each: list[tuple[int, int]] = field(default_factory=list)  # of the first: accepted (ms of wall time), us in work


class VariantReport(Struct, array_like=True, gc=False, kw_only=True):
    """What happened at one variant in this gateway. Left out of a report when nothing did."""

    endpoint: str
    variant: str
    received: int = 0  # requests, refused ones included
    throttled: int = 0
    retried: int = 0
    clients_gone: int = 0
    in_hand: Range = field(default_factory=Range)  # waiting and with replicas
    waiting: Range = field(default_factory=Range)
    busy_s: dict[str, float] = field(default_factory=dict)  # by replica: time with a request in hand; of all its lanes
    versions: list[VersionReport] = field(default_factory=list)
    models: ModelsReport | None = None  # of a multi-model variant
    spilled: int = 0  # serverless: requests that came while all provisioned environments were in use
    tasks: TasksReport | None = None  # of an asynchronous one: what comes from the consumer has it, if it is empty


class Report(Struct, array_like=True, gc=False, kw_only=True):
    """One second, or several that could not be sent in time. `start_s` is wall time in whole seconds."""

    number: int
    start_s: int
    span_s: int = 1
    variants: list[VariantReport] = field(default_factory=list)
