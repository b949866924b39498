"""What `sim_vs_live` runs: models, how they are deployed and scaled, and what is asked of them when."""

from __future__ import annotations

import io
import itertools
import math
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from msgspec import Struct

from benchmarks import openloop
from benchmarks.scale_out import model
from benchmarks.scaling import scale, tracking
from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import Trimtab

ROOT = Path(__file__).parents[1]
DOCUMENTS = ROOT / "examples" / "documents"
HERE = Path(sys.executable)
# `make demo-documents` makes it; not needed where this environment has what it is for.
DOCUMENTS_PYTHON = HERE if find_spec("rapidocr_onnxruntime") else ROOT / ".venvs" / "documents" / "bin" / "python"
VARIANT = "blue"
FRAUD = """
import json, os, time
import numpy as np, onnxruntime

def model_fn(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), options)

def transform_fn(model, body, content_type, accept):
    time.sleep(0.1)  # features are looked up
    rows = np.array(json.loads(body), dtype=np.float32)
    return json.dumps([float(one) for one in np.ravel(model.run(None, {model.get_inputs()[0].name: rows})[0])]), "application/json"
"""
LARGE = """
import time
import numpy as np

def model_fn(folder):
    time.sleep(0.3)
    return np.ones(40_000_000, dtype=np.uint8)

def transform_fn(model, body, content_type, accept):
    time.sleep(0.015)
    return body, content_type
"""
SLOW = """
import time

def model_fn(folder):
    return None

def transform_fn(model, body, content_type, accept):
    time.sleep(0.1)
    return body, content_type
"""
MODELS = 8


fraud = cache(model)


class Case(Struct):
    """What is deployed and what it is asked."""

    name: str
    deploy: Callable[[Trimtab, str], None]
    rates: Callable[[float], Sequence[tuple[float, float]]]  # of a length: (seconds, requests/s) one after the other
    rest_s: float = 0.0  # beyond the load, to see it come to an end
    is_async: bool = False
    inputs: tuple[str, ...] = ()  # asynchronous: objects, one after the other
    models: int = 0
    settle_s: float = 10.0  # for a deployment
    python: Path = HERE  # of the environment with what its models need

    @property
    def missing(self) -> str:
        """Why it cannot be run here; "" when it can."""
        if self.python.exists():
            return ""
        return f"{self.python.relative_to(ROOT)} is not there: `make demo-documents` makes it"

    @property
    def program(self) -> tuple[str, ...]:
        """What runs `trimtab`, also where it is not installed."""
        return (str(self.python), "-c", "from trimtab.cli.main import app; app()")


def moments(rates: Sequence[tuple[float, float]], seed: int) -> list[float]:
    """A Poisson process."""
    chance = np.random.default_rng(seed)
    found: list[float] = []
    begin_s = 0.0
    for lasting_s, rate in rates:
        count = chance.poisson(rate * lasting_s)
        found += sorted((begin_s + chance.random(count) * lasting_s).tolist())
        begin_s += lasting_s
    return found


# --- what is deployed


def scaled(trimtab: Trimtab, name: str, least: int, most: int, target: float) -> None:
    """Scaled by the event policy."""
    policy = tracking(name, target, variant=VARIANT, windows={"StableWindowSeconds": "10"})
    scale(trimtab.client("application-autoscaling"), name, least, most, policy, variant=VARIANT, name="event")


def one_model(trimtab: Trimtab, name: str) -> None:
    packed, _ = fraud()
    with tarfile.open(fileobj=io.BytesIO(packed)) as given:
        member = given.extractfile("model.onnx")
        assert member is not None
        content = member.read()
    trimtab.deploy(name, archive(model_onnx=content, code__inference_py=FRAUD))
    scaled(trimtab, name, 1, 4, 0.7)


def many_models(trimtab: Trimtab, name: str) -> None:
    # Four of some 48 MiB (and what a host holds back for a load), and not five: pages more or less must not decide.
    trimtab.deploy_many(name, TRIMTAB_MODEL_MEMORY_MIB="235")
    packed = script(LARGE)
    for number in range(MODELS):
        trimtab.put_model(name, f"m{number}.tar.gz", packed)


def slow(trimtab: Trimtab, name: str) -> None:
    trimtab.s3.put_object(Bucket="models", Key="in/one", Body=b"[1]")
    queued(trimtab, name, script(SLOW), most=4)


def read(trimtab: Trimtab, name: str) -> None:
    for path in pages():
        trimtab.s3.put_object(Bucket="models", Key=f"in/{path.name}", Body=path.read_bytes())
    queued(trimtab, name, archive(code__inference_py=(DOCUMENTS / "ocr/code/inference.py").read_text()), most=2)


def queued(trimtab: Trimtab, name: str, packed: bytes, *, most: int) -> None:
    trimtab.create_model(name, packed)
    variant = {"VariantName": VARIANT, "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    trimtab.sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        AsyncInferenceConfig={
            "OutputConfig": {"S3OutputPath": "s3://models/out"},
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 1},
        },
    )
    trimtab.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    trimtab.settled(name)
    scaled(trimtab, name, 0, most, 1.0)


def pages() -> list[Path]:
    """Page images of the document pipeline."""
    return sorted(path for path in (DOCUMENTS / "data").iterdir() if path.suffix in (".png", ".jpg"))


def wave(seconds: float) -> list[tuple[float, float]]:
    steps = 30
    heights = [2 + 22 * (1 - math.cos(2 * math.pi * (step + 0.5) / steps)) / 2 for step in range(steps)]
    return [(seconds / steps, height) for height in heights]


CASES = {
    "step": Case("step", one_model, lambda s: [(s / 3, 4.0), (s / 3, 24.0), (s / 3, 4.0)]),
    "diurnal": Case("diurnal", one_model, wave),
    "models": Case("models", many_models, lambda s: [(s, 6.0)], models=MODELS),
    "backlog": Case(
        "backlog", slow, lambda s: [(s / 6, 25.0), (s * 5 / 6, 0.0)], is_async=True, inputs=("one",), settle_s=18.0
    ),
    "ocr": Case(
        "ocr", read, lambda s: [(s / 6, 5.0), (s * 5 / 6, 0.0)], is_async=True, inputs=tuple(path.name for path in pages()),
        settle_s=24.0, rest_s=15.0, python=DOCUMENTS_PYTHON,
    ),
}  # fmt: skip


def asks(case: Case, name: str) -> Iterator[bytes]:
    """Requests, endlessly."""
    if case.is_async:
        for one in itertools.cycle(case.inputs):
            head = f"X-Amzn-SageMaker-InputLocation: s3://models/in/{one}\r\n"
            if one.endswith((".png", ".jpg")):
                head += f"X-Amzn-SageMaker-Content-Type: image/{'png' if one.endswith('.png') else 'jpeg'}\r\n"
            yield openloop.request(f"/endpoints/{name}/async-invocations", b"", head)
    elif case.models:
        chance = np.random.default_rng(11)
        shares = 1 / np.arange(1, case.models + 1) ** 0.9
        while True:
            model = chance.choice(case.models, p=shares / shares.sum())
            head = f"X-Amzn-SageMaker-Target-Model: m{model}.tar.gz\r\n"
            yield openloop.request(f"/endpoints/{name}/invocations", b"[1]", head)
    else:
        _, body = fraud()
        yield from itertools.repeat(openloop.request(f"/endpoints/{name}/invocations", body))
