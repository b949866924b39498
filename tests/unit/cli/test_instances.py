"""`trimtab instances`."""

from __future__ import annotations

import json
from pathlib import Path


def test_what_fits_is_shown_with_its_sum_and_a_first_choice(bare) -> None:
    result = bare("instances", "--params", "8b", "--dtype", "int8", "--context", "4096", "--concurrency", "16")
    assert result.exit_code == 0, result.stderr
    assert "taken from llama-3.1-8b" in result.stdout
    assert "8,000,000,000 parameters x 8 bits / 8 = 7.5 GiB" in result.stdout
    assert "Try first: ml.g6.xlarge, $1.127 an hour in us-east-1, as of 2026-04-21." in result.stdout
    assert "ml.m5.large" not in result.stdout  # a model of this size is looked for on accelerators


def test_json_has_the_sum_the_choice_and_every_type(bare) -> None:
    found = json.loads(bare("instances", "--params", "8b", "--json").stdout)
    need = found["need_bytes"]
    assert need["total"] == need["weights"] + need["kv"] + need["activations"]
    assert found["first"]["instance_type"] == "ml.g6.xlarge"
    rows = {row["instance_type"]: row for row in found["instances"]}
    assert rows["ml.g4dn.xlarge"]["copies"] == 0
    assert rows["ml.g6.xlarge"]["price"]["as_of"] == "2026-04-21"


def test_without_a_model_it_lists_hardware_and_price(bare) -> None:
    shown = bare("instances", "--accelerator", "l4", "--max-usd-per-hour", "1.2").stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[1].startswith("ml.g6.xlarge 4 16 GiB 1 x L4, 22.35 GiB 1.127 0.0504 0.0093")
    assert "vCPU" in lines[0]


def test_old_and_derived_prices_are_marked(bare) -> None:
    shown = bare("instances", "--accelerator", "t4", "--region", "eu-west-1").stdout
    assert "price derived, of 2025-01-26" in shown


def test_ones_own_hardware_is_among_them(bare, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[hardware.den]\nusd_per_hour = 0.4\naccelerator = "RTX 4090"\naccelerator_gib = 24\n')
    monkeypatch.setenv("TRIMTAB_PRICES", str(path))
    shown = bare("instances", "--params", "7b").stdout
    assert "Try first: den, $0.4 an hour in any region" in shown
    path.write_text('[hardware.den]\nusd_per_hour = 0.4\naccelerator = "RTX 4090"\n')
    assert "[hardware.den]: accelerator_gib is missing." in bare("instances").stderr


def test_what_cannot_be_is_said_with_what_to_do(bare) -> None:
    assert "None of" in (none := bare("instances", "--params", "3000b")).stderr
    assert none.exit_code == 1
    assert "--dtype" in none.stderr
    assert "is neither a size" in bare("instances", "--params", "huge").stderr
    assert "There is no use 'leisure'" in bare("instances", "--use", "leisure").stderr
    assert "No instance type" in bare("instances", "--max-usd-per-hour", "0.001").stderr


def test_options_of_a_model_need_a_model(bare) -> None:
    done = bare("instances", "--context", "8192")
    assert done.exit_code == 1
    assert "--context is of a model: say which, with --params" in done.stderr


def test_why_nothing_is_left_is_said(bare) -> None:
    assert "the cheapest is ml." in bare("instances", "--max-usd-per-hour", "0.001").stderr
    assert "L4" in bare("instances", "--accelerator", "abacus").stderr
    dear = bare("instances", "--params", "8b", "--max-usd-per-hour", "0.01").stderr
    assert "the cheapest that holds it is ml.inf2.xlarge" in dear


def test_a_region_without_a_list_is_told_beside_the_figures(bare) -> None:
    assert "no price of the region mars-1 is listed" in bare("instances", "--region", "mars-1").stderr
    assert "no price" not in bare("instances", "--region", "eu-west-1").stderr
