"""One server under test: started, answering rightly, and gone at the end."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.environments import python_of
from benchmarks.peers.models import Model
from benchmarks.peers.peer import HOST, Job, NotReady, Peer, Service, free_port


class Failed(Exception):
    """The server did not start, or answers wrongly; the message says how, with the end of its log."""


class Server:
    """A running server that gave a right answer."""

    def __init__(self, peer: Peer, job: Job, service: Service, log: Path) -> None:
        self.peer, self.job, self.service, self.log = peer, job, service, log
        self.url = f"http://{HOST}:{job.port}{service.path}"
        self.body = service.encode([job.model.rows[0]])
        self.first_answer_s = 0.0  # from its start

    def headers(self) -> dict[str, str]:
        """Of the request that wrk repeats; with a fresh signature where there is one."""
        return self._headers(self.body)

    def check(self) -> None:
        """Ask about every row. Raises Failed for an answer that is wrong or none."""
        for number in range(len(self.job.model.rows)):
            try:
                status, answer = self._ask(number)
            except (OSError, http.client.HTTPException) as error:
                raise self._failed(f"does not answer: {error!r}") from error
            if status != 200:
                raise self._failed(f"answers {status}: {answer[:300].decode(errors='replace')}")
            self._judge(number, answer)

    def _judge(self, number: int, answer: bytes) -> None:
        try:
            right = self.job.model.is_right(number, self.service.decode(answer))
        except (ValueError, LookupError, TypeError) as error:
            raise self._failed(
                f"answers something else ({error!r}): {answer[:300].decode(errors='replace')}"
            ) from error
        if not right:
            raise self._failed(f"answers wrongly: {answer[:300].decode(errors='replace')}")

    def _ask(self, number: int) -> tuple[int, bytes]:
        body = self.service.encode([self.job.model.rows[number]])
        connection = http.client.HTTPConnection(HOST, self.job.port, timeout=10)
        try:
            connection.request("POST", self.service.path, body, self._headers(body))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _headers(self, body: bytes) -> dict[str, str]:
        return {"Content-Type": "application/json", **self.service.headers, **self.service.sign(body)}

    def _failed(self, what: str) -> Failed:
        last = self.log.read_text(errors="replace").strip().splitlines()[-15:]
        return Failed(what + ("\n" + "\n".join(last) if last else ""))

    def wait(self, process: subprocess.Popen[bytes], began_s: float) -> None:
        """Until the first right answer. Raises Failed when there is none in time, or the process has ended."""
        set_up = False
        last = "nothing answered"
        while time.monotonic() - began_s < self.peer.start_timeout_s:
            if process.poll() is not None:
                raise self._failed(f"ended with status {process.returncode}")
            try:
                if not set_up:
                    self._listens()
                    self.service.set_up()
                    set_up = True
                status, answer = self._ask(0)
            except (NotReady, OSError, http.client.HTTPException) as error:
                last = repr(error)
            else:
                if status == 200:
                    self._judge(0, answer)
                    self.first_answer_s = time.monotonic() - began_s
                    return
                last = f"{status}: {answer[:200].decode(errors='replace')}"
            time.sleep(0.01)
        raise self._failed(f"not ready after {self.peer.start_timeout_s:.0f} s ({last})")

    def _listens(self) -> None:
        connection = http.client.HTTPConnection(HOST, self.job.port, timeout=1)
        connection.connect()
        connection.close()


@contextlib.contextmanager
def running(peer: Peer, model: Model) -> Iterator[Server]:
    """`peer` serving `model`, alone on this machine as far as this program goes; all of it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="tb"))
    inside = folder / "f"
    inside.mkdir()
    try:
        job = Job(model, free_port(), inside, python_of(peer))
        service = peer.service(job)
        log = folder / "log"
        server = Server(peer, job, service, log)
        began_s = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                service.argv,
                env=_environment(job, service),
                cwd=inside,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            server.wait(process, began_s)
            server.check()
            yield server
        finally:
            processes.end_all()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(job: Job, service: Service) -> dict[str, str]:
    """A plain environment: no variables of another Python or AWS account; the server's own programs come first."""
    path = f"{job.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    names = ("HOME", "LANG", "TZ", "JAVA_HOME", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **service.env}
