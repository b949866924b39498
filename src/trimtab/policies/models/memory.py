"""Sizes, and what of a replica's memory is taken, coming back, or spoken for."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
_NO_BOUND = 1 << 62


@dataclass(frozen=True, slots=True)
class Size:
    """Bytes of memory, and of the GPUs' memory."""

    bytes: int = 0
    gpu: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.bytes + other.bytes, self.gpu + other.gpu)

    def __sub__(self, other: Size) -> Size:
        return Size(self.bytes - other.bytes, self.gpu - other.gpu)

    def fits(self, room: Size) -> bool:
        """Into `room`, in both kinds."""
        return self.bytes <= room.bytes and self.gpu <= room.gpu

    @property
    def lack(self) -> Size:
        """What of it is above zero."""
        return Size(max(0, self.bytes), max(0, self.gpu))

    def least(self, other: Size) -> Size:
        """The smaller of each kind."""
        return Size(min(self.bytes, other.bytes), min(self.gpu, other.gpu))

    def most(self, other: Size) -> Size:
        """The larger of each kind."""
        return Size(max(self.bytes, other.bytes), max(self.gpu, other.gpu))

    def __str__(self) -> str:
        gpu = f" and {mib(self.gpu)} of GPU memory" if self.gpu and self.gpu < _NO_BOUND // 2 else ""
        return mib(self.bytes) + gpu


def mib(size_bytes: int) -> str:
    """For people."""
    return f"{size_bytes / MIB:,.1f} MiB"


class Memory:
    """The account. What loads counts with its forecast, what leaves counts until it is gone."""

    def __init__(self, bytes_: int, gpu_bytes: int = 0) -> None:
        self.limit = Size(bytes_, gpu_bytes or _NO_BOUND)
        self.used = Size()
        self.loading = Size()  # part of `used`
        self.leaving = Size()  # part of `used`
        self.available: int | None = None  # what the machine has beyond its margin; None: not known

    def grow(self, size: Size, *, loading: bool = False, leaving: bool = False) -> None:
        """Count so much more; negative sizes take back."""
        self.used += size
        if loading:
            self.loading += size
        if leaving:
            self.leaving += size

    @property
    def free(self) -> Size:
        """What can be loaded now. Of what the machine has, loads on their way have yet to take their part."""
        free = self.limit - self.used
        if self.available is None:
            return free
        return Size(min(free.bytes, self.available - self.loading.bytes), free.gpu)

    @property
    def coming(self) -> Size:
        """What will be free once all that leaves has gone."""
        return self.free + self.leaving

    @property
    def excess(self) -> Size:
        """What must go of that which stays, because models grew, or others on the machine did."""
        over = self.used - self.leaving - self.limit
        if self.available is not None:
            over = Size(max(over.bytes, -self.available - self.leaving.bytes), over.gpu)
        return over.lack
