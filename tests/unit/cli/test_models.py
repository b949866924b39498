"""`trimtab models`, and what `trimtab explain` tells of models."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from cli_server import World
from hypothesis import given
from hypothesis import strategies as st

from trimtab.cli.hosting.page import lines, mebibytes, setting_words, share
from trimtab.cli.hosting.rows import Page, Sort, chosen, page_of
from trimtab.cli.render import shortened
from trimtab.control.hosts.api import HostView, ModelCount, PastEvent
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.model import Container, Model
from trimtab.wire.hosting import ModelEvent, ModelState, Resident

NOW_S = 1_700_000_000.0
MIB = 2**20
USD_PER_HOUR = 0.115  # ml.m5.large
DIGEST = "3f2a91c0ffee0011"


def a_resident(model: str = "a.tar.gz", **more: object) -> Resident:
    return Resident(**{"model": model, "version": DIGEST, "state": ModelState.READY, "bytes": 10 * MIB, **more})


def a_host(*residents: Resident, replica: str = "r1", **more: object) -> HostView:
    fields = {"memory_bytes": 100 * MIB, "used_bytes": 10 * MIB, "hits": 9, "misses": 1, "variant": "blue", **more}
    return HostView(replica_id=replica, residents=residents, **fields)


def a_page(
    *hosts: HostView,
    counts: tuple[ModelCount, ...] = (),
    settings: tuple[ModelSetting, ...] = (),
    usd: float | None = USD_PER_HOUR,
) -> Page:
    document = msgspec.to_builtins({"hosts": hosts, "models": counts, "settings": settings})
    return page_of("many", document, {} if usd is None else {"blue": usd}, NOW_S)


def drawn(page: Page, width: int = 200, most: int | None = None) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines(page, page.rows, width, most)]


# --- rows ------------------------------------------------------------------------------------------------------------


def test_a_model_is_one_row_whatever_the_number_of_its_copies() -> None:
    page = a_page(
        a_host(a_resident(in_hand=1, used_s=NOW_S - 9)),
        a_host(a_resident(in_hand=2, used_s=NOW_S - 3, peak_bytes=12 * MIB), replica="r2"),
        a_host(replica="r3"),
        counts=(ModelCount(model="a.tar.gz", loads=2, requests=100, misses=2, load_s=0.5, evictions=1),),
    )
    [row] = page.rows
    assert (row.state, row.ready, row.bytes, row.peak_bytes) == ("Ready", 2, 20 * MIB, 12 * MIB)
    assert (row.requests, row.misses, row.in_hand, row.used_s) == (100, 2, 3, NOW_S - 3)
    assert row.mean_load_s == 0.25
    assert [copy.replica_id for copy in row.copies] == ["r1", "r2"]


def test_a_version_that_leaves_is_shown_behind_the_one_that_serves() -> None:
    page = a_page(a_host(a_resident(version="old", state=ModelState.LEAVING), a_resident(version="new")))
    assert page.rows[0].versions == ("new", "old")
    assert page.rows[0].state == "Ready"


def test_models_that_were_loaded_once_or_that_something_is_set_for_are_known() -> None:
    page = a_page(counts=(ModelCount(model="b", loads=1),), settings=(ModelSetting(model="c", pinned=True),))
    assert [(row.model, row.state, row.pinned) for row in page.rows] == [("b", "-", False), ("c", "-", True)]


def test_loads_cost_their_time_and_memory_its_share_of_an_instance() -> None:
    page = a_page(a_host(a_resident(bytes=25 * MIB)), counts=(ModelCount(model="a.tar.gz", loads=1, load_s=36.0),))
    assert page.rows[0].loads_usd == pytest.approx(USD_PER_HOUR / 100)
    assert page.rows[0].kept_usd_per_hour == pytest.approx(USD_PER_HOUR / 4)


def test_without_a_price_nothing_is_told_of_money() -> None:
    page = a_page(a_host(a_resident()), counts=(ModelCount(model="a.tar.gz", loads=1, load_s=1.0),), usd=None)
    assert (page.rows[0].loads_usd, page.rows[0].kept_usd_per_hour, page.idle_usd_per_hour) == (None, None, None)
    assert "$" not in "".join(drawn(page)).replace("$/h", "")
    assert "No price is known" in drawn(page)[-1]


def test_memory_of_models_that_nobody_asks_for_is_summed_unless_they_are_pinned_or_at_work() -> None:
    old = {"used_s": NOW_S - 3600, "loaded_s": NOW_S - 7200}
    page = a_page(
        a_host(
            a_resident("idle", **old),
            a_resident("pinned", pinned=True, **old),
            a_resident("working", in_hand=1, **old),
            a_resident("used", used_s=NOW_S - 5),
            a_resident("new", loaded_s=NOW_S - 5),
        )
    )
    assert page.idle_bytes == 10 * MIB
    assert page.idle_usd_per_hour == pytest.approx(USD_PER_HOUR / 10)
    assert "keep 10.0 MiB, 10.0% of the memory: $0.0115 an hour." in drawn(page)[-1]


def test_models_are_chosen_by_pattern_and_sorted_by_numbers_from_the_largest() -> None:
    counts = tuple(ModelCount(model=f"{n}.tar.gz", requests=n, loads=10 - n, load_s=n / 10) for n in range(5))
    rows = a_page(counts=counts).rows
    assert [row.model[0] for row in chosen(rows, Sort.REQUESTS, "")] == ["4", "3", "2", "1", "0"]
    assert [row.model[0] for row in chosen(rows, Sort.LOADS, "[12]*")] == ["1", "2"]
    assert [row.model[0] for row in chosen(rows, Sort.COST, "")] == ["4", "3", "2", "1", "0"]


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_shows_where_models_are_what_they_did_and_what_that_cost() -> None:
    why = "evicted: for b.tar.gz, which needs 9.0 MiB"
    count = ModelCount(
        model="a.tar.gz", loads=3, requests=1000, misses=3, load_s=0.03, evictions=2, last_why=why, failures=1
    )
    setting = ModelSetting(model="a.tar.gz", pinned=True, min_copies=2, ttl_s=600)
    text = drawn(a_page(a_host(a_resident(used_s=NOW_S - 3)), counts=(count,), settings=(setting,)), 240)
    assert text[0] == "many  1 replica  1 of 1 known models loaded  10.0 of 100 MiB  hits 90.0% of 10 requests"
    titles, row = text[5:7]
    assert " ".join(titles.split()) == (
        "MODEL VERSION STATE ON MiB REQUESTS HITS LOADS LOAD ms FAILED EVICTED IDLE LOADS COST KEPT $/h SET LAST UNLOAD"
    )
    assert row.split()[:12] == [
        "a.tar.gz", "3f2a91c0", "Ready", "1/1", "10.0", "1,000", "99.7%", "3", "10.0", "1", "2", "3s",
    ]  # fmt: skip
    assert row.rstrip().endswith(f"$0.000000958   $0.0115  pinned, 2 to all copies, 600 s to live  {why}")
    assert text[-1] == "3 loads took 0.03 s: $0.000000958 of replicas' time."


@given(
    width=st.integers(40, 250),
    models=st.lists(st.text(min_size=1, max_size=90), max_size=5),
    reason=st.text(max_size=300),
)
def test_no_line_is_wider_than_the_terminal_whatever_models_are_called(width, models, reason) -> None:
    residents = tuple(a_resident(model, used_s=NOW_S) for model in models)
    counts = tuple(ModelCount(model=model, loads=1, last_why=reason, load_s=1.0) for model in models)
    for line in drawn(a_page(a_host(*residents), counts=counts), width):
        assert len(line) <= width
        assert "\n" not in line
        assert "\x1b" not in line


def test_models_beyond_the_limit_are_counted() -> None:
    counts = tuple(ModelCount(model=f"{n}", loads=1) for n in range(50))
    assert "... 47 models more" in drawn(a_page(counts=counts), most=3)


def test_an_endpoint_without_models_says_so() -> None:
    text = "\n".join(drawn(a_page()))
    assert "No replica holds models now." in text
    assert "No model has been asked for yet." in text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (None, ""),
        (ModelSetting(model="a"), ""),
        (ModelSetting(model="a", pinned=True), "pinned"),
        (ModelSetting(model="a", max_copies=3), "0 to 3 copies"),
        (ModelSetting(model="a", pinned=True, max_copies=3), "pinned, 1 to 3 copies"),
        (ModelSetting(model="a", ttl_s=90.0), "90 s to live"),
    ],
)
def test_settings_are_told_in_words(setting: ModelSetting | None, words: str) -> None:
    assert setting_words(setting) == words


def test_a_part_is_all_or_nothing_only_when_it_is() -> None:
    assert [share(0, 0), share(0, 9), share(9, 9), share(99_999, 100_000), share(1, 100_000)] == [
        "-", "0%", "100%", "99.9%", "0.1%",
    ]  # fmt: skip


def test_a_long_name_keeps_its_ends() -> None:
    assert shortened("customers/europe/acme/churn-2026.tar.gz", 20) == "customers/eur~tar.gz"
    assert mebibytes(12_345_678_901) == "11,774"


# --- the verbs -------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(world: World) -> World:
    """A multi-model endpoint of two replicas."""
    control = world.control
    control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})
    variants = (VariantSpec(name="blue", model_name="m", instance_type="ml.m5.large", initial_count=2),)
    document = {"ProductionVariants": [{"VariantName": "blue", "ModelName": "m", "InstanceType": "ml.m5.large"}]}
    control.create_endpoint_config(EndpointConfig(name="c", created_s=1.0, variants=variants, document=document), {})
    for name in ("many", "fraud"):
        control.create_endpoint(name, "c", {}, {})
        control.settle(name)
    world.many.held_hosts = [a_host(a_resident()), a_host(a_resident("b.tar.gz"), replica="r2")]
    world.many.held_counts = [ModelCount(model="a.tar.gz", loads=2, load_s=0.25)]
    return world


def test_models_of_an_endpoint_are_listed_without_a_verb(trimtab, many: World) -> None:
    for arguments in (("models", "many"), ("models", "list", "many")):
        result = trimtab(*arguments)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("many  2 replicas  2 of 2 known models loaded")
        assert "\x1b" not in result.stdout


def test_options_may_stand_before_the_name(trimtab, many: World) -> None:
    assert "a.tar.gz" not in trimtab("models", "--match", "b*", "many").stdout
    assert "... 1 models more" in trimtab("models", "many", "--limit", "1").stdout


def test_json_has_every_number(trimtab, many: World) -> None:
    document = json.loads(trimtab("models", "many", "--json").stdout)
    assert document["usd_per_hour"] == {"blue": pytest.approx(USD_PER_HOUR)}
    assert document["price_notes"][0].startswith("ml.m5.large in eu-west-1: derived: us-east-1's price")
    assert [model["model"] for model in document["models"]] == ["a.tar.gz", "b.tar.gz"]
    assert document["models"][0]["copies"][0]["version"] == DIGEST
    assert document["models"][0]["loads_usd"] == pytest.approx(0.25 * USD_PER_HOUR / 3600)
    assert (document["hits"], document["misses"], document["used_bytes"]) == (18, 2, 20 * MIB)


def test_pinning_keeps_what_else_is_set_and_says_what_is_in_force(trimtab, many: World) -> None:
    assert trimtab("models", "set", "many", "a.tar.gz", "--ttl", "10m", "--max", "3").stdout == (
        "a.tar.gz: 0 to 3 copies, 600 s to live\n"
    )
    result = trimtab("models", "pin", "many", "a.tar.gz", "team/b.tar.gz")
    assert result.stdout == "a.tar.gz: pinned, 1 to 3 copies, 600 s to live\nteam/b.tar.gz: pinned\n"
    assert many.many.held_settings["team/b.tar.gz"] == ModelSetting(model="team/b.tar.gz", pinned=True)
    assert trimtab("models", "unpin", "many", "a.tar.gz").stdout == "a.tar.gz: 0 to 3 copies, 600 s to live\n"
    assert trimtab("models", "reset", "many", "a.tar.gz").stdout == "a.tar.gz: nothing set\n"
    assert set(many.many.held_settings) == {"team/b.tar.gz"}


def test_a_model_whose_name_needs_quoting_can_be_set_and_reset(trimtab, many: World) -> None:
    name = "team a/ü&x=1?.tar.gz"
    trimtab("models", "pin", "many", name)
    assert set(many.many.held_settings) == {name}
    trimtab("models", "reset", "many", name)
    assert many.many.held_settings == {}


def test_settings_are_one_json_document(trimtab, many: World) -> None:
    document = json.loads(trimtab("models", "pin", "many", "a", "b", "--json").stdout)
    assert {model: setting["pinned"] for model, setting in document["settings"].items()} == {"a": True, "b": True}


def test_what_is_set_for_every_other_model_is_told_apart(trimtab, many: World) -> None:
    trimtab("models", "set", "many", "*", "--ttl", "1h")
    shown = trimtab("models", "many").stdout
    assert "Models without a setting of their own: 3600 s to live." in shown
    assert "2 of 2 known models" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("models", "set", "many", "a"), "There is nothing to set"),
        (("models", "set", "many", "a", "--ttl", "soon"), "--ttl takes a length of time"),
        (("models", "set", "many", "a", "--min", "3", "--max", "2"), "max_copies is 2, fewer than the 3"),
        (("models", "pin", "many", "../a"), "is no key below a prefix"),
        (("models", "pin", "fraud", "a"), "is not a multi-model endpoint"),
        (("models", "fraud"), "is not a multi-model endpoint"),
        (("models", "nobody"), "no endpoint"),
        (("models", "many", "--watch", "--json"), "--watch takes no --json"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(trimtab, many: World, arguments, message: str) -> None:
    result = trimtab(*arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr


# --- explain ---------------------------------------------------------------------------------------------------------


def an_event(ago_s: float, what: str, seq: int, model: str = "a.tar.gz", **more: object) -> PastEvent:
    event = ModelEvent(at_s=time.time() - ago_s, model=model, what=what, seq=seq, version=DIGEST, **more)
    return PastEvent(replica_id="r1", variant="blue", event=event)


def test_explain_tells_why_models_were_loaded_and_unloaded_and_what_loads_cost(trimtab, many: World) -> None:
    text = "for b.tar.gz, which needs 9.0 MiB: keeping its 10.0 MiB saved 815 ms of loading a MiB and hour"
    many.many.held_events = [
        an_event(60, "loaded", 1, why="asked", download_s=0.02, load_s=0.005, wait_s=0.031, bytes=10 * MIB),
        an_event(30, "unloaded", 2, why="evicted", text=text, unload_s=0.05, bytes=10 * MIB, requests=7),
        an_event(20, "load failed", 3, "bad.tar.gz", failure="ModelLoadFailed", text="model_fn raised\n\x1b[31mred"),
    ]
    shown = trimtab("explain", "many").stdout
    assert "loaded: asked for  a.tar.gz  blue/r1" in shown
    took = next(line.strip() for line in shown.splitlines() if line.strip().startswith("took   fetch"))
    times = "took   fetch 20.0 ms, load 5.0 ms, first request waited 31.0 ms"
    assert took.startswith(f"{times}; its time cost $0.000000799 (price derived")
    assert "unloaded: evicted  a.tar.gz  blue/r1" in shown
    assert f"why    {text}" in shown
    assert "had    10.0 MiB, 7 requests answered, version 3f2a91c0ffee" in shown
    assert "load failed  bad.tar.gz" in shown
    assert "\x1b" not in shown


def test_explain_of_one_model_tells_of_nothing_else(trimtab, many: World) -> None:
    many.many.held_events = [an_event(60, "loaded", 1, why="asked"), an_event(50, "loaded", 2, "b.tar.gz", why="hot")]
    shown = trimtab("explain", "many", "--model", "b.tar.gz").stdout
    assert "more copies of what is hot  b.tar.gz" in shown
    assert "a.tar.gz" not in shown
    document = json.loads(trimtab("explain", "many", "--model", "b.tar.gz", "--json").stdout)
    assert [model["event"]["model"] for model in document["models"]] == ["b.tar.gz"]
    assert "Nothing happened to c.tar.gz from" in trimtab("explain", "many", "--model", "c.tar.gz").stdout


def test_explain_tells_of_the_time_that_was_asked_for(trimtab, many: World) -> None:
    many.many.held_events = [an_event(7200, "loaded", 1, why="asked"), an_event(60, "loaded", 2, "b.tar.gz")]
    assert "a.tar.gz" not in trimtab("explain", "many").stdout
    assert "a.tar.gz" in trimtab("explain", "many", "--last", "3h").stdout
    assert "b.tar.gz" not in trimtab("explain", "many", "--from", "3h", "--to", "1h").stdout


def test_explain_of_an_endpoint_that_holds_one_model_is_as_before(trimtab, many: World) -> None:
    assert "No decisions from" in trimtab("explain", "fraud").stdout
    result = trimtab("explain", "fraud", "--model", "a.tar.gz")
    assert result.exit_code == 1
    assert "is not a multi-model endpoint" in result.stderr
