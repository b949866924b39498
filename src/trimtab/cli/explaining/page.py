"""The story for people: one paragraph a decision, as wide as the terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from trimtab.cli.explaining.story import STEPS, Start, Told
from trimtab.cli.render import at, console, milliseconds

if TYPE_CHECKING:
    from rich.text import Text

    from trimtab.cli.explaining.model_story import ModelTold

_WIDEST: Final = 160
_LABEL: Final = 9  # columns of `  inputs `
_STYLES: Final = {"Successful": "green", "Failed": "red", "InProgress": "yellow", "Pending": "yellow"}
_WAITS: Final = {"load", "tick"}  # inputs that need not be named: the reason tells their numbers


def show(told: Sequence[Told], about: Mapping[str, Any], width: int, models: Sequence[ModelTold] = ()) -> None:
    """Print targets and policies, then every decision, and between them what happened to models."""
    screen = console()
    for line in _head(about, width):
        screen.print(line, overflow="ignore", no_wrap=True, crop=False)
    show_story(told, width, models)


def show_story(told: Sequence[Told], width: int, models: Sequence[ModelTold] = ()) -> None:
    """Print decisions, and what happened to models, by their time."""
    from trimtab.cli.explaining.model_page import model_paragraph

    screen = console()
    wide = min(width, _WIDEST)
    paragraphs = [
        *((one.at_s, paragraph(one, wide)) for one in told),
        *((one.at_s, model_paragraph(one, wide)) for one in models),
    ]
    for _, lines in sorted(paragraphs, key=lambda each: each[0]):
        for line in lines:
            line.rstrip()
            screen.print(line, overflow="ignore", no_wrap=True, crop=False)


def _head(about: Mapping[str, Any], width: int) -> Iterator[Text]:
    from rich.text import Text

    if queue := about.get("queue"):
        from trimtab.cli.queue import summary

        yield Text(summary(queue, time.time())[0])
    for target in about.get("targets", ()):
        name = f"{target['endpoint']} / {target['variant']}"
        yield Text.assemble((name, "bold"), f"  {target['min_capacity']} to {target['max_capacity']} replicas")
        for policy in about.get("policies", ()):
            if policy["variant"] == target["variant"]:
                words = f"{policy['name']}: {policy_words(policy)}"
                for line in textwrap.wrap(words, min(width, _WIDEST) - 5, subsequent_indent="  "):
                    yield Text(f"  {line}")


def policy_words(policy: Mapping[str, Any]) -> str:
    """A policy in a line, from its JSON."""
    if tracking := policy.get("tracking"):
        metric = tracking.get("predefined") or _named(tracking.get("stat"))
        rest = ", never in" if tracking.get("disable_scale_in") else ""
        cooldowns = f"{tracking['scale_out_cooldown_s']:g} s out, {tracking['scale_in_cooldown_s']:g} s in"
        return f"{metric} at {tracking['target_value']:g} (cooldowns {cooldowns}{rest})"
    if steps := policy.get("step"):
        return f"{steps['adjustment_type']} by steps (cooldown {steps['cooldown_s']:g} s)"
    predictive = policy.get("predictive") or {}
    return f"predictive, {predictive.get('mode', '')}"


def _named(stat: Mapping[str, Any] | None) -> str:
    return f"{stat['namespace']} {stat['name']}" if stat else "metric math"


def paragraph(one: Told, width: int) -> Iterator[Text]:
    """A decision: headline, why, the sum, its numbers, what became of it, its starts."""
    from rich.text import Text

    yield Text("")
    yield _headline(one, width)
    for label, text in _facts(one):
        lines = textwrap.wrap(text, max(20, width - _LABEL - 1), break_on_hyphens=False) or [""]
        for number, line in enumerate(lines):
            yield Text.assemble((f"  {label if not number else '':{_LABEL - 2}}", "dim"), line)
    yield from _starts(one.starts, width)


def _headline(one: Told, width: int) -> Text:
    from rich.text import Text

    change = f"{one.before} -> {one.wanted}"
    who = one.policy or "trimtab"
    if one.made:
        style = "bold green" if one.wanted > one.before else "bold cyan"
    else:
        style = "yellow"
        if one.wanted == one.before:
            change = f"{one.before}"
        if one.bounds is None or one.not_scaled:
            who += ", not done"
        if one.times > 1:
            who += f" ({one.times} times since {at(one.first_s)})"
    line = Text.assemble((clock(one.at_s), "bold"), "  ", (f"{change:9}", style), who)
    if one.activity is not None and one.made:
        took_s = one.activity.took_s
        ended = one.activity.status + ("" if took_s is None else f" after {_seconds(took_s)}")
        line.append(" " * max(2, min(width, 100) - line.cell_len - len(ended)))
        line.append(ended, style=_STYLES.get(one.activity.status, ""))
    return line


def _facts(one: Told) -> Iterator[tuple[str, str]]:
    yield "why", one.reason or one.cause or "-"
    if one.arithmetic:
        yield "sum", one.arithmetic
    if one.inputs:
        yield "inputs", "  ".join(f"{name} {value:g}" for name, value in one.inputs.items())
    if one.given and one.given.get("kind") not in _WAITS:
        yield "upon", _input_words(one.given)
    if one.cause and one.reason:
        yield "cause", one.cause
    if one.not_scaled:
        yield "code", ", ".join(_not_scaled(reason) for reason in one.not_scaled)
    if one.bounds is not None:
        yield "bounds", f"{one.bounds[0]} to {one.bounds[1]} from now on"
    if one.activity is not None and one.activity.status not in ("Successful", "InProgress") and one.made:
        yield "ended", one.activity.message


def _input_words(given: Mapping[str, Any]) -> str:
    kind = given["kind"]
    if kind == "alarm":
        return f"alarm {given['alarm']}: {given['value']:g}, threshold {given['threshold']:g}"
    members = ((key, value) for key, value in given.items() if key not in ("kind", "at_s", "capacity"))
    shown = [f"{key} {value}" for key, value in members if value is not None]
    return " ".join([kind, *shown])


def _not_scaled(reason: Mapping[str, Any]) -> str:
    numbers = [f"{key.split('_')[0]} {value}" for key, value in reason.items() if key != "code" and value is not None]
    return f"{reason['code']} ({', '.join(numbers)})" if numbers else str(reason["code"])


def _starts(starts: Sequence[Start], width: int) -> Iterator[Text]:
    """A table of the starts' budgets; steps that no start had are left out."""
    from rich.text import Text

    if not starts:
        return
    steps = [step for step in STEPS if any(step in start.budget for start in starts)]
    names = [step.partition("_")[0] for step in steps] + ["all"]  # first: of the first answer
    room = width - 3 - sum(max(6, len(name)) + 1 for name in names)
    column = max(8, min(max(len(start.replica_id) for start in starts), room))
    sizes = [max(6, len(name)) for name in names]
    cells = " ".join(f"{name:>{size}}" for name, size in zip(names, sizes, strict=True))
    yield Text(f"  {'start, ms':{column}} {cells}", style="dim")
    for start in starts:
        values = [milliseconds(start.budget.get(step)) for step in steps] + [milliseconds(start.total_s)]
        cells = " ".join(f"{value:>{size}}" for value, size in zip(values, sizes, strict=True))
        name = start.replica_id if len(start.replica_id) <= column else "~" + start.replica_id[1 - column :]
        yield Text(f"  {name:{column}} {cells}")
        if start.failure:
            yield Text(f"    {start.failure.splitlines()[0]}", style="red")


def clock(at_s: float) -> str:
    """A moment to the millisecond, with the date unless it is today's."""
    return f"{at(at_s)}.{int(at_s % 1 * 1000):03}"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def local_time(at_s: float) -> str:
    """With date and zone: for headings."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at_s))
