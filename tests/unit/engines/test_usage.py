"""What replicas take, read from a /proc that the tests write."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.engines.local import proc
from trimtab.engines.local.family import Family
from trimtab.engines.local.proc import CLOCK_TICK_S, PAGE_BYTES
from trimtab.engines.local.usage import FAMILY_EVERY_S, PSS_SHARE, Subject, UsageMeter

MIB = 2**20


class Machine:
    """/proc with the processes that a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cpu_s = 0.0

    def process(
        self,
        pid: int,
        *,
        parent: int = 1,
        cpu_s: float = 0.0,
        reaped_s: float = 0.0,
        resident_mib: float = 10,
        pss_mib: float | None = None,
        ticks: int | None = None,
        state: str = "S",
    ) -> None:
        folder = self.root / str(pid)
        folder.mkdir(parents=True, exist_ok=True)
        own, reaped = round(cpu_s / CLOCK_TICK_S), round(reaped_s / CLOCK_TICK_S)
        fields = [
            state,
            parent,
            *[0] * 9,
            own,
            0,
            reaped,
            0,
            20,
            0,
            1,
            0,
            ticks or pid,
            0,
            int(resident_mib * MIB / PAGE_BYTES),
        ]
        (folder / "stat").write_text(f"{pid} (a (strange) name) {' '.join(map(str, fields))} 0 0\n")
        (folder / "smaps_rollup").unlink(missing_ok=True)
        if pss_mib is not None:
            (folder / "smaps_rollup").write_text(f"0-1 ---p [rollup]\nRss: 1 kB\nPss:   {int(pss_mib * 1024)} kB\n")

    def gone(self, pid: int) -> None:
        shutil.rmtree(self.root / str(pid))

    def meter(self, **options: object) -> UsageMeter:
        options = {"gpus": None, "cores": 4, "cpu_s": lambda: 0.0, **options}
        return UsageMeter(self.root, root=self.root, **options)  # type: ignore[arg-type]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def a_replica(*pids: int, limit_mib: int = 1000, **more: object) -> Subject:
    return Subject(
        replica_id="r",
        endpoint="e",
        variant="v",
        processes=tuple((pid, pid) for pid in pids),
        memory_limit_bytes=limit_mib * MIB,
        **more,  # type: ignore[arg-type]
    )


def test_cpu_is_what_was_used_since_the_reading_before(machine: Machine) -> None:
    machine.process(7, cpu_s=100)
    meter = machine.meter()
    assert meter.measure([a_replica(7)], 10.0)[0].cpu_percent is None  # nobody knows when the 100 s were spent
    machine.process(7, cpu_s=101)
    assert meter.measure([a_replica(7)], 12.0)[0].cpu_percent == pytest.approx(50)
    assert meter.measure([a_replica(7)], 13.0)[0].cpu_percent == 0


def test_all_processes_of_a_replica_count_up_to_all_cores(machine: Machine) -> None:
    for pid in (7, 8):
        machine.process(pid)
    meter = machine.meter(cores=2)
    meter.measure([a_replica(7, 8)], 0.0)
    for pid in (7, 8):
        machine.process(pid, cpu_s=0.75)
    assert meter.measure([a_replica(7, 8)], 1.0)[0].cpu_percent == pytest.approx(150)
    for pid in (7, 8):
        machine.process(pid, cpu_s=1.8)  # more than there can be in a second: the clock is coarse
    assert meter.measure([a_replica(7, 8)], 2.0)[0].cpu_percent == 200


def test_what_a_model_server_has_started_belongs_to_it(machine: Machine) -> None:
    machine.process(7, resident_mib=10)
    machine.process(8, parent=7, resident_mib=20)
    machine.process(9, parent=8, cpu_s=5, resident_mib=30)
    machine.process(10, resident_mib=500)  # somebody else's
    meter = machine.meter()
    assert meter.measure([a_replica(7)], 0.0)[0].memory_bytes == 60 * MIB
    machine.process(9, parent=8, cpu_s=5.5, resident_mib=30)
    assert meter.measure([a_replica(7)], 1.0)[0].cpu_percent == pytest.approx(50)
    machine.process(11, parent=7, resident_mib=40)
    assert meter.measure([a_replica(7)], 2.0)[0].memory_bytes == 60 * MIB  # children are looked for now and then
    assert meter.measure([a_replica(7)], 1.0 + FAMILY_EVERY_S)[0].memory_bytes == 100 * MIB


def test_a_replica_below_another_ones_process_is_its_own(machine: Machine) -> None:
    machine.process(7)
    machine.process(8, parent=7)
    meter = machine.meter()
    inner = Subject(replica_id="i", endpoint="e", variant="v", processes=((8, 8),), memory_limit_bytes=0)
    assert [usage.memory_bytes for usage in meter.measure([a_replica(7), inner], 0.0)] == [10 * MIB, 10 * MIB]


def test_the_past_of_a_child_that_has_ended_is_not_counted_again(machine: Machine) -> None:
    machine.process(7)
    machine.process(8, parent=7, cpu_s=50)
    meter = machine.meter()
    meter.measure([a_replica(7)], 0.0)
    machine.process(8, parent=7, cpu_s=50.5, state="Z", resident_mib=0)  # nobody has waited for it yet
    assert meter.measure([a_replica(7)], 1.0)[0].cpu_percent == pytest.approx(50)
    machine.gone(8)
    machine.process(7, reaped_s=50.75)
    assert meter.measure([a_replica(7)], 2.0)[0].cpu_percent == pytest.approx(25)
    machine.process(7, reaped_s=51.0)  # one that came and went unseen
    assert meter.measure([a_replica(7)], 3.0)[0].cpu_percent == pytest.approx(25)


