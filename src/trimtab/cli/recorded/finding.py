"""What an endpoint is: mode, shape, bounds, policies, models; and how long its starts and loads took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from trimtab.advisor.plan.words import names_of
from trimtab.cli.recorded.asked import Asked, tasks_of
from trimtab.cli.recorded.metrics import Metrics
from trimtab.cli.recorded.models import ModelsFound, models_of
from trimtab.cli.render import CliError
from trimtab.control.scaling.entries import Entry, entry_of
from trimtab.metrics.names import SAGEMAKER, TRIMTAB
from trimtab.sim.world import Mode

if TYPE_CHECKING:
    from trimtab.aws.client import Client

_YOUNGER_S: Final = 60.0
_CONFIGURATIONS: Final = (
    "TargetTrackingScalingPolicyConfiguration",
    "StepScalingPolicyConfiguration",
    "PredictiveScalingPolicyConfiguration",
)


class Found(Struct, frozen=True, kw_only=True):
    """An endpoint's variant. `count`: of replicas, when the time began. `notes`: what was assumed, and not measured."""

    endpoint: str
    variant: str
    mode: Mode
    instance_type: str
    count: int
    slots: int = 1
    least: int | None = None  # None: not a scalable target
    most: int = 1
    policies: tuple[dict[str, Any], ...] = ()
    schedule: tuple[dict[str, Any], ...] = ()
    start_s: float | None = None
    serverless: dict[str, Any] = field(default_factory=dict)
    models: ModelsFound | None = None  # multi-model
    tasks: tuple[Asked, ...] = ()  # asynchronous: each that has ended
    notes: tuple[str, ...] = ()


def found_of(client: Client, endpoint: str, variant: str, metrics: Metrics) -> Found:
    """Look at it. CliError where a variant must be named."""
    described = client.call("sagemaker", "describe_endpoint", EndpointName=endpoint)
    config = client.call("sagemaker", "describe_endpoint_config", EndpointConfigName=described["EndpointConfigName"])
    declared = next(one for one in config["ProductionVariants"] if one["VariantName"] == variant)
    native = client.get(f"endpoints/{endpoint}")
    mode = _mode(client, config, declared)
    notes: list[str] = []
    if young := youth(described["CreationTime"].timestamp(), metrics.start_s):
        notes.append(young)
    start_s = _start_s(metrics, native, variant, mode)
    if start_s is None:
        notes.append("no start was seen: how long one takes is assumed")
    target, policies, schedule = _scaling(client, endpoint, variant)
    replicas = [one for one in native["replicas"] if one["variant"] == variant and one["state"] == "Ready"]
    current = next(one for one in described["ProductionVariants"] if one["VariantName"] == variant)
    models = None
    if mode is Mode.MULTI_MODEL:
        requests = sum(value or 0.0 for value in metrics.series(SAGEMAKER, "Invocations", "Sum"))
        models = models_of(client, endpoint, variant, metrics, requests)
        notes.append("what a request takes is measured of all models together")
        if not models.came:
            notes.append("which model a request was for is drawn by the models' shares of all requests so far")
        if models.unloaded:
            notes.append(f"never loaded, though asked for: {names_of(models.unloaded)}; not in the scenario")
    tasks = tasks_of(client, endpoint, variant, metrics) if mode is Mode.ASYNC else ()
    return Found(
        endpoint=endpoint,
        variant=variant,
        mode=mode,
        instance_type=declared.get("InstanceType", ""),
        count=_count_then(metrics, int(current.get("DesiredInstanceCount") or 0)),
        slots=max([1, *(one["concurrency"] * max(1, len(one["addresses"])) for one in replicas)]),
        least=None if target is None else int(target["MinCapacity"]),
        most=1 if target is None else int(target["MaxCapacity"]),
        policies=policies,
        schedule=schedule,
        start_s=start_s,
        serverless=declared.get("ServerlessConfig", {}),
        models=models,
        tasks=tasks,
        notes=tuple(notes),
    )


