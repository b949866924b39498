"""A program that keeps AWS's multi-model container contract, for tests. It has nothing of trimtab.

    python multi_model_program.py PORT

A model is a folder with `model.json`: {"answer": TEXT, ...}; its other fields are what it does:

    "mib": takes so much memory; a load beyond the environment's CAPACITY_MIB is answered with 507
    "load": "slow" (until a file `go` is in the folder that the environment's GATE names) | "fail" | "exit" | "hang"
    "work": "slow" (as above) | "fail" | "absent" (a 404 of its own) | "short" (507) | "exit"

It answers `ANSWER PID NAME TARGET-MODEL`. With BREAKS=models it has no list of models (404).
`POST /forget/NAME` has it drop a model that nobody unloaded; `GET /log` lists all that it was asked.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CAPACITY_MIB = float(os.environ.get("CAPACITY_MIB", "inf"))
GATE = Path(os.environ.get("GATE", "."))
PAGE = int(os.environ.get("PAGE", "2"))
MODELS: dict[str, tuple[str, dict[str, Any], bytearray]] = {}
LOG: list[str] = []
LOCK = threading.Lock()


def wait() -> None:
    """Until the test says go."""
    (GATE / "begun").touch()
    while not (GATE / "go").exists():
        time.sleep(0.005)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Ping, list, describe."""
        path, _, query = self.path.partition("?")
        if path == "/ping":
            self.answer(200)
        elif path == "/log":
            self.answer(200, LOG)
        elif path == "/models" and os.environ.get("BREAKS") != "models":
            names = sorted(MODELS)
            start = int(query.rpartition("=")[2] or 0)
            page = {"models": [{"modelName": n, "modelUrl": MODELS[n][0]} for n in names[start : start + PAGE]]}
            if start + PAGE < len(names):
                page["nextPageToken"] = str(start + PAGE)  # type: ignore[assignment]
            self.answer(200, page)
        elif (name := path.removeprefix("/models/")) in MODELS:
            self.answer(200, [{"modelName": name, "modelUrl": MODELS[name][0]}])  # as Multi Model Server
        else:
            self.answer(404, {"code": 404, "type": "ModelNotFoundException", "message": "Model not found"})

    def do_POST(self) -> None:
        """Load, invoke."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = self.path.strip("/").split("/")
        if parts == ["models"]:
            asked = json.loads(body)
            self.load(asked["model_name"], asked["url"])
        elif parts[0] == "forget":
            MODELS.pop(parts[1])
            self.answer(200)
        elif len(parts) == 3 and parts[2] == "invoke" and parts[1] in MODELS:
            self.invoke(parts[1])
        else:
            self.answer(404, {"message": "Model not found"})

    def do_DELETE(self) -> None:
        """Unload."""
        name = self.path.removeprefix("/models/")
        with LOCK:
            found = MODELS.pop(name, None)
        self.answer(200 if found else 404)

    def load(self, name: str, url: str) -> None:
        """From its folder."""
        if name in MODELS:
            self.answer(409)
            return
        model = json.loads((Path(url) / "model.json").read_text())
        how, mib = model.get("load"), model.get("mib", 0)
        if how == "slow":
            wait()
        elif how == "hang":
            threading.Event().wait()
        elif how == "exit":
            os._exit(3)
        elif how == "fail":
            self.answer(500, {"message": "this model is broken"})
            return
        with LOCK:
            if sum(one[1].get("mib", 0) for one in MODELS.values()) + mib > CAPACITY_MIB:
                self.answer(507)
                return
            MODELS[name] = url, model, bytearray(os.urandom(1) * int(mib * 2**20))
        self.answer(200, {"status": "loaded"})

    def invoke(self, name: str) -> None:
        """As it is."""
        model = MODELS[name][1]
        work = model.get("work")
        if work == "slow":
            wait()
        elif work == "exit":
            os._exit(4)
        elif work in ("fail", "absent", "short"):
            self.answer({"fail": 500, "absent": 404, "short": 507}[work], {"message": f"{name}: {work}"})
            return
        target = self.headers.get("X-Amzn-SageMaker-Target-Model", "")
        self.answer(200, f"{model['answer']} {os.getpid()} {name} {target}".encode())

    def answer(self, status: int, said: Any = b"") -> None:
        """Answer, and note it."""
        if not self.path.startswith(("/ping", "/log")):
            LOG.append(f"{self.command} {self.path} {status}")
            print(LOG[-1], flush=True)
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Not on stderr."""


class Server(ThreadingHTTPServer):
    """Takes many connections at once."""

    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ.get("SAGEMAKER_BIND_TO_PORT") or sys.argv[1])), Handler).serve_forever()
