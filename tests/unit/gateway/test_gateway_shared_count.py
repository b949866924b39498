"""MaxConcurrency over several gateways: one bound, known to each of them without a call or a lock."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_gateway_serverless import route_of

from trimtab.errors import QueueFull, ReplicaLost
from trimtab.gateway.gateway import Gateway
from trimtab.gateway.shared_count import SharedCounts

TAKES_ALL = """
import sys, time
from pathlib import Path
from trimtab.gateway.shared_count import SharedCounts

folder, slot, most, rounds, killed = sys.argv[1:]
bound = SharedCounts(Path(folder), int(slot), 4).of("e", "v")
print("ready", flush=True)
sys.stdin.readline()
held = taken = 0
for number in range(int(rounds)):
    if held and number % 3 == 0:
        held -= 1
        bound.tell(held)
    elif (there := bound.ask(held + 1)) > int(most):
        bound.tell(held)
    else:
        held += 1
        taken += 1
        (Path(folder).parent / f"held-{slot}").write_text(str(held)) if killed == "1" else None
if killed == "1":
    print("held", held, flush=True)
    time.sleep(600)
bound.tell(0)
print(taken, flush=True)
"""


@pytest.fixture
def shared(bench, tmp_path):
    """The bench's gateway as the first of two, and the counts of the second."""
    first, second = (SharedCounts(tmp_path / "in-hand", slot, 2) for slot in (0, 1))
    bench.gateway._bounds = first.of
    return second


async def test_what_another_gateway_has_in_hand_counts(bench, shared):
    worker = await bench.worker()
    other = shared.of("e", "v")
    await bench.gateway.apply(bench.table(route_of(worker, most=2)))
    other.tell(1)
    first, second = bench.ask(), bench.ask()
    error = await second.outcome()
    assert isinstance(error, QueueFull)
    assert other.ask(1) == 2
    other.tell(0)
    third = bench.ask()
    await worker.until(lambda: len(worker.got) == 1)
    worker.got[0].answer(b"1")
    await first.outcome()
    await worker.until(lambda: len(worker.got) == 2)
    worker.got[1].answer(b"2")
    await third.outcome()
    assert other.ask(0) == 0
    assert bench.gateway.endpoints["e"].variants[0].meter.throttled == 1


async def test_calls_that_are_cancelled_fail_or_move_count_no_more(bench, shared):
    worker = await bench.worker()
    other = shared.of("e", "v")
    await bench.gateway.apply(bench.table(route_of(worker, most=3)))
    first, second = bench.ask(), bench.ask()
    assert other.ask(0) == 2
    second.cancel()
    assert other.ask(0) == 1
    await worker.until(lambda: len(worker.got) == 1)
    worker.got[0].fail(500, b"no")
    await first.outcome()
    assert other.ask(0) == 0


@pytest.fixture
async def both(bench, shared):
    """The bench's gateway and a second one, with the same tables."""
    second = Gateway(bounds=shared.of)

    async def apply(*workers, most=3):
        table = bench.table(route_of(*workers, most=most))
        await bench.gateway.apply(table)
        await second.apply(table)
        return second

    yield apply
    await second.close()


def asked_of(gateway, kind, body=b"x"):
    call = kind("e", body)
    gateway.submit(call)
    return call


async def test_an_environment_has_one_request_of_all_gateways(bench, both, asked_whole):
    worker = await bench.worker()
    second = await both(worker)
    first_call, second_call = bench.ask(b"1"), asked_of(second, asked_whole, b"2")
    await worker.until(lambda: len(worker.got) == 1)
    other = await bench.worker(lambda got: got.answer(b"from another"))
    await both(worker, other)
    assert await second_call.outcome() == b"from another"
    assert len(worker.got) == 1
    worker.got[0].answer(b"done")
    assert await first_call.outcome() == b"done"


async def test_what_waits_gets_an_environment_that_another_gateway_has_let_go_of(bench, both, asked_whole):
    worker = await bench.worker()
    second = await both(worker)
    for number in range(20):
        calls = [bench.ask(b"1"), asked_of(second, asked_whole, b"2")]
        for _ in calls:
            await worker.until(lambda: len(worker.got) == 1)
            got = worker.got.pop()
            assert not worker.got, number
            got.answer(b"done")
        assert [await call.outcome() for call in calls] == [b"done"] * 2