def youth(created_s: float, start_s: float) -> str:
    """What to say of an endpoint that was made well after the beginning of what is recorded; else ""."""
    if created_s <= start_s + _YOUNGER_S:
        return ""
    when = datetime.fromtimestamp(created_s, UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    return f"it was made at {when} UTC, within that time: before, it counts as there and without requests"


def signals_of(client: Client, endpoint: str, variant: str, metrics: Metrics) -> list[Entry]:
    """What the journal of scaling has of the time, where metrics tell it by the second: of more it would be much."""
    if metrics.period_s != 1:
        return []
    span = {"start": repr(float(metrics.start_s)), "end": repr(float(metrics.end_s))}
    lines = client.lines(f"endpoints/{endpoint}/scaling", variant=variant, **span)
    return [entry_of({key: value for key, value in line.items() if key != "variant"}) for line in lines]


def variant_of(client: Client, endpoint: str, variant: str) -> str:
    """The variant that is meant. CliError when it must be named, or is not there."""
    described = client.call("sagemaker", "describe_endpoint", EndpointName=endpoint)
    names = [one["VariantName"] for one in described.get("ProductionVariants", ())]
    if variant and variant not in names:
        raise CliError(f"{endpoint} has no variant {variant!r}; it has {', '.join(names) or 'none'}.")
    if not variant and len(names) != 1:
        raise CliError(f"{endpoint} has the variants {', '.join(names) or '(none)'}.", "Name one: --variant")
    return variant or str(names[0])


def _mode(client: Client, config: Mapping[str, Any], declared: Mapping[str, Any]) -> Mode:
    if "ServerlessConfig" in declared:
        return Mode.SERVERLESS
    if "AsyncInferenceConfig" in config:
        return Mode.ASYNC
    model = client.call("sagemaker", "describe_model", ModelName=declared["ModelName"])
    containers = [model.get("PrimaryContainer", {}), *model.get("Containers", ())]
    return Mode.MULTI_MODEL if any(one.get("Mode") == "MultiModel" for one in containers) else Mode.REAL_TIME


def _count_then(metrics: Metrics, now: int) -> int:
    """Replicas that were wanted when the time began, or first in it; as many as `now` where nobody has told."""
    told = metrics.series(TRIMTAB, "ReplicasDesired", "Average")
    return next((round(value) for value in told if value is not None), now)


def _start_s(metrics: Metrics, native: Mapping[str, Any], variant: str, mode: Mode) -> float | None:
    """From the decision until a replica is ready: of those in the time, else of those that run."""
    asked = (
        (SAGEMAKER, "ModelSetupTime", "Average") if mode is Mode.SERVERLESS else (TRIMTAB, "ModelLoadTime", "Average")
    )
    (mean,) = metrics.whole([asked])
    if mean is not None:
        return mean / (1e6 if mode is Mode.SERVERLESS else 1e3)
    seen = [one["start_s"] for one in native["replicas"] if one["variant"] == variant and one.get("start_s")]
    return sum(seen) / len(seen) if seen else None


def _scaling(
    client: Client, endpoint: str, variant: str
) -> tuple[dict[str, Any] | None, tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    where = {"ServiceNamespace": "sagemaker", "ResourceId": f"endpoint/{endpoint}/variant/{variant}"}
    service = "application-autoscaling"
    targets = client.call(
        service, "describe_scalable_targets", ServiceNamespace="sagemaker", ResourceIds=[where["ResourceId"]]
    )["ScalableTargets"]
    if not targets:
        return None, (), ()
    policies = client.call(service, "describe_scaling_policies", **where)["ScalingPolicies"]
    actions = client.call(service, "describe_scheduled_actions", **where)["ScheduledActions"]
    return targets[0], tuple(_policy(one) for one in policies), tuple(_action(one) for one in actions)


def _policy(described: Mapping[str, Any]) -> dict[str, Any]:
    return {name: described[name] for name in _CONFIGURATIONS if name in described}


def _action(described: Mapping[str, Any]) -> dict[str, Any]:
    bounds = described.get("ScalableTargetAction", {})
    found = {
        "schedule": described["Schedule"],
        "timezone": described.get("Timezone", "UTC"),
        "min": bounds.get("MinCapacity"),
        "max": bounds.get("MaxCapacity"),
    }
    return {name: value for name, value in found.items() if value is not None}
