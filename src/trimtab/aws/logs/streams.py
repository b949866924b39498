"""Log groups and streams: `logs/ENDPOINT/VARIANT/REPLICA-INDEX.log` under AWS's names.

Group `/aws/sagemaker/Endpoints/ENDPOINT`; stream `VARIANT/REPLICA` (as AWS's `VARIANT/i-0123...`), and
`VARIANT/REPLICA-INDEX` for the further processes of a replica that has several. Names that a caller gives are compared
with what the folder holds and never become part of a path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from msgspec import Struct

from trimtab.aws.logs.view import LogView
from trimtab.wire.log_times import previous_path, read_created_ms

GROUP_PREFIX: Final = "/aws/sagemaker/Endpoints/"
_SUFFIX: Final = ".log"
_PREVIOUS: Final = ".1"  # behind _SUFFIX
_FIRST: Final = "-0"


class Stream(Struct, frozen=True):
    """A stream and its file."""

    name: str
    path: Path


class StreamFacts(Struct, frozen=True):
    """What DescribeLogStreams tells of a stream. Times in ms since the epoch; None where there was no event."""

    name: str
    created_ms: int
    first_ms: int | None
    last_ms: int | None
    written_ms: int
    size_bytes: int


class LogFolder:
    """The logs of all endpoints, those of deleted ones too. Every method does I/O."""

    def __init__(self, folder: Path) -> None:
        """`folder` is `Paths.logs`; it may come into being later."""
        self._folder = folder

    def groups(self) -> list[str]:
        """The names of all groups, in order."""
        return [GROUP_PREFIX + name for name in _folders(self._folder)]

    def streams(self, group: str) -> list[Stream] | None:
        """A group's streams in the order of their names; None when there is no such group."""
        endpoint = group.removeprefix(GROUP_PREFIX)
        if not group.startswith(GROUP_PREFIX) or endpoint not in _folders(self._folder):
            return None
        folder = self._folder / endpoint
        found = [
            Stream(f"{variant}/{stem.removesuffix(_FIRST)}", folder / variant / f"{stem}{_SUFFIX}")
            for variant in _folders(folder)
            for stem in _logs(folder / variant)
        ]
        return sorted(found, key=lambda stream: stream.name)

    def totals(self, group: str) -> tuple[int, int]:
        """When a group's first replica began to log, as far as its logs are kept (0: it has none); what they hold."""
        paths = [stream.path for stream in self.streams(group) or ()]
        created_ms = min((_created_ms(path) for path in paths), default=0)
        return created_ms, sum(_size(path) + _size(previous_path(path)) for path in paths)

    def facts(self, stream: Stream) -> StreamFacts | None:
        """What is known of a stream; None when it has just gone."""
        try:
            with LogView(stream.path) as view:
                some = view.end > view.first
                return StreamFacts(
                    name=stream.name,
                    created_ms=view.created_ms,
                    first_ms=view.time_ms(view.first) if some else None,
                    last_ms=view.time_ms(view.end - 1) if some else None,
                    written_ms=view.written_ms,
                    size_bytes=view.end - view.first,
                )
        except FileNotFoundError:
            return None


def _folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def _logs(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    ours = (name.removesuffix(_PREVIOUS) for name in names)  # for a moment of a rotation there is no other
    return list({name.removesuffix(_SUFFIX): None for name in ours if name.endswith(_SUFFIX)})


def _created_ms(path: Path) -> int:
    """By its times, else by its file's own: what is there was written then or earlier."""
    if (noted := read_created_ms(path)) is not None:
        return noted
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
