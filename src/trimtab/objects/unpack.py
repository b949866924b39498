"""A tar archive of strangers -> a folder, and nothing outside it.

What keeps it inside:
- names that are absolute or hold `..`, devices and pipes are refused, and Python's `tarfile.data_filter` has its say;
- symbolic links are made after everything else, so that nothing is ever written through one, and then each must
  resolve within the folder;
- every byte and every member is charged before it is written, so that a bomb ends early; and what tarfile reads as
  headers is limited, so that a bomb does not hide there.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

from isal import igzip, isal_zlib

from trimtab.errors import Invalid, NoCapacity, Unavailable

BLOCK_BYTES = 2**20
MEMBER_COST_BYTES = 4096  # what an empty file is charged: its name and inode take room too
MAX_HEADER_BYTES = 2**20  # of one member: names, links, extended attributes

_GZIP = b"\x1f\x8b"
_OTHER_FORMATS = {
    b"PK": "a zip file",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"\x89HDF": "an HDF5 file",
}
_CURE = "Pack the model's files with `tar -czf model.tar.gz -C MODEL_DIR .` and upload that."
_MALFORMED: Any = (
    tarfile.TarError,
    ValueError,
    EOFError,
    zlib.error,
    isal_zlib.error,
    igzip.BadGzipFile,
    OverflowError,
    struct.error,
)
_BAD_NAME_ERRNOS = {errno.ENAMETOOLONG, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EILSEQ}
_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}

Charge = Callable[[int], None]  # take room for n more bytes; raises when there is none


class ArtifactInvalid(Invalid):
    """The artifact is there, but cannot be unpacked, or must not be."""

    reason = "ArtifactInvalid"


def unpack(source: io.RawIOBase, folder: Path, *, name: str, charge: Charge) -> int:
    """Unpack a tar, gzip'd or plain, into `folder`, which exists and is empty. Returns the bytes of its files.

    Files and folders end read-only. Raises ArtifactInvalid, NoCapacity when the disk is full, Unavailable, and what
    `charge` and `source` raise; what was written until then is the caller's to remove.
    """
    buffered = io.BufferedReader(source, BLOCK_BYTES)
    head = buffered.peek(8)[:8]
    if not head:
        raise ArtifactInvalid(f"{name} is empty (0 bytes). {_CURE}")
    compressed = head.startswith(_GZIP)
    plain: Any = igzip.IGzipFile(fileobj=buffered, mode="rb") if compressed else buffered  # type: ignore[no-untyped-call]
    with writing(name, folder):
        try:
            size_bytes = _Unpacking(_Forward(plain), folder, name, charge).run(trust_end=compressed)
        except _MALFORMED as error:
            raise ArtifactInvalid(_explain(name, head, error)) from error
        seal(folder)
    return size_bytes


class writing:
    """Say what an OSError means: the archive's fault, a full disk, or the machine's."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, OSError) or isinstance(error, (TimeoutError, ConnectionError)):
            return
        if error.errno in _FULL_ERRNOS:
            raise NoCapacity(
                f"The disk of {self._folder.parent} is full: {self._name} cannot be unpacked. Free space there, or "
                "move the data directory to a larger disk.",
                retry_after_s=60.0,
            ) from error
        if error.errno in _BAD_NAME_ERRNOS:
            where = os.path.basename(str(error.filename or ""))
            raise ArtifactInvalid(
                f"{self._name} holds a member that cannot be a file here ({where!r}: {error.strerror}). {_CURE}"
            ) from error
        raise Unavailable(f"{self._name} cannot be unpacked to {self._folder}: {error}") from error


