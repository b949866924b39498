"""`trimtab simulate`: side by side, priced, drawn; and what it says when it cannot."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from trimtab.cli.main import app
from trimtab.cli.simulating.report import amount
from trimtab.sim.kernels import compiled

SCENARIO = """
name: two ways
workloads:
  a:
    arrivals: {rate: 5, for: 10m}
    work: 50ms
    slo: p99=1s
architectures:
  always on:
    a: {instance_type: ml.m5.large, replicas: 2}
  too small:
    a: {instance_type: ml.m5.large, replicas: 1, timeout: 10s}
  serverless:
    a: {mode: serverless, memory: 2GB, concurrency: 10, start: 1s}
"""


def simulated(tmp_path, *options, text=SCENARIO):
    path = tmp_path / "case.yaml"
    path.write_text(text)
    return CliRunner().invoke(app, ["simulate", str(path), *options])


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    done = simulated(tmp_path_factory.mktemp("simulate"), "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_architectures_see_the_same_requests_and_their_parts_sum_to_their_bills(document):
    assert [one["name"] for one in document["architectures"]] == ["always on", "too small", "serverless"]
    assert len({one["workloads"][0]["requests"] for one in document["architectures"]}) == 1
    for one in document["architectures"]:
        assert sum(one["parts_micro_usd"].values()) == one["micro_usd"] == sum(e["micro_usd"] for e in one["endpoints"])
        assert one["micro_usd"] > 0
    assert document["architectures"][0]["replica_hours"] == pytest.approx(2 / 6)


def test_an_slo_that_is_not_kept_is_told_in_percent_and_with_its_time(tmp_path):
    crowded = SCENARIO.replace("rate: 5", "rate: 30")
    done = simulated(tmp_path, "--json", "--architecture", "too small", text=crowded)
    (said,) = json.loads(done.stdout)["architectures"][0]["slo_broken"]
    share = re.fullmatch(r"a: (\d+\.\d+)% within 1 s, not 99%", said)
    assert share is not None, said
    assert 0 < float(share[1]) < 99


def test_the_same_seed_is_the_same_answer(document, tmp_path):
    again = json.loads(simulated(tmp_path, "--json").stdout)
    assert again["architectures"] == document["architectures"]
    other = json.loads(simulated(tmp_path, "--json", "--seed", "5").stdout)
    assert other["seed"] == 5
    assert other["architectures"] != document["architectures"]


def test_people_get_tables_and_a_page(tmp_path):
    page = tmp_path / "page.html"
    done = simulated(tmp_path, "--architecture", "always on", "--plot", str(page))
    assert done.exit_code == 0, done.output
    assert "always on" in done.stdout
    assert "too small" not in done.stdout
    assert "headroom" in done.stdout
    assert "kept" in done.stdout
    text = page.read_text()
    assert text.count("<svg") >= 3
    assert "What the money was for" in text


@pytest.mark.parametrize(
    ("options", "text", "said"),
    [
        (
            ("--architecture", "none"),
            SCENARIO,
            "There is no architecture 'none'; there are always on, too small, serverless",
        ),
        ((), SCENARIO.split("architectures")[0], "has no architecture to simulate"),
        ((), SCENARIO.replace("5,", "5x,"), "line 5: workloads.a.arrivals.rate"),
        (("--plot", "x.gif"), SCENARIO, "FILE.png or FILE.html"),
    ],
)
def test_mistakes_are_told_without_a_trace(tmp_path, options, text, said):
    done = simulated(tmp_path, *options, text=text)
    assert done.exit_code == 1
    assert said in done.output
    assert "Traceback" not in done.output


def test_that_numba_is_not_installed_is_not_said_to_be_an_architectures_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    done = simulated(tmp_path)
    assert done.exit_code == 1
    assert compiled.MISSING in done.output.replace("\n", " ")
    assert "architecture" not in done.output


def test_what_has_no_price_is_no_bill_of_nothing(tmp_path):
    text = SCENARIO.replace("{instance_type: ml.m5.large, replicas: 2}", "{instance_type: ml.none.large, replicas: 2}")
    page = tmp_path / "page.html"
    done = simulated(tmp_path, "--architecture", "always on", "--plot", str(page), text=text)
    assert done.exit_code == 0, done.output
    row = next(line for line in done.stdout.splitlines() if line.startswith("always on"))
    assert row.split()[2:6] == [">", "0.00", ">", "0"]
    assert done.stderr.count("ml.none.large") == 1
    assert "costs more than that: no price is known of ml.none.large (hosting)" in done.stderr
    assert "&gt; 0.00" in page.read_text()


@pytest.mark.parametrize(("micro_usd", "text"), [(0, "0.00"), (1_380_000, "1.38"), (4_321, "0.0043"), (12, "1.2e-05")])
def test_small_amounts_are_told_too(micro_usd, text):
    assert amount(micro_usd) == text


def test_requests_that_were_never_answered_are_told_of_beside_latencies_that_do_not_count_them(tmp_path):
    text = SCENARIO.replace("slo: p99=1s", "may_wait: true").replace("rate: 5,", "rate: 40,")
    text = text[: text.index("  too small")].replace("ml.m5.large, replicas: 2", "ml.m5.large, mode: async")
    page = tmp_path / "page.html"
    done = simulated(tmp_path, "--plot", str(page), text=text)
    assert done.exit_code == 0, done.output
    waiting = json.loads(simulated(tmp_path, "--json", text=text).stdout)["architectures"][0]["workloads"][0]["waiting"]
    said = f"always on: {waiting:,} requests had no answer when the time was over; the latencies are of the others"
    assert waiting > 1000
    assert said in done.stderr
    assert said in page.read_text()


def test_of_a_workload_that_nobody_asked_by_chance_figures_say_nothing_and_that_is_said(tmp_path):
    seldom = SCENARIO.replace("rate: 5,", "rate: 0.000000001,")
    assert "note: a: no request came, by chance: its figures say nothing" in simulated(tmp_path, text=seldom).stderr
    assert "no request came" not in simulated(tmp_path).stderr


def test_where_all_were_answered_nothing_is_said_of_it(tmp_path):
    assert "had no answer" not in simulated(tmp_path, "--architecture", "always on").stderr


def test_an_architecture_that_is_named_twice_is_simulated_once(tmp_path):
    done = simulated(tmp_path, "--architecture", "always on", "--architecture", "always on", "--json")
    assert [one["name"] for one in json.loads(done.stdout)["architectures"]] == ["always on"]
