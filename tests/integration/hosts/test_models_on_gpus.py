"""Memory of a GPU: counted for each model, and back when it has gone."""

from pathlib import Path

import pytest

from benchmarks.gpu_models import Rig, measure, missed


def needs(device: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed here: `make torch-env` makes .venvs/torch")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no NVIDIA GPU here")


@pytest.mark.torch
@pytest.mark.parametrize("device", [pytest.param("cuda", marks=pytest.mark.gpu), "cpu"])
async def test_what_models_take_of_a_gpu_is_counted_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    needs(device)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    rig = Rig(tmp_path, device)

    found = await rig.run(lambda: measure(rig, [64, 256], 3))

    assert missed(found, device) == []
    assert all(row["counted_mib"] > 0 for row in found["rows"])
