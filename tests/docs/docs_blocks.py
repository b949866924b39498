"""Pages of the documentation as things to run.

A page's fenced blocks are run in their order, in one folder and one environment. What is said of a block stands in an HTML
comment on the line before it, which readers do not see:

    (nothing)                     sh: run by bash, whose exports stay for the blocks after it; python: run as a program
    <!-- file: NAME -->           not run, but written to NAME
    <!-- output -->               what the block before it printed; see `fits` for its `...`
    <!-- needs: sagemaker2 -->    run with that environment of .venvs first on PATH
    <!-- fails -->                the command is there to fail (exit status 1)
    <!-- no-test: why -->         not run, for the reason given

`text` blocks are never run. Every other language must say `file` or `no-test`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(
    r"^(?:<!-- (?P<said>[a-z-]+)(?:: (?P<value>[^\n]*?))? -->\n+)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.M | re.S,
)
_SAYINGS = {"", "file", "output", "needs", "fails", "no-test"}
_LIMIT_S = 300


@dataclass(frozen=True)
class Block:
    """One fenced block: where it is, what is said of it, and what it says."""

    page: Path
    line: int
    said: str
    value: str
    language: str
    text: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.page.name}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether the reader is to run it."""
        return self.language in ("sh", "python") and self.said in ("", "needs", "fails")


def blocks(page: Path) -> list[Block]:
    """The page's blocks, in order. Raises ValueError where a block says nothing that this module understands."""
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        said, value = match["said"] or "", match["value"] or ""
        block = Block(page, line, said, value, match["language"], match["text"])
        if said not in _SAYINGS or (said in ("file", "needs", "no-test") and not value):
            raise ValueError(f"{block.where}: <!-- {said} --> is not known, or lacks what it is about")
        if not (block.runs or block.language in ("", "text") or said in ("file", "no-test", "output")):
            raise ValueError(f"{block.where}: a {block.language!r} block must say `file` or `no-test`")
        found.append(block)
    if 2 * len(found) != len(re.findall(r"^```", text, re.M)):
        raise ValueError(f"{page.name}: a fence is not closed, or is indented")
    return found


@dataclass
class Reader:
    """Somebody who does what a page says: a folder, an environment, and what was printed last."""

    folder: Path
    env: dict[str, str]
    environments: Path  # .venvs
    printed: str = ""
    _path: str = field(init=False)

    def __post_init__(self) -> None:
        self._path = self.env["PATH"]

    def follow(self, block: Block) -> None:
        """Do what one block says. Raises AssertionError with what was printed where it does not work."""
        if block.said == "file":
            path = self.folder / block.value
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.said == "output":
            assert fits(block.text, self.printed), f"{block.where}: printed was\n{self.printed}"
        elif block.runs:
            self._run(block)

    def _run(self, block: Block) -> None:
        bin_folder = f"{self.environments / block.value / 'bin'}:" if block.said == "needs" else ""
        env = self.env | {"PATH": bin_folder + self._path}
        exports = self.folder / ".exports"
        if block.language == "sh":
            argv = ["bash", "-euo", "pipefail", "-c", f"{block.text}\nenv -0 > {exports}"]
        else:
            argv = [f"{self.environments / block.value / 'bin'}/python" if bin_folder else "python", "-c", block.text]
        done = subprocess.run(
            argv,
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_S,
        )
        self.printed = done.stdout
        assert done.returncode == (block.said == "fails"), f"{block.where}: status {done.returncode}\n{done.stdout}"
        if block.language == "sh" and exports.exists():
            pairs = (entry.partition("=") for entry in exports.read_text().split("\0") if entry)
            self.env = {name: value for name, _, value in pairs}
            exports.unlink()


def fits(expected: str, printed: str) -> bool:
    """Whether `printed` is `expected`: `...` stands for anything in a line, and alone on one for any lines or none.

    Runs of blanks are one; empty lines and blanks at the ends of lines do not count.
    """
    pattern = ""
    for line in _lines(expected):
        pattern += "(?:.*\n)*" if line == "..." else re.escape(line).replace(re.escape("..."), ".*") + "\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _lines(printed))) is not None


def _lines(text: str) -> list[str]:
    lines = (re.sub(r"[ \t]+", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Relative links of a page: as written, the file meant, the anchor meant (or "")."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            yield target, (page.parent / file).resolve() if file else page, anchor


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


PYTHON_FOLDER = Path(sys.executable).parent
