"""The proxy on a thread of its own, for as long as a `with` block lasts."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from types import TracebackType

from trimtab.cli.proxy.server import ConnectProxy


class ProxyThread:
    """`with ProxyThread(proxy) as port:`; leaving the block closes the proxy and everything that goes through it."""

    def __init__(self, proxy: ConnectProxy) -> None:
        self._proxy = proxy
        self._port: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> int:
        """Start; returns the port. Raises OSError when no port can be had."""
        self._thread.start()
        return self._port.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            port = await self._proxy.start()
        except OSError as error:
            self._port.set_exception(error)
            return
        self._port.set_result(port)
        await self._stop.wait()
        await self._proxy.close()
