"""`make demo-documents` does what it says: every page read, nothing told twice, and nothing left behind."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venvs" / "documents" / "bin" / "python"


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_page_images_become_texts_from_zero_replicas_and_back_to_zero(tmp_path: Path) -> None:
    if not (ROOT / ".venvs" / "documents" / ".ready").exists():
        pytest.skip("the environment .venvs/documents is not there: run `make demo-documents`")
    argv = [PYTHON, ROOT / "examples" / "documents" / "demo.py", "--pages", "3", "--replicas", "2"]
    env = dict(os.environ, TMPDIR=str(tmp_path), COLUMNS="160")
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 pages read" in done.stdout
    assert "from zero to zero" in done.stdout
    assert list(tmp_path.iterdir()) == []
