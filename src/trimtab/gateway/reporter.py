"""Reporter: sends control once a second what the meters counted, and keeps it while control is away.

See `wire/reports.py` for what travels and why nothing is lost or counted twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, Protocol

import msgspec

from trimtab import logs
from trimtab.gateway.backlog import IN_A_REPORT, Backlog
from trimtab.wire.reports import NUMBER, Hello, Report, VariantReport
from trimtab.wire.sized import sized

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.25
_UNACKNOWLEDGED_MOST: Final = 400  # sent and not acknowledged: then control is slow, and the rest is kept here

_encode = msgspec.msgpack.Encoder().encode


class Counts(Protocol):
    """Who counts: a gateway, or more than one."""

    def reports(self) -> Iterator[VariantReport]:
        """What happened at each variant since this was last asked."""
        ...


class Reporter:
    """`run` for ever; what it holds is bounded (`Backlog`)."""

    def __init__(
        self,
        counts: Counts,
        socket_path: Path,
        *,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._counts = counts
        self._socket_path = socket_path
        self._wall_s = wall_s
        self._me = secrets.token_hex(8)
        self._backlog = Backlog()
        self._sent: deque[Report] = deque()  # and not acknowledged
        self._writer: asyncio.StreamWriter | None = None
        self._acknowledged = 0

    async def run(self) -> None:
        """Take a report just after each second's end, and send."""
        link = asyncio.create_task(self._keep_connected())
        try:
            while True:
                now_s = self._wall_s()
                await asyncio.sleep(1.0 - now_s % 1.0 + 0.002)
                for _ in self._parts():
                    await asyncio.sleep(0)  # many active variants hold up no request
                if link.done():
                    link.result()
        finally:
            self.tick()  # the last requests
            link.cancel()
            await asyncio.gather(link, return_exceptions=True)

    def tick(self) -> None:
        """A second is over."""
        for _ in self._parts():
            pass

    def _parts(self) -> Iterator[None]:
        """Report part by part."""
        start_s = int(self._wall_s() - 0.5)
        variants = iter(self._counts.reports())
        while part := list(islice(variants, IN_A_REPORT)):
            self._backlog.add(Report(number=0, start_s=start_s, variants=part))
            yield
        self._send()

    async def _keep_connected(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket_path))
            except OSError:
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                await self._converse(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                logger.debug("control is away: reports are kept %s", logs.fields(kept=len(self._backlog)))
            finally:
                self._writer = None
                writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(_framed(Hello(self._me)))
        self._acknowledge(*NUMBER.unpack(await reader.readexactly(NUMBER.size)))
        # What control does not have is sent again; it may be merged with others first, since control will not see it
        # under its old number.
        while self._sent:
            self._backlog.put_back(self._sent.pop())
        self._writer = writer
        self._send()
        while True:
            self._acknowledge(*NUMBER.unpack(await reader.readexactly(NUMBER.size)))
            self._send()

    def _acknowledge(self, number: int) -> None:
        self._acknowledged = max(self._acknowledged, number)
        while self._sent and self._sent[0].number <= number:
            self._sent.popleft()

    def _send(self) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        while len(self._sent) < _UNACKNOWLEDGED_MOST and (report := self._backlog.take()) is not None:
            last = self._sent[-1].number if self._sent else self._acknowledged
            report.number = last + 1
            self._sent.append(report)
            writer.write(_framed(report))


def _framed(message: Hello | Report) -> bytes:
    return sized(_encode(message))
