"""One machine's GPUs under a real `trimtab serve`: who sees which, what they are told to take, and that it comes back.

They need the environment of `make torch-env` and an NVIDIA GPU: `.venvs/torch/bin/python -m pytest -m gpu`.
"""

from __future__ import annotations

import io
import json
import os
from typing import Any

import numpy as np
import pynvml
import pytest
from botocore.exceptions import ClientError

from trimtab.engines.local.gpus import inventory
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab
from trimtab.testing.waiting import wait_until

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed here: `make torch-env` makes .venvs/torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.gpu,
    pytest.mark.skipif(not inventory(), reason="no NVIDIA GPU here"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # the tests make such models
]

PYTORCH = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-gpu-py312-cu124-ubuntu22.04-sagemaker"
WITH_GPU, WITHOUT_GPU = "ml.g5.xlarge", "ml.m5.large"
MIB = 2**20
TENSOR_MIB = 512
SEES = f"""
import json, os
import torch

def model_fn(model_dir, context):
    held = torch.full(({TENSOR_MIB} * 2**18,), 0.5, device="cuda") if torch.cuda.is_available() else None
    return held, context.system_properties.get("gpu_id")

def transform_fn(model, body, content_type, accept):
    held, gpu_id = model
    count = torch.cuda.device_count()
    found = {{"gpu_id": gpu_id, "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "count": count}}
    if count:
        found |= {{"name": torch.cuda.get_device_name(0), "sum": float(held[:1000].sum())}}
    return json.dumps(found), "application/json"
"""


def deploy(server: Trimtab, name: str, packed: bytes, instance_type: str, status: str = "InService") -> dict[str, Any]:
    server.create_model(name, packed, PYTORCH)
    server.create_config(name, name, InstanceType=instance_type)
    server.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    return server.settled(name, status)


def gone(server: Trimtab, name: str) -> bool:
    try:
        server.sagemaker.describe_endpoint(EndpointName=name)
    except ClientError:
        return True
    return False


def used_mib(index: int) -> float:
    """What anybody holds of the card."""
    pynvml.nvmlInit()
    try:
        return float(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(index)).used) / MIB
    finally:
        pynvml.nvmlShutdown()


def test_a_replica_of_a_type_with_a_gpu_has_one_and_its_memory_is_counted_and_comes_back(
    trimtab: Trimtab, name: str
) -> None:
    before_mib = used_mib(inventory()[0].index)
    deploy(trimtab, name, script(SEES), WITH_GPU)
    seen = json.loads(trimtab.invoke(name, b""))
    [replica] = json.loads(trimtab.cli("describe", name, "--json"))["replicas"]
    [index] = replica["gpus"]
    [card] = [gpu for gpu in inventory() if gpu.index == index]
    assert seen == {"gpu_id": 0, "visible": str(index), "count": 1, "name": card.name, "sum": 500.0}

    def figures() -> dict[str, float]:
        [endpoint] = json.loads(trimtab.cli("top", name, "--json"))["endpoints"]
        return dict(endpoint["figures"])

    wait_until(lambda: figures().get("gpu_memory_bytes", 0.0) > TENSOR_MIB * MIB, figures)
    assert 0.0 <= figures()["gpu_percent"] <= 100.0
    assert used_mib(index) - before_mib > TENSOR_MIB

    trimtab.sagemaker.delete_endpoint(EndpointName=name)
    wait_until(lambda: gone(trimtab, name))
    wait_until(lambda: used_mib(index) - before_mib < TENSOR_MIB / 10, lambda: used_mib(index))


def test_a_replica_of_a_type_without_gpus_sees_none(trimtab: Trimtab, name: str) -> None:
    deploy(trimtab, name, script(SEES), WITHOUT_GPU)
    assert json.loads(trimtab.invoke(name, b"")) == {"gpu_id": None, "visible": "", "count": 0}


def test_torchscript_without_a_script_answers_from_the_gpu_what_the_module_says(trimtab: Trimtab, name: str) -> None:
    module, rows = torch.nn.Linear(4, 2).eval(), np.random.default_rng(7).normal(size=(3, 4)).astype(np.float32)
    saved = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 4)), saved)
    before_mib = used_mib(inventory()[0].index)
    deploy(trimtab, name, archive(model_pt=saved.getvalue()), WITH_GPU)
    answer = json.loads(trimtab.invoke(name, json.dumps(rows.tolist()).encode()))
    with torch.no_grad():
        np.testing.assert_allclose(answer, module(torch.tensor(rows)).numpy(), atol=1e-3)
    assert used_mib(inventory()[0].index) - before_mib > 100  # CUDA's own part: it does compute there


def test_a_forked_worker_has_a_gpu_although_pytorch_was_imported_before_the_fork(trimtab: Trimtab, name: str) -> None:
    def learned() -> bool:
        return "imported module=torch " in trimtab.log_path.read_text()

    deploy(trimtab, f"{name}-first", script(SEES), WITH_GPU)
    wait_until(learned, trimtab.log_path.read_text, limit_s=60.0)
    deploy(trimtab, name, script(SEES), WITH_GPU)
    assert json.loads(trimtab.invoke(name, b""))["sum"] == 500.0
    [replica] = json.loads(trimtab.cli("describe", name, "--json"))["replicas"]
    assert replica["budget"]["import_s"] < 0.5, replica["budget"]


def test_with_enforced_shapes_a_gpu_is_one_replicas_alone_and_free_again_afterwards(serve: Any, name: str) -> None:
    if len(os.sched_getaffinity(0)) < 4 * (len(inventory()) + 1):
        pytest.skip("too few cores for one replica more than there are GPUs")
    server = serve("--enforce-instance-shapes")
    for number, _ in enumerate(inventory()):
        deploy(server, f"{name}-{number}", script(SEES), WITH_GPU)
    failed = deploy(server, f"{name}-late", script(SEES), WITH_GPU, status="Failed")
    assert f"0 of this machine's {len(inventory())} are free" in failed["FailureReason"]

    server.sagemaker.delete_endpoint(EndpointName=f"{name}-0")
    wait_until(lambda: gone(server, f"{name}-0"))
    deploy(server, f"{name}-next", script(SEES), WITH_GPU)
    assert json.loads(server.invoke(f"{name}-next", b""))["count"] == 1
