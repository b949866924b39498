"""Leases on artifacts, in the form that an engine takes: it knows folders, and nothing of object stores."""

from __future__ import annotations

from pathlib import Path

from trimtab.objects.artifacts import ArtifactCache, LocalArtifact


class Lease:
    """One replica's hold on an artifact: while it lasts, the cache keeps the files."""

    def __init__(self, artifacts: ArtifactCache, artifact: LocalArtifact) -> None:
        self.path = artifact.path
        self.digest = artifact.digest  # changes with the content
        self.size_bytes = artifact.size_bytes  # unpacked
        self.fetched = artifact.fetched  # False: it was on the disk already
        self._artifacts, self._artifact = artifacts, artifact

    def release(self) -> None:
        """The files may go when room is needed."""
        self._artifacts.release(self._artifact)


class Leases:
    """What an engine is given to get artifacts, and to take over those that adopted processes read."""

    def __init__(self, artifacts: ArtifactCache) -> None:
        self._artifacts = artifacts

    async def fetch(self, url: str, compressed: bool, timeout_s: float) -> Lease:
        """Bring an artifact to local disk. Raises as `ArtifactCache.fetch`."""
        return Lease(self._artifacts, await self._artifacts.fetch(url, compressed=compressed, timeout_s=timeout_s))

    def adopt(self, path: Path) -> Lease | None:
        """A lease on what a process of an earlier control reads; None when the cache has no such folder."""
        artifact = self._artifacts.adopt(path)
        return None if artifact is None else Lease(self._artifacts, artifact)
