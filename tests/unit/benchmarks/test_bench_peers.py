"""The comparison with other servers: order, resumption, tables, and what is known of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from benchmarks.peers import campaign, results, tables
from benchmarks.peers.__main__ import main
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.environments import REQUIREMENTS
from benchmarks.peers.measure import Cell
from benchmarks.peers.models import ABOUT, Model
from benchmarks.peers.peer import FEATURES, Peer, tensor, tensors, under
from benchmarks.peers.processes import Memory
from benchmarks.peers.stats import ratio, spread
from benchmarks.peers.wrk import Figures

SETTINGS = results.Settings(seconds=4, seed=1, concurrency=(1, 16))


def cell(rate: float, concurrency: int = 1, p99_s: float = 0.002) -> Cell:
    figures = Figures(int(rate * 4), 4.0, rate, 0.001, 0.0015, p99_s, 0, 0)
    return Cell(concurrency, figures, rate * 4 * 50e-6, 1.0, 0.01, False, Memory(100 * 2**20, 120 * 2**20))


def turn(number: int, peer: str, *rates: float, model: str = "fraud", failed: str = "") -> results.Turn:
    return results.Turn(number, peer, model, 1.5, tuple(map(cell, rates, SETTINGS.concurrency)), failed)


def run_of(*turns: results.Turn) -> results.Results:
    return results.Results(SETTINGS, "a machine", turns=list(turns))


# --- medians -------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(min_value=0, max_value=1e9), min_size=1, max_size=9))
def test_the_middle_lies_between_the_smallest_and_the_largest(values: list[float]) -> None:
    found = spread(values)
    assert found.low == min(values) <= found.median <= max(values) == found.high
    assert found.count == len(values)


def test_there_is_no_middle_of_nothing() -> None:
    with pytest.raises(ValueError):
        spread([])


def test_a_ratio_to_nothing_is_none() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(3.0, None) is None
    assert ratio(3.0, 0.0) is None


# --- order ---------------------------------------------------------------------------------------------------------


def test_every_round_has_every_server_once_in_an_order_of_its_own_that_the_seed_repeats() -> None:
    peers = list(PEERS.values())
    places = campaign.order(peers, ["fraud"], 3, seed=5)
    rounds = [[place.peer.name for place in places if place.round == number] for number in range(3)]
    wanted = sorted(peer.name for peer in peers if "fraud" in peer.models)
    assert [sorted(names) for names in rounds] == [wanted] * 3
    assert rounds[0] != rounds[1]
    assert places == campaign.order(peers, ["fraud"], 3, seed=5)
    assert campaign.order(peers, ["fraud"], 2, seed=5) == [place for place in places if place.round < 2]


def test_a_server_that_cannot_batch_has_no_turn_with_batching() -> None:
    names = {place.peer.name for place in campaign.order(list(PEERS.values()), ["mlp-batched"], 1, seed=1)}
    assert "trimtab" in names
    assert "mosec" in names
    assert not names & {"fastapi", "uvicorn", "kserve"}


def test_the_estimate_grows_with_rounds_and_loads() -> None:
    short = campaign.order([PEERS["mosec"]], ["fraud"], 1, seed=1)
    long = campaign.order([PEERS["mosec"]], ["fraud"], 3, seed=1)
    assert campaign.estimate_s(long, SETTINGS) == pytest.approx(3 * campaign.estimate_s(short, SETTINGS))
    assert campaign.estimate_s(short, SETTINGS) > 2 * SETTINGS.seconds


def test_a_server_that_fails_costs_the_others_nothing_and_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []

    def take(place: campaign.Place, model: object, settings: object, *, repeat: bool) -> results.Turn:
        asked.append((place.round, place.peer.name))
        broken = place.peer.name == "mosec"
        return turn(place.round, place.peer.name, *([] if broken else [100.0, 200.0]), failed="broken" * broken)

    monkeypatch.setattr(campaign, "take", take)
    peers = [PEERS["trimtab"], PEERS["mosec"]]
    places, found, file = campaign.order(peers, ["fraud"], 3, seed=1), run_of(), tmp_path / "run.json"
    models = {"fraud": Model("fraud", tmp_path / "fraud.onnx", 30, 2)}
    campaign.run(places, models, found, file, say=lambda text: None)
    assert sorted(asked) == [(0, "mosec"), (0, "trimtab"), (1, "trimtab"), (2, "trimtab")]
    again = results.load(file, SETTINGS)
    assert again == found
    asked.clear()
    campaign.run(places, models, again, file, say=lambda text: None)
    assert asked == [(0, "mosec")]  # what failed is tried again, what is there is kept


# --- the file ------------------------------------------------------------------------------------------------------


def test_a_file_of_other_settings_or_of_another_program_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    results.save(file, run_of(turn(0, "mosec", 1, 2)))
    before = file.read_bytes()
    with pytest.raises(results.OtherRun, match="other settings"):
        results.load(file, results.Settings(seconds=5, seed=1, concurrency=(1, 16)))
    assert file.read_bytes() == before
    file.write_bytes(b"\xff not JSON")
    with pytest.raises(results.OtherRun, match="not a file of this program"):
        results.load(file, SETTINGS)


def test_a_turn_taken_again_replaces_the_one_that_failed() -> None:
    found = run_of(turn(0, "mosec", failed="broken"))
    assert not found.done(0, "mosec", "fraud")
    found.add(turn(0, "mosec", 10, 20))
    assert found.done(0, "mosec", "fraud")
    assert found.failure("mosec", "fraud") == ""
    assert len(found.turns) == 1


# --- tables --------------------------------------------------------------------------------------------------------


def test_rates_are_medians_with_their_spread_and_ratios_to_trimtab_and_to_the_best_peer() -> None:
    found = run_of(
        *(turn(i, "trimtab", rate, 2 * rate) for i, rate in enumerate((100.0, 300.0, 200.0))),
        *(turn(i, "mosec", rate, rate) for i, rate in enumerate((50.0, 40.0, 60.0))),
        turn(0, "uvicorn", 400.0, 400.0),  # the yardstick is no peer
        turn(0, "fastapi", failed="ended with status 1\nand its log"),
    )
    rows = {row[0]: row for row in tables.load_sheet(found, list(PEERS.values()), "fraud", 1).rows}
    assert list(rows) == ["uvicorn", "trimtab", "mosec", "fastapi"]
    assert rows["trimtab"][1:5] == ("200", "100..300", "1.00 x", "4.00 x")
    assert rows["mosec"][1:5] == ("50", "40..60", "0.25 x", "1.00 x")
    assert rows["trimtab"][7] == "0.050"
    assert rows["fastapi"][1] == "failed: ended with status 1"


def test_without_trimtab_or_peers_there_are_no_ratios() -> None:
    [row] = tables.load_sheet(run_of(turn(0, "uvicorn", 9.0, 9.0)), list(PEERS.values()), "fraud", 1).rows
    assert row[3:5] == ("-", "-")


def test_a_run_becomes_a_page_of_markdown_and_tables_for_the_terminal() -> None:
    found = run_of(turn(0, "trimtab", 100.0, 200.0), turn(0, "mosec", 50.0, 60.0))
    sheets = tables.sheets(found, list(PEERS.values()))
    page = tables.markdown(sheets, "Machine: a machine.")
    widths = {
        len(re.findall(r"(?<!\\)\|", line)) for line in page.split("### ")[1].splitlines() if line.startswith("|")
    }
    assert widths == {len(tables.LOAD_COLUMNS) + 1}
    console = Console(width=200, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for sheet in sheets:
        console.print(tables.terminal(sheet))
    console.file.close()
    assert "mosec" in console.export_text()
    assert "concurrency 16" in page


# --- the servers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS.values(), ids=PEERS)
def test_what_is_said_of_a_server_is_said_in_known_words(peer: Peer) -> None:
    assert set(peer.does) <= set(FEATURES)
    assert set(peer.models) <= set(ABOUT)
    assert peer.ours or ("batching" in peer.does) == ("mlp-batched" in peer.models)
    assert peer.configured


@pytest.mark.parametrize("peer", [p for p in PEERS.values() if p.environment], ids=lambda p: p.name)
def test_everything_a_server_needs_is_pinned_with_hashes(peer: Peer) -> None:
    lock = (REQUIREMENTS / f"{peer.environment}.txt").read_text()
    asked = (REQUIREMENTS / f"{peer.environment}.in").read_text().split()
    for line in asked:
        name = re.sub(r"\[.*\]", "", line)
        assert f"{name} \\\n    --hash=" in lock or f"{name} ;" in lock, line
    assert "onnxruntime==1.32.0" in asked


def test_the_protocols_of_the_peers_carry_rows_and_answers() -> None:
    assert under("instances")([[1.0, 2.0]]) == b'{"instances":[[1.0,2.0]]}'
    assert b'"shape":[2,1]' in tensors([[1.0], [2.0]])
    assert tensor(b'{"outputs":[{"name":"answers","data":[0.25,0.75]}]}') == [0.25, 0.75]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peers", "nginx"], "there is no nginx"),
        (["--models", "llm"], "there is no llm"),
        (["--rounds", "0"], "no positive whole number"),
        (["--concurrency", "1,many"], "no positive whole number"),
    ],
)
def test_a_wrong_option_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert said in capsys.readouterr().err


def test_a_machine_without_wrk_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main(["--peers", "mosec"]) == 1
    assert capsys.readouterr().err.startswith("wrk is not installed")
