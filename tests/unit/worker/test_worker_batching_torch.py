"""Batching of PyTorch models: TorchScript without a script, and the PyTorch container's own handlers."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from test_worker_batching import ON, burst, described, npy

from trimtab.resources.runtime import Flavor
from trimtab.wire.frames import Kind
from trimtab.worker import media

torch = pytest.importorskip("torch", reason="PyTorch is not installed here: `make torch-env` makes .venvs/torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # the tests make such models
]
FLAVORS = pytest.mark.parametrize("flavor", [Flavor.PLAIN, Flavor.PYTORCH])


def saved(module) -> bytes:
    out = io.BytesIO()
    torch.jit.save(torch.jit.script(module.eval()), out)
    return out.getvalue()


class Centred(torch.nn.Module):
    def forward(self, x):
        return x - x.mean(dim=0, keepdim=True)


class Doubled(torch.nn.Module):
    """Two rows for each."""

    def forward(self, x):
        return torch.cat([x, x])


class Pair(torch.nn.Module):
    def forward(self, x):
        return x * 2, x.sum(dim=1)


@FLAVORS
def test_rows_are_joined_and_each_request_gets_its_own(start, flavor):
    linear = torch.nn.Linear(3, 2).eval()
    worker = start({"model.pt": saved(linear)}, flavor=flavor, environment=ON).ready()
    rows = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
    with torch.no_grad():
        expected = linear(torch.tensor(rows)).numpy()
    bodies = [(json.dumps([row.tolist()]).encode(), media.JSON) for row in rows[:190]]
    bodies += [(npy(rows[190:195]), media.NPY), (b"[[1,2]]", media.JSON), (b"{", media.JSON)]
    bodies += [(",".join(map(str, rows[195])).encode(), media.CSV)]

    answers = burst(worker.client(), bodies)

    for row, frame in zip(expected, answers[:190], strict=False):
        np.testing.assert_allclose(json.loads(frame.payload)[0], row, atol=1e-5)
    np.testing.assert_allclose(json.loads(answers[190].payload), expected[190:195], atol=1e-5)
    assert [answers[place].kind for place in (191, 192)] == [Kind.FAILURE] * 2
    np.testing.assert_allclose(np.ravel(json.loads(answers[193].payload)), expected[195], atol=1e-5)
    assert max(frame.answer.batch for frame in answers[:190]) > 1
    assert described(worker).batch_size == 32
    assert "Warning" not in worker.log()


@FLAVORS
@pytest.mark.parametrize(
    ("module", "why"),
    [(Centred, "output 1 of a row is not the same alone and beside other rows"), (Doubled, " rows for ")],
)
def test_a_model_that_mixes_or_multiplies_rows_is_found_out_and_answered_rightly(start, flavor, module, why):
    module = module()
    worker = start({"model.pt": saved(module)}, flavor=flavor, environment=ON).ready()
    answers = burst(worker.client(), [json.dumps([[n, 1]]).encode() for n in range(100)])
    for n, frame in enumerate(answers):
        assert json.loads(frame.payload) == module(torch.tensor([[float(n), 1.0]])).tolist()
    assert worker.log().count("not batched from now on") == 1
    assert why in described(worker).batching
    assert described(worker).batch_size == 0


def test_several_outputs_are_cut_where_they_are_named_and_asked_one_by_one_elsewhere(start):
    bodies = [json.dumps([[n, 1]]).encode() for n in range(100)]
    answers = burst(start({"model.pt": saved(Pair())}, environment=ON).ready().client(), bodies)
    assert [json.loads(frame.payload) for frame in answers] == [
        {"output_0": [[2.0 * n, 2.0]], "output_1": [n + 1.0]} for n in range(100)
    ]
    assert max(frame.answer.batch for frame in answers) > 1

    worker = start({"model.pt": saved(Pair())}, flavor=Flavor.PYTORCH, environment=ON).ready()
    alone = start({"model.pt": saved(Pair())}, flavor=Flavor.PYTORCH).ready()
    for one, other in zip(burst(worker.client(), bodies), burst(alone.client(), bodies), strict=True):
        assert (one.kind, one.payload.splitlines()[:1]) == (other.kind, other.payload.splitlines()[:1])
    assert "the model answers with a tuple, not with one tensor" in described(worker).batching


def test_tensors_of_one_dimension_go_alone_as_they_are(start):
    worker = start({"model.pt": saved(torch.nn.Linear(3, 2))}, flavor=Flavor.PYTORCH, environment=ON).ready()
    answers = burst(worker.client(), [b"[1, 2, 3]"] * 40)
    assert {frame.answer.batch for frame in answers} == {1}
    assert {len(json.loads(frame.payload)) for frame in answers} == {2}


NET = """
import torch
def model_fn(model_dir):
    return torch.nn.Threshold(0.0, -1.0)
"""


def test_a_scripts_own_module_behind_the_containers_handlers_is_batched(start):
    worker = start({"code/inference.py": NET}, flavor=Flavor.PYTORCH, environment=ON).ready()
    answers = burst(worker.client(), [json.dumps([[n - 50]]).encode() for n in range(100)])
    assert [json.loads(frame.payload)[0][0] for frame in answers] == [n - 50 if n > 50 else -1 for n in range(100)]
    assert max(frame.answer.batch for frame in answers) > 1


@pytest.mark.parametrize("name", ["input_fn(body, content_type)", "predict_fn(data, model)"])
def test_with_a_handler_of_its_own_it_is_not(start, name):
    text = f"{NET}def {name}:\n    return torch.ones(1)\n"
    worker = start({"code/inference.py": text}, flavor=Flavor.PYTORCH, environment=ON).ready()
    assert "define predict_batch_fn" in described(worker).batching
