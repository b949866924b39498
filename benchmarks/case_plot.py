"""Draws docs/images/case-study-plan.png: what each step of the plan saves, and what each way costs, live and simulated.

trimtab plan examples/scenarios/case-study.yaml --migration-usd 18500 --json > plan.json
python -m benchmarks.case_live --json live.json
python -m benchmarks.case_plot plan.json live.json FILE.png
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from trimtab.advisor.plan.report import STEP_WORDS

GREY, GREEN, BLUE, ORANGE = "#8a8f98", "#1b7f5c", "#2463b4", "#d9770b"


def waterfall(axes: Any, plan: dict[str, Any]) -> None:
    """Dollars a month, from what there is to what is planned."""
    steps = [(step["name"], step["month_usd"]) for step in plan["steps"]]
    rows = [("as it is now", 0.0, steps[0][1], GREY)]
    for (_, before), (name, after) in pairwise(steps):
        if before - after >= 0.5:
            rows.append((STEP_WORDS.get(name, name), after, before - after, GREEN))
    rows.append(("as planned", 0.0, plan["after"]["month_usd"], BLUE))
    for place, (_, left, width, colour) in enumerate(rows):
        axes.barh(place, width, left=left, color=colour)
        sign = "" if left == 0.0 else "-"
        axes.text(left + width + 60, place, rf"{sign}\${width:,.0f}", va="center", fontsize=9)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.15 * steps[0][1])
    axes.set_title("the plan, dollars a month at list prices", loc="left", fontsize=10)


def compared(axes: Any, found: dict[str, Any]) -> None:
    """Dollars of a day of some minutes: by the ledger, and by the simulator."""
    for place, (live, made) in enumerate(found.values()):
        for at, one, colour in ((place - 0.2, live, ORANGE), (place + 0.2, made, BLUE)):
            axes.bar(at, 100 * one["usd"], width=0.38, color=colour)
            axes.text(at, 100 * one["usd"], f"{100 * one['usd']:.2f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(found)), list(found), fontsize=9)
    axes.set_title("a scaled-down day, cents: live, simulated", loc="left", fontsize=10)


def main() -> int:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if len(sys.argv) != 4:
        print(__doc__, file=sys.stderr)
        return 2
    plan, live = (json.loads(Path(name).read_text()) for name in sys.argv[1:3])
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    waterfall(left, plan)
    compared(right, live)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(sys.argv[3], dpi=90)
    print(f"wrote {sys.argv[3]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
