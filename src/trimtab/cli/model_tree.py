"""The files of a model as its worker will see them, from a folder, a model.tar.gz or one model file."""

from __future__ import annotations

import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from msgspec import Struct, field

from trimtab.cli.findings import Finding, problem
from trimtab.cli.render import CliError

# Never part of a model: caches, version control, virtual environments, what editors leave.
LEFT_OUT = frozenset(
    {
        "__pycache__",
        ".git",
        ".hg",
        ".svn",
        ".venv",
        "venv",
        ".ipynb_checkpoints",
        ".DS_Store",
        ".mypy_cache",
        ".pytest_cache",
    }
)
_MAX_TEXT_BYTES = 4 * 2**20  # scripts and requirements are read whole
_HEAD_BYTES = 64 * 1024


class ModelTree(Struct, kw_only=True):
    """Paths below the model's root (with `/`) and their sizes; `texts` holds the scripts and requirement files.

    `heads` holds the first bytes of the files at the root: some kinds of model are told by them.
    `origin` is where a path comes from on this machine; empty for an archive, whose files stay where they are.
    """

    source: Path
    is_archive: bool = False
    files: dict[str, int] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    heads: dict[str, bytes] = field(default_factory=dict)
    origin: dict[str, Path] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def read_tree(source: Path) -> ModelTree:
    """Look at `source`. What is wrong inside becomes findings; CliError when there is nothing to look at."""
    if source.is_dir():
        return _folder(source)
    if not source.exists():
        raise CliError(f"{source} does not exist.", "Name a model folder, a model.tar.gz or a model file.")
    if not source.is_file():
        raise CliError(f"{source} is neither a folder nor a file.")
    if source.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _archive(source)
    tree = ModelTree(source=source)
    _add(tree, source.name, source)
    return tree


def is_text(path: str) -> bool:
    """Whether the checks read this file."""
    name = PurePosixPath(path).name
    return name.endswith(".py") or name == "requirements.txt"


def _folder(root: Path) -> ModelTree:
    tree = ModelTree(source=root)
    for path, file in _walk(root, root, frozenset(), tree.findings):
        _add(tree, path, file)
    return tree


def _add(tree: ModelTree, path: str, file: Path) -> None:
    tree.files[path] = file.stat().st_size
    tree.origin[path] = file
    if is_text(path) and tree.files[path] <= _MAX_TEXT_BYTES:
        tree.texts[path] = file.read_bytes()
    if "/" not in path:
        with file.open("rb") as opened:
            tree.heads[path] = opened.read(_HEAD_BYTES)


def _walk(root: Path, folder: Path, above: frozenset[str], findings: list[Finding]) -> Iterator[tuple[str, Path]]:
    """Files in a fixed order. Links are followed to what they name; a folder that holds itself is not."""
    real = str(folder.resolve())
    if real in above:
        findings.append(problem(_relative(root, folder), "a link that leads back to a folder above it", "Remove it."))
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name in LEFT_OUT or entry.name.endswith(".pyc"):
            continue
        try:
            mode = path.stat().st_mode
        except OSError as error:
            findings.append(problem(_relative(root, path), f"cannot be read: {error.strerror}", "Remove or repair it."))
            continue
        if stat.S_ISDIR(mode):
            yield from _walk(root, path, above | {real}, findings)
        elif not stat.S_ISREG(mode):
            findings.append(problem(_relative(root, path), "is no file (a socket, pipe or device)", "Remove it."))
        elif not os.access(path, os.R_OK):
            findings.append(problem(_relative(root, path), "cannot be read: permission denied", f"chmod u+r {path}"))
        else:
            yield _relative(root, path), path


def _relative(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() or "."


def _archive(source: Path) -> ModelTree:
    tree = ModelTree(source=source, is_archive=True)
    try:
        with source.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        if not packed:
            tree.findings.append(
                problem(
                    source.name, "is not gzip-compressed, as SageMaker wants it", f"gzip {source}, or deploy the folder"
                )
            )
        with tarfile.open(source, "r:*") as archive:
            for member in archive:
                _member(tree, archive, member)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        tree.findings.append(
            problem(
                source.name, f"cannot be read to its end: {error or type(error).__name__}", "Make the archive again."
            )
        )
    return tree


def _member(tree: ModelTree, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    name = path.as_posix().removeprefix("./")
    if path.is_absolute() or ".." in path.parts:
        tree.findings.append(
            problem(member.name, "leads out of the model's folder", "Make the archive with relative paths.")
        )
    elif member.ischr() or member.isblk() or member.isfifo():
        tree.findings.append(problem(member.name, "is a device or a pipe", "Make the archive without it."))
    elif member.issym() or member.islnk():
        target = PurePosixPath(member.linkname) if member.islnk() else path.parent / member.linkname
        if PurePosixPath(member.linkname).is_absolute() or os.path.normpath(target).startswith(".."):
            tree.findings.append(
                problem(
                    member.name,
                    f"links out of the model's folder, to {member.linkname}",
                    "Pack the file itself (tar -h).",
                )
            )
        else:
            tree.files[name] = 0
    elif member.isfile():
        tree.files[name] = member.size
        content = archive.extractfile(member)
        if content is not None and is_text(name) and member.size <= _MAX_TEXT_BYTES:
            tree.texts[name] = content.read()
            content.seek(0)
        if content is not None and "/" not in name:
            tree.heads[name] = content.read(_HEAD_BYTES)
