"""What /proc tells of a process's CPU time and memory. Linux's proc(5)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

CLOCK_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")
_PF_EXITING = 0x4  # of the flags in /proc/PID/stat: include/linux/sched.h


class Stat(Struct, frozen=True):
    """One reading of /proc/PID/stat; a zombie's too, which has no memory any more but its CPU time still."""

    parent: int
    start_ticks: int  # with the process id unique until the machine restarts
    own_cpu_s: float
    reaped_cpu_s: float  # of children that have ended and that it has waited for, and of theirs
    resident_bytes: int

    @property
    def cpu_s(self) -> float:
        """All that its parent will have reaped once it has waited for it."""
        return self.own_cpu_s + self.reaped_cpu_s


def stat(pid: int, root: Path = PROC) -> Stat | None:
    """Read a process; None when it is gone."""
    try:
        text = (root / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    after_name = text[text.rindex(b")") + 2 :].split()  # the name may hold spaces and parentheses
    user, system, reaped_user, reaped_system = map(int, after_name[11:15])
    return Stat(
        parent=int(after_name[1]),
        start_ticks=int(after_name[19]),
        own_cpu_s=(user + system) * CLOCK_TICK_S,
        reaped_cpu_s=(reaped_user + reaped_system) * CLOCK_TICK_S,
        resident_bytes=int(after_name[21]) * PAGE_BYTES,
    )


def is_ending(pid: int, root: Path = PROC) -> bool:
    """Whether a process is gone, or on its way out: its sockets close one by one before it is a zombie."""
    try:
        text = (root / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    after_name = text[text.rindex(b")") + 2 :].split()
    return after_name[0] in (b"Z", b"X") or bool(int(after_name[6]) & _PF_EXITING)


def proportional_bytes(pid: int, root: Path = PROC) -> int | None:
    """The proportional set size; None when the process is gone, or the kernel does not tell (not us, or nobody).

    The kernel looks at each of the process's pages for this: about 0.5 ms for every 100 MB.
    """
    try:
        text = (root / str(pid) / "smaps_rollup").read_bytes()
    except OSError:  # gone (ENOENT, ESRCH), somebody else's (EACCES), a kernel before 4.14 (ENOENT)
        return None
    for line in text.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return None


def private_bytes(pid: int, root: Path = PROC) -> int | None:
    """What nobody else has mapped, resident or swapped: what the process's end gives back. None as above; as costly."""
    try:
        text = (root / str(pid) / "smaps_rollup").read_bytes()
    except OSError:
        return None
    counted = (b"Private_Clean:", b"Private_Dirty:", b"Private_Hugetlb:", b"SwapPss:")
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(counted)) * 1024


def above_now_bytes(pid: int, root: Path = PROC) -> int:
    """How much more was resident at the peak since the process began, or since `forget_peak`, than is now."""
    try:
        lines = (root / str(pid) / "status").read_bytes().splitlines()
    except OSError:
        return 0
    sizes = {line[:6]: int(line.split()[1]) * 1024 for line in lines if line.startswith((b"VmHWM:", b"VmRSS:"))}
    return max(0, sizes.get(b"VmHWM:", 0) - sizes.get(b"VmRSS:", 0))


def forget_peak(pid: int, root: Path = PROC) -> bool:
    """Let the peak count from now on (proc(5): clear_refs). False where that cannot be."""
    try:
        (root / str(pid) / "clear_refs").write_bytes(b"5")
    except OSError:
        return False
    return True


def children_by_parent(root: Path = PROC) -> dict[int, list[int]]:
    """Every process of the machine under its parent. About 15 us for each."""
    found: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir(root)):
        if (read := stat(int(name), root)) is not None:
            found.setdefault(read.parent, []).append(int(name))
    return found


def descendants(roots: Collection[int], children: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """Each process below one of `roots` with the nearest of them above it: parents before their children."""
    owner: dict[int, int] = {}
    for root in roots:
        waiting = deque(children.get(root, ()))
        while waiting:
            pid = waiting.popleft()
            if pid not in roots and pid not in owner:
                owner[pid] = root
                waiting.extend(children.get(pid, ()))
    return owner
