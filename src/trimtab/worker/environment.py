"""The environment that a model's code sees: what SageMaker's toolkits set, and what the model declares (which wins)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from trimtab.resources.launch import WorkerLaunch, gpu_variables
from trimtab.resources.replica import ReplicaSpec

CONTAINER_MODEL_DIR = "/opt/ml/model"
DEFAULT_PROGRAM = "inference.py"
DEFAULT_ACCEPT = "application/json"


def model_environment(launch: WorkerLaunch, spec: ReplicaSpec) -> dict[str, str]:
    """Variables to set in the worker (sagemaker-inference-toolkit's, and the platform's own).

    OMP_NUM_THREADS is 1 unless the model, or whoever started trimtab, says more: replicas share the machine, and what a
    worker was forked with runs on one thread already.
    """
    code = str(Path(launch.model_dir) / "code") if launch.model_dir else ""
    base = {
        "AWS_REGION": launch.region,
        "AWS_DEFAULT_REGION": launch.region,
        "SAGEMAKER_REGION": launch.region,
        "SM_MODEL_DIR": launch.model_dir,
        "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
        "SAGEMAKER_MULTI_MODEL": "false",
        "TRIMTAB_REPLICA": spec.id,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    if launch.gpus or launch.hide_gpus:
        base |= gpu_variables(launch.gpus)
    declared = {**launch.environment, **spec.environment}
    submit = declared.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
    if code and (not submit or submit.startswith(CONTAINER_MODEL_DIR)):
        # There is no /opt/ml/model here: many models share the machine. The variables say where it is.
        declared["SAGEMAKER_SUBMIT_DIRECTORY"] = code + submit.removeprefix(f"{CONTAINER_MODEL_DIR}/code")
    return {**base, **declared}


def code_dir(model_dir: Path, environment: Mapping[str, str]) -> Path:
    """The folder of the model's scripts: SAGEMAKER_SUBMIT_DIRECTORY where that is a folder, else `code/`."""
    submit = environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
    if submit and "://" not in submit and Path(submit).is_dir():
        return Path(submit)
    return model_dir / "code"


def default_accept(environment: Mapping[str, str], otherwise: str = DEFAULT_ACCEPT) -> str:
    """What to answer when the caller does not care (SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT)."""
    return environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or otherwise


def thread_count(environment: Mapping[str, str], otherwise: int = 1) -> int:
    """OMP_NUM_THREADS as a number; `otherwise` when it is absent or not a positive number."""
    text = environment.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdecimal() and int(text) > 0 else otherwise
