"""The key file of a data directory: who may call. JSON, readable by its owner only, written atomically.

    {"format": 1, "keys": [{"id": "...", "secret": "...", "name": "root", "created_s": 1.7e9}, ...]}

The first key is made at the first start and has no limits. Every change is under a lock and durable before it returns;
a running server sees it at the next request (`KeyRing`).
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from trimtab.errors import Invalid, NotFound
from trimtab.files import sync_folder, write_whole
from trimtab.resources.routing import AccessKey

logger = logging.getLogger(__name__)

ROOT: Final = "root"
LOOKED_AT_EVERY_S: Final = 0.5
# What a key for an endpoint is for, when nothing else is said.
INVOCATION_ACTIONS: Final = (
    "sagemaker:InvokeEndpoint",
    "sagemaker:InvokeEndpointWithResponseStream",
    "sagemaker:DescribeEndpoint",
)
_FORMAT: Final = 1
_ACTION: Final = re.compile(r"\*|[a-z0-9*?-]+:[A-Za-z0-9*?]+")
_ENDPOINT: Final = re.compile(r"[A-Za-z0-9*?-]{1,63}")


class StoredKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key as kept in the file. `name` is for people; the key made at the first start is called `root`."""

    id: str
    secret: str
    name: str = ""
    actions: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    created_s: float = 0.0

    def access_key(self) -> AccessKey:
        """What is handed to gateways."""
        return AccessKey(id=self.id, secret=self.secret, actions=self.actions, endpoints=self.endpoints)


class _File(Struct, frozen=True, kw_only=True):
    format: int
    keys: tuple[StoredKey, ...]


def load(path: Path) -> tuple[StoredKey, ...]:
    """The keys in `path`, root first. Raises NotFound("key file"), Invalid when it is malformed or open to others."""
    try:
        with path.open("rb") as file:
            _refuse_open_to_others(path, os.fstat(file.fileno()).st_mode)
            data = file.read()
    except FileNotFoundError:
        raise NotFound("key file", str(path), f"There is no key file {path}: `trimtab serve` makes it.") from None
    except PermissionError as error:
        raise Invalid(f"The key file {path} cannot be read: {error.strerror}. Run as the user who owns it.") from None
    try:
        found = msgspec.json.decode(data, type=_File)
    except msgspec.MsgspecError as error:
        raise Invalid(
            f"The key file {path} is damaged ({error}). Restore it, or remove it: "
            "the next `trimtab serve` makes new keys."
        ) from None
    if found.format != _FORMAT:
        raise Invalid(f"The key file {path} has format {found.format}; this trimtab reads format {_FORMAT}.")
    return found.keys


def ensure(path: Path, *, now_s: float) -> tuple[StoredKey, ...]:
    """The keys in `path`; makes the file with a root key when it is not there. Raises as `load`."""
    try:
        return load(path)
    except NotFound:
        pass
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(path):
        if not path.exists():  # another process may have been first
            _write(path, (_new(ROOT, (), (), now_s),))
    return load(path)


def add(
    path: Path, *, name: str = "", actions: Sequence[str] = (), endpoints: Sequence[str] = (), now_s: float
) -> StoredKey:
    """Make a key limited to `actions` and `endpoints` (none: no limit) and keep it. Raises Invalid, and as `load`."""
    for action in actions:
        if not _ACTION.fullmatch(action):
            raise Invalid(
                f"{action!r} is not an action: write service:Operation, such as sagemaker:InvokeEndpoint or s3:*."
            )
    for endpoint in endpoints:
        if not _ENDPOINT.fullmatch(endpoint):
            raise Invalid(
                f"{endpoint!r} is not an endpoint name: letters, digits and hyphens, or a pattern with * or ?."
            )
    key = _new(name, actions, endpoints, now_s)
    load(path)  # before a lock is made where no trimtab lives
    with _locked(path):
        keys = load(path)
        if name and any(other.name == name for other in keys):
            raise Invalid(f"There is already a key named {name!r}; choose another name.")
        _write(path, (*keys, key))
    return key


