"""`trimtab prices`."""

from __future__ import annotations

import json
from pathlib import Path

ROWS = "service,item,region,unit,usd_per_unit,as_of,source\nsagemaker-hosting,ml.g5.xlarge,us-east-1,hour,1.6,2026-10-01,contract\n"


def test_the_list_tells_what_is_derived_and_old(bare) -> None:
    result = bare("prices", "list", "g5.xlarge", "--region", "us-east-1")
    assert result.exit_code == 0, result.stderr
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert any(line.startswith("ml.g5.xlarge hosting us-east-1 1.408 hour 2026-04-21") for line in lines)
    assert "g5.xlarge ec2-spot us-east-1 0.41246 hour 2025-06-28 derived, of 2025-06-28" in lines
    assert not any("eu-west-1" in line for line in lines)


def test_a_list_of_one_use_holds_that_use_alone(bare) -> None:
    found = json.loads(bare("prices", "list", "--use", "training", "--json").stdout)
    assert len(found) > 80
    assert {each["use"] for each in found} == {"training"}
    assert json.loads(bare("prices", "list", "serverless", "--json").stdout)[0]["per"] == "second"


def test_what_is_not_there_is_said(bare) -> None:
    assert "There is no use 'leisure'" in bare("prices", "list", "--use", "leisure").stderr
    assert "No price is known" in bare("prices", "list", "abacus").stderr
    assert "'ml.abacus' is not known" in bare("prices", "show", "ml.abacus").stderr
    assert "Say where from" in bare("prices", "update").stderr
    assert "There is no file" in bare("prices", "update", "--from", "nowhere.csv").stderr


def test_show_tells_hardware_prices_and_their_sources(bare) -> None:
    shown = bare("prices", "show", "ml.g4dn.xlarge", "--region", "eu-west-1").stdout
    assert shown.startswith("ml.g4dn.xlarge: 4 vCPU, 16 GiB, 1 x T4 (16 GiB)")
    assert "hosting          $0.8218 an hour in eu-west-1" in shown
    assert "derived: us-east-1's price in the proportion of EC2's" in shown
    assert "days ago: it may have changed" in shown
    found = json.loads(bare("prices", "show", "ml.g4dn.xlarge", "--json").stdout)
    assert found["shape"]["accelerator"] == "T4"
    assert found["prices"][0]["usd"] == "0.7364"


def test_an_update_shows_what_changes_and_holds_from_then_on(bare, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text(ROWS)
    tried = bare("prices", "update", "--from", str(path), "--dry-run")
    assert "+13.6%" in tried.stdout
    assert "1 prices read: 0 new, 1 changed, 0 as before." in tried.stdout
    assert '"1.408"' in bare("prices", "show", "ml.g5.xlarge", "--json").stdout
    done = json.loads(bare("prices", "update", "--from", str(path), "--json").stdout)
    assert done["changed"][0]["before_usd"] == "1.408"
    assert '"1.6"' in bare("prices", "show", "ml.g5.xlarge", "--json").stdout


def test_an_update_may_be_the_first_thing_done_with_a_file_of_prices(bare, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRIMTAB_PRICES", str(tmp_path / "mine.toml"))
    path = tmp_path / "new.csv"
    path.write_text(ROWS)
    assert "mine.toml is there" in bare("prices", "show", "ml.g5.xlarge").stderr
    assert bare("prices", "update", "--from", str(path)).stdout.endswith(f"Written to {tmp_path / 'mine.csv'}.\n")
    assert '"1.6"' in bare("prices", "show", "ml.g5.xlarge", "--json").stdout


def test_hardware_of_ones_own_is_shown_with_what_it_costs(bare, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[hardware.local]\nusd_per_hour = 0.35\n")
    monkeypatch.setenv("TRIMTAB_PRICES", str(path))
    assert "hosting          $0.35 an hour in any region" in bare("prices", "show", "local").stdout
    path.write_text("[hardware.local]\nusd = 0.35\n")
    result = bare("prices", "show", "local")
    assert result.exit_code == 1
    assert "[hardware.local]: unknown key 'usd'" in result.stderr


def test_a_price_that_falls_to_nothing_fell_by_all_of_it(bare, tmp_path) -> None:
    path = tmp_path / "free.csv"
    head = "service,item,region,unit,usd_per_unit,as_of,source"
    path.write_text(f"{head}\nsagemaker-hosting,ml.g5.xlarge,us-east-1,hour,0,2026-11-01,a gift\n")
    assert "-100.0%" in bare("prices", "update", "--from", str(path), "--dry-run").stdout


def test_a_region_without_a_list_is_said_with_those_that_there_are(bare) -> None:
    assert "There is no list of the region mars-1; there are ap-" in bare("prices", "list", "--region", "mars-1").stderr


def test_a_list_that_a_spreadsheet_saved_is_read(bare, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text("\ufeff" + ROWS.replace("\n", "\r\n"))
    result = bare("prices", "update", "--from", str(path), "--dry-run")
    assert "1 prices read: 0 new, 1 changed" in result.stdout


def test_a_thing_that_has_two_prices_in_one_list_is_refused_and_nothing_is_written(bare, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text(ROWS + ROWS.splitlines()[1].replace("1.6", "1.9") + "\n")
    result = bare("prices", "update", "--from", str(path))
    assert result.exit_code == 1
    assert "line 3: ml.g5.xlarge of sagemaker-hosting in us-east-1 costs 1.6 in a line before" in result.stderr
    assert json.loads(bare("prices", "show", "ml.g5.xlarge", "--json").stdout)["prices"][0]["usd"] == "1.408"


def test_types_and_regions_that_nothing_else_knows_are_told_of(bare, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    path.write_text(ROWS.replace("ml.g5.xlarge", "ml.g5.xlrage").replace("us-east-1", "us_east_1"))
    told = bare("prices", "update", "--from", str(path), "--dry-run").stderr
    assert "note: nothing else knows of ml.g5.xlrage (or is it ml.g5.xlarge?)" in told
    assert "note: nothing else knows of us_east_1 (or is it us-east-1?)" in told
    path.write_text(ROWS)
    assert "note:" not in bare("prices", "update", "--from", str(path), "--dry-run").stderr
