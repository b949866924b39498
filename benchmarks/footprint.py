"""Memory of each process of a running trimtab, by what it is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import psutil

from trimtab.testing.server import Trimtab


class Footprint(msgspec.Struct, frozen=True):
    """Of one process, in bytes. Pages shared by n processes count as 1/n in the PSS."""

    pss_bytes: int
    rss_bytes: int


def footprints(trimtab: Trimtab) -> dict[str, Footprint]:
    """Every process that lives, named by its title and pid."""
    supervisor = psutil.Process(trimtab.process.pid)
    found = {}
    for process in [supervisor, *supervisor.children(recursive=True)]:
        try:
            title = " ".join(process.cmdline()) if process != supervisor else "trimtab: supervisor"
            memory = process.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        found[f"{title.removeprefix('trimtab: ')[:34]} ({process.pid})"] = Footprint(memory.pss, memory.rss)
    return found


def drift(before: Mapping[str, Footprint], after: Mapping[str, Footprint]) -> dict[str, float]:
    """Growth of the PSS of each process that is in both, as a share of what it was."""
    return {
        name: after[name].pss_bytes / was.pss_bytes - 1
        for name, was in before.items()
        if name in after and was.pss_bytes
    }
