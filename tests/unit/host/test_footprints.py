"""Footprints of processes that are files in a folder."""

from pathlib import Path

from trimtab.engines.local.proc import PAGE_BYTES
from trimtab.host.footprints import Footprints
from trimtab.host.runner import Footprint

KIB = 1024


class Machine:
    """A /proc, and a clock of the thread that advances when a process is read."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now_s = 0.0
        self.cost_s = 0.0

    def process(self, pid: int, private_kib: int, *, parent: int = 1, above_kib: int = 0) -> None:
        folder = self.root / str(pid)
        (folder / "task" / str(pid)).mkdir(parents=True, exist_ok=True)
        (folder / "smaps_rollup").write_text(
            f"Rss: 999999 kB\nShared_Clean: 77 kB\nPrivate_Clean: 0 kB\nPrivate_Dirty: {private_kib} kB\n"
        )
        (folder / "status").write_text(f"VmHWM: {private_kib + above_kib} kB\nVmRSS: {private_kib} kB\n")
        (folder / "clear_refs").write_text("")
        (folder / "stat").write_text(f"{pid} (worker) S {parent} " + " ".join(["0"] * 48))
        (folder / "task" / str(pid) / "children").write_text("")
        if (self.root / str(parent)).exists():
            (self.root / str(parent) / "task" / str(parent) / "children").write_text(str(pid))

    def cpu_s(self) -> float:
        self.cost_s += 0.01
        return self.cost_s

    def footprints(self) -> Footprints:
        return Footprints(root=self.root, cpu_s=self.cpu_s, now_s=lambda: self.now_s)


async def test_what_is_shared_is_nobodys_and_what_was_started_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.process(10, 500)
    machine.process(11, 300, parent=10)
    footprints = machine.footprints()
    assert await footprints.of(10) == Footprint(800 * KIB, 0, 800 * KIB)
    assert await footprints.of(12) is None
    await footprints.close()


async def test_of_somebody_elses_process_all_that_is_resident_counts(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.process(10, 1)
    (tmp_path / "10" / "smaps_rollup").unlink()
    fields = ["S", "1", *["0"] * 19, "25"]
    (tmp_path / "10" / "stat").write_text(f"10 (java) {' '.join(fields)} {' '.join(['0'] * 30)}")
    footprints = machine.footprints()
    assert await footprints.of(10) == Footprint(25 * PAGE_BYTES, 0, 25 * PAGE_BYTES)
    await footprints.close()


async def test_the_peak_counts_from_when_the_model_was_loaded(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.process(10, 500, above_kib=900)  # of the load
    footprints = machine.footprints()
    assert (await footprints.of(10) or Footprint(0)).peak_bytes == 500 * KIB
    assert (tmp_path / "10" / "clear_refs").read_text() == "5"
    machine.process(10, 500, above_kib=200)
    assert (await footprints.some([10]))[10].peak_bytes == 700 * KIB
    await footprints.close()


async def test_readings_get_their_share_of_a_core_and_the_oldest_come_first(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for pid in range(10, 20):
        machine.process(pid, pid)
    footprints = machine.footprints()
    seen: list[int] = []
    for _ in range(4):
        found = await footprints.some(range(10, 20))
        assert len(found) <= 6  # what was saved up, at 10 ms each, and the one that is over it
        seen += found
        machine.now_s += 3.0  # worth three readings
    assert sorted(seen[:10]) == list(range(10, 20))
    await footprints.close()


async def test_a_process_that_has_gone_is_left_out_and_forgotten(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.process(10, 5)
    footprints = machine.footprints()
    assert set(await footprints.some([10, 11])) == {10}
    assert set(await footprints.some([])) == set()
    await footprints.close()