class _Unpacking:
    def __init__(self, reader: _Forward, folder: Path, name: str, charge: Charge) -> None:
        self._reader = reader
        self._folder = folder
        self._name = name
        self._charge = charge
        self._folders: set[str] = {""}
        self._links: dict[str, str] = {}
        self._files = 0
        self._size_bytes = 0

    def run(self, *, trust_end: bool) -> int:
        with tarfile.TarFile(fileobj=self._reader, mode="r", encoding="utf-8") as archive:  # type: ignore[arg-type]
            while (member := self._next(archive)) is not None:
                self._take(archive, member)
        complete = trust_end or self._reader.at_end_mark  # gzip has its own end
        self._reader.drain(self._charge)
        if not complete:
            raise ArtifactInvalid(f"{self._name} is cut off: the archive's end is missing. Upload it again.")
        if not self._files and not self._links:
            raise ArtifactInvalid(f"{self._name} is an archive without any file in it. {_CURE}")
        self._make_links()
        return self._size_bytes

    def _next(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        self._reader.header_bytes = 0
        archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
        return archive.next()

    def _take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        path = self._place(member)
        self._charge(MEMBER_COST_BYTES)
        if not path:
            if not member.isdir():
                raise self._refuse(member, "has no name")
            return  # the folder itself; the sagemaker SDK writes it with an empty name
        if member.isdir():
            self._make_folder(path)
            return
        self._make_folder(path.rpartition("/")[0])
        self._links.pop(path, None)
        target = self._folder / path
        target.unlink(missing_ok=True)  # of two members of one name the later counts
        if member.issym():
            self._links[path] = member.linkname
        elif member.islnk():
            self._link_file(member, target)
        elif member.isreg():
            self._write(archive, member, target)
        else:
            raise self._refuse(member, "is a device or a pipe")
        self._files += not member.issym()

    def _place(self, member: tarfile.TarInfo) -> str:
        """The member's path below the folder; "" is the folder. Refuses what would not be below it."""
        if member.name.startswith("/"):
            raise self._refuse(member, "has an absolute path")
        path = PurePosixPath(member.name)
        if ".." in path.parts:
            raise self._refuse(member, "leads out of the model's folder")
        if member.issym() and member.linkname.startswith("/"):
            raise self._refuse(member, f"links to the absolute path {member.linkname!r}")
        if not member.isdev():
            try:
                tarfile.data_filter(member, str(self._folder))
            except tarfile.FilterError as error:
                raise self._refuse(member, f"is not safe to unpack: {error}") from error
        return "/".join(part for part in path.parts if part != ".")

    def _make_folder(self, path: str) -> None:
        if path in self._folders:
            return
        parent = path.rpartition("/")[0]
        self._make_folder(parent)
        self._charge(MEMBER_COST_BYTES)
        if path in self._links:
            raise ArtifactInvalid(f"{self._name} holds files below {path!r}, which is a link. {_CURE}")
        (self._folder / path).mkdir(mode=0o700)
        self._folders.add(path)

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
        self._charge(-(-member.size // MEMBER_COST_BYTES) * MEMBER_COST_BYTES)
        self._reader.header_bytes = -member.size - BLOCK_BYTES  # the content is not a header
        content = archive.extractfile(member)
        assert content is not None, "regular members have content"
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            left = member.size
            while left:
                block = content.read(min(left, BLOCK_BYTES))
                if not block:
                    raise EOFError("the archive ends within a file")
                _write_all(descriptor, block)
                left -= len(block)
            os.fchmod(descriptor, 0o555 if member.mode & 0o111 else 0o444)
        finally:
            os.close(descriptor)
        self._size_bytes += member.size

    def _link_file(self, member: tarfile.TarInfo, target: Path) -> None:
        inside = "/".join(part for part in PurePosixPath(member.linkname).parts if part != ".")
        source = self._folder / inside
        if ".." in PurePosixPath(inside).parts or not source.is_file():
            raise self._refuse(member, f"is a hard link to {member.linkname!r}, which is not before it in the archive")
        os.link(source, target, follow_symlinks=False)

    def _make_links(self) -> None:
        for path, linkname in self._links.items():
            os.symlink(linkname, self._folder / path)
        root = os.path.realpath(self._folder)
        for path, linkname in self._links.items():
            resolved = os.path.realpath(self._folder / path)
            if resolved != root and not resolved.startswith(root + os.sep):
                raise ArtifactInvalid(f"{self._name} holds {path!r}, a link to {linkname!r} outside of the model.")

    def _refuse(self, member: tarfile.TarInfo, why: str) -> ArtifactInvalid:
        return ArtifactInvalid(f"{self._name} holds the member {member.name!r}, which {why}. {_CURE}")


class _Forward:
    """What tarfile needs of a file, over a stream that only goes forward; counts what is read as headers."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._at = 0
        self._last = b""
        self.header_bytes = 0

    @property
    def at_end_mark(self) -> bool:
        """Whether what was read last is the block of zeros that ends an archive."""
        return len(self._last) == tarfile.BLOCKSIZE and not any(self._last)

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        self.header_bytes += size
        if size < 0 or self.header_bytes > MAX_HEADER_BYTES:
            raise ValueError(f"a member's headers are over {MAX_HEADER_BYTES} bytes")
        self._last = self._take(size)
        return self._last

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET or offset < self._at:
            raise ValueError("the archive's parts are out of order")
        while self._at < offset:
            if not self._take(min(offset - self._at, BLOCK_BYTES)):
                break
        return self._at

    def drain(self, charge: Charge) -> None:
        """Read to the end, so that gzip's own checksum is compared; padding is charged as content is."""
        while block := self._take(BLOCK_BYTES):
            charge(len(block))

    def _take(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        return data


def copy(source: io.RawIOBase, target: Path, *, charge: Charge) -> int:
    """Write a file that is not in any archive, read-only. Returns its bytes. Errors as `unpack`."""
    charge(MEMBER_COST_BYTES)
    size_bytes = 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        while block := source.read(BLOCK_BYTES):
            charge(len(block))
            _write_all(descriptor, block)
            size_bytes += len(block)
        os.fchmod(descriptor, 0o444)
    finally:
        os.close(descriptor)
    return size_bytes


def seal(folder: Path) -> None:
    """Make `folder` and the folders in it read-only."""
    for path, _, _ in os.walk(folder, topdown=False):
        os.chmod(path, 0o555)


def remove(folder: Path) -> None:
    """Remove a sealed folder and all in it. What is not there is no error."""
    if not folder.is_dir():
        return
    for path, _, _ in os.walk(folder):
        os.chmod(path, stat.S_IRWXU)
    shutil.rmtree(folder)


def _write_all(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _explain(name: str, head: bytes, error: Exception) -> str:
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            return f"{name} is {what}, not a tar archive. {_CURE}"
    if isinstance(error, EOFError) or "end of data" in str(error):
        return f"{name} is cut off: the archive ends in the middle. Upload it again."
    if head.startswith(_GZIP):
        return f"{name} is damaged, or not a gzip'd tar archive ({error}). {_CURE}"
    return f"{name} is not a tar archive: it begins with {head!r} ({error}). {_CURE}"
