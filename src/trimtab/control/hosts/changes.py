"""Changes: uploads, overwrites and deletions of models' objects, told to the hosts that serve from there.

What this control saw it tells at once. What was changed while no control was there to see it is found when a host has
connected and says what it holds: each version is compared with what is there now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from trimtab.control.hosts.server import Host
from trimtab.errors import TrimtabError
from trimtab.logs import fields
from trimtab.wire.hosting import Changed, Holding, ModelState

logger = logging.getLogger(__name__)

DigestOf = Callable[[str], Awaitable[str]]
"""(url): the version that a fetch would bring now, "" when nothing is there. Raises TrimtabError."""

_AT_ONCE: Final = 64  # comparisons before others have their turn
_HELD: Final = (ModelState.LOADING, ModelState.READY)


class Changes:
    """On the event loop."""

    def __init__(self, there: Callable[[str], bool], digest_of: DigestOf) -> None:
        """`there(url)`: whether there is an object now."""
        self._there = there
        self._digest_of = digest_of
        self._hosts: dict[str, set[Host]] = {}  # by prefix
        self._unchecked: set[Host] = set()
        self._checks: dict[Host, asyncio.Task[None]] = {}

    def joined(self, host: Host) -> None:
        """Tell a host from now on."""
        self._hosts.setdefault(host.hello.prefix, set()).add(host)
        self._unchecked.add(host)

    def left(self, host: Host) -> None:
        """It is not there any more."""
        prefix = host.hello.prefix
        self._hosts[prefix].discard(host)
        if not self._hosts[prefix]:
            del self._hosts[prefix]
        self._unchecked.discard(host)
        if (check := self._checks.pop(host, None)) is not None:
            check.cancel()

    def changed(self, bucket: str, key: str) -> None:
        """An object was written or deleted (`objects.watching.Watcher`)."""
        if not self._hosts:
            return
        url = f"s3://{bucket}/{key}"
        concerned = [(prefix, hosts) for prefix, hosts in self._hosts.items() if url.startswith(prefix)]
        if not concerned:
            return
        deleted = not self._there(url)
        for prefix, hosts in concerned:
            if model := url.removeprefix(prefix):
                says = Changed(model=model, deleted=deleted)
                for host in hosts:
                    host.tell(says)

    def holding(self, host: Host, holding: Holding) -> None:
        """A host says what it holds. The first time, whether that is still what is there is found out."""
        if host not in self._unchecked:
            return
        self._unchecked.discard(host)
        versions: dict[str, set[str]] = {}
        for resident in holding.residents:
            if resident.state in _HELD and resident.version:
                versions.setdefault(resident.model, set()).add(resident.version)
        if versions:
            check = asyncio.create_task(self._check(host, versions), name=f"what {host.replica_id} holds")
            self._checks[host] = check
            check.add_done_callback(lambda _: self._checks.pop(host, None))

    async def _check(self, host: Host, versions: dict[str, set[str]]) -> None:
        for number, (model, held) in enumerate(versions.items()):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
            url = f"{host.hello.prefix}{model}"
            try:
                now = await self._digest_of(url)
            except TrimtabError as error:
                logger.warning("not known whether a model has changed %s", fields(url=url, error=error))
                continue
            if now not in held:
                host.tell(Changed(model=model, deleted=not now))

    async def close(self) -> None:
        """End what is under way."""
        checks = list(self._checks.values())
        for check in checks:
            check.cancel()
        await asyncio.gather(*checks, return_exceptions=True)
