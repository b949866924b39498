"""What was measured, as it is kept in a file: written after every turn, so that nothing is lost and a run can go on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec
import psutil

from benchmarks.peers.measure import Cell


class Settings(msgspec.Struct, frozen=True):
    """What must be equal for two runs to be one."""

    seconds: int
    seed: int
    concurrency: tuple[int, ...]


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One server, started once with one model and measured at every concurrency."""

    round: int
    peer: str
    model: str
    first_answer_s: float = 0.0  # from its start to its first right answer
    cells: tuple[Cell, ...] = ()
    failed: str = ""  # why, if it was


class Results(msgspec.Struct):
    """A run, whole or in parts."""

    settings: Settings
    machine: str
    versions: dict[str, str] = {}
    skipped: dict[str, str] = {}  # peers that cannot be had here, and why
    bare_rows_per_s: dict[str, list[float]] = {}  # of models: the same session in a bare loop of full batches
    turns: list[Turn] = []

    def done(self, round_number: int, peer: str, model: str) -> bool:
        """Whether this was measured already; failures are tried again by another run."""
        return any((t.round, t.peer, t.model) == (round_number, peer, model) and not t.failed for t in self.turns)

    def add(self, turn: Turn) -> None:
        """Keep `turn`, instead of an earlier one of the same place."""
        place = (turn.round, turn.peer, turn.model)
        self.turns = [t for t in self.turns if (t.round, t.peer, t.model) != place] + [turn]

    def cells(self, peer: str, model: str, concurrency: int) -> list[Cell]:
        """All rounds of one place in the tables."""
        turns = [t for t in self.turns if t.peer == peer and t.model == model]
        return [cell for turn in turns for cell in turn.cells if cell.concurrency == concurrency]

    def failure(self, peer: str, model: str) -> str:
        """Why this peer has no figures for this model, in its last failed turn; "" where none failed."""
        return next((t.failed for t in reversed(self.turns) if t.peer == peer and t.model == model and t.failed), "")


class OtherRun(Exception):
    """The file holds a run with other settings."""


def load(path: Path | None, settings: Settings) -> Results:
    """What `path` holds, or nothing yet. Raises OtherRun where it cannot be gone on with."""
    if path is None or not path.exists():
        return Results(settings, machine())
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Results)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OtherRun(f"{path} is not a file of this program: {error}") from error
    if found.settings != settings:
        raise OtherRun(f"{path} holds a run with other settings ({found.settings}); name another file, or remove it")
    return found


def save(path: Path | None, results: Results) -> None:
    """Write all of it, or leave the old file as it is."""
    if path is None:
        return
    fresh = path.with_name(path.name + ".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1))
    os.replace(fresh, path)


def machine() -> str:
    """The machine in one line."""
    memory_gib = psutil.virtual_memory().total / 2**30
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    system = next(
        (line.partition("=")[2].strip('"') for line in _lines("/etc/os-release") if line.startswith("PRETTY_NAME")), ""
    )
    return f"{os.cpu_count()} cores ({model}), {memory_gib:.0f} GiB, {system}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
