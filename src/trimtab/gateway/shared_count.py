"""What all gateways of a server have in hand of a variant and its environments, known to each without a call or a lock.

Each variant has a file that all gateways map, with a slot of 8 bytes for each gateway, which writes its own and reads
all. So a gateway first writes that it takes a request in, and reads then: of two that come at the same moment at least
one sees the other. Both may, and be refused where one would have had room; the caller's next try finds it.
Each environment has such a file, too: a gateway claims it so before it sends there, and leaves it with the answer.
A gateway that was killed has its slots cleared when it is started again.
"""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from trimtab.logs import fields

logger = logging.getLogger(__name__)

SLOT_BYTES: Final = 8
MAX_GATEWAYS: Final = 512  # slots of a file: one page


class SharedCount:
    """One variant's file, mapped. It is unmapped when nobody refers to it."""

    def __init__(self, path: Path, slot: int) -> None:
        """Make the file if there is none. Raises OSError."""
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, SLOT_BYTES * MAX_GATEWAYS)  # a page that has no room on the disk would be fatal
            self._slots = memoryview(mmap.mmap(fd, SLOT_BYTES * MAX_GATEWAYS)).cast("q")
            self._inode = os.fstat(fd).st_ino
        finally:
            os.close(fd)
        self._path = path
        self._slot = slot
        self.mine = 0

    @property
    def mine(self) -> int:
        """What this gateway has in hand."""
        return self._slots[self._slot]

    @mine.setter
    def mine(self, count: int) -> None:
        self._slots[self._slot] = count

    def all(self, gateways: int) -> int:
        """What the first so many gateways have in hand together."""
        return sum(self._slots[:gateways])

    def remove(self) -> None:
        """The file; not one that another gateway has made in its place since."""
        try:
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        except FileNotFoundError:  # another gateway was first
            pass


class SharedCounts:
    """The files of all variants, as one of `gateways` sees them that has the number `slot`."""

    def __init__(self, folder: Path, slot: int, gateways: int) -> None:
        """What an earlier gateway of this number left is cleared. Raises OSError."""
        if not 0 <= slot < gateways <= MAX_GATEWAYS:
            raise ValueError(f"{gateways} gateways, of which this has the number {slot}: there may be {MAX_GATEWAYS}")
        self._folder = folder
        self._slot = slot
        self._gateways = gateways
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in folder.iterdir():
            SharedCount(path, slot)

    def of(self, endpoint: str, variant: str) -> Bound | None:
        """None when there can be no file, which is logged: this gateway counts alone then."""
        name = f"{endpoint}/{variant}"
        try:
            count = self._count(name)
        except OSError as error:
            place = {"endpoint": endpoint, "variant": variant}
            logger.error("MaxConcurrency is counted in each gateway alone %s", fields(**place, error=error))
            return None
        count.mine = 0  # an endpoint of the same name may have had some when it was deleted
        return Bound(count, self._gateways, lambda environment: self._claim(f"{name}/{environment}"))

    def _claim(self, name: str) -> Claim:
        return Claim(self._count(name), self._gateways)

    def _count(self, name: str) -> SharedCount:
        return SharedCount(self._folder / hashlib.sha256(name.encode()).hexdigest()[:32], self._slot)


class Claim:
    """One environment, to which one gateway at a time sends."""

    __slots__ = ("_count", "_gateways")

    def __init__(self, count: SharedCount, gateways: int) -> None:
        self._count = count
        self._gateways = gateways

    def take(self) -> bool:
        """Whether nobody else has it: it is this gateway's then. Of two that try at the same moment both may fail."""
        self._count.mine = 1
        if self._count.all(self._gateways) == 1:
            return True
        self._count.mine = 0
        return False

    def leave(self) -> None:
        """Let others have it."""
        self._count.mine = 0

    def end(self) -> None:
        """The environment is no more."""
        self.leave()
        self._count.remove()


class Bound:
    """One variant's count, asked before a request is taken in and told after each."""

    __slots__ = ("_claim", "_count", "_gateways")

    def __init__(self, count: SharedCount, gateways: int, claim: Callable[[str], Claim]) -> None:
        self._count = count
        self._gateways = gateways
        self._claim = claim

    def claim(self, environment: str) -> Claim:
        """The claim of an environment of this variant, not taken yet. Raises OSError."""
        return self._claim(environment)

    def tell(self, mine: int) -> None:
        """This gateway has so many in hand now."""
        self._count.mine = mine

    def ask(self, mine: int) -> int:
        """How many all have when this one has so many. The caller `tell`s when it does not take the request in."""
        self._count.mine = mine
        return self._count.all(self._gateways)


Bounds = Callable[[str, str], Bound | None]
"""`SharedCounts.of`: by endpoint and variant."""


def alone(endpoint: str, variant: str) -> Bound | None:
    """Bounds of the only gateway: what it has in hand is all that there is."""
    return None


def bounds_of(folder: Path, slot: int, gateways: int) -> Bounds:
    """Those of the gateway of this number among so many. Raises OSError."""
    return SharedCounts(folder, slot, gateways).of if gateways > 1 else alone