def test_a_process_id_that_was_used_again_is_somebody_elses(machine: Machine) -> None:
    machine.process(7)
    meter = machine.meter()
    meter.measure([a_replica(7)], 0.0)
    machine.process(7, cpu_s=9, ticks=99)
    [usage] = meter.measure([a_replica(7)], 1.0)
    assert (usage.cpu_percent, usage.memory_bytes, usage.memory_percent) == (None, None, None)


def test_a_replica_whose_processes_are_out_of_sight_has_no_figures(machine: Machine) -> None:
    [usage] = machine.meter().measure([a_replica()], 0.0)
    assert (usage.cpu_percent, usage.memory_bytes, usage.memory_percent, usage.gpu_percent) == (None,) * 4


def test_memory_is_the_proportional_set_size_and_follows_the_resident_one(machine: Machine) -> None:
    machine.process(7, resident_mib=100, pss_mib=40)
    meter = machine.meter(cpu_s=iter(float(n) for n in range(100)).__next__)  # each look costs a whole second
    [usage] = meter.measure([a_replica(7)], 0.0)
    assert usage.memory_bytes == 40 * MIB
    assert usage.memory_percent == pytest.approx(4)
    machine.process(7, resident_mib=130, pss_mib=69)
    assert meter.measure([a_replica(7)], 1.0)[0].memory_bytes == 70 * MIB  # not looked at again so soon
    assert meter.measure([a_replica(7)], 2.0 + 1 / PSS_SHARE)[0].memory_bytes == 69 * MIB


def test_memory_is_the_resident_size_where_the_kernel_does_not_tell_the_proportional_one(machine: Machine) -> None:
    machine.process(7, resident_mib=100)
    assert machine.meter().measure([a_replica(7)], 0.0)[0].memory_bytes == 100 * MIB


def test_costly_readings_are_rationed_and_nobody_is_left_out(machine: Machine) -> None:
    pids = range(100, 150)
    for pid in pids:
        machine.process(pid, resident_mib=100, pss_mib=40)
    spent_s = 0.0

    def cpu_s() -> float:
        nonlocal spent_s
        spent_s += 0.0005  # twice a reading: 1 ms
        return spent_s

    meter = machine.meter(cpu_s=cpu_s)
    replica = a_replica(*pids)
    meter.measure([replica], 0.0)
    at_first_s = spent_s
    for second in range(1, 31):
        [usage] = meter.measure([replica], float(second))
    assert usage.memory_bytes == len(pids) * 40 * MIB
    assert spent_s - at_first_s <= 2 * (30 * PSS_SHARE + 0.002)


def test_disk_is_what_is_used_of_the_data_directorys_file_system(machine: Machine) -> None:
    machine.process(7)
    [usage] = machine.meter().measure([a_replica(7)], 0.0)
    disk = shutil.disk_usage(machine.root)
    assert usage.disk_percent == pytest.approx(100 * disk.used / (disk.used + disk.free), abs=5)


def test_a_data_directory_that_is_gone_has_no_disk_figure(machine: Machine) -> None:
    machine.process(7)
    meter = UsageMeter(machine.root / "gone", None, cores=1, root=machine.root)
    assert meter.measure([a_replica(7)], 0.0)[0].disk_percent is None


class Tree:
    """Processes as a kernel has them: whoever is waited for leaves its past to its parent."""

    def __init__(self) -> None:
        self.stats = {1: proc.Stat(0, 1, 5.0, 3.0, 0)}
        self.spent_s = 0.0
        self.last = 1

    def fork(self, parent: int, known: set[int]) -> None:
        self.last += 1
        self.stats[self.last] = proc.Stat(parent, self.last, 0.0, 0.0, 0)
        known.add(self.last)

    def spend(self, pid: int, seconds: float) -> None:
        old = self.stats[pid]
        self.stats[pid] = proc.Stat(old.parent, pid, old.own_cpu_s + seconds, old.reaped_cpu_s, 0)
        self.spent_s += seconds

    def reap(self, pid: int) -> None:
        if pid == 1 or any(other.parent == pid for other in self.stats.values()):
            return
        gone = self.stats.pop(pid)
        old = self.stats[gone.parent]
        self.stats[gone.parent] = proc.Stat(old.parent, gone.parent, old.own_cpu_s, old.reaped_cpu_s + gone.cpu_s, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["fork", "spend", "reap", "read", "adopt"]), st.integers(0, 9), st.integers(1, 100)),
        max_size=60,
    )
)
def test_cpu_time_is_never_counted_twice(steps: list[tuple[str, int, int]]) -> None:
    tree, family, known = Tree(), Family(1, 1), set[int]()
    counted_s, now_s = 0.0, 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proc, "stat", lambda pid, root: tree.stats.get(pid))
        family.read(now_s, proc.PROC)
        for what, which, amount in [*steps, ("read", 0, 1)]:
            pid = sorted(tree.stats)[which % len(tree.stats)]
            if what == "fork":
                tree.fork(pid, known)
            elif what == "spend":
                tree.spend(pid, amount / 10)
            elif what == "reap":
                tree.reap(pid)
            elif what == "adopt":
                family.adopt(known)
            else:
                now_s += 1
                counted_s += family.read(now_s, proc.PROC) or 0.0
                assert counted_s <= tree.spent_s + 1e-6


def test_a_process_on_its_way_out_is_told_from_one_that_lives(tmp_path: Path) -> None:
    line = "7 (a b) c) {} 1 7 7 0 -1 {} 0 0"
    for pid, state, flags in ((1, "S", 0x400040), (2, "R", 0x400044), (3, "Z", 0x40000C)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(line.format(state, flags))
    assert [proc.is_ending(pid, tmp_path) for pid in (1, 2, 3, 4)] == [False, True, True, True]
