"""`trimtab top` in a terminal: a real process in a pseudo-terminal against a server in memory."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_server import KEY, REGION, Server

from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model

LIMIT_S = 20.0
PROGRAM = Path(sys.executable).with_name("trimtab")


class Terminal:
    """A terminal of 100 x 24 with `trimtab top` in it."""

    def __init__(self, server: Server, home: Path, *arguments: str) -> None:
        self.fd, inside = pty.openpty()
        self.resize(100, 24)
        self.before = termios.tcgetattr(inside)
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TERM": "xterm",
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": KEY.id,
            "AWS_SECRET_ACCESS_KEY": KEY.secret,
            "AWS_DEFAULT_REGION": REGION,
        }
        argv = [str(PROGRAM), "top", "--interval", "0.2", *arguments]
        self.process = subprocess.Popen(
            argv, env=env, stdin=inside, stdout=inside, stderr=inside, start_new_session=True
        )
        self.inside = inside
        self.seen = b""

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def shows(self, text: str) -> None:
        """Wait until the text is written (again)."""
        deadline_s = time.monotonic() + LIMIT_S
        while text.encode() not in self.seen:
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"no {text!r} in {self.seen[-3000:].decode(errors='replace')}"
            if select.select([self.fd], [], [], left_s)[0]:
                self.seen += os.read(self.fd, 65536)
        self.seen = self.seen.partition(text.encode())[2]

    def press(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def ended(self) -> int:
        """Wait for its end, reading what it still writes."""
        deadline_s = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline_s, "it does not end"
            if select.select([self.fd], [], [], 0.05)[0]:
                self.seen += os.read(self.fd, 65536)
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.inside)


@pytest.fixture
def deployed(server: Server) -> Server:
    control = server.world.control
    control.create_model(Model(name="m", created_s=1.0, containers=(Container(image="i"),)), {})
    variants = (VariantSpec(name="blue", model_name="m"),)
    control.create_endpoint_config(EndpointConfig(name="c", created_s=1.0, variants=variants), {})
    for name in ("fraud", "churn"):
        control.create_endpoint(name, "c", {}, {})
        control.settle(name)
    return server


@pytest.fixture
def terminal(deployed: Server, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(deployed, tmp_path)
    yield made
    made.close()


def test_it_follows_what_happens_obeys_keys_and_leaves_the_terminal_as_it_was(
    terminal: Terminal, deployed: Server
) -> None:
    terminal.shows("2 endpoints")
    terminal.shows("by name")
    terminal.press("s")
    terminal.shows("by rate")
    deployed.world.control.delete_endpoint("churn")
    terminal.shows("1 endpoint ")
    terminal.resize(30, 24)
    terminal.shows("too small")
    terminal.resize(100, 24)
    terminal.shows("1 endpoint ")
    terminal.press("q")
    assert terminal.ended() == 0
    assert b"\x1b[?1049l" in terminal.seen  # back from the alternate screen
    assert termios.tcgetattr(terminal.inside) == terminal.before


def test_it_goes_on_while_control_is_away(terminal: Terminal, deployed: Server) -> None:
    terminal.shows("2 endpoints")
    deployed.world.trouble = True
    terminal.shows("No answer for")
    terminal.shows("fraud")
    deployed.world.trouble = False
    terminal.shows("2 endpoints")
    terminal.press("q")
    assert terminal.ended() == 0


def test_a_server_that_answers_nonsense_ends_it_with_an_error(terminal: Terminal, deployed: Server) -> None:
    terminal.shows("2 endpoints")
    deployed.world.nonsense = True
    assert terminal.ended() == 1
    assert b"\x1b[?1049l" in terminal.seen
    assert b"error:" in terminal.seen
    assert termios.tcgetattr(terminal.inside) == terminal.before


def test_an_endpoint_that_is_deleted_meanwhile_is_said_to_be_gone(deployed: Server, tmp_path: Path) -> None:
    terminal = Terminal(deployed, tmp_path, "fraud")
    try:
        terminal.shows("fraud")
        deployed.world.control.delete_endpoint("fraud")
        terminal.shows("There is no endpoint fraud any more.")
        deployed.world.control.create_endpoint("fraud", "c", {}, {})
        terminal.shows("Creating")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ended() == 0
        assert termios.tcgetattr(terminal.inside) == terminal.before
    finally:
        terminal.close()
