"""`trimtab bench`: what it prints, what it refuses, and that it asks before it loads anybody else."""

from __future__ import annotations

import json

import pytest
from cli_server import Server
from msgspec.structs import replace

from trimtab.aws.registry import AwsError
from trimtab.cli.benching.safety import is_loopback
from trimtab.cli.benching.subject import dollars


@pytest.fixture
def endpoint(trimtab, tmp_path) -> str:
    (tmp_path / "model.onnx").write_bytes(b"x")
    code = tmp_path / "code"
    code.mkdir()
    (code / "inference.py").write_text("def model_fn(d): return 1\ndef predict_fn(x, m): return x\n")
    result = trimtab("deploy", str(tmp_path), "--name", "e", "--instance-type", "ml.m5.large")
    assert result.exit_code == 0, result.stderr
    return "e"


QUICK = ("--rate", "20", "--duration", "500ms", "--warm-up", "0", "--pattern", "constant")


def test_a_test_is_told_to_people(trimtab, world, endpoint) -> None:
    result = trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--variant", "blue")
    assert result.exit_code == 0, result.stderr
    assert len(world.models.requests) == 10
    assert world.models.requests[0]["Body"] == b"[1]"
    assert world.models.requests[0]["TargetVariant"] == "blue"
    assert result.stdout.lstrip().startswith("mean")
    for said in ("latency ", "service time", "throughput:", "10 answered, 0 failed", "utilization: not measured (",
                 "cost:        $", "ml.m5.large in eu-west-1", "derived: us-east-1's price", "generator:"):  # fmt: skip
        assert said in result.stdout
    assert "10 requests in 500 ms" in result.stderr


def test_columns_of_a_trace_that_are_not_read_are_told(trimtab, endpoint, tmp_path) -> None:
    (tmp_path / "t.csv").write_text("t_s,hits\n0,3\n0.1,4\n")
    load = ("--pattern", "trace", "--trace", str(tmp_path / "t.csv"), "--warm-up", "0", "--body", "[1]")
    assert "each row of t.csv is one request; not read: hits" in trimtab("bench", endpoint, *load).stderr
    counted = trimtab("bench", endpoint, *load, "--count-column", "hits", "--json")
    assert "not read" not in counted.stderr
    assert json.loads(counted.stdout)["requests"]["answered"] > 2


def test_json_is_one_document(trimtab, endpoint) -> None:
    result = trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--json", "--usd-per-hour", "3.6")
    document = json.loads(result.stdout)
    assert document["schema"] == "trimtab.bench/1"
    assert document["requests"]["answered"] == 10
    assert document["subject"]["endpoint"] == "e"
    assert document["cost"]["usd_per_hour"] == 3.6
    assert document["cost"]["usd_per_1000_requests"] == pytest.approx(1 / document["achieved_per_s"], rel=1e-4)
    assert document["utilization"]["percent"] == []
    assert document["utilization"]["not_measured"]
    assert document["load"] == {"pattern": "constant", "rate": 20, "seed": 0, "trace": None}


def test_errors_are_told_by_kind_and_a_test_without_a_good_answer_fails(trimtab, world, endpoint) -> None:
    world.models.error = AwsError("ThrottlingException", "too fast", 429)
    result = trimtab("bench", endpoint, *QUICK, "--body", "[1]")
    assert result.exit_code == 1
    assert "ThrottlingException  429        10  too fast" in result.stdout
    assert "error: No request succeeded." in result.stderr


def test_limits_make_it_a_check(trimtab, world, endpoint) -> None:
    good = trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--p95", "30s")
    assert good.exit_code == 0
    assert "SLO:         p95 <= 30 s, errors <= 1%: kept" in good.stdout
    bad = trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--p50", "1us")
    assert bad.exit_code == 1
    assert "is not kept: p50 is" in bad.stderr


