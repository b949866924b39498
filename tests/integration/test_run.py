"""`trimtab run`: real programs under it, against a server in the test that verifies and answers as trimtab's own edge."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import select
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from trimtab.aws import keys, sts
from trimtab.aws.http import BytesBody, HttpRequest
from trimtab.aws.registry import Call
from trimtab.aws.sigv4.verifier import Verifier
from trimtab.config import Paths
from trimtab.errors import Denied

TRIMTAB = [sys.executable, "-c", "from trimtab.cli.main import app; app()"]
ACCOUNT = "123456789012"


class Edge(ThreadingHTTPServer):
    """STS over HTTP, with signatures verified by trimtab's own code."""

    def __init__(self, ring: keys.KeyRing) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.verifier = Verifier(ring, region="us-east-1")
        self.hosts: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Edge

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = [(name.lower(), value.strip()) for name, value in self.headers.items()]
        self.server.hosts.append(self.headers["Host"])
        try:
            key = self.server.verifier.verify("POST", self.path, "", headers, body, time.time(), service="sts")
        except Denied as denied:
            self._say(403, f"<ErrorResponse><Error><Code>{denied.code}</Code></Error></ErrorResponse>")
            return
        call = Call(
            request=HttpRequest(method="POST", raw_path="/", body=BytesBody(body)),
            service="sts", operation="GetCallerIdentity", request_id="r", region="us-east-1", account=ACCOUNT,
            identity=key,
        )  # fmt: skip
        result = asyncio.run(sts.get_caller_identity(call, {}))
        fields = "".join(f"<{name}>{value}</{name}>" for name, value in result.items())
        xml = f"<GetCallerIdentityResult>{fields}</GetCallerIdentityResult>"
        self._say(200, f'<GetCallerIdentityResponse xmlns="x">{xml}</GetCallerIdentityResponse>')

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *ignored: object) -> None:
        """Quiet."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data dir"  # a space, so that quoting matters


@pytest.fixture
def edge(data_dir: Path) -> Iterator[Edge]:
    paths = Paths(data_dir)
    keys.ensure(paths.keys, now_s=time.time())
    with Edge(keys.KeyRing(paths.keys)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        paths.server.write_text(json.dumps({"url": url, "region": "us-east-1", "pid": os.getpid()}))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and "PROXY" not in name.upper() and not name.endswith("_CA_BUNDLE")
    }
    home = {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "xdg")}
    return clean | home | {"TRIMTAB_DEBUG": "1"} | more


def under_run(tmp_path: Path, data_dir: Path, code: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [*TRIMTAB, "run", "--data-dir", str(data_dir), "--", sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=environment(tmp_path, **more), capture_output=True, text=True, timeout=120)


def left_behind(data_dir: Path) -> list[Path]:
    folder = Paths(data_dir).run_dir / "programs"
    return list(folder.iterdir()) if folder.exists() else []


IDENTITY = """
    import boto3, json
    client = boto3.client("sts", endpoint_url="https://sts.us-east-1.amazonaws.com", region_name="us-east-1")
    for _ in range(3):
        identity = client.get_caller_identity()
    print(json.dumps([identity["Account"], identity["Arn"]]))
