"""`trimtab keys`: further access keys, limited in what they may do. A running trimtab notices at once."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.groups import group
from trimtab.config import Paths, default_data_dir

if TYPE_CHECKING:
    from trimtab.aws.keys import StoredKey

keys = group(
    "keys",
    "Access keys: list, create, delete. The root key has no limits; others can have some.",
)

DataDir = Annotated[Path | None, typer.Option(help="The data directory.", show_default="~/.local/share/trimtab")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys.command("list")
def list_keys(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    from trimtab.aws import keys as file

    found = file.load(_path(data_dir))
    if as_json:
        print(json.dumps([_shown(key) for key in found], indent=2))
        return
    for key in found:
        print(f"{key.id}  {key.name or '-':<16}  {_limits(key)}")


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    action: Annotated[
        list[str] | None, typer.Option(help="Allow only this, as service:Operation with * and ?; may be repeated.")
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Allow only calls to this endpoint (* and ? are patterns); may be repeated. Without --action: "
            "to invoke and describe it."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it with its secret. Without limits it may do everything.

    A key limited to endpoints may do nothing that names none, unless an action other than * and sagemaker:* allows it.
    """
    from trimtab.aws import keys as file

    path = _path(data_dir)
    actions = action or (file.INVOCATION_ACTIONS if endpoint else ())
    key = file.add(path, name=name, actions=actions, endpoints=endpoint or (), now_s=time.time())
    if endpoint and not action:
        print(
            f"this key may {', '.join(actions)} on {', '.join(endpoint)}, nothing else; say --action to allow other "
            "things",
            file=sys.stderr,
        )
    if as_json:
        print(json.dumps(_shown(key) | {"secret": key.secret}, indent=2))
        return
    print(f"AWS_ACCESS_KEY_ID={key.id}")
    print(f"AWS_SECRET_ACCESS_KEY={key.secret}")


@keys.command()
def delete(
    key: Annotated[str, typer.Argument(help="Its id or its name.")], data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Take a key away: requests that it signs are refused from now on."""
    from trimtab.aws import keys as file

    gone = file.remove(_path(data_dir), key)
    print(json.dumps(_shown(gone), indent=2) if as_json else f"deleted {gone.id}")


def _path(data_dir: Path | None) -> Path:
    return Paths(data_dir or default_data_dir()).keys


def _shown(key: StoredKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "actions": list(key.actions),
        "endpoints": list(key.endpoints),
        "created_s": key.created_s,
    }


def _limits(key: StoredKey) -> str:
    actions = ", ".join(key.actions) or "every action"
    return f"{actions} on {', '.join(key.endpoints)}" if key.endpoints else actions
