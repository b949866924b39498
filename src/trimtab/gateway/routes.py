"""RouteClient: keeps the gateway's table as control publishes it; goes on with the last one when control is away."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab import logs
from trimtab.gateway.gateway import Gateway
from trimtab.resources.routing import RouteTable
from trimtab.wire.sized import SIZE

logger = logging.getLogger(__name__)

_VERSION = struct.Struct("<Q")
_RETRY_S = 0.05
_MAX_TABLE_BYTES = 1 << 28

_decode = msgspec.msgpack.Decoder(RouteTable).decode


class RouteClient:
    """Control sends u32 size + MessagePack of a RouteTable; the answer, once applied, is its version as u64 (LE)."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        socket_path: Path,
        file_path: Path,
        on_applied: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_applied` is called when the gateway serves by another table."""
        self._on_applied = on_applied
        self._gateway = gateway
        self._socket_path = socket_path
        self._file_path = file_path

    async def load(self) -> None:
        """Start from the table that control last wrote, if there is one."""
        try:
            table = _decode(self._file_path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.MsgspecError) as error:
            logger.error(
                "route file unreadable, waiting for control %s", logs.fields(path=self._file_path, error=error)
            )
            return
        await self._gateway.apply(table)
        logger.info("routes loaded %s", logs.fields(version=table.version, endpoints=len(table.endpoints)))

    async def run(self) -> None:
        """Follow control for ever; connect again whenever it is back."""
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket_path), limit=1 << 20)
            except OSError:
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                await self._follow(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                logger.info("control is away: serving from the last routes")
            except (ValueError, msgspec.MsgspecError) as error:
                logger.error("control sent routes that cannot be read %s", logs.fields(error=error))
                await asyncio.sleep(_RETRY_S)
            finally:
                writer.close()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            (size_bytes,) = SIZE.unpack(await reader.readexactly(SIZE.size))
            if size_bytes > _MAX_TABLE_BYTES:
                raise ValueError(f"a route table of {size_bytes} bytes")
            table = _decode(await reader.readexactly(size_bytes))
            if table.version < self._gateway.table.version:
                # A control with an older store (restored from a copy) is in charge all the same.
                logger.warning("routes go back %s", logs.fields(held=self._gateway.table.version, sent=table.version))
                self._gateway.forget_version()
            await self._gateway.apply(table)
            self._on_applied()
            writer.write(_VERSION.pack(table.version))
            await writer.drain()
