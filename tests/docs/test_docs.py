"""The documentation does what it says: its blocks are run, its links lead somewhere, the files that it names exist."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from docs_blocks import PYTHON_FOLDER, Block, Reader, anchors, blocks, fits, links

from trimtab.testing.server import Trimtab

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_the_blocks_of_a_page_work_in_their_order(page: Path, tmp_path: Path) -> None:
    found = blocks(page)
    for environment in {block.value for block in found if block.said == "needs"}:
        if not (ROOT / ".venvs" / environment / "bin" / "python").exists():
            pytest.skip(f"the environment .venvs/{environment} is not there: run `make clients`")
    folder = tmp_path / "work"
    shutil.copytree(ROOT / "examples", folder / "examples")
    server = Trimtab(tmp_path / "data")
    try:
        reader = Reader(folder, environment_of(server, tmp_path), ROOT / ".venvs")
        for block in found:
            reader.follow(block)
    finally:
        server.stop()


def environment_of(server: Trimtab, home: Path) -> dict[str, str]:
    """What a reader's shell has: trimtab on PATH and the data directory chosen; nothing of AWS yet."""
    env = {k: v for k, v in server.env.items() if not k.startswith("AWS_")}
    compiled = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trimtab" / "numba"
    return env | {
        "PATH": f"{PYTHON_FOLDER}:{os.environ['PATH']}",
        "HOME": str(home),
        "COLUMNS": "160",
        "NUMBA_CACHE_DIR": str(compiled),  # the simulator's machine code, which takes half a minute to make
    }


@pytest.mark.slow
@pytest.mark.timeout(320)
def test_the_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    argv = [PYTHON_FOLDER / "python", ROOT / "examples" / "fraud" / "demo.py"]
    env = dict(os.environ, TMPDIR=str(tmp_path), COLUMNS="160")
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    [shown] = [block.text for block in blocks(ROOT / "README.md") if block.text.startswith("trained on")]
    printed = {without_numbers(line) for line in done.stdout.splitlines()}
    assert [line for line in shown.partition("START")[0].splitlines() if without_numbers(line) not in printed] == []
    assert list(tmp_path.iterdir()) == []  # it cleans up after itself


def without_numbers(line: str) -> str:
    """What stays the same from run to run."""
    return re.sub(r"[\d.,]+", "N", "".join(line.split()))


@pytest.mark.parametrize("page", RUN, ids=name_of)
def test_a_page_that_teaches_has_blocks_that_are_run(page: Path) -> None:
    assert any(block.runs for block in blocks(page))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, file, anchor in links(page):
        assert file.exists(), f"{name_of(page)}: {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name_of(page)}: {target}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    listed = {file for _, file, _ in links(index)}
    numbered = {file for _, file, _ in links(ROOT / "docs" / "decisions" / "README.md")}
    missing = [name_of(page) for page in PAGES[1:] if page not in listed | numbered | {index}]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_programs_that_a_page_names_are_in_the_repository(page: Path) -> None:
    named = set(re.findall(r"`((?:tests|benchmarks|examples|src|requirements)/[\w./*-]+)`", page.read_text()))
    assert [path for path in named if not list(ROOT.glob(path.rstrip("/")))] == []


def test_output_is_compared_line_by_line_with_room_for_what_changes() -> None:
    assert fits("a ... c\nb", "a  b c\n\nb\n")
    assert fits("a\n...\nc", "a\nc")
    assert fits("a\n...\nc", "a\nb\nb\nc")
    assert not fits("a\nb", "a\nc")
    assert not fits("a ... c", "a\nb c")


def test_a_block_that_is_neither_run_nor_explained_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```toml\na = 1\n```\n")
    with pytest.raises(ValueError, match="must say"):
        blocks(page)
    page.write_text("<!-- file: a.toml -->\n```toml\na = 1\n```\n")
    assert blocks(page) == [Block(page, 2, "file", "a.toml", "toml", "a = 1\n")]
