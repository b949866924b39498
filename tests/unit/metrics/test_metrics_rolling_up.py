"""Rolling up: whatever was recorded, in whatever order and however late, is in the answer exactly once."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.clock import ManualClock
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.sqlite import SqliteMetricStore
from trimtab.metrics.store import MetricKey, Sample

NOW_S = 1_700_000_040
KEY = MetricKey("Custom", "m")

recorded = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 900), st.integers(-4 * 86_400, 0), st.integers(-70 * 86_400, 7200)),
        st.floats(-1e9, 1e9),
        st.sampled_from([1, 60]),
        st.sampled_from([0, 0, 1, 45, 400, 4000]),  # then so many seconds pass, and the store takes a step
        st.booleans(),  # then it is closed and opened again
        st.sampled_from([0, 0, 0, 0, -86_400, 86_400, 20 * 86_400]),  # then the wall clock leaps by so much
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=50)
@given(recorded, st.sampled_from([1, 7, 60, 120, 300, 900, 3600, 86_400]))
def test_a_query_at_a_period_is_the_merge_of_all_that_was_recorded(
    given: list[tuple[int, float, int, int, bool, int]], period_s: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = ManualClock(NOW_S)
        store = SqliteMetricStore(Path(folder) / "metrics.db", clock, commit_every_s=0)
        total = Sketch()
        starts: list[int] = []
        for offset_s, value, resolution_s, pass_s, again, leap_s in given:
            start_s = NOW_S + offset_s
            start_s -= start_s % resolution_s
            store.record([Sample(KEY, start_s, Sketch.of([value]), "None", resolution_s)])
            total.add(value)
            starts.append(start_s)
            clock.set_wall(clock.now_s() + leap_s)
            if pass_s:
                clock.advance(pass_s)
                store.step()
            if again:
                store.close()
                store = SqliteMetricStore(Path(folder) / "metrics.db", clock, commit_every_s=0)
        found = store.query(KEY, NOW_S - 400 * 86_400, NOW_S + 20 * 86_400, period_s)
        store.close()
    answer = Sketch()
    for point in found:
        answer.merge(point.sketch)
    assert (answer.count, answer.min, answer.max) == (total.count, total.min, total.max)
    assert answer.sum == pytest.approx(total.sum, rel=1e-9, abs=1e-3)
    assert answer.buckets == total.buckets
    assert [p.start_s for p in found] == sorted({p.start_s for p in found})
    assert all(p.start_s % period_s == 0 for p in found)
    if sum(row[3] + abs(row[5]) for row in given) < 9000:  # while the seconds themselves are kept
        assert {p.start_s for p in found} >= {start - start % period_s for start in starts if start >= NOW_S}


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=20))
def test_samples_may_share_a_sketch_and_it_is_never_changed(given: list[tuple[int, int, int]]) -> None:
    shared = [Sketch.of([float(value)] * (value + 1)) for value in range(4)]
    before = [sketch.copy() for sketch in shared]
    expected: dict[tuple[int, int], Sketch] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteMetricStore(Path(folder) / "metrics.db", ManualClock(NOW_S), commit_every_s=0)
        for which, series, second in given:
            store.record([Sample(MetricKey("Custom", f"m{series}"), NOW_S + second, shared[which])])
            expected.setdefault((series, second), Sketch()).merge(before[which])
        for committed in (False, True):
            if committed:
                store.step()
            for (series, second), sketch in expected.items():
                start_s = NOW_S + second
                (point,) = store.query(MetricKey("Custom", f"m{series}"), start_s, start_s + 1, 1)
                assert point.sketch == sketch
        store.close()
    assert shared == before
