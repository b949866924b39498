"""Which model this worker serves, and how it is brought up: with a script, or without one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from trimtab import __version__
from trimtab.policies.batching import Limits, limits_of
from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Flavor, RuntimeKind
from trimtab.worker import artifact, script
from trimtab.worker.answers import Served
from trimtab.worker.environment import default_accept
from trimtab.worker.failures import StartFailed, require
from trimtab.worker.handlers import Defaults, HandledModel


class Recipe(Struct, frozen=True):
    """How to bring one model up. Both steps raise what the model's code raises, or StartFailed."""

    name: str  # for people: "inference.py", "model.onnx"
    prepare: Callable[[], object]  # the imports
    load: Callable[[], Served]


def recipe(launch: WorkerLaunch, spec: ReplicaSpec) -> Recipe:
    """Choose by the artifact and by the runtime's flavor. Raises StartFailed when there is nothing to serve."""
    if spec.runtime.kind is not RuntimeKind.PYTHON:
        raise StartFailed("RuntimeUnknown", f"A worker runs Python models, not a {spec.runtime.kind.value}.")
    model_dir = Path(launch.model_dir) if launch.model_dir else Path("/nonexistent")
    environment = dict(os.environ)
    batch_limits(environment)  # a wrong setting is told before anything is loaded
    flavor = spec.runtime.flavor
    found = script.find(model_dir, environment)
    if found is not None:
        return _scripted(found, model_dir, launch, environment, flavor)
    if flavor in (Flavor.PYTORCH, Flavor.HUGGINGFACE):
        return _default_handlers(model_dir, launch, environment, flavor)
    return _script_less(model_dir, environment, flavor)


def _scripted(
    path: Path, model_dir: Path, launch: WorkerLaunch, environment: Mapping[str, str], flavor: Flavor
) -> Recipe:
    handlers: dict[str, script.Function] = {}

    def prepare() -> None:
        handlers.update(script.load(path))

    def load() -> Served:
        return _loaded(HandledModel(handlers, _defaults(flavor, environment), model_dir, _properties(launch)))

    return Recipe(path.name, prepare, load)


def _default_handlers(model_dir: Path, launch: WorkerLaunch, environment: Mapping[str, str], flavor: Flavor) -> Recipe:
    defaults = _defaults(flavor, environment)

    def load() -> Served:
        return _loaded(HandledModel({}, defaults, model_dir, _properties(launch)))

    return Recipe(f"the {flavor.value} model", lambda: _import(defaults.modules), load)


def _script_less(model_dir: Path, environment: Mapping[str, str], flavor: Flavor) -> Recipe:
    kinds: Mapping[Flavor, tuple[str, ...]] = {
        Flavor.SKLEARN: ("pickle", "skops"),
        Flavor.XGBOOST: ("xgboost", "pickle"),
    }
    path, kind = artifact.detect(model_dir, kinds.get(flavor, artifact.KINDS))

    def load() -> Served:
        from trimtab.worker.plain import PlainModel

        model = artifact.load(path, kind, environment)
        if flavor is Flavor.XGBOOST:
            from trimtab.worker.flavors.xgboost import BuiltInAlgorithm
            from trimtab.worker.models.boosters import XgboostModel

            if isinstance(model, XgboostModel):
                return BuiltInAlgorithm(model, default_accept(environment, "text/csv"))
        return PlainModel(model, default_accept(environment))

    return Recipe(path.name, lambda: _import(artifact.MODULES[kind]), load)


def batch_limits(environment: Mapping[str, str]) -> Limits | None:
    """What the model's environment asks for; None: no batching. Raises StartFailed where it is wrong."""
    try:
        return limits_of(environment)
    except ValueError as error:
        raise StartFailed("Invalid", f"{error} Correct the model's environment.") from error


def _loaded(model: HandledModel) -> HandledModel:
    model.load()
    return model


def _import(modules: tuple[str, ...]) -> None:
    for module in modules:
        require(module)


def _properties(launch: WorkerLaunch) -> dict[str, Any]:
    """`context.system_properties`, as the toolkits' model server fills it."""
    return {
        "model_dir": launch.model_dir,
        "gpu_id": 0 if launch.gpus else None,  # CUDA_VISIBLE_DEVICES makes the first one of its own number 0
        "batch_size": wanted.rows if (wanted := batch_limits(os.environ)) else 1,
        "server_name": "trimtab",
        "server_version": __version__,
    }


def _defaults(flavor: Flavor, environment: Mapping[str, str]) -> Defaults:
    """The handlers of the flavor's container. Modules are imported here so that others are never needed."""
    if flavor is Flavor.PYTORCH:
        from trimtab.worker.flavors.pytorch import PytorchDefaults

        return PytorchDefaults(environment)
    if flavor is Flavor.SKLEARN:
        from trimtab.worker.flavors.sklearn import SklearnDefaults

        return SklearnDefaults(environment)
    if flavor is Flavor.XGBOOST:
        from trimtab.worker.flavors.xgboost import XgboostDefaults

        return XgboostDefaults(environment)
    if flavor is Flavor.HUGGINGFACE:
        from trimtab.worker.flavors.huggingface import HuggingfaceDefaults

        return HuggingfaceDefaults(environment)
    from trimtab.worker.flavors.plain import PlainDefaults

    return PlainDefaults(environment)
