"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Data directory of the trimtab to talk to. Without it: AWS_ENDPOINT_URL where set, else the default one.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
EndpointName = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint.", show_default=False)]
