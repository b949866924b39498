"""How much memory this machine has, and how much of it can still be had, within the limits of its control group."""

from __future__ import annotations

import os
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")
_GROUP_LIMITS = (_GROUP / "memory.max", _GROUP / "memory" / "memory.limit_in_bytes")  # versions 2 and 1
_GROUP_USES = (_GROUP / "memory.current", _GROUP / "memory" / "memory.usage_in_bytes")
_GROUP_STATS = (_GROUP / "memory.stat", _GROUP / "memory" / "memory.stat")
_MEMINFO = Path("/proc/meminfo")


def total_memory() -> int:
    """All of it, in bytes."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for path in _GROUP_LIMITS if (limit := _number(path)) is not None)])


def available_memory() -> int:
    """What can be had without swapping, in bytes: file pages that the kernel would give up count."""
    available = _field(_MEMINFO, "MemAvailable:") * 1024
    for limit_path, used_path, stat_path in zip(_GROUP_LIMITS, _GROUP_USES, _GROUP_STATS, strict=True):
        limit, used = _number(limit_path), _number(used_path)
        if limit is not None and used is not None:
            available = min(available, limit - used + _field(stat_path, "inactive_file"))
    return max(0, available)


def _number(path: Path) -> int | None:
    """The file's number; None where there is no such file, or no limit ("max")."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _field(path: Path, name: str) -> int:
    """The number beside a name; 0 where it is not told."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(words[1]) for words in map(str.split, lines) if words[:1] == [name]), 0)
