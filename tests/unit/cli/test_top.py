"""`trimtab top`: its frame, its keys, and the verb."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from trimtab.cli.top_columns import COLUMNS, count, fitting, percent, short, size, usd, usd_per_hour
from trimtab.cli.top_frame import KEYS, LEAST_HEIGHT, LEAST_WIDTH, Line, frame
from trimtab.cli.top_live import keys_of
from trimtab.cli.top_view import View
from trimtab.metrics.sketch import Sketch
from trimtab.metrics.store import MetricKey, Sample
from trimtab.resources.endpoint import Event
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.resources.replica import Failure, ReplicaState, ReplicaStatus
from trimtab.resources.usage import ReplicaUsage

WHERE = "http://127.0.0.1:7070"
BUSY = {
    "rate_per_s": 12345.6, "errors_per_s": 0.25, "p50_ms": 0.512, "p95_ms": 3.14, "p99_ms": 1234.5, "queue": 7.0,
    "concurrency": 64.0, "batch_size": 15.5, "utilization_percent": 87.4, "cpu_percent": 187.0,
    "memory_bytes": 3 * 2**29,
}  # fmt: skip


def a_replica(number: int, **more: object) -> dict[str, object]:
    return {"id": f"0123abcd-1-{number:09}", "state": "Ready", "version": "v", "figures": {}, "in_flight": 2, **more}


def an_endpoint(name: str = "fraud", *, replicas: int = 2, figures: object = BUSY, **more: object) -> dict[str, object]:
    variant = {
        "name": "blue",
        "weight": 1.0,
        "replicas_ready": replicas,
        "replicas_desired": replicas,
        "figures": figures,
        "replicas": [a_replica(number) for number in range(replicas)],
    }
    return {
        "name": name,
        "status": "InService",
        "replicas_ready": replicas,
        "replicas_desired": replicas,
        "figures": figures,
        "variants": [variant],
        **more,
    }


def a_document(*endpoints: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "at_s": 1_700_000_000.0,
        "window_s": 10,
        "sort": "name",
        "offset": 0,
        "endpoints_total": len(endpoints),
        "replicas_ready": 2,
        "replicas_desired": 2,
        "endpoints": list(endpoints),
        **more,
    }


def text_of(lines: list[Line]) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines]


def drawn(document: dict[str, object], width: int = 160, height: int | None = 40, **more: object) -> str:
    return "\n".join(text_of(frame(document, width, height, where=WHERE, **more)))


def test_models_are_told_where_there_are_some() -> None:
    holds = {**BUSY, "models_loaded": 212, "model_hit_percent": 97.34}
    titles, row = [
        line
        for line in drawn(a_document(an_endpoint(figures=holds))).splitlines()
        if "NAME" in line or line.startswith("fraud")
    ]
    assert titles.split()[titles.split().index("MODELS") :][:2] == ["MODELS", "HIT"]
    assert " 212 97.3%" in " ".join(row.split())
    assert "MODELS" not in drawn(a_document(an_endpoint()))


def test_backlogs_are_told_where_there_are_asynchronous_endpoints() -> None:
    told = drawn(a_document(an_endpoint(figures={**BUSY, "backlog": 1234})))
    assert "BACKLOG" in told
    assert "1.23k" in told
    assert "BACKLOG" not in drawn(a_document(an_endpoint()))


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.004, "0.00"), (0.42, "0.42"), (9.999, "10.0"), (31.4, "31.4"), (123.4, "123"), (999.6, "1.00k"),
     (12_345, "12.3k"), (999_700, "1.00M"), (4.56e6, "4.56M")],
)  # fmt: skip
def test_a_number_is_short(value: float, text: str) -> None:
    assert short(value) == text


@given(st.floats(0, 9.99e11))
def test_a_number_of_any_size_fits_its_column(value: float) -> None:
    assert len(short(value)) <= 5
    assert len(count(value)) <= 5


@given(st.integers(0, 900 * 2**40))
def test_bytes_fit_their_column(value: int) -> None:
    assert len(size(value)) <= 5


def test_bytes_and_percents_are_told_as_people_do() -> None:
    assert [size(n) for n in (0, 512 * 1024, 31 * 2**20, 1.5 * 2**30, 300 * 2**30)] == [
        "0.00K",
        "512K",
        "31.0M",
        "1.50G",
        "300G",
    ]
    assert [percent(n) for n in (0, 99.6, 1600)] == ["0%", "100%", "1600%"]
    assert [count(n) for n in (0, 7, 7.5, 1024)] == ["0", "7", "7.50", "1.02k"]


# --- the frame -------------------------------------------------------------------------------------------------------


def test_endpoints_variants_and_replicas_are_a_tree_with_figures() -> None:
    lines = drawn(a_document(an_endpoint())).splitlines()
    assert lines[2].split() == [
        "NAME", "STATE", "READY", "REQ/S", "ERR/S", "P50ms", "P95ms", "P99ms", "QUEUE", "CONC", "BATCH", "BUSY", "CPU", "MEM",
    ]  # fmt: skip
    figures = ["12.3k", "0.25", "0.51", "3.14", "1.23k", "7", "64", "15.5", "87%", "187%", "1.50G"]
    assert lines[3].split() == ["fraud", "InService", "2/2", *figures]
    assert lines[4].split() == ["blue", "w", "1", "2/2", *figures]
    assert lines[5].split() == ["0123abcd-1-000000000", "Ready", "-", "-", "-", "-", "-", "-", "2", "-", "-", "-", "-"]
    assert [len(line) - len(line.lstrip()) for line in lines[3:6]] == [0, 2, 4]


def test_what_is_not_known_is_a_dash_and_what_is_zero_a_zero() -> None:
    row = drawn(a_document(an_endpoint(figures={"rate_per_s": 0.0}))).splitlines()[3].split()
    assert row == ["fraud", "InService", "2/2", "0", *["-"] * 10]


def test_80_columns_show_what_matters_most() -> None:
    lines = drawn(a_document(an_endpoint()), width=80).splitlines()
    assert lines[2].split() == [
        "NAME",
        "STATE",
        "READY",
        "REQ/S",
        "ERR/S",
        "P50ms",
        "P99ms",
        "QUEUE",
        "BUSY",
        "CPU",
        "MEM",
    ]
    assert lines[5].split()[0] == "0123abc~00000"


def test_gpus_have_columns_where_there_are_any() -> None:
    assert "GPU" not in drawn(a_document(an_endpoint()))
    gpu = {"gpu_percent": 80.0, "gpu_memory_bytes": 20 * 2**30}
    lines = drawn(a_document(an_endpoint(figures=gpu)), width=80).splitlines()
    assert lines[2].split()[-3:] == ["MEM", "GPU", "GPUMEM"]
    assert lines[3].split()[-2:] == ["80%", "20.0G"]


def test_a_failed_replica_shows_its_reason_where_its_figures_would_be() -> None:
    endpoint = an_endpoint(replicas=1)
    endpoint["variants"][0]["replicas"] = [a_replica(1, state="Failed", failure="OutOfMemory: it\nwas too much")]  # type: ignore[index]
    assert "Failed          OutOfMemory: it was too much" in drawn(a_document(endpoint))


def test_reasons_are_told_newest_first_after_those_of_failed_endpoints() -> None:
    events = [
        {"at_s": 1.0, "what": "replica lost", "reason": "Exited: status 3", "replica_id": "r1", "failure": "Exited"},
        {"at_s": 2.0, "what": "replica ordered", "reason": "replaces r1", "replica_id": "r2"},
        {"at_s": 2.0, "what": "endpoint InService"},
    ]
    out = drawn(a_document(an_endpoint(events=events, failure_reason="it\nfailed")))
    reasons = out[out.index("REASONS") :].splitlines()
    assert reasons[1] == "fraud: it failed"
    assert reasons[2].endswith("fraud  endpoint InService")
    assert reasons[3].endswith("fraud r2  replica ordered: replaces r1")
    assert reasons[4].endswith("fraud r1  replica lost: Exited: status 3")


def test_names_are_shortened_before_a_reason_is_cut() -> None:
    reason = "Exited: " + "killed " * 5 + "killed"
    event = {"at_s": 2.0, "what": "replica lost", "reason": reason, "replica_id": "0123abcd-1-987654321"}
    document = a_document(an_endpoint("e" * 60, events=[event]))
    assert f"{'e' * 60} 0123abcd-1-987654321  replica lost: {reason}" in drawn(document, 200)
    assert f"e~{'e' * 6} 0123abcd~4321  replica lost: {reason}" in drawn(document, 125)


def test_errors_are_told_by_their_reasons() -> None:
    endpoint = an_endpoint(errors_by_reason={"OutOfMemory": 12.0, "ModelFailed": 0.5})
    assert "fraud: errors: OutOfMemory 12.0/s, ModelFailed 0.50/s" in drawn(a_document(endpoint))


def test_a_loss_is_told_even_where_few_lines_are_left() -> None:
    lost = {"at_s": 1_699_999_990.0, "what": "replica lost", "reason": "OutOfMemory: ...", "failure": "OutOfMemory"}
    later = [{"at_s": 1_699_999_990.0 + n, "what": f"what followed {n}"} for n in range(1, 9)]
    document = a_document(an_endpoint(events=[lost, *later]))
    short = drawn(document, height=12)
    assert "replica lost: OutOfMemory" in short
    assert short.index("what followed 8") < short.index("replica lost")
    assert "what followed 1\n" not in short
    long_ago = {**lost, "at_s": 1_600_000_000.0}
    assert "replica lost" not in drawn(a_document(an_endpoint(events=[long_ago, *later])), height=12)
    assert "replica lost" in drawn(a_document(an_endpoint(events=[long_ago, *later])), height=None)


def test_as_much_of_the_tree_is_shown_as_there_is_room_for() -> None:
    document = a_document(*(an_endpoint(f"e{n}") for n in range(5)))  # 5 endpoints, 10 with variants, 20 with replicas
    assert "0123abcd" in drawn(document, height=26)
    assert "0123abcd" not in drawn(document, height=20)
    assert "blue" in drawn(document, height=20)
    assert "blue" not in drawn(document, height=12)
    assert "e4" in drawn(document, height=12)
    assert "... 2 endpoints more" in drawn(document, height=8)
    assert "0123abcd" in drawn(document, height=None)


def test_what_is_not_on_the_page_is_counted() -> None:
    page = [an_endpoint("a"), an_endpoint("b")]
    out = drawn(a_document(*page, endpoints_total=30, offset=10))
    assert "30 endpoints (from 11 on)" in out
    assert "... 18 endpoints more" in out
    assert "... 19 endpoints more" in drawn(a_document(*page, endpoints_total=30, offset=10), height=8, depth=2)
    assert "... 1 endpoint more" in drawn(a_document(*page, endpoints_total=30, offset=27), height=None)
    assert "... more replicas" in drawn(a_document(an_endpoint(replicas=9)), height=10, depth=2)
    assert "more" not in drawn(a_document(an_endpoint()))


def test_without_endpoints_the_table_is_empty() -> None:
    assert "0 endpoints" in drawn(a_document())


def test_a_terminal_that_is_too_small_says_so() -> None:
    assert text_of(frame(a_document(an_endpoint()), 30, 40, where=WHERE)) == ["30x40 is too small for top: 40"]
    assert text_of(frame(a_document(an_endpoint()), 100, 5, where=WHERE)) == ["100x5 is too small for top: 40x8"]


@given(
    st.integers(1, 200),
    st.integers(1, 60),
    st.integers(0, 30),
    st.integers(0, 5),
    st.integers(0, 9),
    st.text(max_size=90),
    st.sampled_from([None, 0, 1, 2]),
)
def test_a_frame_fits_the_terminal_whatever_is_in_it(
    width: int, height: int, endpoints: int, replicas: int, events: int, text: str, depth: int | None
) -> None:
    event = {"at_s": 1.0, "what": "replica lost", "reason": text, "replica_id": "r"}
    document = a_document(
        *(
            an_endpoint(f"{n}-{'x' * 60}", replicas=replicas, events=[event] * events, failure_reason=text)
            for n in range(endpoints)
        )
    )
    lines = text_of(frame(document, width, height, where=WHERE, message=text, depth=depth))
    assert all(len(line) <= width and line.isprintable() for line in lines)
    if width >= LEAST_WIDTH and height >= LEAST_HEIGHT:
        assert len(lines) == height
        assert lines[-1].startswith(KEYS[:40])


@given(st.integers(LEAST_WIDTH, 300))
def test_columns_that_fit_a_width_fit_every_wider_one(width: int) -> None:
    assert set(fitting(COLUMNS, width, taken=16)) <= set(fitting(COLUMNS, width + 1, taken=16))


# --- the view --------------------------------------------------------------------------------------------------------


@pytest.fixture
def view() -> View:
    return View(endpoint="", sort="name", window_s=10, where=WHERE)


def test_no_more_is_asked_for_than_can_be_shown(view: View) -> None:
    assert view.query(24) == {"window_s": "10", "sort": "name", "events": "8", "limit": "24", "offset": "0"}
    assert "limit" not in view.query(None)
    assert View(endpoint="e", sort="name", window_s=1, where="").query(None)["endpoint"] == "e"


def test_keys_sort_scroll_and_quit(view: View) -> None:
    view.answered(a_document(*(an_endpoint(f"e{n}") for n in range(10)), endpoints_total=30), 0.0)
    assert view.key("s")
    assert view.query(9)["sort"] == "rate"
    assert view.key("S")
    assert view.query(9)["sort"] == "name"
    assert view.key("down")
    assert view.key("page down")
    assert view.query(9)["offset"] == "10"
    for _ in range(5):
        view.key("page down")
    assert view.query(9)["offset"] == "29"
    assert view.key("home")
    assert not view.key("up")  # nothing is above
    assert view.query(9)["offset"] == "0"
    assert not view.key("x")
    view.key("q")
    assert view.quit


def test_a_key_chooses_how_deep_the_tree_is(view: View) -> None:
    view.answered(a_document(an_endpoint()), 0.0)
    seen = []
    for _ in range(5):
        out = "\n".join(text_of(view.lines(120, 40, 0.0)))
        seen.append("replicas" if "0123abcd" in out else "variants" if "blue" in out else "endpoints")
        view.key("d")
    assert seen == ["replicas", "endpoints", "variants", "replicas", "replicas"]


def test_what_is_shown_stays_with_its_age_while_nobody_answers(view: View) -> None:
    view.answered(a_document(an_endpoint()), 100.0)
    assert "No answer" not in "\n".join(text_of(view.lines(120, 40, 101.0)))
    assert text_of(view.lines(120, 40, 105.0))[1] == "No answer for 5 s."  # the question is still under way
    view.failed("Connection refused")
    lines = text_of(view.lines(120, 40, 112.0))
    assert lines[1] == "No answer for 12 s: Connection refused"
    assert "fraud" in lines[3]
    view.answered(a_document(an_endpoint()), 113.0)
    assert text_of(view.lines(120, 40, 113.0))[1] == ""


def test_an_endpoint_that_is_deleted_meanwhile_is_said_to_be_gone_and_may_come_again() -> None:
    view = View(endpoint="fraud", sort="name", window_s=10, where=WHERE)
    view.answered(a_document(an_endpoint()), 0.0)
    view.gone(1.0)
    lines = text_of(view.lines(120, 40, 60.0))
    assert lines[1] == "There is no endpoint fraud any more."
    assert "12.3k" not in "\n".join(lines)  # its last figures are not those of now
    view.answered(a_document(an_endpoint()), 61.0)
    assert "12.3k" in "\n".join(text_of(view.lines(120, 40, 61.0)))


def test_a_page_behind_the_last_endpoint_goes_back_to_it(view: View) -> None:
    view.answered(a_document(*(an_endpoint(f"e{n}") for n in range(10)), endpoints_total=30), 0.0)
    for _ in range(9):
        view.key("page down")
    view.answered(a_document(endpoints_total=4, offset=29), 1.0)
    assert view.query(9)["offset"] == "3"


def test_keys_are_read_from_what_a_terminal_sends() -> None:
    assert keys_of(b"q") == ["q"]
    assert keys_of(b"\x1b[A\x1b[6~s") == ["up", "page down", "s"]
    assert keys_of(b"\x1b[24~") == []  # F12
    assert keys_of(b"s\x1bOB\xff") == ["s", "down", "\xff"]


# --- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fraud(world):
    """An endpoint with a ready replica, a failed one, and traffic."""
    control = world.control
    control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})
    variants = (VariantSpec(name="blue", model_name="m", initial_count=2),)
    control.create_endpoint_config(EndpointConfig(name="c", created_s=1.0, variants=variants), {})
    control.create_endpoint("fraud", "c", {}, {})
    control.settle("fraud")
    control.endpoints["fraud"] = replace(control.endpoints["fraud"], created_s=1.0)
    common = {"endpoint": "fraud", "variant": "blue", "version": "c", "started_s": 1.0}
    failure = Failure(reason="ModelLoadFailed", message="model_fn raised")
    control.replicas["fraud"] = (
        ReplicaStatus(id="r-ready", state=ReplicaState.READY, pids=(71,), in_flight=3, **common),
        ReplicaStatus(id="r-dead", state=ReplicaState.FAILED, failure=failure, **{**common, "started_s": 2.0}),
    )
    control.events["fraud"] = (Event(at_s=time.time(), what="replica lost", reason="it raised", replica_id="r-dead"),)
    world.usages["r-ready"] = ReplicaUsage(
        replica_id="r-ready", endpoint="fraud", variant="blue", cpu_percent=55.0, memory_bytes=64 * 2**20
    )
    key = MetricKey("AWS/SageMaker", "Invocations", (("EndpointName", "fraud"), ("VariantName", "blue")))
    now_s = int(time.time())
    world.metrics.record([Sample(key, now_s - ago, Sketch.of([1.0] * 40)) for ago in range(1, 30)])
    return control


def test_one_frame_is_printed_with_all_replicas(trimtab, fraud) -> None:
    result = trimtab("top", "--once", env={"COLUMNS": "160"})
    assert (result.exit_code, result.stderr) == (0, "")
    assert "\x1b" not in result.stdout
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line}
    assert rows["fraud"][:3] == ["InService", "1/2", "40.0"]
    assert rows["r-ready"] == ["Ready", "-", "-", "-", "-", "-", "-", "3", "-", "-", "55%", "64.0M"]
    assert " ".join(rows["r-dead"]) == "Failed ModelLoadFailed: model_fn raised"
    assert "fraud r-dead  replica lost: it raised" in result.stdout


def test_in_a_pipe_it_prints_one_frame(trimtab, fraud) -> None:
    assert "fraud" in trimtab("top").stdout


def test_json_is_the_document(trimtab, fraud) -> None:
    document = json.loads(trimtab("top", "fraud", "--json", "--window", "5").stdout)
    assert document["window_s"] == 5
    assert document["endpoints"][0]["figures"]["rate_per_s"] == 40.0
    assert "p99_ms" not in document["endpoints"][0]["figures"]


def test_an_unknown_endpoint_is_an_error_with_a_hint(trimtab, fraud) -> None:
    result = trimtab("top", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no endpoint named 'nobody'" in result.stderr
    assert "hint: `trimtab endpoints`" in result.stderr


@pytest.mark.parametrize("arguments", [("--window", "0"), ("--window", "61"), ("--interval", "0"), ("--sort", "age")])
def test_what_is_out_of_range_is_a_usage_error(trimtab, arguments) -> None:
    result = trimtab("top", "--once", *arguments)
    assert result.exit_code == 2
    assert arguments[0] in result.stderr


@pytest.mark.parametrize(
    ("usd_an_hour", "text"), [(0.115, "0.115"), (0.0421, "0.042"), (1.408, "1.41"), (0.0, "0"), (0.0004, "0.0004")]
)
def test_a_price_by_the_hour_is_no_cent_too_dear(usd_an_hour: float, text: str) -> None:
    assert usd_per_hour(usd_an_hour) == text


def test_a_thousand_requests_have_their_digits() -> None:
    assert [usd(value) for value in (0.0168, 0.24, 3.5, 0.00004)] == ["0.0168", "0.240", "3.50", "4e-05"]
