"""Birth records on disk: `WORKERS_DIR/REPLICA-INDEX.birth`. Written in the new process, removed by the engine."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec

from trimtab.engines.local import processes
from trimtab.engines.local.orders import BirthRecord, decode_record

SUFFIX = ".birth"


def record_path(workers_dir: Path, replica_id: str, index: int) -> Path:
    """Where the record of one process of one replica is."""
    return workers_dir / f"{replica_id}-{index}{SUFFIX}"


def read(path: str | Path) -> BirthRecord | None:
    """The record at `path`; None when there is none or its writer was killed before it was whole."""
    try:
        return decode_record(Path(path).read_bytes())
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def is_alive(record: BirthRecord) -> bool:
    """Whether the process that the record speaks of still runs."""
    return processes.is_alive(record.pid, record.start_ticks)


def age_s(record: BirthRecord) -> float:
    """Seconds since its process was born into it; unlike a difference of wall clocks, not changed by their jumps."""
    born_s = record.born_s or record.start_ticks / os.sysconf("SC_CLK_TCK")  # found by its socket: no record said when
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - born_s)


def claim(path: str) -> int:
    """Open and lock a record for a birth; the lock lives as long as the descriptor, in whichever process.

    Returns the descriptor, or -1 when somebody else is being born there, or lives there.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return -1
    there = read(path)
    if there is not None and is_alive(there):
        os.close(fd)
        return -1
    return fd


def fill(fd: int, record: BirthRecord) -> None:
    """Write `record` with this very process's id and start into a claimed file."""
    pid = os.getpid()
    born_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    own = msgspec.structs.replace(record, pid=pid, start_ticks=processes.start_ticks(pid) or 0, born_s=born_s)
    os.ftruncate(fd, 0)
    os.pwrite(fd, msgspec.msgpack.encode(own), 0)


def forget(path: str | Path) -> None:
    """Remove a record; nothing when it is gone already."""
    Path(path).unlink(missing_ok=True)


def all_records(workers_dir: Path) -> list[tuple[Path, BirthRecord | None]]:
    """Every record file with what it says."""
    return [(path, read(path)) for path in sorted(workers_dir.glob(f"*{SUFFIX}"))]