"""


def test_the_hard_coded_sts_host_is_answered_by_trimtab(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    done = under_run(tmp_path, data_dir, IDENTITY, AWS_SESSION_TOKEN="left over", AWS_REGION="eu-west-1")
    assert done.returncode == 0, done.stderr
    account, arn = json.loads(done.stdout)
    assert account == ACCOUNT
    assert arn.startswith(f"arn:aws:sts::{ACCOUNT}:assumed-role/{sts.EXECUTION_ROLE}/")
    assert edge.hosts == ["sts.us-east-1.amazonaws.com"] * 3
    assert left_behind(data_dir) == []


def test_no_proxy_lists_that_cover_amazon_do_not_lead_past_trimtab(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    done = under_run(tmp_path, data_dir, IDENTITY, NO_PROXY="localhost,.amazonaws.com")
    assert done.returncode == 0, done.stderr
    done = under_run(tmp_path, data_dir, IDENTITY, no_proxy="*")
    assert done.returncode == 0, done.stderr


def test_the_program_gets_the_exports_and_the_telemetry_off(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    code = """
        import json, os
        env = dict(os.environ)
        print(json.dumps([env, open(env["SAGEMAKER_ADMIN_CONFIG_OVERRIDE"]).read(), open(env["AWS_CA_BUNDLE"]).read()]))
    """
    done = under_run(tmp_path, data_dir, code, AWS_SESSION_TOKEN="x", NO_PROXY="internal.example", OTHER="kept")
    env, settings, bundle = json.loads(done.stdout)
    root = keys.load(Paths(data_dir).keys)[0]
    assert (env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"]) == (root.id, root.secret)
    assert (env["AWS_DEFAULT_REGION"], env["OTHER"]) == ("us-east-1", "kept")
    assert env["AWS_ENDPOINT_URL"] == f"http://127.0.0.1:{edge.server_port}"
    assert env["NO_PROXY"] == env["no_proxy"] == "internal.example,127.0.0.1"
    assert "AWS_SESSION_TOKEN" not in env
    assert json.loads(settings)["SageMaker"]["PythonSDK"]["Modules"]["TelemetryOptOut"] is True
    assert bundle.count("BEGIN CERTIFICATE") > 50


class TlsEcho:
    """A TLS server of another authority; and, where asked, a CONNECT proxy in front of everything."""

    def __init__(self) -> None:
        self.authority = trustme.CA()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> TlsEcho:
        self._thread.start()
        return self

    def __exit__(self, *ignored: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, self._context.wrap_socket(connection, server_side=True) as tls:
                request = b""
                while not request.endswith(b"hello") and (piece := tls.recv(65536)):
                    request += piece
                tls.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n" + request[-5:])


FETCH = """
    import base64, http.client, os, ssl
    from urllib.parse import urlsplit
    proxy, url = urlsplit(os.environ["HTTPS_PROXY"]), urlsplit(os.environ["URL"])
    basic = base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()
    context = ssl.create_default_context(cafile=os.environ["OTHER_CA"])
    client = http.client.HTTPSConnection(proxy.hostname, proxy.port, context=context, timeout=20)
    client.set_tunnel(url.hostname, url.port, {"Proxy-Authorization": f"Basic {basic}"})
    client.request("POST", "/", b"hello")
    print(client.getresponse().read().decode())
