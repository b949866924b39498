"""model.tar.gz from a model's files: the same files give the same bytes, and nothing is held in memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from msgspec import Struct

from trimtab.cli.render import CliError

_LEVEL = 1  # weights hardly compress; the time goes to the first start


class Packed(Struct, frozen=True, kw_only=True):
    """An archive that is ready to go."""

    path: Path
    sha256: str
    size_bytes: int


def pack(files: Mapping[str, Path], into: Path, on_bytes: Callable[[int], None] | None = None) -> Packed:
    """Write `files` (path in the archive to path here) as a gzip'd tar, in name order, without times or owners.

    `on_bytes` is told how many bytes of the files are done. Raises CliError when a file changes or goes meanwhile.
    """
    done = 0
    with (
        into.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=_LEVEL, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for name in sorted(files):
            _add(archive, name, files[name])
            done += files[name].stat().st_size
            if on_bytes is not None:
                on_bytes(done)
    return packed_file(into)


def packed_file(path: Path) -> Packed:
    """An archive that somebody else made."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return Packed(path=path, sha256=digest.hexdigest(), size_bytes=path.stat().st_size)


def _add(archive: tarfile.TarFile, name: str, source: Path) -> None:
    with source.open("rb") as file:
        info = tarfile.TarInfo(name)
        status = source.stat()
        info.size = status.st_size
        info.mode = 0o755 if status.st_mode & 0o100 else 0o644
        try:
            archive.addfile(info, _Exactly(file, info.size))
        except OSError as error:
            if error.errno is not None:
                raise
            raise CliError(
                f"{source} changed while it was being packed.", "Deploy again once it is complete."
            ) from error


class _Exactly(io.RawIOBase):
    """The first `size` bytes of a file: one that grows meanwhile does not break the archive."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(block)
        return block
