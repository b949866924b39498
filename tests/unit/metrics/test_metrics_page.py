"""docs/metrics.md says what is true."""

from pathlib import Path

import pytest

from trimtab.metrics import reference

PAGE = Path(__file__).parents[3] / reference.PAGE


def test_the_page_is_what_would_be_written_now() -> None:
    assert PAGE.read_text() == reference.page(), "run: python -m trimtab.metrics.reference"


def test_it_is_written_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    reference.main()
    assert (tmp_path / reference.PAGE).read_text().startswith("# Metrics")
    assert capsys.readouterr().out == "docs/metrics.md\n"
