"""The metrics file: what it survives, and that it stays bounded."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trimtab.clock import ManualClock
from trimtab.errors import LimitExceeded, Unavailable
from trimtab.metrics.database import connect
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey, Sample
from trimtab.testing.metric_store import COUNT, LATENCY, NOW_S, a_sample

DAY_S = 86_400


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.db"


def opened(path: Path, clock: ManualClock, **more: int) -> SqliteMetricStore:
    return SqliteMetricStore(path, clock, commit_every_s=0, **more)


def total(store: SqliteMetricStore, key: MetricKey = LATENCY, period_s: int = 3600) -> float:
    return sum(point.sketch.count for point in store.query(key, 0, 2 * NOW_S, period_s))


def live(store: SqliteMetricStore, clock: ManualClock, seconds: int, *, every_s: int = 1, values: int = 1) -> None:
    """Let time pass with a sample in each of its steps."""
    for _ in range(0, seconds, every_s):
        store.record([a_sample(*range(1, values + 1), at_s=int(clock.now_s()))])
        clock.advance(every_s)
        store.step()


WRITER = """
import sys, time
from pathlib import Path
from trimtab.clock import SystemClock
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.testing.metric_store import a_sample
store = SqliteMetricStore(Path(sys.argv[1]), SystemClock(), commit_every_s=0.02)
n, began = 0, int(sys.argv[2])
while True:
    n += 1
    store.record([a_sample(1.0, at_s=began + n // 7)], notes={"n": str(n).encode()}, durable=n % 50 == 0)
    if n % 50 == 0:
        print(n, flush=True)
    time.sleep(0.001)
"""


def test_killed_at_any_moment_nothing_durable_is_lost_and_notes_agree_with_samples(path: Path) -> None:
    for lines in (1, 3, 2):
        command = [sys.executable, "-c", WRITER, str(path), str(int(time.time()))]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        durable = [int(writer.stdout.readline()) for _ in range(lines)][-1]
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.stdout.close()
        writer.wait()
        durable = int(rest[-1]) if rest else durable
        store = opened(path, ManualClock(time.time()))
        found = total(store)
        noted = int(store.notes("n")["n"])
        store.close()
        assert found == noted >= durable
        path.unlink()


def test_a_damaged_file_is_set_aside_and_metrics_begin_anew(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(b"this is no database" * 1000)
    store = opened(path, clock)
    store.record([a_sample(1)])
    store.step()
    assert total(store) == 1
    store.close()
    assert "set aside" in caplog.text
    (kept,) = path.parent.glob("metrics.db.damaged-*")
    assert kept.read_bytes().startswith(b"this is no database")


def test_a_file_of_a_later_format_is_set_aside(path: Path, clock: ManualClock) -> None:
    opened(path, clock).close()
    db = connect(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    store = opened(path, clock)
    assert total(store) == 0
    store.close()
    assert len(list(path.parent.glob("metrics.db.damaged-*"))) == 1


def test_damage_that_shows_later_costs_history_and_nothing_else(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(path, clock)
    live(store, clock, 200, values=50)
    store.close()
    with path.open("r+b") as file:  # every page but the first
        size = path.stat().st_size
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    store = opened(path, clock)
    for _ in range(3):
        store.record([a_sample(1, at_s=int(clock.now_s()))])
        total(store)
        clock.advance(1)
        store.step()
    store.record([a_sample(1, at_s=int(clock.now_s()))])
    assert total(store) >= 1
    assert set(store.keys()) == {LATENCY}
    store.close()
    again = opened(path, clock)
    assert total(again) >= 1
    again.close()
    assert "set aside" in caplog.text


def test_a_file_that_cannot_be_written_costs_nothing_once_it_can(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock)
    other = connect(path)
    other.execute("PRAGMA busy_timeout=0")
    store._writer.execute("PRAGMA busy_timeout=0")
    other.execute("BEGIN IMMEDIATE")  # somebody else writes, and does not end
    told: list[int] = []
    store.record([a_sample(1)], notes={"a": b"1"}, committed=lambda: told.append(1))
    store.step()
    with pytest.raises(Unavailable):
        store.record([a_sample(2)], durable=True)
    assert (total(store), told, store.notes()) == (1, [], {"a": b"1"})
    other.execute("ROLLBACK")
    other.close()
    store.step()
    assert (total(store), told) == (1, [1])
    store.close()


def test_points_are_kept_as_long_as_aws_keeps_them(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock)
    live(store, clock, 600)

    def starts(period_s: int) -> list[int]:
        return [point.start_s for point in store.query(LATENCY, NOW_S - DAY_S, NOW_S + DAY_S, period_s)]

    assert len(starts(1)) == 600
    for age_s, period_s in ((4 * 3600, 60), (16 * DAY_S, 300), (64 * DAY_S, 3600)):
        clock.advance(NOW_S + age_s - clock.now_s())
        for _ in range(400):  # the clock's leap is believed after an hour
            clock.advance(10)
            store.step()
        assert {start % period_s for start in starts(1)} == {0}
        assert len(starts(1)) == len(starts(period_s))
        assert total(store) == 600
    clock.advance(456 * DAY_S)
    for _ in range(400):
        clock.advance(10)
        store.step()
    assert total(store) == 0
    assert list(store.keys()) == []
    store.close()
    db = connect(path)
    assert db.execute("SELECT count(*) FROM series").fetchone() == (0,)
    db.close()


def test_a_clock_that_leaps_and_comes_back_loses_nothing(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock)
    live(store, clock, 120)
    for leap_s in (400 * DAY_S, -NOW_S + 1000):
        here_s = clock.now_s()
        clock.set_wall(here_s + leap_s)
        live(store, clock, 120)
        clock.set_wall(here_s + 120)
        live(store, clock, 120)
    live(store, clock, 1200, every_s=10)
    assert total(store) == 600 + 120
    assert len(store.query(LATENCY, NOW_S, NOW_S + 120, 1)) == 120
    store.close()
    again = opened(path, clock)
    assert total(again) == 720
    again.close()


def test_an_idle_series_costs_a_row_a_day(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock)
    zero = Sketch.of([0.0])
    for _ in range(1500):
        store.record([Sample(COUNT, int(clock.now_s()), zero, "None", 60)])
        clock.advance(60)
        store.step()
    assert len(store.query(COUNT, NOW_S - 60, NOW_S + 2 * DAY_S, 60)) == 1500
    store.close()
    db = connect(path)
    rows = sum(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("direct_60", "points_300"))
    db.close()
    assert rows <= 4


def test_a_point_within_a_run_can_get_more(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock)
    for minute in range(5):
        store.record([Sample(COUNT, NOW_S - 40 + 60 * minute, Sketch.of([0.0]), "None", 60)])
    store.step()
    store.record([Sample(COUNT, NOW_S - 40 + 60 * 2, Sketch.of([7.0]), "None", 60)])
    store.step()
    found = store.query(COUNT, NOW_S - 40, NOW_S + 600, 60)
    assert [point.sketch.sum for point in found] == [0, 0, 7, 0, 0]
    assert [point.sketch.count for point in found] == [1, 1, 2, 1, 1]
    store.close()


def test_a_full_file_keeps_fine_points_for_a_shorter_time(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = opened(path, clock, max_bytes=200_000)
    live(store, clock, 9000, every_s=5, values=40)
    assert path.stat().st_size < 600_000
    assert "file is full" in caplog.text
    assert total(store) == 1800 * 40  # coarser points have them all
    store.close()


def test_too_many_series_are_refused_until_the_stalest_are_forgotten(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock, max_series=20)
    for n in range(30):
        store.record([a_sample(1, key=MetricKey("Custom", f"m{n:02}"), at_s=NOW_S + n)])
    assert len(list(store.keys())) == 20
    store.step()
    store.step()
    store.record([a_sample(1, key=MetricKey("Custom", "new"), at_s=NOW_S)])
    names = {key.name for key in list(store.keys())}
    assert "new" in names
    assert "m00" not in names
    store.close()


def test_a_thread_commits_by_itself(path: Path, clock: ManualClock) -> None:
    import threading

    done = threading.Event()
    store = SqliteMetricStore(path, clock, commit_every_s=0.01)
    store.record([a_sample(1)], committed=done.set)
    assert done.wait(10)
    store.close()
    assert path.stat().st_mode & 0o077 == 0


def test_a_durable_sample_that_cannot_be_written_is_refused_and_not_kept(path: Path, clock: ManualClock) -> None:
    """Its sender tries again: kept all the same, it would count twice."""
    store = opened(path, clock)
    store.record([a_sample(1)])
    store._writer.execute("PRAGMA busy_timeout=0")
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="Try again"):
        store.record([a_sample(2), a_sample(3, key=COUNT)], durable=True)
    assert (total(store), total(store, COUNT)) == (1, 0)
    other.execute("COMMIT")
    other.close()
    store.record([a_sample(2), a_sample(3, key=COUNT)], durable=True)
    assert (total(store), total(store, COUNT)) == (2, 1)
    store.close()
    again = opened(path, clock)
    assert (total(again), total(again, COUNT)) == (2, 1)
    again.close()


def test_a_full_disk_is_told_and_costs_durable_samples_nothing_that_was_acknowledged(
    path: Path, clock: ManualClock
) -> None:
    store = opened(path, clock)
    store.record([a_sample(1)], durable=True)
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    store._writer.execute(f"PRAGMA max_page_count={pages}")
    acknowledged = 1

    def fill() -> None:
        nonlocal acknowledged
        for number in range(10_000):
            key = MetricKey("ns", f"m{number}", (("a", "x" * 200),))
            store.record([a_sample(1), a_sample(1, key=key)], durable=True)
            acknowledged += 1

    with pytest.raises(Unavailable, match="Try again"):
        fill()
    store.record([a_sample(1, at_s=NOW_S + 1)])
    assert total(store) == acknowledged + 1, "what is not durable waits for room"
    store._writer.execute("PRAGMA max_page_count=1000000")
    store.record([a_sample(1)], durable=True)
    store.close()
    again = opened(path, clock)
    assert total(again) == acknowledged + 2
    again.close()


def test_durable_samples_of_metrics_too_many_are_refused_whole(path: Path, clock: ManualClock) -> None:
    store = opened(path, clock, max_series=2)
    store.record([a_sample(1)], durable=True)
    new = [a_sample(1, key=MetricKey("ns", name)) for name in "ab"]
    with pytest.raises(LimitExceeded, match="2 new ones do not fit"):
        store.record([a_sample(1), *new], durable=True)
    assert (total(store), set(store.keys())) == (1, {LATENCY})
    store.record([a_sample(1), new[0]], durable=True)
    store.record([a_sample(1), new[0]], durable=True)
    assert (total(store), total(store, new[0].key)) == (3, 2)
    store.close()
