"""A program that keeps the container contract: PORT. SERVER: (default) | exit | sick (503 once told by GET /sicken) | stubborn."""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ.get("SERVER", "")
SICK = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        global SICK
        SICK = SICK or self.path == "/sicken"
        self.answer(503 if SICK and self.path == "/ping" else 200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        seen = {"environment": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv, "body": body.decode()}
        self.answer(200, json.dumps(seen).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


if __name__ == "__main__":
    if MODE == "exit":
        print("cannot serve: no model here", flush=True)
        sys.exit(7)
    if MODE == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("serving", sys.argv[1:], flush=True)
    ThreadingHTTPServer(
        ("127.0.0.1", int(os.environ.get("SAGEMAKER_BIND_TO_PORT", sys.argv[1]))), Handler
    ).serve_forever()
