"""The command line against a running trimtab: from a folder to an endpoint, and what it says when the model is broken."""

from __future__ import annotations

import json
from pathlib import Path

from trimtab.testing.server import serving

GOOD = "print('hello from the model')\ndef model_fn(d):\n    return 2\ndef predict_fn(data, model):\n    return data * model\n"
BROKEN = "def model_fn(d):\n    raise KeyError('weights')\ndef predict_fn(data, model):\n    return data\n"


def write_model(folder: Path, script: str) -> str:
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "inference.py").write_text(script)
    return str(folder)


def test_deploy_invoke_look_and_survive_a_broken_update(tmp_path) -> None:
    with serving() as trimtab:
        deployed = json.loads(
            trimtab.cli("deploy", write_model(tmp_path, GOOD), "--name", "e", "--count", "2", "--json")
        )
        assert deployed["status"] == "InService"
        assert json.loads(trimtab.cli("invoke", "e", "--body", "[[1, 2]]")) == [[2.0, 4.0]]
        (short,) = json.loads(trimtab.cli("endpoints", "--json"))["endpoints"]
        assert (short["name"], short["replicas_ready"]) == ("e", 2)
        assert "hello from the model" in trimtab.cli("logs", "e")

        failed = json.loads(trimtab.cli("deploy", write_model(tmp_path, BROKEN), "--name", "e", "--json", check=False))
        assert "KeyError: 'weights'" in failed["failure"]
        document = json.loads(trimtab.cli("describe", "e", "--json"))
        assert (document["status"], document["config_name"]) == ("InService", deployed["config"])
        assert all(replica["budget"]["fork_s"] > 0 for replica in document["replicas"])
        assert any("KeyError" in event.get("reason", "") for event in document["events"])
        assert json.loads(trimtab.cli("invoke", "e", "--body", "[[1, 2]]")) == [[2.0, 4.0]]
