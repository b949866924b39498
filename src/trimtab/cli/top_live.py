"""A terminal that `trimtab top` is shown in: frames as answers come, keys as they are pressed."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.text import Text

from trimtab.aws.client import CallFailed, Client, Unreachable
from trimtab.cli.render import CliError
from trimtab.cli.top_view import DOWN, HOME, PAGE_DOWN, PAGE_UP, UP, View

_TICK_S = 1.0  # the age of what is shown goes on without answers
_ESCAPES = {
    b"\x1b[A": UP, b"\x1bOA": UP, b"\x1b[B": DOWN, b"\x1bOB": DOWN,
    b"\x1b[5~": PAGE_UP, b"\x1b[6~": PAGE_DOWN, b"\x1b[H": HOME, b"\x1b[1~": HOME,
}  # fmt: skip


def keys_of(data: bytes) -> list[str]:
    """What was pressed: characters, and the names of keys that send more than one byte. Others are left out."""
    found = []
    while data:
        name = next((name for sent, name in _ESCAPES.items() if data.startswith(sent)), "")
        if name:
            found.append(name)
            data = data[next(len(sent) for sent in _ESCAPES if data.startswith(sent)) :]
        elif data[0] == 0x1B:
            break  # a key that is not known; what follows belongs to it
        else:
            found.append(chr(data[0]))
            data = data[1:]
    return found


class Live:
    """Asks in a thread of its own, so that keys are obeyed while nobody answers."""

    def __init__(self, view: View, client: Client, reconnect: Callable[[], Client], *, interval_s: float) -> None:
        """`reconnect` finds the server anew: one that was started again may have another port."""
        self._view = view
        self._client = client
        self._reconnect = reconnect
        self._interval_s = interval_s
        self._console = Console()
        self._answers: queue.SimpleQueue[Callable[[float], None]] = queue.SimpleQueue()
        self._ask_now = threading.Event()
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self, first: dict[str, Any]) -> None:
        """Until the person quits. `first` is the first answer."""
        self._view.answered(first, time.monotonic())
        threading.Thread(target=self._ask_for_ever, name="top", daemon=True).start()
        with _keyboard() as keyboard, RichLive(console=self._console, screen=True, auto_refresh=False) as screen:
            signal.signal(signal.SIGWINCH, lambda *_: self._wake())
            signal.signal(signal.SIGTERM, lambda *_: self._end())
            with contextlib.suppress(KeyboardInterrupt):
                while not self._view.quit:
                    self._draw(screen)
                    self._await_news(keyboard)

    def _draw(self, screen: RichLive) -> None:
        width, height = self._console.size
        lines = self._view.lines(width, height, time.monotonic())
        texts = [Text.assemble(*line, no_wrap=True, overflow="crop", end="") for line in lines]
        screen.update(Group(*(Text.assemble(text, "\n", end="") for text in texts[:-1]), *texts[-1:]), refresh=True)

    def _await_news(self, keyboard: int) -> None:
        """Until a key, an answer, a new size or the next tick."""
        sources = [self._wake_r, *([keyboard] if keyboard >= 0 else [])]
        ready, _, _ = select.select(sources, [], [], _TICK_S)
        if self._wake_r in ready:
            os.read(self._wake_r, 4096)
        if keyboard in ready:
            data = os.read(keyboard, 1024)
            if not data:  # the terminal is gone
                self._view.quit = True
            for key in keys_of(data):
                if self._view.key(key):
                    self._ask_now.set()
        with contextlib.suppress(queue.Empty):
            while True:
                self._answers.get_nowait()(time.monotonic())

    def _ask_for_ever(self) -> None:
        while True:
            self._ask_now.wait(self._interval_s)
            self._ask_now.clear()
            self._answers.put(self._ask())
            self._wake()

    def _ask(self) -> Callable[[float], None]:
        """What an answer, or the lack of one, does to the view."""
        view = self._view
        try:
            document = self._client.get("top", **view.query(self._console.size.height))
        except CallFailed as error:
            return view.gone if error.code == "NotFound" else _failing(view, str(error))
        except Unreachable as error:
            why = str(error)
            with contextlib.suppress(CliError):
                self._client = self._reconnect()
            return _failing(view, why)
        except Exception as error:  # noqa: BLE001 raised again where it ends the program
            return _raising(error)
        return lambda now_s: view.answered(document, now_s)

    def _end(self) -> None:
        self._view.quit = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_w, b"\0")


def _failing(view: View, why: str) -> Callable[[float], None]:
    return lambda now_s: view.failed(why)


def _raising(error: Exception) -> Callable[[float], None]:
    def raise_it(now_s: float) -> None:
        raise error

    return raise_it


@contextlib.contextmanager
def _keyboard() -> Iterator[int]:
    """Standard input, key by key and unechoed; -1 where it is no terminal."""
    if not sys.stdin.isatty():
        yield -1
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    tty.setcbreak(fd)
    try:
        yield fd
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
