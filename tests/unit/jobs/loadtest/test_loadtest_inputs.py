"""Quantities, traces and payloads: what is understood, and what is said of what is not."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.jobs.loadtest.patterns import PointArrivals
from trimtab.jobs.loadtest.payloads import Payload, read_payloads
from trimtab.jobs.loadtest.quantities import fraction_of, positive, seconds_of, seconds_text
from trimtab.jobs.loadtest.traces import arrivals_of, read_trace

TRACES = Path(__file__).parents[4] / "examples" / "traces"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("5m", 300), ("1.5h", 5400), ("200ms", 0.2), ("10", 10), ("1d", 86400), (" 2 s ", 2), ("50us", 5e-5)],
)
def test_durations_have_units(text, seconds) -> None:
    assert seconds_of(text, "it") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-5s", "0", "0s", "nan", "inf", "5 parsecs", "1.2.3s", "5m30s", "1e999s"])
def test_other_durations_are_refused_by_name(text) -> None:
    with pytest.raises(Invalid, match="--duration"):
        seconds_of(text, "--duration")


@pytest.mark.parametrize(("text", "part"), [("0.1%", 0.001), ("0.001", 0.001), ("0", 0), ("50 %", 0.5)])
def test_parts_are_percentages_or_fractions(text, part) -> None:
    assert fraction_of(text, "it") == pytest.approx(part)


@pytest.mark.parametrize("text", ["", "100%", "1.5", "-1%", "1ms", "nan%"])
def test_other_parts_are_refused(text) -> None:
    with pytest.raises(Invalid, match="--error-rate"):
        fraction_of(text, "--error-rate")


@given(st.one_of(st.floats(max_value=0), st.just(float("nan")), st.just(float("inf"))))
def test_what_is_not_above_zero_is_refused(value) -> None:
    with pytest.raises(Invalid):
        positive(value, "it")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3e-6, "3 us"), (0.0123, "12.3 ms"), (0.5, "500 ms"), (45, "45 s"), (150, "2.5 min"), (9000, "2.5 h")],
)
def test_seconds_are_told_in_one_unit(seconds, text) -> None:
    assert seconds_text(seconds) == text


# --- traces


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_trace_of_requests_has_a_time_a_row(tmp_path) -> None:
    seconds = read_trace(write(tmp_path, "t_s,tokens\n10,5\n10.5,6\n12,7\n"))
    assert (seconds.times_s, seconds.counts) == ((0, 0.5, 2), ())
    assert read_trace(write(tmp_path, "t_ms\n0\n500\n2000\n")).times_s == (0, 0.5, 2)
    dated = read_trace(write(tmp_path, "timestamp\n2026-01-01T00:00:00\n2026-01-01T00:01:30\n"))
    assert dated.times_s == (0, 90)


def test_a_trace_of_counts_has_a_step_a_row(tmp_path) -> None:
    trace = read_trace(write(tmp_path, "timestamp,count\n2026-01-01T00:00,6\n2026-01-01T00:05,9\n"))
    assert (trace.step_s, trace.counts, trace.total, trace.duration_s) == (300, (6, 9), 15, 600)
    rates = read_trace(write(tmp_path, "t_s,req_per_s\n0,2\n10,4\n"))
    assert rates.counts == (20, 40)


def test_columns_are_known_in_capitals_and_those_that_are_not_read_are_told_where_a_row_is_a_request(tmp_path) -> None:
    rates = read_trace(write(tmp_path, "Timestamp,RPS\n2026-01-01T00:00:00,2\n2026-01-01T00:00:10,4\n"))
    assert (rates.counts, rates.unread) == ((20, 40), ())
    assert read_trace(write(tmp_path, "T_MS\n0\n500\n")).times_s == (0, 0.5)
    hits = read_trace(write(tmp_path, "t_s,hits\n0,500\n60,700\n"))
    assert (hits.total, hits.unread) == (2, ("hits",))
    assert read_trace(write(tmp_path, "t_s,hits,zone\n0,5,a\n60,7,a\n"), count_column="hits").unread == ()


def test_gzip_and_columns_of_any_name_are_read(tmp_path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"when,n\n0,1\n1,2\n"))
    assert read_trace(path, time_column="when", count_column="n").counts == (1, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("t_s\n", "0 rows"),
        ("t_s\n1\n", "1 rows"),
        ("1,2\n3,4\n", "line 1: there must be a line with the columns' names"),
        ("a,b\n1,2\n", "--time-column"),
        ("timestamp\n1770000000000\n", "line 2: '1770000000000' is too late for seconds"),
        ("t_s\n1\nx\n", "line 3: 'x' is neither a number nor a time"),
        ("t_s\n1\nnan\n", "line 3: the time 'nan' is not finite"),
        ("t_s\n2\n1\n", "line 3: the time goes back"),
        ("t_s\n1\n1\n", "lasts no time"),
        ("t_s,count\n0,1\n1\n", "line 3: 1 columns"),
        ("t_s,count\n0,1\n1,-2\n", "line 3: the count '-2' must be 0 or more"),
        ("t_s,count\n0,1\n1,two\n", "line 3: the count 'two' is not a number"),
        ("t_s,count\n0,0\n1,0\n", "all counts are 0"),
        ("t_s,count\n0,1\n0,1\n1,1\n", "line 3: a second row for the same step"),
        ("t_s,count\n0,1\n10,1\n13,1\n23,1\n", "line 4: the steps are not equally long"),
    ],
)
def test_what_is_wrong_with_a_trace_is_said_with_its_line(tmp_path, text, said) -> None:
    with pytest.raises(Invalid, match=said.replace("(", r"\(")):
        read_trace(write(tmp_path, text))


def test_files_that_are_no_traces_are_refused(tmp_path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        read_trace(tmp_path / "none.csv")
    broken = tmp_path / "t.csv.gz"
    broken.write_bytes(b"not gzip")
    with pytest.raises(Invalid, match="cannot be read"):
        read_trace(broken)
    binary = tmp_path / "t.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="no CSV text"):
        read_trace(binary)


def test_counts_are_scaled_to_a_mean_rate_and_replayed_quicker(tmp_path) -> None:
    trace = read_trace(write(tmp_path, "t_s,count\n0,60\n60,120\n"))
    assert arrivals_of(trace).expected == pytest.approx(180)
    quick = arrivals_of(trace, speed_up=60)
    assert (quick.expected, quick.duration_s) == (pytest.approx(180), 2)
    scaled = arrivals_of(trace, rate=50, speed_up=60)
    assert scaled.expected == pytest.approx(100)
    assert arrivals_of(trace, duration_s=60).expected == pytest.approx(60)


def test_requests_are_replayed_at_the_speed_that_gives_the_rate(tmp_path) -> None:
    trace = read_trace(write(tmp_path, "t_s\n0\n1\n4\n10\n"))
    arrivals = arrivals_of(trace, rate=4)
    assert isinstance(arrivals, PointArrivals)
    assert arrivals.times_s == pytest.approx((0, 0.1, 0.4, 1.0))
    assert arrivals.expected == 4
    with pytest.raises(Invalid, match="not both"):
        arrivals_of(trace, rate=4, speed_up=2)


@pytest.mark.parametrize("path", sorted(TRACES.glob("*.csv*")), ids=lambda path: path.name)
def test_the_traces_of_the_examples_are_understood(path) -> None:
    trace = read_trace(path)
    assert trace.total > 100
    assert arrivals_of(trace, speed_up=10).expected == pytest.approx(trace.total)


# --- payloads


def test_json_lines_say_body_type_weight_and_variant(tmp_path) -> None:
    lines = [
        {"body": [1, 2], "weight": 3},
        {"body": "1,2", "content_type": "text/csv", "target_variant": "blue", "accept": "text/csv"},
        {"body_base64": base64.b64encode(b"\x00\xff").decode(), "content_type": "application/x-npy"},
        {"body": "", "target_model": "a/b.tar.gz"},
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n", "p.jsonl")
    assert read_payloads(path, variant="green") == [
        Payload(b"[1,2]", weight=3.0, target_variant="green"),
        Payload(b"1,2", "text/csv", accept="text/csv", target_variant="blue"),
        Payload(b"\x00\xff", "application/x-npy", target_variant="green"),
        Payload(b"", target_variant="green", target_model="a/b.tar.gz"),
    ]


def test_rows_files_and_folders_are_bodies(tmp_path) -> None:
    rows = write(tmp_path, "1,2\n3,4\n", "rows.csv")
    assert [p.body for p in read_payloads(rows)] == [b"1,2", b"3,4"]
    one = write(tmp_path, '{"a": 1}', "one.json")
    assert read_payloads(one) == [Payload(b'{"a": 1}', "application/json")]
    assert {p.content_type for p in read_payloads(tmp_path)} == {"text/csv", "application/json"}
    assert read_payloads(one, content_type="x/y")[0].content_type == "x/y"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: a line must be an object"),
        ('{"body": 1, "bdy": 2}', "line 2: unknown member bdy"),
        ("{}", "line 2: give the body once"),
        ('{"body": 1, "body_base64": ""}', "line 2: give the body once"),
        ('{"body_base64": "&"}', "line 2: body_base64 is not base64"),
        ('{"body": 1, "weight": -1}', "line 2: weight must be a number"),
        ('{"body": 1, "weight": true}', "line 2: weight must be a number"),
        ('{"body": 1, "content_type": "a\\r\\nb"}', "line 2: content_type must be printable ASCII"),
        ('{"body": 1, "content_type": 7}', "line 2: content_type must be printable ASCII"),
    ],
)
def test_what_is_wrong_with_a_payload_is_said_with_its_line(tmp_path, line, said) -> None:
    path = write(tmp_path, '{"body": 0}\n' + line + "\n", "p.jsonl")
    with pytest.raises(Invalid, match=said):
        read_payloads(path)


def test_there_must_be_something_to_send(tmp_path) -> None:
    for path in (write(tmp_path, "", "e.json"), write(tmp_path, "\n\n", "e.jsonl"), tmp_path / "folder"):
        if path.name == "folder":
            path.mkdir()
        with pytest.raises(Invalid, match="nothing to send"):
            read_payloads(path)
    with pytest.raises(Invalid, match="no weight above 0"):
        read_payloads(write(tmp_path, '{"body": 1, "weight": 0}', "w.jsonl"))
    with pytest.raises(Invalid, match="No such file"):
        read_payloads(tmp_path / "none.json")
    binary = tmp_path / "rows.csv"
    binary.write_bytes(b"1,2\n\xff\n")
    with pytest.raises(Invalid, match=r"rows.csv, line 2: not UTF-8"):
        read_payloads(binary)
