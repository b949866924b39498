"""The first moments of a `trimtab` command."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from trimtab.testing.server import PROGRAM

# A module of this name that presses Ctrl-C while it is imported, and then is the real one.
PRESSES = """
import os, signal, sys
os.kill(os.getpid(), signal.SIGINT)
sys.path.remove(os.path.dirname(__file__))
del sys.modules[__name__]
sys.modules[__name__] = __import__(__name__)
"""


def interrupted(folder: Path, module: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`command`, and Ctrl-C in the middle of its import of `module`."""
    (folder / f"{module}.py").write_text(PRESSES)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_ctrl_c_while_the_program_is_imported_ends_it_without_a_word(tmp_path: Path) -> None:
    done = interrupted(tmp_path, "typer", [str(PROGRAM), "--version"])
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_a_verb_is_imported_stops_it(tmp_path: Path) -> None:
    done = interrupted(tmp_path, "rich", [str(PROGRAM), "instances"])
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


def test_a_job_in_the_background_does_not_hear_ctrl_c(tmp_path: Path) -> None:
    shell = ["sh", "-c", f"trap '' INT; exec {shlex.quote(str(PROGRAM))} --version"]
    done = interrupted(tmp_path, "typer", shell)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("trimtab ")
