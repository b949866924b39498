import os
import random
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.aws.logs.view import LogView
from trimtab.engines.local import gpus, processes
from trimtab.engines.local.failures import exited
from trimtab.engines.local.gpus import Gpu
from trimtab.engines.local.orders import Exited
from trimtab.engines.local.placement import Machine, Placer, this_machine
from trimtab.engines.local.ports import BLOCK, Ports, is_free, safe_range
from trimtab.engines.local.program_log import ProgramLog
from trimtab.engines.local.shapes import GIB, Shape, shape_of, table
from trimtab.engines.local.starting import needs_fresh_interpreter, worker_processes
from trimtab.errors import Invalid, NoCapacity


def cards(count: int) -> tuple[Gpu, ...]:
    return tuple(Gpu(index=i, uuid=f"GPU-{i}{i}{i}{i}-x", name="card", memory_bytes=GIB) for i in range(count))


def a_machine(cpus: int = 4, gib: int = 16, gpu_count: int = 0) -> Machine:
    return Machine(cpus=tuple(range(cpus)), memory_bytes=gib * GIB, gpus=cards(gpu_count))


def a_shape(vcpus: int = 2, gib: int = 8, gpu_count: int = 0) -> Shape:
    return Shape(instance_type="ml.x.large", vcpus=vcpus, memory_bytes=gib * GIB, gpus=gpu_count)


def test_instance_types_have_awss_figures() -> None:
    m5 = shape_of("ml.m5.large")
    assert (m5.vcpus, m5.memory_bytes, m5.gpus) == (2, 8 * GIB, 0)
    g5 = shape_of("ml.g5.12xlarge")
    assert (g5.vcpus, g5.gpus, g5.accelerator) == (48, 4, "A10G")
    assert shape_of("ml.inf2.xlarge").gpus == 0  # not an NVIDIA device
    assert all(shape.vcpus > 0 and shape.memory_bytes > 0 for shape in table().values())


def test_an_unknown_instance_type_is_invalid_and_near_ones_are_named() -> None:
    with pytest.raises(Invalid, match=r"ml\.m5\.large"):
        shape_of("ml.m5.larg")
    with pytest.raises(Invalid, match="Instance types look like"):
        shape_of("")


def test_labels_limit_nothing() -> None:
    placer = Placer(a_machine(cpus=1, gib=1), enforce=False)
    for number in range(50):
        place = placer.place(str(number), a_shape(vcpus=64, gib=1000))
        assert (place.cpus, place.memory_bytes, place.gpus) == ((), 0, ())


def test_gpus_go_to_the_least_used_when_shapes_are_labels() -> None:
    placer = Placer(a_machine(gpu_count=2), enforce=False)
    assert placer.place("a", a_shape(gpu_count=1)).gpus == (0,)
    assert placer.place("b", a_shape(gpu_count=1)).gpus == (1,)
    placer.release("a")
    assert placer.place("c", a_shape(gpu_count=1)).gpus == (0,)
    assert placer.place("d", a_shape(gpu_count=8)).gpus == (0, 1)
    assert placer.place("e", a_shape()).gpus == ()


def test_a_shape_larger_than_the_machine_gets_all_its_cpus() -> None:
    assert Placer(a_machine(cpus=2), enforce=True).place("a", a_shape(vcpus=64)).cpus == (0, 1)


@pytest.mark.parametrize(
    ("second", "word"), [(a_shape(vcpus=4), "vCPUs"), (a_shape(gib=12), "GiB"), (a_shape(gpu_count=2), "GPUs")]
)
def test_an_enforced_machine_refuses_what_does_not_fit(second: Shape, word: str) -> None:
    placer = Placer(a_machine(gpu_count=2), enforce=True)
    placer.place("a", a_shape(gpu_count=1))
    with pytest.raises(NoCapacity, match=word):
        placer.place("b", second)
    placer.release("a")
    placer.place("b", second)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans(), st.integers(1, 4), st.integers(1, 9)), max_size=40))
def test_enforced_places_never_overlap_nor_exceed_the_machine(steps: list[tuple[str, bool, int, int]]) -> None:
    machine = a_machine(cpus=6, gib=20, gpu_count=3)
    placer = Placer(machine, enforce=True)
    places = {}
    for name, arrives, vcpus, gib in steps:
        if not arrives:
            placer.release(name)
            places.pop(name, None)
        elif name not in places:
            try:
                places[name] = placer.place(name, a_shape(vcpus, gib, vcpus % 2))
            except NoCapacity:
                continue
        cpus = [cpu for place in places.values() for cpu in place.cpus]
        devices = [gpu for place in places.values() for gpu in place.gpus]
        assert len(cpus) == len(set(cpus)) <= 6
        assert len(devices) == len(set(devices)) <= 3
        assert sum(place.memory_bytes for place in places.values()) <= machine.memory_bytes