def remove(path: Path, id_or_name: str) -> StoredKey:
    """Take a key away. Raises NotFound("key"); Invalid for the root key; and as `load`."""
    load(path)
    with _locked(path):
        keys = load(path)
        gone = [key for key in keys if id_or_name in (key.id, key.name)]
        if not id_or_name or not gone:
            raise NotFound("key", id_or_name)
        if gone[0].name == ROOT:
            raise Invalid(f"The root key cannot be deleted. For a new one, stop trimtab and remove {path}.")
        _write(path, tuple(key for key in keys if key.id != gone[0].id))
    return gone[0]


def root_of(keys: Sequence[StoredKey], path: Path) -> StoredKey:
    """The root key. Raises Invalid when there is none."""
    for key in keys:
        if key.name == ROOT:
            return key
    raise Invalid(f"There is no root key in {path}. Remove the file: the next `trimtab serve` makes new keys.")


def paging_secret(path: Path) -> bytes:
    """What signs the tokens of listings. Of the root key: they stay good when other keys come and go."""
    return hashlib.sha256(b"paging" + root_of(load(path), path).secret.encode()).digest()


class KeyRing:
    """The keys as the file has them now; call it for `{id: AccessKey}`.

    Looks at the file's time, size and inode on each call (some microseconds) and reads it only when they have
    changed. A file that has become unreadable is logged once, and the keys read last go on to count.
    """

    def __init__(self, path: Path) -> None:
        """Raises as `load`."""
        self._path = path
        self._stamp = self._stamp_now()
        self._keys = {key.id: key.access_key() for key in load(path)}
        self.version = 1  # grows with every change: publish a new RouteTable when it does

    def __call__(self) -> Mapping[str, AccessKey]:
        """The keys by id."""
        stamp = self._stamp_now()
        if stamp != self._stamp:
            self._stamp = stamp
            self._reload()
        return self._keys

    async def watch(self, publish: Callable[[Sequence[AccessKey]], None]) -> None:
        """For ever: publish the keys when the file has changed."""
        known = self.version
        while True:
            await asyncio.sleep(LOOKED_AT_EVERY_S)
            now = tuple(self().values())
            if self.version != known:
                known = self.version
                publish(now)

    def _reload(self) -> None:
        try:
            keys = {key.id: key.access_key() for key in load(self._path)}
        except (NotFound, Invalid) as error:
            logger.warning("key file ignored, the last keys stay in force: %s", error)
            return
        if keys != self._keys:
            logger.info("keys changed count=%d", len(keys))
            self._keys = keys
            self.version += 1

    def _stamp_now(self) -> tuple[int, int, int, int]:
        try:
            stat = os.stat(self._path)
        except OSError:
            return (0, 0, 0, 0)
        return (stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_mode)


def _new(name: str, actions: Sequence[str], endpoints: Sequence[str], now_s: float) -> StoredKey:
    key_id = "TRIM" + base64.b32encode(secrets.token_bytes(10)).decode()  # 20 characters, as AWS's are
    return StoredKey(
        id=key_id,
        secret=secrets.token_urlsafe(30),  # 40 characters, as AWS's are
        name=name,
        actions=tuple(actions),
        endpoints=tuple(endpoints),
        created_s=now_s,
    )


def _refuse_open_to_others(path: Path, mode: int) -> None:
    if mode & 0o077:
        raise Invalid(
            f"The key file {path} is open to other users (mode {mode & 0o777:o}). Run `chmod 600 {path}`; if others "
            "use this machine, remove the file instead, so that the next `trimtab serve` makes new keys."
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, across processes; the lock goes with its holder, however that ends."""
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, keys: tuple[StoredKey, ...]) -> None:
    """Replace the file, durably: whatever is killed, the old or the new one is there, never a part."""
    data = msgspec.json.format(msgspec.json.encode(_File(format=_FORMAT, keys=keys)), indent=2) + b"\n"
    write_whole(path, data, mode=0o600)
    sync_folder(path.parent)
