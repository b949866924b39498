"""A worker that is owned is no use without its owner."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.resources.launch import WorkerLaunch
from trimtab.resources.replica import ReplicaState
from trimtab.wire.frames import Kind, pack
from trimtab.wire.listening import listen
from trimtab.worker import attendant
from trimtab.worker.attendant import Attendant
from trimtab.worker.report import Report
from trimtab.worker.serve import Loop


class Ended(BaseException):
    """The process would be over."""


class Owned:
    """An attendant that a test drives by hand."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "w.sock")
        self.report = Report(WorkerLaunch(spec=b"", socket_path=self.path), "r1")
        self.loop = Loop()
        self.attendant = Attendant(listen(self.path), self.report, self.loop, end=self.end, owned=True)
        self.attendant._listener.setblocking(False)
        self.attendant._selector.register(self.attendant._listener, 1, self.attendant._accept)

    def end(self) -> None:
        raise Ended

    def turn(self) -> None:
        """What has come, and a tick."""
        while ready := self.attendant._selector.select(0):
            for key, mask in ready:
                key.data(key.fileobj, mask)
        self.attendant._tick()

    def owner(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.path)
        sock.sendall(pack(Kind.DESCRIBE, 0))
        self.turn()
        return sock


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[Owned]:
    found = Owned(tmp_path)
    yield found
    found.attendant.forsake()
    found.loop.forsake()


def test_it_finishes_and_ends_when_its_owner_has_gone(owned: Owned) -> None:
    first, second = owned.owner(), owned.owner()
    owned.report.become_ready()
    first.close()
    owned.turn()
    assert owned.report.state is ReplicaState.READY
    second.close()
    owned.turn()
    assert owned.report.state is ReplicaState.DRAINING
    assert owned.loop.leaving


def test_it_ends_at_once_when_its_owner_goes_while_it_loads(owned: Owned) -> None:
    owned.owner().close()
    with pytest.raises(Ended):
        owned.turn()


def test_it_ends_when_nobody_ever_comes(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    owned.report.become_ready()
    owned.turn()
    assert owned.report.state is ReplicaState.READY
    began_s = attendant.time.monotonic()
    monkeypatch.setattr(attendant.time, "monotonic", lambda: began_s + 11.0)
    owned.turn()
    assert owned.report.state is ReplicaState.DRAINING


def test_work_that_its_owner_left_has_a_bound(owned: Owned, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = owned.owner()
    owned.report.become_ready()
    owner.close()
    owned.turn()
    began_s = attendant.time.monotonic()
    monkeypatch.setattr(attendant.time, "monotonic", lambda: began_s + 61.0)
    with pytest.raises(Ended):
        owned.turn()
