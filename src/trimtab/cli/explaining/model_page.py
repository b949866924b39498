"""What happened to models, for people: a headline each, and below it why, how long it took and how much memory."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from trimtab.cli.explaining.model_story import ModelTold, facts
from trimtab.cli.explaining.page import clock
from trimtab.cli.render import one_line

if TYPE_CHECKING:
    from rich.text import Text

_LABEL: Final = 9  # as of decisions
_WHY: Final = {"asked": "asked for", "gone": "its copy had gone", "hot": "more copies of what is hot"}


def model_paragraph(one: ModelTold, width: int) -> Iterator[Text]:
    """A load, an unload, a failure or a crash."""
    from rich.text import Text

    yield Text("")
    what = f"{one.what}: {_WHY.get(one.why, one.why)}" if one.why else one.what
    place = f"{one.variant}/{one.replica_id}"
    yield Text.assemble(
        (clock(one.at_s), "bold"), "  ", (what, one.style), f"  {one_line(one.model)}", (f"  {place}", "dim")
    )
    for label, text in facts(one):
        lines = textwrap.wrap(text, max(20, width - _LABEL - 1), break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            yield Text.assemble((f"  {label if not number else '':{_LABEL - 2}}", "dim"), line)
