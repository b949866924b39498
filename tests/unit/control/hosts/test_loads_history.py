"""What happened to models is kept once, in order, within bounds, whatever is killed."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.control.hosts import loads_file
from trimtab.control.hosts.api import ModelCount
from trimtab.control.hosts.came import Asked, Came, CameRow
from trimtab.control.hosts.history import KEEP_CAME_S, History
from trimtab.errors import Unavailable
from trimtab.metrics.names import SAGEMAKER
from trimtab.metrics.store import MetricKey
from trimtab.testing.model_hosts import HostsWorld, until
from trimtab.wire.hosting import Events, Holding, ModelEvent, ModelState, Noted, Resident
from trimtab.wire.reports import ModelsReport, Report, VariantReport

T0 = 1_700_000_000.0
REPLICA = "uid1-1-0"


def an_event(seq: int, model: str = "a", what: str = "loaded", **more: object) -> ModelEvent:
    return ModelEvent(**{"at_s": T0 + seq, "model": model, "what": what, "seq": seq, **more})


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[History]:
    history = History(tmp_path / "loads.db", ManualClock(T0))
    yield history
    await history.close()


async def seqs(history: History, life: str = "uid1", **more: object) -> list[int]:
    asked = {"model": "", "since_s": 0.0, "last": 1000, **more}
    return [past.event.seq for past in await history.events(life, **asked)]


async def test_what_was_told_comes_back_whole_and_in_order(history: History, tmp_path: Path) -> None:
    told = [
        an_event(1, why="asked", version="v1", bytes=5, wait_s=0.5, download_s=0.1, load_s=0.25),
        an_event(2, "b", "load failed", failure="ArtifactMissing", text="there is none"),
        an_event(3, what="unloaded", why="evicted", unload_s=0.0, requests=12, text="for b"),
    ]
    await history.append(REPLICA, "main", told)
    found = await history.events("uid1", model="", since_s=0.0, last=1000)
    assert [past.event for past in found] == told
    assert {(past.replica_id, past.variant) for past in found} == {(REPLICA, "main")}
    assert stat.S_IMODE((tmp_path / "loads.db").stat().st_mode) == 0o600


async def test_events_are_found_by_model_by_time_and_the_newest_first_to_be_kept(history: History) -> None:
    await history.append(REPLICA, "main", [an_event(n, "ab"[n % 2]) for n in range(1, 9)])
    await history.append("uid2-1-0", "main", [an_event(1)])
    assert await seqs(history) == list(range(1, 9))
    assert await seqs(history, model="b") == [1, 3, 5, 7]
    assert await seqs(history, since_s=T0 + 7) == [7, 8]
    assert await seqs(history, last=2) == [7, 8]
    assert await seqs(history, model="b", last=2) == [5, 7]
    assert await seqs(history, "uid2") == [1]
    assert await seqs(history, "nobody") == []


def a_row(start_s: float, **counts: int) -> CameRow:
    models = {model: Asked(count, (5,)) for model, count in counts.items()}
    return CameRow(variant="main", start_s=int(start_s), span_s=1, models=models)


async def test_which_models_were_asked_is_kept_for_a_day(history: History) -> None:
    rows = [a_row(T0 - KEEP_CAME_S - 1, a=1), a_row(T0 - 2, a=2), a_row(T0 - 1, b=3)]
    await history.add_came([("uid1", row) for row in rows] + [("uid2", a_row(T0, c=4))])
    assert await history.came("uid1", "main", 0, int(T0) + 1, 10) == rows
    assert await history.came("uid1", "main", 0, int(T0) + 1, 2) == rows[:2]
    assert await history.came("uid1", "main", int(T0) - 2, int(T0) - 1, 10) == rows[1:2]
    assert await history.came("uid1", "other", 0, int(T0) + 1, 10) == []
    await history.forget(["uid1"])
    assert await history.came("uid1", "main", 0, int(T0) + 1, 10) == rows[1:]


async def test_of_what_models_were_asked_the_oldest_goes_first(tmp_path: Path) -> None:
    file = loads_file.opened(tmp_path / "loads.db", T0)
    file.add_came([("uid1", a_row(T0 + second, a=1)) for second in range(6)])
    file.forget_came(T0, 4, 2**40)
    assert [row.start_s - T0 for row in file.came("uid1", "main", 0, int(T0) + 9, 10)] == [2, 3, 4, 5]
    file.close()


async def test_what_models_were_asked_takes_no_more_of_the_disk_than_it_may(tmp_path: Path) -> None:
    file = loads_file.opened(tmp_path / "loads.db", T0)
    file.append(REPLICA, "main", [an_event(1)], T0)
    many = {f"a-model-of-a-team/{number:05d}.tar.gz": 1 for number in range(1000)}  # a report of so many has some 40 KB
    for second in range(60):
        file.add_came([("uid1", a_row(T0 + second, **many))])
        file.forget_came(0.0, 1000, 1_000_000)
    kept = [row.start_s - T0 for row in file.came("uid1", "main", 0, int(T0) + 99, 100)]
    assert kept == list(range(int(kept[0]), 60))
    assert len(kept) > 12
    assert (tmp_path / "loads.db").stat().st_size < 1_200_000  # as what is free is used again
    assert len(file.events("uid1", "", 0.0, 10)) == 1
    file.close()


async def test_a_file_from_before_requests_were_kept_keeps_its_loads(tmp_path: Path) -> None:
    path = tmp_path / "loads.db"
    old = loads_file.opened(path, T0)
    old.append(REPLICA, "main", [an_event(1)], T0)
    old.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE came")
    db.close()
    file = loads_file.opened(path, T0)
    file.add_came([("uid1", a_row(T0, a=1))])
    assert len(file.events("uid1", "", 0.0, 10)) == len(file.came("uid1", "main", 0, int(T0) + 1, 10)) == 1
    file.close()


async def test_requests_that_cannot_be_written_are_lost_and_nothing_else(
    history: History, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    came = Came(history, lambda endpoint: "uid1")
    models = ModelsReport(models={"a": (1, 0)})
    report = Report(number=1, start_s=int(T0), variants=[VariantReport(endpoint="e", variant="main", models=models)])

    async def full(rows: object) -> None:
        raise Unavailable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(history, "add_came", full)
        came.take(report)
        await came.close()
    assert "what was asked is not written" in caplog.text
    came.take(report)  # closed
    later = Came(history, lambda endpoint: "uid1")
    later.take(report)
    await later.close()
    assert len(await history.came("uid1", "main", 0, int(T0) + 1, 10)) == 1


async def test_requests_belong_to_the_life_of_the_replicas_that_had_them(history: History) -> None:
    asked: list[str] = []

    def look(endpoint: str) -> str:
        asked.append(endpoint)
        return "looked-up"

    came = Came(history, look)
    models = ModelsReport(models={"a": (1, 0)})
    busy = VariantReport(endpoint="e", variant="main", models=models, busy_s={REPLICA: 0.5})
    waiting = VariantReport(endpoint="e", variant="main", models=models)
    came.take(Report(number=1, start_s=int(T0), variants=[busy, waiting]))
    await came.close()
    assert asked == ["e"]
    for life in ("uid1", "looked-up"):
        assert len(await history.came(life, "main", 0, int(T0) + 1, 10)) == 1


async def test_counters_add_up(history: History) -> None:
    await history.append(
        REPLICA,
        "main",
        [
            an_event(1, download_s=0.5, load_s=0.25),
            an_event(2, what="unloaded", why="evicted", requests=10),
            an_event(3, load_s=0.25),
            an_event(4, what="crashed", requests=3),
            an_event(5, what="load failed", load_s=1.0),
            an_event(6, "b", "refused"),
            an_event(7, what="unloaded", why="expired"),
            an_event(8, what="changed"),
        ],
    )
    await history.append("uid1-1-1", "main", [an_event(1, load_s=0.5)])
    assert list(await history.counts("uid1")) == [
        ModelCount(
            model="a", loads=3, failures=1, evictions=1, unloads=2, crashes=1, requests=13, load_s=2.5,
            last_why="expired",
        ),
        ModelCount(model="b"),
    ]  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["u-1-0", "u-1-1"]), st.integers(1, 30), st.integers(1, 10)), max_size=15))
def test_what_is_told_again_counts_once(told: list[tuple[str, int, int]]) -> None:
    """A host repeats from any number on, and goes on from there: what is kept is each of its events, once."""

    async def tell(path: Path) -> None:
        history = History(path, ManualClock(T0))
        last = {"u-1-0": 0, "u-1-1": 0}
        for replica, first, count in told:
            start = min(first, last[replica] + 1)
            await history.append(replica, "main", [an_event(n) for n in range(start, start + count)])
            last[replica] = max(last[replica], start + count - 1)
        found = await history.events("u", model="", since_s=0.0, last=10_000)
        for replica, newest in last.items():
            assert [past.event.seq for past in found if past.replica_id == replica] == list(range(1, newest + 1))
        assert sum(count.loads for count in await history.counts("u")) == sum(last.values())
        await history.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(tell(Path(folder) / "loads.db"))


async def test_old_events_and_too_many_are_forgotten_and_counters_of_living_endpoints_stay(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    history = History(tmp_path / "loads.db", clock, keep_s=100.0, most_events=5)
    await history.append("uid1-1-0", "main", [an_event(n) for n in range(1, 9)])
    await history.append("uid2-1-0", "main", [an_event(1)])
    await history.forget(["uid1"])
    assert await seqs(history) == [5, 6, 7, 8]
    clock.advance(107.0)
    await history.forget(["uid1"])
    assert await seqs(history) == [7, 8]
    assert await seqs(history, "uid2") == []
    assert [count.loads for count in await history.counts("uid1")] == [8]
    assert list(await history.counts("uid2")) == []
    await history.close()


async def test_counters_are_bounded_and_the_quietest_go_first(tmp_path: Path) -> None:
    history = History(tmp_path / "loads.db", ManualClock(T0), most_counts=2)
    await history.append(REPLICA, "main", [an_event(1, "a"), an_event(2, "b"), an_event(3, "c"), an_event(4, "a")])
    await history.forget(["uid1"])
    assert [count.model for count in await history.counts("uid1")] == ["a", "c"]
    await history.close()


async def test_a_damaged_file_is_set_aside_and_history_goes_on(history: History, tmp_path: Path) -> None:
    path = tmp_path / "loads.db"
    path.write_bytes(b"this is no database, it only looks like a file" * 100)
    await history.append(REPLICA, "main", [an_event(1)])
    assert await seqs(history) == [1]
    assert list(tmp_path.glob("loads.db.damaged-*"))


async def test_a_file_of_another_format_is_set_aside(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "loads.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    history = History(tmp_path / "loads.db", ManualClock(T0))
    await history.append(REPLICA, "main", [an_event(1)])
    assert await seqs(history) == [1]
    assert list(tmp_path.glob("loads.db.damaged-*"))
    await history.close()


async def test_a_file_that_was_deleted_is_made_anew(history: History, tmp_path: Path) -> None:
    await history.append(REPLICA, "main", [an_event(1)])
    for file in tmp_path.glob("loads.db*"):
        file.unlink()
    await history.append(REPLICA, "main", [an_event(1), an_event(2)])
    assert await seqs(history) == [1, 2]


async def test_a_file_that_cannot_be_used_says_so_and_passes(history: History, tmp_path: Path) -> None:
    await history.append(REPLICA, "main", [an_event(1)])
    holder = sqlite3.connect(tmp_path / "loads.db", isolation_level=None)
    assert history._file is not None
    history._file._db.execute("PRAGMA busy_timeout=1")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="cannot be used now"):
        await history.append(REPLICA, "main", [an_event(2)])
    holder.execute("ROLLBACK")
    holder.close()
    await history.append(REPLICA, "main", [an_event(2)])
    assert await seqs(history) == [1, 2]


WRITER = """
import sys
from pathlib import Path
from trimtab.control.hosts import loads_file
from trimtab.wire.hosting import ModelEvent
file = loads_file.opened(Path(sys.argv[1]), 0.0)
for n in range(1, 1_000_000):
    file.append("u-1-0", "main", [ModelEvent(at_s=n, model="a", what="loaded", seq=n)], n)
    print(n, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged_and_counts_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "loads.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    while int(writer.stdout.readline()) < 20:
        pass
    os.kill(writer.pid, signal.SIGKILL)
    last = int(("20\n" + writer.stdout.read()).split()[-1])
    writer.wait()
    writer.stdout.close()
    file = loads_file.opened(path, 0.0)
    file.append("u-1-0", "main", [an_event(n) for n in range(1, last + 10)], T0)
    assert [past.event.seq for past in file.events("u", "", 0.0, 10_000_000)] == list(range(1, last + 10))
    assert file.counts("u")[0].loads == last + 9
    file.close()


# --- from hosts ------------------------------------------------------------------------------------------------------


async def test_a_host_hears_that_its_events_are_kept_once_history_and_metrics_have_them(world: HostsWorld) -> None:
    world.endpoint()
    host = await world.host()
    host.say(Events(events=(an_event(1, load_s=0.25), an_event(2, what="unloaded", why="evicted"))))
    assert (await host.hears(Noted)).seq == 2
    assert [past.event.seq for past in await world.models.events("fraud")] == [1, 2]
    key = MetricKey(SAGEMAKER, "ModelLoadingTime", (("EndpointName", "fraud"), ("VariantName", "main")))
    (point,) = world.metrics.query(key, int(T0), int(T0) + 60, 60)
    assert (point.sketch.count, point.sketch.sum) == (1.0, 250_000.0)


async def test_events_that_are_told_again_to_a_new_control_count_once(world: HostsWorld) -> None:
    world.endpoint()
    host = await world.host()
    told = Events(events=tuple(an_event(n, load_s=1.0) for n in range(1, 4)))
    host.say(told)
    assert (await host.hears(Noted)).seq == 3
    await world.restart()
    back = await world.host()
    back.say(Events(events=(*told.events, an_event(4, load_s=1.0))))
    assert (await back.hears(Noted)).seq == 4
    (count,) = await world.models.counts("fraud")
    assert (count.loads, count.load_s) == (4, 4.0)
    key = MetricKey(SAGEMAKER, "ModelLoadingTime", (("EndpointName", "fraud"), ("VariantName", "main")))
    assert sum(point.sketch.count for point in world.metrics.query(key, int(T0), int(T0) + 60, 60)) == 4


async def test_events_wait_in_order_while_the_file_cannot_be_written(world: HostsWorld) -> None:
    world.endpoint()
    host = await world.host()
    append, fails, tried = world.history.append, True, 0

    async def refused(*args: object) -> None:
        nonlocal tried
        tried += 1
        if fails:
            raise Unavailable("the disk is full")
        await append(*args)  # type: ignore[arg-type]

    world.history.append = refused  # type: ignore[method-assign, assignment]
    world.models._noting._again_s = 0.01
    host.say(Events(events=(an_event(1),)))
    await until(lambda: tried > 1)
    host.say(Events(events=(an_event(2),)))
    await until(lambda: tried > 3)
    assert not any(isinstance(heard, Noted) for heard in host.heard)
    fails = False
    assert (await host.hears(Noted)).seq == 2
    assert [past.event.seq for past in await world.models.events("fraud")] == [1, 2]


async def test_what_hosts_hold_is_listed_while_they_are_there_and_their_requests_count(world: HostsWorld) -> None:
    world.endpoint()
    world.endpoint("other", "uid2")
    host = await world.host()
    await world.host("uid2-1-0", endpoint="other")
    residents = tuple(
        Resident(model=model, version="v", state=ModelState.READY, bytes=10, requests=7) for model in ("a", "b")
    )
    host.say(
        Events(events=(an_event(1), an_event(2, what="unloaded", requests=5))),
        Holding(residents=residents, memory_bytes=100, used_bytes=20, hits=3, misses=1),
    )
    await host.hears(Noted)
    await until(lambda: world.models.hosts("fraud")[0].residents)
    (view,) = world.models.hosts("FRAUD")
    assert (view.replica_id, view.variant, view.memory_bytes, view.used_bytes) == ("uid1-1-0", "main", 100, 20)
    assert (view.hits, view.misses, view.residents) == (3, 1, residents)
    assert [(count.model, count.requests) for count in await world.models.counts("fraud")] == [("a", 12), ("b", 7)]
    await host.leave()
    await until(lambda: not world.models.hosts("fraud"))
    assert [(count.model, count.requests) for count in await world.models.counts("fraud")] == [("a", 5)]


async def test_replicas_that_have_ended_are_forgotten(world: HostsWorld) -> None:
    world.endpoint()
    alive, dead = world.replica(0), world.replica(1)
    for replica_id in (alive, dead):
        host = await world.host(replica_id)
        host.say(Events(events=(an_event(1),)))
        await host.hears(Noted)
        await host.leave()
    await until(lambda: not world.models._holdings)
    world.engine.vanish(dead)
    await world.models.tidy()
    assert set(world.metrics.notes("models/")) == {f"models/{alive}"}
