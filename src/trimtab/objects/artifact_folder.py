"""Unpacked artifacts on the local disk: which there are, who uses them, and which goes when room is needed.

    FOLDER/DIGEST/model/...          what workers read; read-only
    FOLDER/DIGEST/artifact.json      what it is; its modification time is when it was last used
    FOLDER/DIGEST/durable            written when every byte is on the disk
    FOLDER/tmp-...                   being unpacked, or being removed; a start removes it

An entry appears by one rename. It is used at once and written to the disk behind the scenes: an entry that is not
`durable` is trusted within one boot of the machine (kill -9 loses no page of the kernel's cache), and removed after it.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from trimtab.errors import NoCapacity
from trimtab.files import sync_folder
from trimtab.logs import fields
from trimtab.objects.unpack import remove

logger = logging.getLogger(__name__)

_TEMPORARY = "tmp-"
_RECORD = "artifact.json"
_DURABLE = "durable"
MODEL = "model"


class Entry(msgspec.Struct, kw_only=True):
    """One unpacked artifact. `charged_bytes` is what it counts against the cache's limit."""

    digest: str
    url: str
    size_bytes: int
    charged_bytes: int
    boot: str


class ArtifactFolder:
    """Methods may be called from any thread; those that move or remove files do not belong on an event loop."""

    def __init__(self, folder: Path, *, max_bytes: int, now_s: Callable[[], float]) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._now_s = now_s
        self._boot = boot_id()
        self._lock = threading.Lock()  # guards what follows
        self._entries: dict[str, Entry] = {}  # the least recently used first
        self._leases: dict[str, int] = {}
        self._used_bytes = 0  # entries, and what is charged for those under way

    def load(self) -> None:
        """Take stock; remove what a kill or a power cut left half-done."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found: list[tuple[float, Entry]] = []
        for path in self._folder.iterdir():
            entry = self._read(path)
            if entry is None:
                logger.info("half-done artifact removed %s", fields(path=path))
                remove(path)
            else:
                found.append(((path / _RECORD).stat().st_mtime, entry))
        with self._lock:
            for _, entry in sorted(found, key=lambda pair: pair[0]):
                if entry.digest not in self._entries:
                    self._entries[entry.digest] = entry
                    self._used_bytes += entry.charged_bytes

    @property
    def used_bytes(self) -> int:
        """What counts against the limit now."""
        return self._used_bytes

    def path(self, digest: str) -> Path:
        """Where an entry's files are, or will be."""
        return self._folder / digest / MODEL

    def lease(self, digest: str) -> Entry | None:
        """Use an entry, if it is there; it stays until as many `release`s. One whose files somebody else has removed is
        forgotten: it can be brought here anew."""
        with self._lock:
            entry = self._entries.pop(digest, None)
            if entry is None:
                return None
            if not self.path(digest).is_dir():
                self._used_bytes -= entry.charged_bytes
                logger.warning("an artifact's files are gone %s", fields(url=entry.url))
                return None
            self._entries[digest] = entry  # now the most recently used
            self._leases[digest] = self._leases.get(digest, 0) + 1
        self._touch(digest)
        return entry

    def release(self, digest: str) -> None:
        """Undo one `lease`. One too many is no error: the entry may have been leased by an earlier process."""
        with self._lock:
            count = self._leases.get(digest, 0) - 1
            if count > 0:
                self._leases[digest] = count
            else:
                self._leases.pop(digest, None)
            if (entry := self._entries.pop(digest, None)) is not None:
                self._entries[digest] = entry
        self._touch(digest)

    def charge(self, size_bytes: int) -> None:
        """Take room. Removes entries that nobody uses, the least recently used first; NoCapacity when that will not do.

        Undone by `uncharge`, or kept by `add`.
        """
        with self._lock:
            self._used_bytes += size_bytes
        removed = self._temporary()
        while (victim := self._victim(removed)) is not None:
            remove(removed)
            logger.info("artifact evicted %s", fields(url=victim.url, size_bytes=victim.size_bytes))
        with self._lock:
            if self._used_bytes <= self._max_bytes:
                return
            self._used_bytes -= size_bytes
        raise NoCapacity(
            f"The artifact cache is full: its limit is {self._max_bytes / 2**20:.0f} MiB, and all that is in it is in "
            "use. Delete endpoints, or start trimtab with a larger --artifact-cache-mib.",
            retry_after_s=30.0,
        )

    def uncharge(self, size_bytes: int) -> None:
        """Give back room that was taken for nothing."""
        with self._lock:
            self._used_bytes -= size_bytes

    def begin(self) -> Path:
        """A new temporary folder, with an empty folder `model` in it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._temporary()
        (path / MODEL).mkdir(parents=True, mode=0o700)
        return path

    def add(self, path: Path, entry: Entry) -> Entry:
        """Make what was unpacked in `path` an entry with one lease. Its bytes are charged already.

        When it has become an entry meanwhile, that one is leased, and `path` and its charge are dropped.
        """
        (path / _RECORD).write_bytes(msgspec.json.encode(entry))
        target = self._folder / entry.digest
        stale = self._temporary()
        with self._lock:
            present = self._entries.get(entry.digest)
            self._leases[entry.digest] = self._leases.get(entry.digest, 0) + 1
            if present is None:
                if target.exists():  # what `load` did not take for an entry
                    os.rename(target, stale)
                os.rename(path, target)
                self._entries[entry.digest] = entry
            else:
                self._used_bytes -= entry.charged_bytes
        remove(stale if present is None else path)
        return present or entry

    def new_entry(self, digest: str, url: str, size_bytes: int, charged_bytes: int) -> Entry:
        """The record of what was just unpacked."""
        return Entry(digest=digest, url=url, size_bytes=size_bytes, charged_bytes=charged_bytes, boot=self._boot)

    def make_durable(self, digest: str) -> None:
        """Write an entry's bytes to the disk. Slow. Ends early when the entry is evicted meanwhile."""
        with self._lock:
            if (entry := self._entries.get(digest)) is None:
                return
            root = os.open(self._folder / digest, os.O_RDONLY | os.O_DIRECTORY)  # stays the same when it is moved
        try:
            for _, _, names, folder in os.fwalk(dir_fd=root):
                for name in names:
                    _sync_file(name, folder)
                os.fsync(folder)
            with self._lock:
                if self._entries.get(digest) is not entry:
                    return  # a file more, now, and whoever removes the folder would find it not empty
                os.close(os.open(_DURABLE, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=root))
            os.fsync(root)
            sync_folder(self._folder)
        except FileNotFoundError:
            return
        finally:
            os.close(root)

    def _read(self, path: Path) -> Entry | None:
        if path.name.startswith(_TEMPORARY) or not path.is_dir():
            return None
        try:
            entry = msgspec.json.decode((path / _RECORD).read_bytes(), type=Entry)
        except (OSError, msgspec.DecodeError):
            return None
        trusted = (path / _DURABLE).exists() or (entry.boot and entry.boot == self._boot)
        return entry if trusted and entry.digest == path.name else None

    def _victim(self, moved_to: Path) -> Entry | None:
        """The entry to remove next, off the books and moved; None when there is room, or nothing to remove."""
        with self._lock:
            if self._used_bytes <= self._max_bytes:
                return None
            free = next((digest for digest in self._entries if not self._leases.get(digest)), None)
            if free is None:
                return None
            with suppress(FileNotFoundError):  # somebody else has removed it
                os.rename(self._folder / free, moved_to)
            entry = self._entries.pop(free)
            self._used_bytes -= entry.charged_bytes
            return entry

    def _temporary(self) -> Path:
        return self._folder / f"{_TEMPORARY}{uuid.uuid4().hex}"

    def _touch(self, digest: str) -> None:
        now_s = self._now_s()
        try:
            os.utime(self._folder / digest / _RECORD, (now_s, now_s))
        except FileNotFoundError:  # evicted after its last release
            return


def boot_id() -> str:
    """Names this boot of the machine; "" where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _sync_file(name: str, folder: int) -> None:
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link: its folder holds all there is of it
            return
        raise
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
