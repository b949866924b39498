"""The structure of docs/architecture.md, executed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "trimtab"
MAX_FILE_LINES = 450


def test_imports_point_down_and_decisions_stay_pure() -> None:
    """The contracts in pyproject.toml: layers, purity, who may import botocore, what a worker may not import."""
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_file_has_one_subject_and_says_it() -> None:
    for path in SOURCE.rglob("*.py"):
        text = path.read_text()
        assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} does not say what it is for"
        assert text.count("\n") <= MAX_FILE_LINES, f"{path.relative_to(ROOT)} has more than {MAX_FILE_LINES} lines"


def test_what_is_born_quickly_imports_little() -> None:
    """A gateway and a worker must not pay for what only control needs."""
    heavy = {"botocore", "boto3", "sqlalchemy", "obstore", "typer", "rich"}
    for module in ("trimtab.aws.dataplane", "trimtab.worker.main", "trimtab.supervisor", "trimtab.app.__main__"):
        code = f"import sys, {module}; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
        loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert not heavy & set(loaded.split()), f"{module} imports {heavy & set(loaded.split())}"


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their names alone: with two it can not collect all tests at once."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
