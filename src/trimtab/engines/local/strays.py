"""Processes that nobody answers for any more: what a model left running outside its own process group.

A model server is the child subreaper of all that its model starts (`adopt_orphans`), so a daemon that a model has made
stays below it for as long as it lives. Once it is dead, its daemons become children of the supervisor, and there they
are found: a child of the supervisor that came out of a worker, or carries this house's name in its environment, but
is none of trimtab's own and has no birth record, is a stray. Other children (of the program that became the supervisor
by exec, say) are nobody's business here.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from trimtab.config import HOUSE_VARIABLE
from trimtab.engines.local import processes, records
from trimtab.logs import fields

logger = logging.getLogger(__name__)

_LOOKS = 3  # after a death
_LOOK_EVERY = 10  # calls: what lived for less than the time between two of them has died unseen
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_OWN = (b"trimtab: control", b"trimtab: gateway", b"trimtab: nursery", b"trimtab: models")  # as they name themselves
_OWN_BEFORE = (b"trimtab.app",)  # and what they are started as
_WORKER = (b"trimtab: worker", b"trimtab: spare")  # a fork of a worker keeps its name; a spare is the nursery's child

_libc = ctypes.CDLL(None, use_errno=True)  # loaded before any fork

Stray = tuple[int, int]  # process id and start: together unique


def adopt_orphans() -> None:
    """Make this process, and what it becomes by exec, the parent of all orphans below it (Linux, prctl(2))."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(yes: bool) -> None:
    """Have the kernel kill this process when its parent dies (Linux, prctl(2)); or no longer."""
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if yes else 0, 0, 0, 0)


def find(supervisor_pid: int, record_dirs: Sequence[Path], house: str) -> set[Stray]:
    """The strays of now in `house`: nobody's in the folders of birth records.

    A process born this very moment may look like one: believe it when found twice.
    """
    known = (record for folder in record_dirs for _, record in records.all_records(folder))
    answered_for = {record.pid for record in known if record is not None}
    found = ((pid, processes.start_ticks(pid)) for pid in _children(supervisor_pid) if pid not in answered_for)
    return {(pid, ticks) for pid, ticks in found if ticks is not None and _is_stray(pid, house)}


class Watch:
    """Ends what a dead replica's model had started, so that it does not go on by itself. Looks after each death that
    it is told of, and now and then: models of a host come and go between two tellings."""

    def __init__(self, supervisor_pid: int, record_dirs: Sequence[Path], house: str) -> None:
        """`supervisor_pid` 0: nobody inherits anything, and nothing is looked for."""
        self._supervisor_pid = supervisor_pid
        self._record_dirs = record_dirs
        self._house = house
        self._found: set[Stray] = set()
        self._living: set[int] = set()
        self._looks = _LOOKS
        self._idle = 0  # calls without a look

    def look(self, living: set[int]) -> None:
        """To be told about once a second which processes of replicas live."""
        if self._living - living or self._found:
            self._looks = _LOOKS
        self._living = living
        self._idle += 1
        if not self._supervisor_pid or not (self._looks or self._idle >= _LOOK_EVERY):
            return
        self._idle = 0
        self._looks = max(0, self._looks - 1)
        found = find(self._supervisor_pid, self._record_dirs, self._house)
        for stray in found & self._found:
            logger.warning("ended what a model left behind %s", fields(pid=stray[0]))
            end(stray)
        self._found = found


def _children(parent_pid: int) -> Iterator[int]:
    """Looks at every process of the machine: not every kernel lists a process's children."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{name}/stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat[stat.rindex(b")") + 2 :].split(None, 2)[1]) == parent_pid:
            yield int(name)


def end(stray: Stray) -> None:
    """Kill it. What it leaves becomes the supervisor's child in turn, and is found the next time."""
    pid, ticks = stray
    if not processes.is_alive(pid, ticks):
        return
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _is_stray(pid: int, house: str) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or somebody else's
        return False
    if command.startswith(_OWN) or any(name in command.split(b"\0") for name in _OWN_BEFORE):
        return False
    return command.startswith(_WORKER) or f"{HOUSE_VARIABLE}={house}".encode() in environment.split(b"\0")
