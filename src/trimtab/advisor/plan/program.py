"""The plan as a program: boto3, and nothing of trimtab, so that whoever runs it can read what it does."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from trimtab.advisor.plan.documents import action_document, configuration_of
from trimtab.advisor.plan.keeping import SCALED
from trimtab.advisor.plan.limits import MIB
from trimtab.advisor.plan.signals import VARIANT, Where
from trimtab.policies.models.settings import MEMORY_VARIABLE, PINNED_VARIABLE
from trimtab.policies.serverless.settings import KEEP_WARM_VARIABLE
from trimtab.resources.metric_documents import watched_document
from trimtab.resources.scaling import ScalingPolicy
from trimtab.sim.scenario.usual import queue_of, timeout_s_of
from trimtab.sim.world import Architecture, Mode, Serving


def program(
    architecture: Architecture,
    scenario: str,
    where: Where,
    *,
    file: str = "build.py",
    before: Architecture | None = None,
) -> str:
    """Python source that builds the architecture on AWS or on trimtab, wherever boto3 leads.

    It names those endpoints of `before` that the architecture does without, and deletes none of them.
    """
    kept = {one.name for one in architecture.endpoints}
    replaced = [one.name for one in before.endpoints if one.name not in kept] if before else []
    workloads = [name for endpoint in architecture.endpoints for name in endpoint.workloads]
    return _template().render(
        scenario=_plain(scenario),
        file=_plain(file),
        endpoints=len(architecture.endpoints),
        workloads=len(workloads),
        on=json.dumps(where),
        models=json.dumps({name: name for name in workloads}, indent=4),
        replaced=_python(replaced),
        plan=_python([_endpoint(one, where) for one in architecture.endpoints]),
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


def _python(value: Any, indent: str = "") -> str:
    """A value as Python's source, a member a line."""
    if not value or not isinstance(value, dict | list):
        return json.dumps(value) if isinstance(value, str) else repr(value)
    inner = indent + "    "
    if isinstance(value, dict):
        members = [f"{json.dumps(name)}: {_python(one, inner)}" for name, one in value.items()]
    else:
        members = [_python(one, inner) for one in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([first, *(f"{inner}{member}," for member in members), f"{indent}{last}"])


def _endpoint(serving: Serving, where: Where) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": serving.name,
        "mode": str(serving.mode),
        "workloads": list(serving.workloads),
        "environment": _environment(serving),
        "policies": [_policy(policy, serving) for policy in serving.policies],
        "schedule": [action_document(action) for action in serving.schedule],
        "callers": _callers(serving),
        "not_built": _not_built(serving, where),
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


def _policy(policy: ScalingPolicy, serving: Serving) -> dict[str, Any]:
    """With the alarms that somebody made for it; those of target tracking AWS makes itself."""
    alarms = [one for one in serving.alarms if one.policy == policy.name]
    return {
        "name": policy.name,
        "type": policy.kind,
        "configuration": configuration_of(policy),
        "alarms": [
            {"AlarmName": f"{serving.name}-{policy.name}-{number}"} | watched_document(one.watched)
            for number, one in enumerate(alarms)
        ],
    }


def _callers(serving: Serving) -> list[str]:
    """What callers have to say themselves: no endpoint is told how long they wait."""
    if serving.timeout_s == timeout_s_of(serving.mode):
        return []
    if serving.mode is Mode.ASYNC:
        return [f"RequestTTLSeconds={max(60, round(serving.timeout_s))}"]  # AWS: 60 to 21600
    if serving.mode is Mode.BATCH:
        return []
    return [f"Config(read_timeout={serving.timeout_s:g}) of botocore"]


def _not_built(serving: Serving, where: Where) -> list[str]:
    """What the plan reckons with and no call asks for, so that whoever builds it sees to it."""
    found = []
    if serving.is_spot:
        found.append("spot capacity: no call of SageMaker asks for it; the instances must come from a spot fleet")
    if serving.work_times != 1.0:
        found.append(
            f"models that take {serving.work_times:g} times as long: MODELS must name those, compiled or quantized"
        )
    if serving.mode in SCALED and serving.queue != queue_of(serving.mode):
        found.append(f"a queue of {serving.queue:,} requests: callers must not have more in hand")
    if serving.drain_s is not None:
        found.append(f"replicas that end {serving.drain_s:g} s after they are told to")
    if where is Where.AWS and (serving.pinned or (serving.mode is Mode.SERVERLESS and serving.keep_warm != "600")):
        found.append("pins" if serving.pinned else f"keep_warm {serving.keep_warm}: AWS decides that itself")
    return found


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
