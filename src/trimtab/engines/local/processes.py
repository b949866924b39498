"""Facts about processes of this machine, safe against the reuse of process ids."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

from trimtab.wire.log_times import previous_path, times_path

TAIL_LINES = 30
TAIL_BYTES = 8192


def start_ticks(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None when there is none, or only its zombie.

    A process id together with its start is unique until the machine restarts.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    after_name = stat[stat.rindex(b")") + 2 :].split()  # the name may hold spaces and parentheses
    return None if after_name[0] in (b"Z", b"X") else int(after_name[19])


def is_alive(pid: int, ticks: int) -> bool:
    """Whether the process that had id `pid` and started at `ticks` still runs."""
    return pid > 0 and start_ticks(pid) == ticks


def resident_bytes(pid: int) -> int:
    """Resident memory of `pid` that it does not share with a file, in bytes; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def oom_kills() -> int:
    """How many processes the kernel has killed for memory since boot, in all groups; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0


def signal_group(pid: int, ticks: int, number: signal.Signals) -> None:
    """Signal the process group that `pid` leads; nothing when the group is gone.

    While the leader lives or is a zombie its id cannot be reused. Later the group's id stays taken for as long as
    it has members; an id whose start differs is somebody else's and is left alone.
    """
    now = start_ticks(pid)
    if now is not None and now != ticks:
        return
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def tail(path: str | Path, lines: int = TAIL_LINES) -> str:
    """The last `lines` lines of a log, at most TAIL_BYTES; "" when there is no such file."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def trim_log(path: str | Path, limit_bytes: int) -> int:
    """Keep the last quarter of a log that has grown over `limit_bytes`. Returns how many bytes are gone.

    For programs that hold their log open themselves (in append mode): renaming it would change nothing for them.
    What they write during the copy may be lost.
    """
    try:
        if os.stat(path).st_size <= limit_bytes:
            return 0
        with open(path, "r+b", buffering=0) as file:
            cut = file.seek(-(limit_bytes // 4), os.SEEK_END)
            kept = file.read()
            file.truncate(0)
        with open(path, "ab") as file:
            file.write(kept)
    except FileNotFoundError:
        return 0
    return cut


def prune_logs(folder: Path, keep: int, is_in_use: Callable[[str], bool]) -> None:
    """Remove the oldest logs of a folder until `keep` are left, but none whose stem `is_in_use`."""
    logs = list(folder.glob("*.log"))
    if len(logs) <= keep:
        return
    idle = sorted((log for log in logs if not is_in_use(log.stem)), key=lambda log: log.stat().st_mtime)
    for log in idle[: len(logs) - keep]:
        log.unlink(missing_ok=True)
        previous_path(log).unlink(missing_ok=True)  # a worker's log has one predecessor
        times_path(log).unlink(missing_ok=True)


class DeathWatch:
    """Calls `on_death` once, from the event loop, when a process ends; children and strangers alike (pidfd)."""

    def __init__(self, pid: int, ticks: int, on_death: Callable[[], None]) -> None:
        """Watch `pid`, if it is still the process that started at `ticks`."""
        self._loop = asyncio.get_running_loop()
        self._on_death = on_death
        self._fd = -1
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._loop.call_soon(on_death)
            return
        if not is_alive(pid, ticks):
            self.close()
            self._loop.call_soon(on_death)
            return
        self._loop.add_reader(self._fd, self._died)

    def _died(self) -> None:
        self.close()
        self._on_death()

    def close(self) -> None:
        """Stop watching."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
