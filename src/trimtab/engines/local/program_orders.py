"""The order for a program or a container: its command, and what its environment says."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from trimtab.config import HOUSE_VARIABLE
from trimtab.engines.local.containers import Containers
from trimtab.engines.local.orders import BirthRecord, Spawn
from trimtab.engines.local.ports import safe_range
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import RuntimeKind


async def program_order(
    spec: ReplicaSpec,
    record: BirthRecord,
    path: Path,
    containers: Containers,
    *,
    region: str,
    devices: Mapping[str, str],
    cwd: str,
    container: str,
    models_dir: str = "",
) -> Spawn:
    """How to start what answers at `record.address`. Raises StartFailed when it needs a container engine and none is.

    `devices` are the variables that say which GPUs it may see; `container` names it, should it be one; `models_dir` is
    where it finds the models that it is to load by AWS's multi-model contract, "" = it has one model.
    """
    port = int(record.address.rpartition(":")[2])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("TRIMTAB_")}
    environment[HOUSE_VARIABLE] = record.house  # by which what it leaves behind is known
    own = {"AWS_REGION": region, "AWS_DEFAULT_REGION": region, **devices}
    own |= {"SAGEMAKER_MULTI_MODEL": "true"} if models_dir else {}
    own |= spec.environment
    if spec.runtime.kind is RuntimeKind.CONTAINER:
        argv = await containers.argv(
            spec.runtime.image, container, port, record.model_dir, own, cpus=record.cpus,
            memory_bytes=record.memory_bytes, gpus=record.gpus, models_dir=models_dir,
        )  # fmt: skip
        environment = {**own, **environment}  # the engine's program keeps its own PATH, DOCKER_HOST, ...
        record = msgspec.structs.replace(record, container=container, cpus=(), memory_bytes=0)  # its limits are flags
    else:
        own |= {"SAGEMAKER_BIND_TO_PORT": str(port), "SAGEMAKER_SAFE_PORT_RANGE": safe_range(port)}
        model_dir = record.model_dir or models_dir
        argv = [word.replace("{model_dir}", model_dir).replace("{port}", str(port)) for word in spec.runtime.command]
        environment |= own
    return Spawn(id=0, record=record, record_path=str(path), argv=tuple(argv), environment=environment, cwd=cwd)
