"""What runs on a user's machine reports to nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.testing.artifacts import script
from trimtab.testing.server import Trimtab

LOADS_ONNXRUNTIME = """
import json, os, onnxruntime

def model_fn(model_dir):
    return os.environ.get("ORT_DISABLE_TELEMETRY")

def transform_fn(model, body, content_type, accept):
    return json.dumps(model), "application/json"
"""


@pytest.mark.parametrize("wanted", [None, "0"])
def test_onnxruntime_does_not_report_to_its_maker_unless_the_user_wants_it(
    wanted: str | None,
    serve: Callable[..., Trimtab],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    if wanted is not None:
        monkeypatch.setenv("ORT_DISABLE_TELEMETRY", wanted)
    trimtab = serve()
    trimtab.deploy(name, script(LOADS_ONNXRUNTIME))
    assert json.loads(trimtab.invoke(name, b"")) == (wanted or "1")
    if wanted is None:
        assert not (tmp_path / ".ses").exists()  # where its reporter keeps the machine's id