def test_the_page_and_the_picture_are_drawn(trimtab, endpoint, tmp_path) -> None:
    page, picture = tmp_path / "p.html", tmp_path / "p.png"
    assert trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--plot", str(page)).exit_code == 0
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "http" not in text.replace("http://127.0.0.1", "")  # nothing is fetched from elsewhere
    assert trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--plot", str(picture)).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--rate", "0"), "--rate must be a finite number above 0, not 0."),
        (("--rate", "-5"), "--rate must be a finite number above 0, not -5."),
        (("--rate", "nan"), "--rate must be a finite number above 0, not nan."),
        ((), "Say how many requests a second to send."),
        (("--rate", "1", "--duration", "5 parsecs"), "--duration: '5 parsecs' has the unit 'parsecs'"),
        (("--rate", "1", "--timeout", "never"), "--timeout: 'never' cannot be read"),
        (("--rate", "1", "--p99", "fast"), "--p99: 'fast' cannot be read"),
        (("--rate", "1", "--p99", "1s", "--p50", "1s"), "Give one limit of latency, not 2"),
        (("--rate", "1", "--error-rate", "100%"), "--error-rate must be at least 0 and below 100 %"),
        (("--find-max",), "--find-max needs a limit of latency."),
        (("--find-max", "--p99", "1s", "--pattern", "step"), "--find-max tries Poisson loads"),
        (("--rate", "1", "--variant", "a\r\nb"), "--variant must be printable ASCII."),
        (("--pattern", "trace"), "The pattern trace needs a file."),
        (("--pattern", "trace", "--trace", "none.csv"), "The trace none.csv cannot be read"),
        (("--rate", "1", "--trace", "none.csv"), "--trace is for --pattern trace"),
        (("--rate", "1", "--plot", "p.gif"), "--plot draws FILE.png or FILE.html"),
        (("--rate", "1", "--plot", "/nowhere/p.html"), "The folder of /nowhere/p.html is not there."),
        (("--rate", "1e6", "--duration", "1d"), "more than --max-requests 1,000,000 allows"),
        (("--rate", "1", "--usd-per-hour", "nan"), "--usd-per-hour must be a number of dollars"),
        (("--rate", "1", "--processes", "4", "--max-connections", "3"), "--max-connections 3 is less than one"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_sent(trimtab, world, endpoint, arguments, said) -> None:
    result = trimtab("bench", endpoint, "--body", "[1]", *arguments)
    assert result.exit_code == 1
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert world.models.requests == []


def test_there_must_be_one_thing_to_send(trimtab, endpoint) -> None:
    assert "Say what to send, once" in trimtab("bench", endpoint, "--rate", "1").stderr
    both = trimtab("bench", endpoint, "--rate", "1", "--body", "x", "--payload", "x.json")
    assert "Say what to send, once" in both.stderr
    missing = trimtab("bench", endpoint, "--rate", "1", "--payload", "x.json")
    assert "The payload x.json cannot be read: No such file or directory." in missing.stderr


def test_an_endpoint_that_is_not_there_is_said(trimtab) -> None:
    result = trimtab("bench", "nobody", "--rate", "1", "--body", "x")
    assert result.exit_code == 1
    assert "There is no endpoint named 'nobody'" in result.stderr


def test_an_endpoint_that_is_not_in_service_is_not_loaded(trimtab, world, endpoint) -> None:
    found = world.control.endpoints[endpoint]
    world.control.endpoints[endpoint] = replace(found, status=type(found.status)("Creating"))
    result = trimtab("bench", endpoint, "--rate", "1", "--body", "x")
    assert "The endpoint e is Creating, not InService." in result.stderr


def test_a_server_that_is_away_is_said(trimtab, server: Server, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    result = trimtab("bench", "e", "--rate", "1", "--body", "x")
    assert result.exit_code == 1
    assert "No trimtab answers at http://127.0.0.1:9" in result.stderr


def test_another_machine_is_not_loaded_unless_somebody_says_so(trimtab, world, endpoint, server, monkeypatch) -> None:
    monkeypatch.setattr("trimtab.cli.benching.safety.is_loopback", lambda host: False)
    result = trimtab("bench", endpoint, *QUICK, "--body", "[1]")
    assert result.exit_code == 1
    assert "--yes says that it may." in result.stderr
    assert world.models.requests == []
    assert trimtab("bench", endpoint, *QUICK, "--body", "[1]", "--yes").exit_code == 0
    assert len(world.models.requests) == 10


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("a.localhost", True),
     ("10.0.0.1", False), ("runtime.sagemaker.us-east-1.amazonaws.com", False), ("localhost.evil.com", False),
     ("0.0.0.0", False)],
)  # fmt: skip
def test_loopback_is_known_by_its_name(host, expected) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (12.5, "$12.50"), (1234.5, "$1,234.50"), (0.000367, "$0.000367"), (5.02e-6, "$0.00000502")],
)
def test_money_is_written_out(amount, text) -> None:
    assert dollars(amount) == text


def test_the_highest_rate_is_searched(trimtab, endpoint) -> None:
    result = trimtab(
        "bench", endpoint, "--find-max", "--p99", "60s", "--rate", "10", "--duration", "300ms", "--warm-up", "0",
        "--search-time", "1ms", "--body", "[1]", "--json",
    )  # fmt: skip
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["search"]["rate"] == 0
    assert "the time for the search" in document["search"]["why"]
    assert "No rate that was tried keeps p99 <= 60 s" in result.stderr
