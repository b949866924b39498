"""Files: artifacts of models on the local disk, for one model host: fetched, leased, released."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from trimtab.errors import NotFound, TrimtabError, Unavailable
from trimtab.logs import fields
from trimtab.resources.failures import of_artifact
from trimtab.wire.hosting import Fetch, Files, NoFiles

logger = logging.getLogger(__name__)

ARCHIVE: Final = True
"""AWS: an artifact of a multi-model endpoint is always an archive."""


class Lease(Protocol):
    """An artifact that stays on the disk until it is released."""

    @property
    def path(self) -> Path: ...
    @property
    def digest(self) -> str: ...
    @property
    def size_bytes(self) -> int: ...
    @property
    def fetched(self) -> bool: ...
    def release(self) -> None: ...


class Installed(Protocol):
    """Installed requirements. `replaces`: distributions that trimtab's own environment has in another version."""

    @property
    def path(self) -> Path: ...
    @property
    def replaces(self) -> tuple[str, ...]: ...


class Disk(Struct, frozen=True, kw_only=True):
    """What brings files to the local disk. Given by whoever knows object store and engine."""

    fetch: Callable[[str, bool, float], Awaitable[Lease]]  # url, compressed, timeout_s
    adopt: Callable[[Path], Lease | None]  # by the path that an earlier lease had; None: it is not there any more
    install: Callable[[Path, float], Awaitable[Installed]]  # a requirements.txt, timeout_s


class HostFiles:
    """What one host reads. On the event loop."""

    def __init__(self, disk: Disk, prefix: str, *, python: bool = True, timeout_s: float = 3600.0) -> None:
        """`prefix` is the variant's `s3://bucket/key/`; `python`: its models' requirements are installed; `timeout_s`
        bounds the fetch and the installation of one model together."""
        self._disk = disk
        self._prefix = prefix
        self._python = python
        self._timeout_s = timeout_s
        self._leases: dict[str, list[Lease]] = {}  # by path
        self._closed = False

    @property
    def leased(self) -> dict[str, int]:
        """How many leases there are, by path."""
        return {path: len(leases) for path, leases in self._leases.items()}

    def adopt(self, paths: Iterable[str]) -> list[str]:
        """Lease what the host reads already; return what is not there any more."""
        lost = []
        for path in paths:
            if (lease := self._disk.adopt(Path(path))) is None:
                lost.append(path)
            else:
                self._keep(lease)
        return lost

    async def fetch(self, asked: Fetch) -> Files | NoFiles:
        """Bring a model's artifact here, and its requirements; leased when that went well."""
        began_s = time.monotonic()
        url = f"{self._prefix}{asked.model}"
        unkept = None
        try:
            async with asyncio.timeout(self._timeout_s):
                lease = unkept = await self._disk.fetch(url, ARCHIVE, self._timeout_s)
                layer = await self._install(lease)
            self._keep(lease)
            unkept = None
        except Exception as error:  # noqa: BLE001 - every one becomes an answer, those that nobody knows are logged
            return _refusal(asked.id, url, error, self._timeout_s)
        finally:
            if unkept is not None:
                unkept.release()
        return Files(
            id=asked.id,
            path=str(lease.path),
            version=lease.digest,
            size_bytes=lease.size_bytes,
            fetched=lease.fetched,
            layers=(str(layer.path),) if layer is not None else (),
            fresh=layer is not None and bool(layer.replaces),
            took_s=time.monotonic() - began_s,
        )

    async def _install(self, lease: Lease) -> Installed | None:
        requirements = lease.path / "code" / "requirements.txt"
        if not self._python or not requirements.is_file():
            return None
        return await self._disk.install(requirements, self._timeout_s)

    def _keep(self, lease: Lease) -> None:
        if self._closed:
            lease.release()
        else:
            self._leases.setdefault(str(lease.path), []).append(lease)

    def release(self, path: str) -> None:
        """One lease less. No effect when there is none."""
        if leases := self._leases.get(path):
            leases.pop().release()
            if not leases:
                del self._leases[path]

    def close(self) -> None:
        """Release all; what is fetched from now on is not kept."""
        self._closed = True
        for leases in self._leases.values():
            for lease in leases:
                lease.release()
        self._leases.clear()


def _refusal(number: int, url: str, error: Exception, timeout_s: float) -> NoFiles:
    if isinstance(error, TimeoutError):
        message = f"{_failed(url)} It took longer than {timeout_s:g} s: see ModelDataDownloadTimeoutInSeconds."
        return NoFiles(id=number, reason="StartTimeout", message=message, transient=True)
    known = of_artifact(error, url)
    if known is None:
        logger.error("an artifact could not be fetched %s", fields(url=url), exc_info=error)
        message = f"{_failed(url)} trimtab failed; its log on stderr says where."
        return NoFiles(id=number, reason="ArtifactInvalid", message=message, transient=True)
    message = "\n".join(filter(None, (known.message, known.tail)))
    # AWS's words for what is not there (semantics 1.3); bad archives and requirements are there
    message = f"{_failed(url)} {message}" if isinstance(error, (NotFound, Unavailable)) else message
    transient = isinstance(error, Unavailable) or not isinstance(error, TrimtabError)
    return NoFiles(id=number, reason=known.reason, message=message, transient=transient)


def _failed(url: str) -> str:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return f"Failed to download model data (bucket: {bucket}, key: {key})."
