"""`trimtab doctor`: what is wrong with this machine or a model folder, and the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import AsJson
from trimtab.config import default_data_dir


def doctor(
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL]", help="A model folder, model.tar.gz or model file to look at instead.", show_default=False
        ),
    ] = None,
    program: Annotated[str, typer.Option(help="The model's script in code/, if it is not inference.py.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port that trimtab is to serve on.")] = 7070,
    as_json: AsJson = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="The data directory to look at.", show_default="~/.local/share/trimtab")
    ] = None,
) -> None:
    """Look at this machine, or at a model: what is wrong, and what to do. Exit status 1 when there are problems."""
    from trimtab.cli.findings import print_findings, problems

    if model is not None:
        from trimtab.cli.model_checks import check_model
        from trimtab.cli.model_tree import read_tree

        findings = check_model(read_tree(model), {"SAGEMAKER_PROGRAM": program} if program else {})
    else:
        from trimtab.cli.machine_checks import check_machine

        findings = check_machine(data_dir or default_data_dir(), port)
    print_findings(findings, as_json=as_json)
    if problems(findings):
        raise typer.Exit(1)
