"""The tests run wherever pytest does: what a machine has beside it is no part of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOUD = """
import warnings

def pytest_configure():
    warnings.warn("what this does cannot be done beside xdist")
"""


def collected(plugins: Path) -> subprocess.CompletedProcess[str]:
    """This file's tests, beside the plugins of a folder."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", str(Path(__file__))]
    environment = os.environ | {"PYTHONPATH": str(plugins)}
    return subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)


def installed(folder: Path, name: str) -> Path:
    """A plugin of this name that warns as soon as it is there."""
    described = folder / f"loud_{name}-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: loud-{name}\nVersion: 1\n")
    (described / "entry_points.txt").write_text(f"[pytest11]\n{name} = loud_{name}\n")
    (folder / f"loud_{name}.py").write_text(LOUD)
    return folder


def test_pytest_benchmark_is_left_out_where_it_is_installed(tmp_path: Path) -> None:
    done = collected(installed(tmp_path, "benchmark"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_warnings_of_others_are_errors_still(tmp_path: Path) -> None:
    done = collected(installed(tmp_path, "other"))
    assert done.returncode != 0
    assert "cannot be done beside xdist" in done.stdout + done.stderr