"""


def test_other_hosts_are_tunnelled_untouched(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    with TlsEcho() as echo:
        ca = tmp_path / "other.pem"
        echo.authority.cert_pem.write_to_path(str(ca))
        url = f"https://127.0.0.1:{echo.port}/"
        done = under_run(tmp_path, data_dir, FETCH, OTHER_CA=str(ca), URL=url)
        assert done.stdout == "hello\n", done.stderr
    assert edge.hosts == []


def test_a_host_that_cannot_be_reached_is_a_bad_gateway(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    ca = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    done = under_run(tmp_path, data_dir, FETCH, OTHER_CA=str(ca), URL=f"https://127.0.0.1:{port}/")
    assert "502" in done.stderr


def test_an_upstream_proxy_is_gone_through_with_its_credentials(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    seen: list[bytes] = []
    with TlsEcho() as echo, socket.create_server(("127.0.0.1", 0)) as upstream:

        def serve() -> None:
            upstream.settimeout(30)
            client, _ = upstream.accept()
            with client, socket.create_connection(("127.0.0.1", echo.port)) as onward:
                seen.append(client.recv(65536))
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pour, args=(onward, client))
                back.start()
                _pour(client, onward)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        ca = tmp_path / "other.pem"
        echo.authority.cert_pem.write_to_path(str(ca))
        proxy = f"http://me:p%40ss@127.0.0.1:{upstream.getsockname()[1]}"
        url = f"https://127.0.0.1:{echo.port}/"
        done = under_run(tmp_path, data_dir, FETCH, OTHER_CA=str(ca), URL=url, HTTPS_PROXY=proxy)
        thread.join()
    assert done.stdout == "hello\n", done.stderr
    assert seen[0].startswith(f"CONNECT 127.0.0.1:{echo.port} HTTP/1.1\r\n".encode())
    assert b"Proxy-Authorization: Basic bWU6cEBzcw==\r\n" in seen[0]


def _pour(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # one side may close first
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_a_socks_proxy_is_refused_with_the_cure(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    done = under_run(tmp_path, data_dir, "print(1)", ALL_PROXY="socks5://127.0.0.1:1080")
    assert done.returncode == 1
    assert "Set HTTPS_PROXY to an http:// or https:// proxy" in done.stderr


@pytest.mark.parametrize("status", [0, 1, 7, 255])
def test_the_exit_status_is_the_programs(tmp_path: Path, data_dir: Path, edge: Edge, status: int) -> None:
    assert under_run(tmp_path, data_dir, f"raise SystemExit({status})").returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_a_program_that_is_killed_ends_run_the_same_way(
    tmp_path: Path, data_dir: Path, edge: Edge, number: signal.Signals
) -> None:
    done = under_run(tmp_path, data_dir, f"import os; os.kill(os.getpid(), {int(number)})")
    assert done.returncode == -number
    assert left_behind(data_dir) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program(tmp_path: Path, data_dir: Path, edge: Edge, number: signal.Signals) -> None:
    code = f"""
        import signal, sys
        signal.signal({int(number)}, lambda *a: sys.exit(42))
        print("ready", flush=True)
        signal.pause()
    """
    command = [*TRIMTAB, "run", "--data-dir", str(data_dir), sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, env=environment(tmp_path), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(timeout=20) == 42


def test_what_a_killed_run_left_is_cleared_by_the_next(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    code = "print('ready', flush=True); import sys; sys.stdin.read()"
    command = [*TRIMTAB, "run", "--data-dir", str(data_dir), sys.executable, "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(tmp_path), stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert under_run(tmp_path, data_dir, "print(1)").stdout == "1\n"
        assert len(left_behind(data_dir)) == 1  # the living one's
        process.kill()
    assert len(left_behind(data_dir)) == 1
    assert under_run(tmp_path, data_dir, "print(1)").stdout == "1\n"
    assert left_behind(data_dir) == []


def test_stdin_and_stdout_are_the_programs(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    command = [*TRIMTAB, "run", "--data-dir", str(data_dir), "--", "cat", "-"]
    done = subprocess.run(command, env=environment(tmp_path), input=b"\x00through\n", capture_output=True, timeout=120)
    assert done.stdout == b"\x00through\n"


@pytest.mark.parametrize(("program", "status"), [("no-such-program", 127), ("/etc/passwd", 126)])
def test_a_program_that_cannot_be_started_is_named(
    tmp_path: Path, data_dir: Path, edge: Edge, program: str, status: int
) -> None:
    command = [*TRIMTAB, "run", "--data-dir", str(data_dir), program]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, timeout=120)
    assert done.returncode == status
    assert program in done.stderr


def test_without_a_running_trimtab_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = under_run(tmp_path, tmp_path / "nowhere", "print(1)")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No trimtab runs on" in done.stderr
    assert "trimtab serve --data-dir" in done.stderr


def test_ctrl_c_on_the_terminal_reaches_the_program_once(tmp_path: Path, data_dir: Path, edge: Edge) -> None:
    code = """
        import signal, sys, time
        counted = []
        signal.signal(signal.SIGINT, lambda *a: counted.append(1))
        print("ready", flush=True)
        signal.sigtimedwait([signal.SIGUSR2], 1.0)  # a second SIGINT would arrive meanwhile
        print("counted", len(counted), flush=True)
    """
    command = [*TRIMTAB, "run", "--data-dir", str(data_dir), sys.executable, "-c", textwrap.dedent(code)]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, environment(tmp_path))
    try:
        shown = _until(terminal, b"ready")
        os.write(terminal, b"\x03")
        shown += _until(terminal, b"counted 1")
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, shown


def _until(terminal: int, wanted: bytes) -> bytes:
    shown = b""
    while wanted not in shown:
        ready, _, _ = select.select([terminal], [], [], 20)
        assert ready, shown
        shown += os.read(terminal, 4096)
    return shown
