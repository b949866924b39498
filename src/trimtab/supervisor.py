"""The supervisor: starts control, the nursery, the keeper of queues and the gateways, and again when they die.

It is the one process that must not fail, so it does next to nothing and imports next to nothing. It never carries
traffic, but it holds the listening sockets: connections that arrive while a gateway is being replaced wait in the
socket's backlog instead of being refused.

Every process below it holds the read end of its lifeline, a pipe to which nothing is ever written. End of file there
means that the supervisor is gone, by whatever cause, and that the process must end itself. It is also the child
subreaper (prctl(2)): when the nursery dies, its workers become children of the supervisor and live on.
"""

from __future__ import annotations

import ctypes
import json
import os
import pathlib
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trimtab.files import write_whole

READY_TIMEOUT_S = 30.0
STABLE_AFTER_S = 1.0  # a child that lived this long starts over with no back-off
MAX_BACKOFF_S = 2.0
STOP_TIMEOUT_S = 70.0  # a little more than the grace that requests in hand get
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Child:
    """One supervised process: how to start it, and how it has been doing."""

    name: str
    argv: Sequence[str]
    pass_fds: Sequence[int] = ()
    pid: int = 0
    started_s: float = 0.0
    quick_deaths: int = 0
    start_after_s: float = 0.0
    ready_fd: int = -1
    ready: bool = False