@pytest.mark.parametrize("end", ["cancelled", "lost"])
async def test_an_environment_is_let_go_of_however_a_request_ends(bench, both, asked_whole, end):
    worker = await bench.worker()
    second = await both(worker)
    call = bench.ask(b"1")
    await worker.until(lambda: len(worker.got) == 1)
    if end == "cancelled":
        call.cancel()
        bench.gateway.endpoints["e"].variants[0].sweep(bench.gateway._now_s() + 60.0)
    else:
        await worker.die()
        assert isinstance(await call.outcome(), ReplicaLost)
        await worker.start()
    waits = asked_of(second, asked_whole, b"2")
    await worker.until(lambda: worker.got and worker.got[-1].body == b"2")
    worker.got[-1].answer(b"done")
    assert await waits.outcome() == b"done"


async def test_files_of_environments_that_are_no_more_are_removed(bench, both, asked_whole, tmp_path):
    workers = [await bench.worker(lambda got: got.answer(got.body)) for _ in range(3)]
    second = await both(*workers)
    for _ in range(20):
        await bench.ask().outcome()
        await asked_of(second, asked_whole).outcome()
    assert len(list((tmp_path / "in-hand").iterdir())) > 1
    await both()
    assert len(list((tmp_path / "in-hand").iterdir())) == 1  # the variant's own


async def test_an_environment_that_is_back_is_shared_although_gateways_hear_of_it_one_after_the_other(
    bench, shared, asked_whole
):
    worker = await bench.worker()
    second = Gateway(bounds=shared.of)
    there, gone = [bench.table(route_of(*workers, most=3)) for workers in ((worker,), ())]
    back = bench.table(route_of(worker, most=3))
    for gateway in (bench.gateway, second):
        await gateway.apply(there)
        call = asked_of(gateway, asked_whole)
        await worker.until(lambda: len(worker.got) == 1)
        worker.got.pop().answer(b"done")
        await call.outcome()
    for table in (gone, back):
        await bench.gateway.apply(table)
    first_call = bench.ask(b"1")
    await worker.until(lambda: len(worker.got) == 1)
    for table in (gone, back):
        await second.apply(table)
    second_call = asked_of(second, asked_whole, b"2")
    worker.got[0].answer(b"done")  # had the second not waited, it would have been there before
    assert await first_call.outcome() == b"done"
    await worker.until(lambda: len(worker.got) == 2)
    (claim,) = second.endpoints["e"].variants[0]._claims.values()
    (other,) = bench.gateway.endpoints["e"].variants[0]._claims.values()
    assert claim._count.all(2) == 1
    assert not other.take()
    worker.got[1].answer(b"done")
    assert await second_call.outcome() == b"done"
    await second.close()


def test_a_gateway_that_was_killed_holds_nothing_once_it_is_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "in-hand"
    mine = SharedCounts(folder, 0, 4).of("e", "v")
    assert mine is not None
    process = started(folder, 1, most=5, rounds=30, killed=True)
    go(process)
    assert process.stdout is not None
    held = int(process.stdout.readline().split()[1])
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert mine.ask(0) == held > 0
    SharedCounts(folder, 1, 4)
    assert mine.ask(0) == 0


def test_processes_that_take_in_at_once_have_no_more_than_the_bound_in_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "in-hand"
    watching = SharedCounts(folder, 3, 4).of("e", "v")
    assert watching is not None
    processes = [started(folder, slot, most=4, rounds=20_000) for slot in range(3)]
    for process in processes:
        go(process)
    taken = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert any(taken)  # one alone may have had it all while the others came
    assert watching.ask(0) == 0


def test_a_number_that_there_is_no_slot_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="gateways"):
        SharedCounts(tmp_path, 2, 2)


def test_without_a_file_each_gateway_counts_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = SharedCounts(tmp_path / "in-hand", 0, 2)
    (tmp_path / "in-hand").rmdir()
    assert counts.of("e", "v") is None
    assert "in each gateway alone" in caplog.text


def started(folder: Path, slot: int, *, most: int, rounds: int, killed: bool = False) -> subprocess.Popen[str]:
    """A process that takes in and lets go as fast as it can, once told to."""
    arguments = map(str, (folder, slot, most, rounds, int(killed)))
    process = subprocess.Popen(
        [sys.executable, "-c", TAKES_ALL, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    """Tell it."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.close()
    process.stdin = None
