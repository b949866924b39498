"""What is said while something takes long, where no line can change."""

from __future__ import annotations

import pytest

from trimtab.cli.progress import Progress


def test_where_a_line_cannot_change_a_long_step_tells_how_far_it_is_every_half_a_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now_s = 0.0
    with Progress(monotonic_s=lambda: now_s) as progress:
        progress.step("searching")
        for second in range(70):
            now_s = float(second)
            progress.update(f"{second} done")
    assert capsys.readouterr().err.splitlines() == ["searching", "30 done", "60 done"]


def test_who_wants_no_word_hears_none(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 0.0
    with Progress(quiet=True, monotonic_s=lambda: now_s) as progress:
        progress.step("searching")
        now_s = 99.0
        progress.update("half of it")
    assert capsys.readouterr().err == ""


def test_names_that_look_like_markup_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress() as progress:
        for tell in (progress.step, progress.update, progress.done):
            tell("simulating [/two] [red]")
            assert progress._status is not None
    assert "simulating [/two] [red]" in capsys.readouterr().err
