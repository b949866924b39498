"""docs/reference/cli.md says what the verbs say."""

from __future__ import annotations

from pathlib import Path

from trimtab.cli import reference
from trimtab.cli.main import VERBS

PAGE = Path(__file__).parents[3] / reference.PAGE


def test_the_page_is_what_the_verbs_say_now() -> None:
    assert PAGE.read_text() == reference.page(), "run `python -m trimtab.cli.reference`"


def test_every_verb_has_a_section() -> None:
    page = reference.page()
    assert [verb for verb in VERBS if f"\n## trimtab {verb}\n" not in page] == []
