"""`trimtab deploy`: from a model folder to an endpoint that answers, in one step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import AsJson, DataDir
from trimtab.cli.render import CliError, emit, emit_json, say, say_error
from trimtab.resources.names import is_name

if TYPE_CHECKING:
    from trimtab.cli.deployment import Deployed, Wanted
    from trimtab.cli.model_tree import ModelTree
    from trimtab.resources.runtime import Runtime


def deploy(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A folder, a model.tar.gz or one model file.", show_default=False)
    ],
    name: Annotated[
        str, typer.Option(help="The endpoint's name; an endpoint of that name is updated.", show_default=False)
    ],
    image: Annotated[str, typer.Option(help="trimtab://python, or an AWS image URI.")] = "trimtab://python",
    instance_type: Annotated[str, typer.Option(help="The shape of a replica.")] = "ml.m5.large",
    count: Annotated[int, typer.Option(min=1, help="How many replicas.")] = 1,
    env: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Environment of the model; may be repeated.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="Goes into the model as code/inference.py.", show_default=False)
    ] = None,
    requirements: Annotated[
        Path | None, typer.Option(help="Goes into the model as code/requirements.txt.", show_default=False)
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for InService.")] = 900.0,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the endpoint serves.")] = True,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check a model, pack it, upload it, and make or update an endpoint that serves it."""
    from trimtab.cli.connect import connect
    from trimtab.cli.deployment import Deployment, Wanted
    from trimtab.cli.progress import Progress

    if not is_name(name):
        raise CliError(
            f"{name!r} cannot be an endpoint's name.",
            "Use up to 63 letters, digits and hyphens, with a letter or digit first and last.",
        )
    environment = _environment(env or [])
    tree = _tree(model, script, requirements, environment)
    _require_sound(tree, image, environment)
    wanted = Wanted(
        name=name,
        image=image,
        instance_type=instance_type,
        count=count,
        environment=environment,
        timeout_s=timeout,
        wait=wait,
    )
    with Progress(quiet=as_json) as progress:
        deployed = Deployment(connect(data_dir), wanted, progress).run(tree)
    _report(deployed, wanted, as_json=as_json)


def _environment(pairs: list[str]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            raise CliError(f"--env {pair!r} is not KEY=VALUE.", "trimtab deploy ... --env THRESHOLD=0.5")
        environment[key] = value
    return environment


def _tree(model: Path, script: Path | None, requirements: Path | None, environment: dict[str, str]) -> ModelTree:
    """The model's files, with what the options add."""
    from trimtab.cli.model_tree import read_tree

    tree = read_tree(model)
    added = {
        f"code/{environment.get('SAGEMAKER_PROGRAM', 'inference.py')}": script,
        "code/requirements.txt": requirements,
    }
    for path, source in added.items():
        if source is None:
            continue
        if tree.is_archive:
            raise CliError(f"{model} is an archive: nothing can be added to it.", "Unpack it and deploy the folder.")
        try:
            tree.texts[path] = source.read_bytes()
        except OSError as error:
            raise CliError(f"{source} cannot be read: {error.strerror}.") from error
        tree.files[path] = len(tree.texts[path])
        tree.origin[path] = source
    return tree


def _require_sound(tree: ModelTree, image: str, environment: dict[str, str]) -> None:
    """Stop before anything is uploaded that cannot work. Only for models that trimtab's own worker will load."""
    from trimtab.cli.findings import Level, problems
    from trimtab.cli.model_checks import check_model, check_paths
    from trimtab.resources.runtime import RuntimeKind

    runtime = _runtime(image, environment)
    served_here = runtime is not None and runtime.kind is RuntimeKind.PYTHON
    findings = check_model(tree, environment, runtime.flavor) if runtime and served_here else check_paths(tree)
    for finding in findings:
        if finding.level is Level.WARNING:
            say(f"warning: {finding.subject}: {finding.message}{f' -> {finding.cure}' if finding.cure else ''}")
    if found := problems(findings):
        for finding in found:
            say_error(f"{finding.subject}: {finding.message}", finding.cure)
        raise CliError(f"{tree.source} cannot be served as it is.", f"`trimtab doctor {tree.source}` shows all checks.")


def _runtime(image: str, environment: dict[str, str]) -> Runtime | None:
    """What trimtab serves `image` with; None when the packaged table lacks it: perhaps the server's own has it."""
    from trimtab.errors import Invalid
    from trimtab.policies import runtimes

    try:
        return runtimes.resolve(image, environment, runtimes.packaged())
    except Invalid:
        return None


def _report(deployed: Deployed, wanted: Wanted, *, as_json: bool) -> None:
    if as_json:
        emit_json(deployed.document())
    if deployed.failure:
        if deployed.log_tail:
            say("the last lines of the failed replica:")
        for line in deployed.log_tail:
            say(f"    {line}")
        raise CliError(deployed.failure, f"`trimtab describe {wanted.name}` and `trimtab logs {wanted.name}` say more.")
    if as_json:
        return
    emit(f"{wanted.name} is {deployed.status} after {deployed.seconds:.1f} s")
    if wanted.wait:
        emit(f"\n  trimtab invoke {wanted.name} --body '...'\n  trimtab describe {wanted.name}")
        emit(f"  boto3: client('sagemaker-runtime').invoke_endpoint(EndpointName='{wanted.name}', Body=...)")
        emit('         after: eval "$(trimtab env)"')
