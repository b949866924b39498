"""`trimtab models`: the models of a multi-model endpoint, and what is set for them."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.groups import group
from trimtab.cli.hosting.rows import Sort
from trimtab.cli.options import AsJson, DataDir, EndpointName
from trimtab.cli.render import CliError, emit, emit_json

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.cli.hosting.prices import VariantPrices
    from trimtab.cli.hosting.rows import Page

_READ_TIMEOUT_S = 8.0  # gateways hold a call for 5 s while control is away
_WITHOUT_TERMINAL = (10_000, 50)  # rows go to files and pipes whole


models = group(
    "models",
    "Models of a multi-model endpoint: `trimtab models ENDPOINT` lists them; pin, unpin, set and reset change "
    "what is set for them.",
    unnamed="list",
)

Models = Annotated[
    list[str], typer.Argument(metavar="MODEL...", help="Keys below the endpoint's prefix.", show_default=False)
]


@models.command("list")
def list_models(
    name: EndpointName,
    match: Annotated[str, typer.Option(help="Only models whose name fits: * and ? stand for anything.")] = "",
    sort: Annotated[Sort, typer.Option(help="By name, or by a number, the largest first.")] = Sort.NAME,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Models to show.", show_default="all, or with --watch what fits")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing, once a second, until Ctrl-C.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show where models are loaded, what they did, why they were unloaded, and what their loads and memory cost.

    `trimtab models NAME` is the same.
    """
    from trimtab.cli.connect import connect
    from trimtab.cli.hosting.prices import prices_of
    from trimtab.cli.hosting.rows import chosen

    if watch and as_json:
        raise CliError("--watch takes no --json.")
    client = connect(data_dir, read_timeout_s=_READ_TIMEOUT_S)
    prices = prices_of(client, name)

    def look() -> Page:
        return _page(client, name, prices)

    if as_json:
        page = look()
        rows = chosen(page.rows, sort, match)
        emit_json(_document(page, rows[:limit]))
    elif watch and sys.stdout.isatty():
        from trimtab.cli.hosting.watching import watch_for_ever

        watch_for_ever(look, sort, match, limit)
    else:
        _print(look(), sort, match, limit)


@models.command()
def pin(name: EndpointName, models: Models, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Keep models loaded, whether they are asked for or not: they are loaded now and never evicted."""
    _change(data_dir, name, models, as_json, pinned=True)


@models.command()
def unpin(name: EndpointName, models: Models, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Let models be evicted again. What else is set for them stays."""
    _change(data_dir, name, models, as_json, pinned=False)


@models.command("set")
def set_model(
    name: EndpointName,
    models: Models,
    pinned: Annotated[
        bool | None, typer.Option("--pin/--no-pin", help="Never evicted, and loaded at once.", show_default=False)
    ] = None,
    ttl: Annotated[
        str,
        typer.Option(help="Unload it when nobody has asked for so long: 90s, 10m, 1h; 0: never.", show_default=False),
    ] = "",
    min_copies: Annotated[
        int | None, typer.Option("--min", min=0, help="Replicas that hold it at all times.", show_default=False)
    ] = None,
    max_copies: Annotated[
        int | None,
        typer.Option(
            "--max", min=0, help="Replicas that a hot model is spread over at most; 0: all.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Set what is said, for each of the models; the rest stays as it was. In force soon, without a deployment."""
    from trimtab.cli.times import length

    changes: dict[str, Any] = {
        member: value
        for member, value in (("pinned", pinned), ("min_copies", min_copies), ("max_copies", max_copies))
        if value is not None
    }
    if ttl:
        changes["ttl_s"] = 0.0 if ttl in ("0", "0s") else length(ttl, "--ttl")
    if not changes:
        raise CliError("There is nothing to set: say --pin, --no-pin, --ttl, --min or --max.")
    _change(data_dir, name, models, as_json, **changes)


@models.command()
def reset(name: EndpointName, models: Models, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Take back what was set for models: what the container's environment says is in force again."""
    from trimtab.cli.connect import connect

    client = connect(data_dir)
    path, wanted = f"endpoints/{name}/models/settings", list(dict.fromkeys(models))
    _tell(wanted, [client.change("DELETE", path, {}, model=model) for model in wanted], as_json)


def _page(client: Client, name: str, prices: VariantPrices) -> Page:
    from trimtab.cli.hosting.rows import page_of

    document = client.get(f"endpoints/{name}/models")
    return page_of(name, document, prices.usd_per_hour, time.time(), prices.notes)


def _print(page: Page, sort: Sort, match: str, most: int | None) -> None:
    from rich.text import Text

    from trimtab.cli.hosting.page import lines
    from trimtab.cli.hosting.rows import chosen
    from trimtab.cli.render import console

    width, _ = shutil.get_terminal_size(_WITHOUT_TERMINAL)
    screen = console()
    for line in lines(page, chosen(page.rows, sort, match), width, most):
        text = Text.assemble(*line)
        text.rstrip()
        screen.print(text, no_wrap=True, overflow="ignore", crop=False)


def _document(page: Page, rows: list[Any]) -> dict[str, Any]:
    import msgspec

    return {
        "endpoint": page.endpoint,
        "at_s": page.at_s,
        "used_bytes": page.used_bytes,
        "memory_bytes": page.memory_bytes,
        "hits": page.hits,
        "misses": page.misses,
        "idle_bytes": page.idle_bytes,
        "idle_usd_per_hour": page.idle_usd_per_hour,
        "usd_per_hour": page.prices,
        "price_notes": list(page.price_notes),
        "replicas": [
            {"id": host.replica_id, "variant": host.variant, "used_bytes": host.used_bytes,
             "memory_bytes": host.memory_bytes, "hits": host.hits, "misses": host.misses}
            for host in page.hosts
        ],
        "models": msgspec.to_builtins(rows),
    }  # fmt: skip


def _change(data_dir: Any, name: str, models: list[str], as_json: bool, **changes: Any) -> None:
    """Change members of settings, each on top of what is in force."""
    from trimtab.cli.connect import connect

    client = connect(data_dir)
    path, wanted = f"endpoints/{name}/models/settings", list(dict.fromkeys(models))
    _tell(wanted, [client.change("PATCH", path, {"model": model, **changes}) for model in wanted], as_json)


def _tell(models: Sequence[str], answers: Sequence[dict[str, Any]], as_json: bool) -> None:
    """What is in force for these models now."""
    import msgspec

    from trimtab.cli.hosting.page import setting_words
    from trimtab.resources.hosting import ModelSetting

    in_force = {one.model: one for one in msgspec.convert(answers[-1]["settings"], tuple[ModelSetting, ...])}
    if as_json:
        emit_json({"settings": {model: msgspec.to_builtins(in_force.get(model)) for model in models}})
        return
    for model in models:
        emit(f"{model}: {setting_words(in_force.get(model)) or 'nothing set'}")