def test_cuda_visible_devices_of_trimtab_itself_is_obeyed() -> None:
    devices = cards(4)
    assert gpus.visible(devices, None) == devices
    assert [d.index for d in gpus.visible(devices, "2,0")] == [2, 0]
    assert [d.index for d in gpus.visible(devices, "GPU-3333,1")] == [3, 1]
    assert [d.index for d in gpus.visible(devices, "1,9,2")] == [1]
    assert [d.index for d in gpus.visible(devices, "1,GPU-1111,2")] == [1]  # no card is given out as two
    assert gpus.visible(devices, "") == ()


def test_a_machine_without_gpus_changes_no_environment() -> None:
    assert gpus.environment((), ()) == {}
    assert gpus.environment((), cards(1))["CUDA_VISIBLE_DEVICES"] == ""
    assert gpus.environment((1, 2), cards(4))["CUDA_VISIBLE_DEVICES"] == "1,2"


def test_this_machine_has_cpus_and_memory() -> None:
    machine = this_machine(())
    assert machine.cpus
    assert machine.memory_bytes > 2**28


def test_ports_are_free_and_given_once() -> None:
    ports = Ports(random.Random(1))
    taken = [ports.take() for _ in range(20)]
    assert len(set(taken)) == 20
    assert all(abs(a - b) >= BLOCK for a in taken for b in taken if a != b)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", taken[0]))
        listener.listen()
        assert not is_free(taken[0])
        ports.give_back(taken[0])
        again = Ports(random.Random(1))
        assert again.take() != taken[0]
    assert safe_range(20000) == f"20001-{20000 + BLOCK - 1}"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "1000"])
def test_a_number_of_workers_that_is_none_is_invalid(text: str) -> None:
    with pytest.raises(Invalid, match="MODEL_SERVER_WORKERS"):
        worker_processes({"MODEL_SERVER_WORKERS": text})


def test_the_number_of_workers_is_one_unless_told() -> None:
    assert worker_processes({}) == 1
    assert worker_processes({"MODEL_SERVER_WORKERS": ""}) == 1
    assert worker_processes({"MODEL_SERVER_WORKERS": "3"}) == 3
    assert worker_processes({"SAGEMAKER_MODEL_SERVER_WORKERS": "2", "MODEL_SERVER_WORKERS": "3"}) == 2


def test_what_is_read_at_the_start_of_a_process_needs_a_new_one() -> None:
    assert needs_fresh_interpreter({"LD_PRELOAD": "libjemalloc.so"})
    assert needs_fresh_interpreter({"OMP_NUM_THREADS": "4"})
    assert not needs_fresh_interpreter({"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", "SAGEMAKER_PROGRAM": "x.py"})


def test_a_log_that_has_grown_too_long_keeps_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"line %06d\n" % number for number in range(10_000)))
    size = log.stat().st_size
    assert processes.trim_log(log, size) == 0
    assert log.stat().st_size == size
    assert processes.trim_log(log, 4000) == size - 1000
    assert log.stat().st_size == 1000
    assert processes.tail(log, 1) == "line 009999"
    processes.trim_log(tmp_path / "none", 10)
    assert processes.tail(tmp_path / "none") == ""


def test_a_programs_log_is_trimmed_and_its_times_go_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = ProgramLog(path, limit_bytes=400)
    log.look()  # nothing is there yet
    path.write_bytes(b"line\n" * 60)
    log.look()
    with path.open("ab") as file:
        file.write(b"line\n" * 60)
    log.look()
    with LogView(path) as view:
        assert (view.first, view.end) == (500, 600)
    path.unlink()
    log.look()
    log.finish()
    log.finish()


def test_old_logs_go_but_none_that_is_in_use(tmp_path: Path) -> None:
    for number in range(6):
        log = tmp_path / f"r{number}-0.log"
        log.write_text("x")
        os.utime(log, (number, number))
    (tmp_path / "r1-0.log.1").write_text("x")
    (tmp_path / "r1-0.log.times").write_text("x")
    processes.prune_logs(tmp_path, 3, lambda name: name == "r0-0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r0-0.log", "r4-0.log", "r5-0.log"]


@pytest.mark.parametrize(
    ("end", "tail", "oom", "reason", "words"),
    [
        (Exited(pid=1, status=3 << 8), "", False, "Exited", "exited with status 3"),
        (Exited(pid=1, status=11), "", False, "Exited", "was killed by SIGSEGV"),
        (Exited(pid=1, status=9), "", True, "OutOfMemory", "more memory"),
        (None, "MemoryError: no more", False, "OutOfMemory", "more memory"),
        (None, "", False, "Exited", "ended"),
    ],
)
def test_an_end_is_told_in_words(end: Exited | None, tail: str, oom: bool, reason: str, words: str) -> None:
    failure = exited("A worker", end, tail, out_of_memory=oom)
    assert failure.reason == reason
    assert words in failure.message
