"""Spans on their way out: OpenTelemetry's batching thread, whose queue is bounded, and an account of what was lost."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from trimtab.aws.tracing.settings import QueueSize
from trimtab.logs import fields

logger = logging.getLogger(__name__)

FLUSH_LIMIT_S = 5.0  # a collector that does not answer must not keep a gateway that is to end
_TELL_EVERY_S = 10.0


class SpanSink:
    """Takes spans from the event loop at the price of a queue's append; a thread of OpenTelemetry's exports them.

    OTEL_BSP_SCHEDULE_DELAY sets how long spans wait for others, 5 s unless told.
    """

    def __init__(self, exporter: SpanExporter, queue: QueueSize) -> None:
        """Starts the thread."""
        self._counted = _Counted(exporter, queue.most)
        self._processor = BatchSpanProcessor(
            self._counted, max_queue_size=queue.most, max_export_batch_size=queue.batch
        )

    def put(self, spans: Iterable[ReadableSpan]) -> None:
        """Queue `spans`; when the queue is full the oldest in it are lost."""
        for span in spans:
            self._counted.given += 1
            self._processor.on_end(span)

    async def close(self) -> None:
        """Export what is queued, for FLUSH_LIMIT_S at most."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def flush() -> None:
            self._processor.force_flush()
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            loop.call_soon_threadsafe(done.set)

        # A daemon: it may outlast its welcome, and then ends with the process.
        threading.Thread(target=flush, name="flush spans", daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_LIMIT_S):
                await done.wait()
        except TimeoutError:
            logger.warning("spans not exported in time %s", fields(limit_s=FLUSH_LIMIT_S))
        self._counted.tell_losses(nothing_queued=True)


class _Counted(SpanExporter):
    """An exporter that knows how many spans never reached it, and how many it could not export."""

    def __init__(self, exporter: SpanExporter, queue_size: int) -> None:
        self.given = 0
        self._exporter = exporter
        self._taken = 0
        self._failed = 0
        self._told = 0
        self._told_s = 0.0
        self._queue_size = queue_size

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self._failed += len(spans)
            if time.monotonic() - self._told_s > _TELL_EVERY_S:
                self.tell_losses()
        return result

    def tell_losses(self, *, nothing_queued: bool = False) -> None:
        """Log how many spans were lost, where that has changed."""
        waiting = 0 if nothing_queued else self._queue_size  # at most: what overflows is known once it is full
        dropped = max(0, self.given - self._taken - waiting)
        if dropped + self._failed > self._told:
            self._told, self._told_s = dropped + self._failed, time.monotonic()
            logger.warning("spans lost %s", fields(dropped=dropped, not_exported=self._failed, of=self.given))

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
