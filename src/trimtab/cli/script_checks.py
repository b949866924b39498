"""inference.py and requirements.txt, read but not run."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import sys
from collections.abc import Iterable

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from trimtab.cli.findings import Finding, ok, problem, warning
from trimtab.cli.model_tree import ModelTree
from trimtab.worker.script import ARGUMENTS, REPLACED

# The functions that are called, and how many arguments each takes (one more: the context).
FUNCTIONS = {name: len(arguments) for name, arguments in ARGUMENTS.items()}

_MODULES_OF = {"scikit-learn": "sklearn", "pyyaml": "yaml", "pillow": "PIL", "opencv-python": "cv2"}


def check_script(path: str, text: bytes, tree: ModelTree) -> list[Finding]:
    """Syntax, functions, their arguments, imports."""
    try:
        module = ast.parse(text, filename=path)
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) and error.lineno else ""
        said = error.msg if isinstance(error, SyntaxError) else str(error)
        return [problem(path, f"{line}{said}", "Correct the script: it cannot be imported as it is.")]
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    named = {target for node in module.body for target in _assigned(node)} | functions.keys()
    findings = [*_combination(path, named), *_arguments(path, functions), *_typing_errors(path, named)]
    findings += _imports(path, module, tree)
    if not findings:
        found = [name for name in FUNCTIONS if name in named]
        findings.append(ok(path, f"defines {', '.join(found)}"))
    return findings


def defines_model_fn(text: bytes) -> bool:
    """Whether the script loads the model itself. A script that cannot be parsed is reported elsewhere."""
    try:
        module = ast.parse(text)
    except (SyntaxError, ValueError):
        return True
    return any("model_fn" in (getattr(node, "name", ""), *_assigned(node)) for node in module.body)


def check_requirements(path: str, text: bytes) -> list[Finding]:
    """Each line must be something that pip takes."""
    findings: list[Finding] = []
    names: list[str] = []
    for number, line in _lines(text):
        if line.startswith("-") or "://" in line.split(";")[0].split("@")[-1] or line.startswith((".", "/")):
            continue  # an option, an address or a path: pip's to judge
        try:
            names.append(Requirement(line).name)
        except InvalidRequirement as error:
            said = str(error).splitlines()[0]
            findings.append(problem(path, f"line {number}: {line!r} is no requirement: {said}", "Correct the line."))
    return findings or [ok(path, f"{len(names)} requirements, installed once per content")]


def _combination(path: str, named: set[str]) -> list[Finding]:
    if not named & FUNCTIONS.keys():
        return [
            warning(
                path,
                "defines none of the functions that are called",
                f"Define one of {', '.join(FUNCTIONS)}.",
            )
        ]
    if "transform_fn" in named and (both := [name for name in REPLACED if name in named]):
        return [
            problem(
                path,
                f"defines transform_fn together with {', '.join(both)}",
                "Keep transform_fn, or those that it replaces: the containers refuse both.",
            )
        ]
    return []


def _arguments(path: str, functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> Iterable[Finding]:
    for name, wanted in FUNCTIONS.items():
        if (function := functions.get(name)) is None:
            continue
        arguments = function.args
        most = len(arguments.posonlyargs) + len(arguments.args)
        least = most - len(arguments.defaults)
        enough = least <= wanted + 1 and (most >= wanted or arguments.vararg is not None)
        if not enough:
            yield problem(
                path,
                f"line {function.lineno}: {name} takes {most} argument(s) and is called with {wanted}",
                f"Give {name} {wanted} argument(s), or one more for `context`.",
            )
        if isinstance(function, ast.AsyncFunctionDef):
            yield problem(path, f"line {function.lineno}: {name} is async", "Write it as a plain function.")


def _typing_errors(path: str, named: set[str]) -> Iterable[Finding]:
    for name in sorted(named - FUNCTIONS.keys()):
        close = difflib.get_close_matches(name, FUNCTIONS, n=1, cutoff=0.84)
        if close and close[0] not in named:
            yield warning(path, f"defines {name}, which nobody calls", f"Did you mean {close[0]}?")


def _imports(path: str, module: ast.Module, tree: ModelTree) -> Iterable[Finding]:
    """Modules imported at the top that are neither installed here, nor required, nor part of the model's code."""
    required = required_modules(tree)
    own = {
        name.removeprefix("code/").split("/")[0].removesuffix(".py") for name in tree.files if name.startswith("code/")
    }
    for node in module.body:
        for name in _imported(node):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top in own or top.lower() in required:
                continue
            if importlib.util.find_spec(top) is None:
                yield warning(
                    path,
                    f"line {node.lineno}: imports {top}, which is not installed here",
                    f"Add {top} to code/requirements.txt, or install it beside trimtab.",
                )


def required_modules(tree: ModelTree) -> set[str]:
    """The modules (lower case) that code/requirements.txt brings, as far as their names say."""
    modules: set[str] = set()
    for _, line in _lines(tree.texts.get("code/requirements.txt", b"")):
        try:
            name = canonicalize_name(Requirement(line).name)
        except InvalidRequirement:
            continue  # reported by check_requirements
        modules.update((str(name).replace("-", "_"), _MODULES_OF.get(str(name), str(name)).lower()))
    return modules


def _lines(text: bytes) -> Iterable[tuple[int, str]]:
    """The requirement lines with their numbers: no comments, continued lines joined."""
    pending, start = "", 0
    for number, raw in enumerate(text.decode("utf-8", "replace").splitlines(), 1):
        start = start if pending else number
        line = f"{pending}{raw}"
        if line.endswith("\\"):
            pending = line[:-1]
            continue
        pending = ""
        bare = line.split(" #")[0].strip()
        if bare and not bare.startswith("#"):
            yield start, bare


def _assigned(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    return []


def _imported(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []
