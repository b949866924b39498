"""The PyTorch and Hugging Face containers' defaults, and TorchScript without a script."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trimtab.resources.runtime import Flavor
from trimtab.wire.frames import RequestMeta
from trimtab.worker import artifact, codecs, media, script
from trimtab.worker.answers import Fault
from trimtab.worker.failures import StartFailed
from trimtab.worker.flavors.huggingface import HuggingfaceDefaults
from trimtab.worker.flavors.pytorch import PytorchDefaults
from trimtab.worker.handlers import HandledModel
from trimtab.worker.plain import PlainModel

torch = pytest.importorskip("torch", reason="PyTorch is not installed here: `make torch-env` makes .venvs/torch")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),  # the tests make such models
]


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    linear = torch.nn.Linear(3, 2).eval()
    torch.jit.trace(linear, torch.zeros(1, 3)).save(str(tmp_path / "model.pt"))
    with torch.no_grad():
        np.save(tmp_path / "expected.npy", linear(torch.tensor([[1.0, 2.0, 3.0]])).numpy())
    return tmp_path


def default_model(model_dir: Path) -> HandledModel:
    model = HandledModel({}, PytorchDefaults({}), model_dir, {})
    model.load()
    return model


def test_torchscript_is_served_as_the_container_does(model_dir):
    expected = np.load(model_dir / "expected.npy")
    model = default_model(model_dir)

    body, content_type, _ = model.answer(b"[[1, 2, 3]]", RequestMeta(media.JSON))
    assert np.allclose(json.loads(body), expected)
    assert content_type == media.JSON
    npy = codecs.encode_npy(np.array([[1, 2, 3]], np.float32))
    assert np.allclose(codecs.decode_npy(model.answer(npy, RequestMeta(media.NPY, media.NPY))[0]), expected)
    with pytest.raises(Fault) as caught:
        model.answer(b"[[1, 2]]", RequestMeta(media.JSON))
    assert caught.value.status == 500


def test_torchscript_without_a_script_is_served_plainly(model_dir):
    model = PlainModel(artifact.load(*artifact.detect(model_dir), {}), media.JSON)

    body = model.answer(b"1,2,3", RequestMeta(media.CSV))[0]
    assert np.allclose(json.loads(body), np.load(model_dir / "expected.npy"))
    with pytest.raises(Fault) as caught:
        model.answer(b"1,2", RequestMeta(media.CSV))
    assert caught.value.status == 400


def test_an_exported_program_is_served_plainly(tmp_path):
    linear = torch.nn.Linear(3, 2).eval()
    torch.export.save(torch.export.export(linear, (torch.zeros(1, 3),)), tmp_path / "model.pt2")
    model = PlainModel(artifact.load(*artifact.detect(tmp_path), {}), media.JSON)

    with torch.no_grad():
        expected = linear(torch.tensor([[1.0, 2.0, 3.0]])).numpy()
    assert np.allclose(json.loads(model.answer(b"[[1, 2, 3]]", RequestMeta(media.JSON))[0]), expected)


def test_weights_alone_need_a_script(tmp_path):
    torch.save(torch.nn.Linear(3, 2).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(StartFailed, match="model_fn"):
        default_model(tmp_path)


def test_tensors_of_a_script_are_written_whether_or_not_they_carry_gradients(model_dir):
    handlers = {
        "predict_fn": script.Function(lambda data, model: model(data)),
        "output_fn": script.Function(lambda prediction, accept: {"scores": prediction}),
    }
    model = HandledModel(handlers, PytorchDefaults({}), model_dir, {})
    model.load()

    scores = json.loads(model.answer(b"[[1, 2, 3]]", RequestMeta(media.JSON))[0])["scores"]
    assert np.allclose(scores, np.load(model_dir / "expected.npy"))


def test_a_forked_worker_serves_torchscript(start, model_dir):
    worker = start({"model.pt": (model_dir / "model.pt").read_bytes()}, flavor=Flavor.PYTORCH).ready()

    answer = worker.client().ask(b"[[1, 2, 3]]", media.JSON)
    assert np.allclose(json.loads(answer.payload), np.load(model_dir / "expected.npy"))


def test_a_hugging_face_model_becomes_a_pipeline_of_its_task(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "card"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(words), **shape)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    model = HandledModel({}, HuggingfaceDefaults({}), tmp_path, {})
    model.load()

    (one,) = json.loads(model.answer(b'{"inputs": "good card"}', RequestMeta(media.JSON))[0])
    assert one["label"] in ("LABEL_0", "LABEL_1")
    body = b'{"inputs": ["good", "bad"], "parameters": {"top_k": 2}}'
    assert [len(item) for item in json.loads(model.answer(body, RequestMeta(media.JSON))[0])] == [2, 2]
    lines = bytes(model.answer(b"inputs\ngood\nbad\n", RequestMeta(media.CSV, media.CSV))[0]).splitlines()
    assert (lines[0], len(lines)) == (b"label,score", 3)
    with pytest.raises(Fault) as caught:
        model.answer(b'{"inputs": {"x": 1}}', RequestMeta(media.JSON))
    assert caught.value.status == 400
