"""What tests of foreign programs in model hosts share."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from estate import Estate, a_host

from trimtab import testing
from trimtab.resources.replica import ReplicaSpec
from trimtab.resources.runtime import Runtime, RuntimeKind
from trimtab.wire.hosting import ModelAt

PROGRAM = Path(testing.__file__).with_name("multi_model_program.py")
COMMAND = Runtime(kind=RuntimeKind.COMMAND, command=(sys.executable, str(PROGRAM), "{port}"))


def a_program(
    replica_id: str = "h1", *, runtime: Runtime = COMMAND, memory_mib: int = 4096, **environment: str
) -> ReplicaSpec:
    return a_host(replica_id, runtime=runtime, memory_mib=memory_mib, environment=environment)


def model(estate: Estate, name: str, version: str = "v1", **does: Any) -> None:
    """Put a model into control's folder; see the program for what it `does`."""
    folder = estate.folder / f"{name}@{version}"
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps({"answer": f"{name}@{version}", **does}))
    estate.control.models[name] = folder, version


def http(at: ModelAt, path: str = "", method: str = "POST", body: bytes = b"x") -> tuple[int, bytes]:
    """Ask the program: by default the model, as a gateway does. Blocks."""
    host = at.lanes[0].address.removeprefix("tcp:")
    request = urllib.request.Request(
        f"http://{host}{path or at.lanes[0].path}", body if method == "POST" else None,
        {"X-Amzn-SageMaker-Target-Model": at.model}, method=method,
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def log(at: ModelAt) -> list[str]:
    """All that the program was asked."""
    return json.loads(http(at, "/log", "GET")[1])
