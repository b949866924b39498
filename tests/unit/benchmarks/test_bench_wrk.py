"""What wrk prints, read; what it is given, written."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers import wrk

PRINTED = """Running 5s test @ http://127.0.0.1:7070/endpoints/model/invocations
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   635.91us    0.89ms  12.92ms   93.69%
    Req/Sec    56.20k     8.07k   62.00k    86.54%
  Latency Distribution
     50%  250.00us
     75%  491.00us
     90%    0.97ms
     99%    1.20s
  101234 requests in 5.05s, 17.76MB read
Requests/sec:  20046.33
Transfer/sec:      3.51MB
"""


def test_rate_percentiles_and_count_are_read_with_their_units() -> None:
    found = wrk.parse(PRINTED)
    assert (found.requests, found.seconds, found.rate) == (101_234, 5.05, 20_046.33)
    assert (found.p50_s, found.p90_s, found.p99_s) == pytest.approx((0.00025, 0.00097, 1.2))
    assert (found.errors, found.refused) == (0, 0)


@pytest.mark.parametrize(
    ("shown", "seconds"), [("7.00us", 7e-6), ("3.25ms", 3.25e-3), ("1.50s", 1.5), ("2.00m", 120.0), ("1.00h", 3600.0)]
)
def test_every_unit_of_time_that_wrk_has_is_known(shown: str, seconds: float) -> None:
    assert wrk.parse(PRINTED.replace("250.00us", shown)).p50_s == pytest.approx(seconds)


def test_a_run_of_minutes_is_in_minutes() -> None:
    assert wrk.parse(PRINTED.replace("in 5.05s", "in 1.50m")).seconds == 90.0


@pytest.mark.parametrize(("shown", "rate"), [("20.05k", 20_050.0), ("1.20M", 1_200_000.0), ("0.00", 0.0)])
def test_a_rate_may_have_a_unit_too(shown: str, rate: float) -> None:
    assert wrk.parse(PRINTED.replace("20046.33", shown)).rate == pytest.approx(rate)


def test_broken_connections_and_refusals_are_counted() -> None:
    lines = "  Socket errors: connect 1, read 20, write 300, timeout 4000\n  Non-2xx or 3xx responses: 57\nRequests/sec"
    found = wrk.parse(PRINTED.replace("Requests/sec", lines))
    assert (found.errors, found.refused) == (4321, 57)


@pytest.mark.parametrize("line", ["requests in", "Requests/sec", "50%", "99%"])
def test_a_page_without_a_figure_says_which_one_is_missing(line: str) -> None:
    page = "".join(part for part in PRINTED.splitlines(keepends=True) if line not in part)
    with pytest.raises(ValueError, match="wrk did not print"):
        wrk.parse(page)


def test_an_unknown_unit_is_not_guessed() -> None:
    with pytest.raises(ValueError, match="none of its units"):
        wrk.parse(PRINTED.replace("250.00us", "250.00ns"))


@given(st.binary(max_size=200))
def test_any_bytes_survive_luas_quotes(data: bytes) -> None:
    text = wrk.quoted(data)
    assert text.startswith('"')
    assert text.endswith('"')
    assert "\n" not in text
    inner = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1])), text[1:-1])
    assert inner.encode("latin-1") == data


def test_a_script_holds_the_request() -> None:
    lua = wrk.script({"Content-Type": "application/json"}, b'[[1,"x"]]')
    assert 'wrk.method = "POST"' in lua
    assert 'wrk.headers["Content-Type"] = "application/json"' in lua
    assert r"[[1,\034x\034]]" in lua


def test_a_machine_without_wrk_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(wrk.Missing, match="apt-get install wrk"):
        wrk.installed()
