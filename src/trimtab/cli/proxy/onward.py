"""How a tunnel reaches its host: straight, or through the proxy that the user already had."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Mapping
from urllib.parse import SplitResult, unquote, urlsplit

from trimtab.cli.env import bypasses, no_proxy_of
from trimtab.cli.render import CliError
from trimtab.errors import Unavailable

_CONNECT_TIMEOUT_S = 30.0
_MAX_ANSWER_BYTES = 65_536

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Onward:
    """Opens connections as `environ` asks: HTTPS_PROXY (or ALL_PROXY), except to the hosts in NO_PROXY."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises CliError for a proxy that cannot be chained (SOCKS, or a malformed URL)."""
        self._no_proxy = no_proxy_of(environ)
        names = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
        self._proxy = _proxy_url(next((environ[name] for name in names if environ.get(name)), ""))

    async def open(self, host: str, port: int) -> Streams:
        """A connection over which bytes reach `host`:`port`. Raises OSError, TimeoutError, Unavailable."""
        async with asyncio.timeout(_CONNECT_TIMEOUT_S):
            if self._proxy is None or bypasses(f"{host}:{port}", self._no_proxy):
                return await asyncio.open_connection(host, port)
            return await self._through(self._proxy, host, port)

    async def _through(self, proxy: SplitResult, host: str, port: int) -> Streams:
        secure = proxy.scheme == "https"
        reader, writer = await asyncio.open_connection(
            proxy.hostname,
            proxy.port or (443 if secure else 80),
            ssl=ssl.create_default_context() if secure else None,
            limit=_MAX_ANSWER_BYTES,
        )
        try:
            authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{_credentials(proxy)}\r\n".encode())
            await writer.drain()
            answer = await reader.readuntil(b"\r\n\r\n")
            status = answer.split(b"\r\n", 1)[0].decode("latin-1")
            if status.split(" ")[1:2] != ["200"]:
                raise Unavailable(f"The proxy {proxy.hostname} refused to connect to {authority}: {status}")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.close()
            raise Unavailable(f"The proxy {proxy.hostname} did not answer as an HTTP proxy does.") from None
        except BaseException:
            writer.close()
            raise
        return reader, writer


def _proxy_url(text: str) -> SplitResult | None:
    if not text:
        return None
    url = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port_is_fine = url.port is None or url.port > 0
    except ValueError:
        port_is_fine = False
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_fine:
        shown = f"{url.scheme}://{url.hostname or ''}"
        raise CliError(
            f"`trimtab run` cannot go through the proxy {shown}.",
            "Set HTTPS_PROXY to an http:// or https:// proxy, or unset it (and ALL_PROXY) for this program.",
        )
    return url


def _credentials(proxy: SplitResult) -> str:
    if proxy.username is None:
        return ""
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return f"Proxy-Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
