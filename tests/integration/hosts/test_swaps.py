"""Models that come and go by the hundred: nothing of them stays."""

import os
from contextlib import suppress
from pathlib import Path

from estate import Estate, a_host

from trimtab.testing.waiting import until
from trimtab.wire.hosting import ModelState

SWAPS = 60
ECHO = "def model_fn(d):\n    return None\ndef transform_fn(m, body, content_type, accept):\n    return body, 'text/plain'\n"


def open_files(pid: int) -> tuple[int, int]:
    """How many a process has open: files, pipes and sockets; and what it looks into of other processes."""
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    looks = sum(link.startswith("/proc/") for link in links)
    return len(links) - looks, looks


async def test_swaps_leave_no_process_file_lease_or_log_behind(estate: Estate) -> None:
    for number in range(3):
        estate.model(f"m{number}", ECHO)
    status = await estate.host(await estate.engine(), a_host(cache=False))
    gateway = await estate.gateway(status)
    counts: list[int] = []
    for number in range(SWAPS):
        name = f"m{number % 3}"
        gateway.at.clear()
        await gateway.get(name)
        gateway.use(name, 1)  # not cached: it leaves
        await gateway.leaving(name)
        await until(lambda: len(estate.control.happened("unloaded")) == number + 1)  # noqa: B023 - awaited here
        counts.append(open_files(status.pids[0])[0])
    assert max(counts[10:]) <= max(counts[:10])
    await until(lambda: open_files(status.pids[0])[1] == 0)  # it looks once a second, at any moment of a swap
    assert not estate.workers()
    assert list(estate.paths.models_dir.iterdir()) == []
    assert estate.control.leases.total() == 0
    logs = {path.name for path in Path(estate.paths.logs / "shop" / "main").glob("*.log")}
    assert len(logs) == 4  # the host's, and one of each version of each model
    assert all(at.state is ModelState.LEAVING for at in gateway.at.values())
