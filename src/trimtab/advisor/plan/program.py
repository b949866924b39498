"""The plan as a program: boto3, and nothing of trimtab, so that whoever runs it can read what it does."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from trimtab.advisor.plan.limits import MIB
from trimtab.advisor.plan.signals import VARIANT, Where
from trimtab.policies.models.settings import MEMORY_VARIABLE, PINNED_VARIABLE
from trimtab.policies.serverless.settings import KEEP_WARM_VARIABLE
from trimtab.sim.world import Architecture, Mode, Serving


def program(architecture: Architecture, scenario: str, where: Where, *, file: str = "build.py") -> str:
    """Python source that builds the architecture on AWS or on trimtab, wherever boto3 leads."""
    workloads = [name for endpoint in architecture.endpoints for name in endpoint.workloads]
    return _template().render(
        scenario=_plain(scenario),
        file=_plain(file),
        endpoints=len(architecture.endpoints),
        workloads=len(workloads),
        on=json.dumps(where),
        models=json.dumps({name: name for name in workloads}, indent=4),
        plan=json.dumps([_endpoint(endpoint) for endpoint in architecture.endpoints], indent=4),
        variant=json.dumps(VARIANT),
    )


@cache
def _template() -> Template:
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # it is Python
    source = files("trimtab.advisor.plan") / "templates" / "build.py.j2"
    return environment.from_string(source.read_text(encoding="utf-8"))


def _plain(text: str) -> str:
    """What may stand in a docstring."""
    return "".join(char for char in text if char.isprintable() and char not in "\\\"'")


def _endpoint(serving: Serving) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": serving.name,
        "mode": str(serving.mode),
        "workloads": list(serving.workloads),
        "environment": _environment(serving),
        "policies": [{"name": policy.name, "configuration": policy.document} for policy in serving.policies],
    }
    if serving.mode is Mode.SERVERLESS:
        config = {"MemorySizeInMB": serving.memory_mb, "MaxConcurrency": serving.max_concurrency}
        if serving.provisioned:
            config["ProvisionedConcurrency"] = serving.provisioned
        return made | {"serverless": config}
    made |= {
        "instance_type": serving.instance_type,
        # AWS makes no endpoint without an instance; those that may go to none do so when nobody asks.
        "initial": max(1, serving.min_replicas if serving.initial_replicas is None else serving.initial_replicas),
        "least": serving.min_replicas,
        "most": serving.max_replicas,
    }
    return made | {"runs_at": serving.runs_at} if serving.mode is Mode.BATCH else made


def _environment(serving: Serving) -> dict[str, str]:
    """What trimtab reads of a container's environment; on AWS nothing comes of it."""
    if serving.mode is Mode.SERVERLESS:
        return {} if serving.keep_warm == "learned" else {KEEP_WARM_VARIABLE: serving.keep_warm}
    if serving.mode is not Mode.MULTI_MODEL:
        return {}
    found = {}
    if serving.pinned:
        found[PINNED_VARIABLE] = ",".join(f"{name}.tar.gz" for name in serving.pinned)
    if serving.models_bytes:
        found[MEMORY_VARIABLE] = str(max(1, serving.models_bytes // MIB))
    return found