@dataclass
class Supervisor:
    """Keep `children` running until SIGTERM or SIGINT; then stop them in order, gateways first."""

    children: Sequence[Child]
    on_ready: Callable[[], None]
    log: Callable[[str], None]
    end_strays: Callable[[], None] = lambda: None  # called while the last processes end
    stopping: bool = False
    left_behind: bool = False  # after `run`: workers that were still at it
    _lifeline: tuple[int, int] = field(default_factory=os.pipe)
    _signals: tuple[int, int] = field(default_factory=os.pipe)

    def run(self) -> int:
        """Supervise until told to stop. Returns the exit status: 0 after an orderly stop, 1 if it never got ready."""
        become_subreaper()
        self._install_signals()
        announced = False
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not self.stopping:
            self._start_due()
            self._wait()
            self._reap()
            if not announced and all(child.ready for child in self.children):
                announced = True
                self.on_ready()
            if not announced and time.monotonic() > deadline_s:
                missing = ", ".join(child.name for child in self.children if not child.ready)
                self.log(f"not ready after {READY_TIMEOUT_S:.0f} s: {missing}; see the log above for the cause")
                self.stopping = True
        self._stop()
        return 0 if announced else 1

    def _install_signals(self) -> None:
        for fd in self._signals:
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(self._signals[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_stop)  # the terminal is gone: nobody can stop us later
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake select

    def _on_stop(self, *_: object) -> None:
        self.stopping = True

    def _start_due(self) -> None:
        now_s = time.monotonic()
        for child in self.children:
            if not child.pid and now_s >= child.start_after_s and not self.stopping:
                self._start(child, now_s)

    def _start(self, child: Child, now_s: float) -> None:
        ready_read, ready_write = os.pipe()
        os.set_blocking(ready_read, False)
        env = dict(os.environ, TRIMTAB_READY_FD=str(ready_write), TRIMTAB_LIFELINE_FD=str(self._lifeline[0]))
        pid = os.fork()
        if pid == 0:
            _exec(child.argv, env, (ready_write, self._lifeline[0], *child.pass_fds))
        os.close(ready_write)
        child.pid, child.started_s, child.ready_fd, child.ready = pid, now_s, ready_read, False

    def _wait(self) -> None:
        """Sleep until a signal, a child that becomes ready, or a restart that is due."""
        waiting = [child.start_after_s for child in self.children if not child.pid]
        timeout_s = max(0.0, min(waiting, default=time.monotonic() + 1.0) - time.monotonic())
        fds = [self._signals[0], *(child.ready_fd for child in self.children if child.ready_fd >= 0)]
        readable, _, _ = select.select(fds, [], [], min(timeout_s, 1.0))
        if self._signals[0] in readable:
            os.read(self._signals[0], 4096)
        for child in self.children:
            if child.ready_fd in readable:
                child.ready = child.ready or bool(os.read(child.ready_fd, 64))
                os.close(child.ready_fd)
                child.ready_fd = -1

    def _reap(self) -> None:
        """Collect every dead child, orphans of the nursery included, and plan the restarts."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self.children:
                if child.pid == pid:
                    self._died(child, status)

    def _died(self, child: Child, status: int) -> None:
        now_s = time.monotonic()
        lived_s = now_s - child.started_s
        child.pid = 0
        child.quick_deaths = 0 if lived_s >= STABLE_AFTER_S else child.quick_deaths + 1
        child.start_after_s = now_s + backoff_s(child.quick_deaths)
        if not self.stopping:
            self.log(f"{child.name} {describe_exit(status)} after {lived_s:.1f} s; restarting")

    def _stop(self) -> None:
        """Gateways drain first, so that nothing that they still answer loses its workers; the queues, that all the
        others ask, end last."""
        for turn in sorted({stop_turn(child.name) for child in self.children}):
            victims = [child for child in self.children if child.pid and stop_turn(child.name) == turn]
            for child in victims:
                os.kill(child.pid, signal.SIGTERM)
            self._wait_gone(victims)
        os.close(self._lifeline[1])  # workers finish what they have and end
        self._wait_orphans()

    def _wait_gone(self, victims: Sequence[Child]) -> None:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while any(child.pid for child in victims):
            if time.monotonic() > deadline_s:
                for child in victims:
                    if child.pid:
                        self.log(f"{child.name} did not stop in {STOP_TIMEOUT_S:.0f} s; killed")
                        os.kill(child.pid, signal.SIGKILL)
            self._wait()
            self._reap()

    def _wait_orphans(self) -> None:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < deadline_s:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                self.end_strays()
                select.select([self._signals[0]], [], [], 0.05)
        self.left_behind = True
        self.log("workers are still running; they end when their requests do")


def stop_turn(name: str) -> int:
    """When a child is told to stop, among the others: small numbers first."""
    turns = {"gateway": 0, "consumer": 1, "queues": 3}
    return next((turn for kind, turn in turns.items() if name.startswith(kind)), 2)


def backoff_s(quick_deaths: int) -> float:
    """Seconds before a restart: none after the first death, then 0.1, 0.2, 0.4 ... up to MAX_BACKOFF_S."""
    return 0.0 if quick_deaths <= 1 else min(MAX_BACKOFF_S, 0.1 * 2.0 ** min(quick_deaths - 2, 16))


def describe_exit(status: int) -> str:
    """A wait status in words: `exited with status 3`, `was killed by SIGKILL`."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exited with status {os.WEXITSTATUS(status)}"


def become_subreaper() -> None:
    """Make orphaned descendants children of this process (Linux). Raises OSError where the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def _exec(argv: Sequence[str], env: dict[str, str], fds: Sequence[int]) -> None:
    """In the child: keep `fds`, reset what the parent set, and become the program. Does not return."""
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)  # Ctrl-C reaches the supervisor alone, which stops the others in order
        for fd in fds:
            os.set_inheritable(fd, True)
        os.execve(argv[0], list(argv), env)
    except OSError as error:
        os.write(2, f"trimtab: cannot start {argv[0]}: {error}\n".encode())
    os._exit(127)


def main() -> int:
    """`python -m trimtab.supervisor FD ...`: what `trimtab serve` becomes. Its orders are in TRIMTAB_SUPERVISE (JSON).

    The file descriptors are the data directory's lock and the listening sockets: kept open here, and given to a child
    only where the orders say so. A lock that leaked into a worker would outlive trimtab.
    """
    for fd in sys.argv[1:]:
        os.set_inheritable(int(fd), False)
    orders = json.loads(os.environ.pop("TRIMTAB_SUPERVISE"))
    _name_process("trimtab: supervisor")
    children = [Child(c["name"], c["argv"], tuple(c["fds"])) for c in orders["children"]]
    server_file, url = orders["server_file"], orders["url"]

    def on_ready() -> None:
        where = json.dumps({"url": url, "region": orders["region"], "pid": os.getpid()})
        write_whole(pathlib.Path(server_file), where, sync=False)
        print(f"trimtab ready at {url}", flush=True)

    def log(message: str) -> None:
        print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} supervisor: {message}", file=sys.stderr, flush=True)

    def end_strays() -> None:
        from trimtab.config import HOUSE_VARIABLE
        from trimtab.engines.local import strays  # not before it is needed: this process is to stay small

        record_dirs = [pathlib.Path(folder) for folder in orders["record_dirs"]]
        for stray in strays.find(os.getpid(), record_dirs, os.environ.get(HOUSE_VARIABLE, "")):
            strays.end(stray)

    supervisor = Supervisor(children, on_ready, log, end_strays)
    status = supervisor.run()
    if os.path.exists(server_file):
        os.unlink(server_file)
    if not supervisor.left_behind:
        import shutil

        shutil.rmtree(orders["run_dir"], ignore_errors=True)  # what is left there, the next start removes
    return status


def _name_process(title: str) -> None:
    from setproctitle import setproctitle

    setproctitle(title)


if __name__ == "__main__":
    sys.exit(main())
