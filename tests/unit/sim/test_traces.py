"""Trace files as arrivals: what is read, what is mended and told, what is refused."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.sim.traces.reading import RateTrace, RequestTrace, read


def trace(tmp_path, text, name="trace.csv", **options):
    path = tmp_path / name
    path.write_text(text)
    return read(path, **options)


def test_a_row_a_request_with_durations(tmp_path):
    found = trace(tmp_path, "start_s,function,duration_s\n0.5,a,2\n1.5,b,0.25\n")
    assert isinstance(found, RequestTrace)
    assert found.at_s.tolist() == [0.5, 1.5]
    assert found.took_s.tolist() == [2, 0.25]
    assert not found.is_dated
    assert found.notes == ()
    assert (found.start_s, found.end_s) == (0.5, 2.5)


def test_milliseconds_are_known_by_the_columns_name(tmp_path):
    assert trace(tmp_path, "t_ms,input_tokens\n0,1\n1500,2\n").at_s.tolist() == [0, 1.5]


def test_minutes_and_hours_are_known_by_the_columns_name_whatever_the_kind_of_trace(tmp_path):
    assert trace(tmp_path, "minute\n0\n2\n", time="minute").at_s.tolist() == [0, 120]
    assert trace(tmp_path, "hour,count\n0,1\n1,1\n", time="hour").series[0].step_s == 3600
    dated = trace(tmp_path, "minute,count\n2026-01-05T00:00,60\n2026-01-05T00:01,30\n", time="minute")
    assert dated.start_s == datetime(2026, 1, 5, tzinfo=UTC).timestamp()
    assert dated.series[0].step_s == 60


def test_milliseconds_under_the_name_of_seconds_are_refused(tmp_path):
    for text in ("timestamp\n1770000000000\n", "timestamp,count\n1770000000000,1\n1770000060000,1\n"):
        with pytest.raises(Invalid, match=r"line 2: '1770000000000' is too late for seconds.* ends in _ms"):
            trace(tmp_path, text)
    text = "timestamp_ms\n1770000000000\n1770000000500\n"
    assert trace(tmp_path, text, time="timestamp_ms").at_s.tolist() == [1.77e9, 1.77e9 + 0.5]


def test_names_of_columns_are_known_in_capitals(tmp_path):
    found = trace(tmp_path, "Timestamp,RPS,Client\n2026-01-05T00:00,60,a\n2026-01-05T00:01,30,a\n")
    assert found.series[0].per_s.tolist() == [60, 30]
    took = trace(tmp_path, "T_MS,Duration_MS\n500,20\n").took_s
    assert took.tolist() == [0.02]


def test_a_count_under_a_name_that_is_not_known_is_told_of(tmp_path):
    (note,) = trace(tmp_path, "t_s,hits\n0,500\n60,700\n").notes
    assert note == "trace.csv: each row counts as one request; not read: hits (`count: COLUMN` names a count)."
    assert trace(tmp_path, "t_s,hits\n0,500\n60,700\n", count="hits").notes == ()


def test_a_column_that_stands_there_twice_is_refused_where_it_is_read(tmp_path):
    with pytest.raises(Invalid, match="two columns 'count'"):
        trace(tmp_path, "t_s,count,count\n0,1,9\n60,2,9\n")
    assert trace(tmp_path, "t_s,x,count,x\n0,1,9,1\n60,2,9,1\n").series[0].step_s == 60


def test_rows_of_counts_tell_nothing_of_what_requests_took(tmp_path):
    with pytest.raises(Invalid, match="A row of trace.csv is a step of time, by its column count"):
        trace(tmp_path, "t_s,count,took\n0,1,3\n60,1,3\n", duration="took")


def test_a_row_a_step_with_counts_and_dates(tmp_path):
    found = trace(tmp_path, "timestamp,count\n2026-01-05T00:00:00,60\n2026-01-05T00:05:00,30\n")
    assert isinstance(found, RateTrace)
    assert found.is_dated
    assert found.start_s == datetime(2026, 1, 5, tzinfo=UTC).timestamp()
    assert found.series[0].per_s.tolist() == [0.2, 0.1]
    assert found.end_s - found.start_s == 600


def test_rates_of_a_second_are_taken_as_they_are(tmp_path):
    found = trace(tmp_path, "t_s,req_per_s\n0,2\n600,3\n")
    assert found.series[0].per_s.tolist() == [2, 3]


def test_clients_of_one_service_come_together_and_models_are_chosen(tmp_path):
    rows = "0,0,1,2,Gamma,3,4\n0,600,1,2,Weibull,3,4\n7,0,5,0,,0,0\n7,600,0,0,,0,0\n"
    found = trace(tmp_path, "client,t_s,req_per_s,cv,arrival,p1,p2\n" + rows)
    assert [one.label for one in found.series] == ["0", "7"]
    assert found.series[0].cv.tolist() == [2, 2]
    assert found.series[0].family.tolist() == ["Gamma", "Weibull"]
    text = "model,t_s,req_per_s\na,0,1\na,60,1\nb,0,2\nb,60,2\n"
    with pytest.raises(Invalid, match=r"a series for each model: a, b\. Choose"):
        trace(tmp_path, text)
    assert trace(tmp_path, text, only=["b"]).series[0].per_s.tolist() == [2, 2]
    with pytest.raises(Invalid, match="has no model 'c'; it has a, b"):
        trace(tmp_path, text, only=["c"])


def test_requests_out_of_order_are_sorted_with_what_they_took_and_that_is_told(tmp_path):
    found = trace(tmp_path, "t_s,duration_s\n3,30\n1,10\n1,11\n")
    assert found.at_s.tolist() == [1, 1, 3]
    assert found.took_s.tolist() == [10, 11, 30]
    assert found.notes == (
        "trace.csv: rows are out of order (1 where the time goes back); they were sorted.",
        "trace.csv: requests at the same time as the one before: 1; all of them count.",
    )


def test_gaps_repeated_and_disordered_steps_are_mended_and_told(tmp_path):
    text = "t_s,count\n120,3\n0,1\n60,7\n60,2\n300,6\n240,\n"
    found = trace(tmp_path, text)
    assert (found.series[0].per_s * 60).tolist() == pytest.approx([1, 2, 3, 0, 0, 6])
    assert found.notes == (
        "trace.csv: rows are out of order (2 where the time goes back); they were sorted.",
        "trace.csv: steps that are told twice: 1; the later row counts.",
        "trace.csv: 2 of 6 steps have no number: counted as no requests.",
    )
    assert (trace(tmp_path, text, hold=True).series[0].per_s * 60).tolist() == pytest.approx([1, 2, 3, 3, 3, 6])


def test_a_single_row(tmp_path):
    one = trace(tmp_path, "t_s\n5\n")
    assert (one.start_s, one.end_s) == (5, 6)
    assert "it has one request" in one.notes[0]
    with pytest.raises(Invalid, match="one step, so how long that is must be said: `step: 60s`"):
        trace(tmp_path, "t_s,count\n0,5\n")
    assert trace(tmp_path, "t_s,count\n0,5\n", step_s=10.0).series[0].per_s.tolist() == [0.5]
    assert trace(tmp_path, "minute_local,requests\n1995-07-01T00:00,30\n").series[0].per_s.tolist() == [0.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("t_s\n", "a header and no rows"),
        ("0.5\n1.5\n", "line 1: there must be a line with the columns' names"),
        ("a,b\n1,2\n", r"no column of times; it has a, b"),
        ("prefill_tokens,decode_tokens\n1,2\n", "use it under `work`"),
        ("t_s\n1\nsoon\n", "line 3: 'soon' is neither a number nor a time"),
        ("t_s\n1\n2026-01-01\n", "line 3: '2026-01-01': times before it were numbers"),
        ("t_s\ninf\n", "line 2: the time 'inf' is not finite"),
        ("t_s,count\n0,1\n60,-1\n", "line 3: count must be 0 or more"),
        ("t_s,count\n0,1\n60,many\n", "line 3: count is 'many', which is no number"),
        ("t_s,count\n0,0\n60,0\n", "has no requests: all counts are 0"),
        ("t_s,count\n0,\n60,\n", "no row has a number in count"),
        ("t_s,count\n0,1\n60\n", "line 3: 1 columns, where the header has 2"),
        ("t_s,count\n0,1\n1,1\n2,1\n9e10,1\n", "more than the"),
        ("t_s,duration_s\n0,-1\n", "line 2: duration_s is negative"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path, text, said):
    with pytest.raises(Invalid, match=said):
        trace(tmp_path, text)


def test_files_that_are_broken_are_refused(tmp_path):
    whole = gzip.compress(b"t_s\n" + b"1\n" * 1000)
    (tmp_path / "cut.csv.gz").write_bytes(whole[:-12])
    (tmp_path / "no.csv.gz").write_bytes(b"t_s\n1\n")
    (tmp_path / "bytes.csv").write_bytes(b"t_s\n\xff\xfe\n")
    for name in ("cut.csv.gz", "no.csv.gz", "bytes.csv", "missing.csv"):
        with pytest.raises(Invalid, match="cannot be read|no CSV text"):
            read(tmp_path / name)


@given(counts=st.lists(st.integers(0, 1000), min_size=2, max_size=40).filter(any), seed=st.integers(0, 2**16))
def test_any_order_of_the_rows_is_the_same_trace(tmp_path_factory, counts, seed):
    rows = [f"{60 * number},{count}" for number, count in enumerate(counts)]
    folder = tmp_path_factory.mktemp("traces")
    straight = trace(folder, "\n".join(["t_s,count", *rows]))
    np.random.default_rng(seed).shuffle(rows)
    shuffled = trace(folder, "\n".join(["t_s,count", *rows]))
    assert straight.series[0].per_s.tolist() == shuffled.series[0].per_s.tolist()
    assert (straight.series[0].per_s * 60).tolist() == pytest.approx(counts)
    assert straight.notes == ()
