"""`trimtab explain`: why an endpoint has as many replicas as it has, and holds the models that it holds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit, emit_json

if TYPE_CHECKING:
    from trimtab.cli.explaining.asking import Asked
    from trimtab.cli.explaining.model_story import ModelTold
    from trimtab.cli.explaining.story import Told

_FOLLOW_S = 1.0
_AGAIN_S = 10.0  # how far back a follower looks for what was still being written


def explain(
    name: EndpointName,
    variant: Annotated[str, typer.Option(help="Only this variant.", show_default=False)] = "",
    model: Annotated[
        str, typer.Option(help="Only this model of a multi-model endpoint: its loads and unloads.", show_default=False)
    ] = "",
    last: Annotated[str, typer.Option(help="How far back: 15m, 1h, 7d.", show_default="1h")] = "",
    start: Annotated[str, typer.Option("--from", help="From: 2026-03-01T12:00, 12:00, 2h.", show_default=False)] = "",
    end: Annotated[str, typer.Option("--to", help="Until.", show_default="now")] = "",
    made: Annotated[bool, typer.Option("--made", help="Only decisions that changed something.")] = False,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is decided from now on.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show every scaling decision with inputs, arithmetic and reason, what became of it, and each start's budget.

    Of a multi-model endpoint also every load and unload of a model: why, how long it took, and what that cost.
    """
    from trimtab.cli.connect import connect
    from trimtab.cli.explaining.asking import Asked
    from trimtab.cli.explaining.page import local_time, show
    from trimtab.cli.times import span

    start_s, end_s = span(last, start, end, time.time())
    if follow and (end or as_json):
        raise CliError("--follow takes no --to and no --json.")
    asked = Asked(connect(data_dir), name, variant=variant, model=model, made=made)
    about = asked.about()
    if not model and (queue := asked.queue()) is not None:
        about["queue"] = queue
    told, models = asked.decisions(about, start_s, end_s), asked.models(start_s, end_s)
    if as_json:
        import msgspec

        emit_json({**about, "decisions": msgspec.to_builtins(told), "models": msgspec.to_builtins(models)})
        return
    show(told, {} if model else about, shutil.get_terminal_size((160, 50)).columns, models)
    if not told and not models:
        span_words = f"from {local_time(start_s)} to {local_time(end_s)}."
        emit(f"Nothing happened to {model} {span_words}" if model else f"No decisions {span_words}{_hint(about)}")
    if follow:
        _follow(asked, told, models, start_s)


def _hint(about: dict[str, Any]) -> str:
    if about["targets"]:
        return ""
    return " Nothing scales this endpoint: RegisterScalableTarget and PutScalingPolicy do (docs/guides/autoscaling.md)."


def _follow(asked: Asked, told: Sequence[Told], models: Sequence[ModelTold], start_s: float) -> None:
    """Print what is new; a change once it is over, so that what became of it is told, too."""
    from trimtab.cli.explaining.page import show_story

    told_s = max((one.at_s for one in told), default=start_s)
    models_s = max((one.at_s for one in models), default=start_s)
    seen = {one.key for one in models}
    while True:
        time.sleep(_FOLLOW_S)
        now_s = time.time()
        fresh = []
        for one in asked.decisions(asked.about(), told_s - _AGAIN_S, now_s):
            if one.at_s <= told_s:
                continue
            if one.made and (one.activity is None or one.activity.took_s is None) and now_s - one.at_s < 60:
                break
            fresh.append(one)
        new = [one for one in asked.models(models_s - _AGAIN_S, now_s) if one.key not in seen]
        show_story(fresh, shutil.get_terminal_size((160, 50)).columns, new)
        seen |= {one.key for one in new}
        told_s = max([told_s, *(one.at_s for one in fresh)])
        models_s = max([models_s, *(one.at_s for one in new)])
