"""Is this a model that can be served? What SageMaker's containers, and trimtab's workers, look for in its files."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import PurePosixPath

from msgspec import Struct

from trimtab.cli.findings import Finding, ok, problem, warning
from trimtab.cli.model_tree import ModelTree
from trimtab.cli.render import size
from trimtab.cli.script_checks import check_requirements, check_script, defines_model_fn

CODE = "code"


class Kind(Struct, frozen=True):
    """A format of model files: what reads it, and how to install that."""

    what: str
    module: str
    extra: str = ""


# Suffix (or whole name) of a model file at the root to the library that loads it without a script.
KINDS: Mapping[str, Kind] = {
    ".onnx": Kind("ONNX", "onnxruntime"),
    ".joblib": Kind("scikit-learn (joblib)", "joblib", "sklearn"),
    ".pkl": Kind("a pickle", "sklearn", "sklearn"),
    ".pickle": Kind("a pickle", "sklearn", "sklearn"),
    ".skops": Kind("scikit-learn (skops)", "skops", "sklearn"),
    ".ubj": Kind("XGBoost", "xgboost", "xgboost"),
    ".bst": Kind("XGBoost", "xgboost", "xgboost"),
    "xgboost-model": Kind("XGBoost", "xgboost", "xgboost"),
    ".lgb": Kind("LightGBM", "lightgbm", "lightgbm"),
    ".pt": Kind("TorchScript", "torch", "torch"),
    ".pth": Kind("TorchScript", "torch", "torch"),
    ".safetensors": Kind("Hugging Face", "transformers", "huggingface"),
}


def check_model(tree: ModelTree, program: str = "inference.py") -> list[Finding]:
    """Everything that can be said of the files without running them. `program` is SAGEMAKER_PROGRAM."""
    findings = check_paths(tree)
    if not tree.files:
        return findings
    script = f"{CODE}/{program}"
    layout = _layout(tree, program)
    findings += layout
    if layout and layout[0].subject.endswith("/"):
        return findings  # everything is in the wrong place: nothing else can be said
    if script in tree.texts:
        findings += check_script(script, tree.texts[script], tree)
    requirements = f"{CODE}/requirements.txt"
    if requirements in tree.texts:
        findings += check_requirements(requirements, tree.texts[requirements])
    if not (script in tree.texts and defines_model_fn(tree.texts[script])):
        findings += _model_files(tree, script)
    total = sum(tree.files.values())
    if not any(finding.level.value == "problem" for finding in findings):
        findings.append(ok(tree.source.name, f"{len(tree.files)} files, {size(total)}"))
    return findings


def check_paths(tree: ModelTree) -> list[Finding]:
    """What holds for any model, whoever serves it: there are files, and they can be read."""
    if not tree.files and not tree.findings:
        return [problem(str(tree.source), "holds no files", "Put the model file into it.")]
    return list(tree.findings)


def _layout(tree: ModelTree, program: str) -> list[Finding]:
    """Files at the root, scripts in code/: what is elsewhere is not seen by any container."""
    script = f"{CODE}/{program}"
    tops = {PurePosixPath(path).parts[0] for path in tree.files}
    nested = all("/" in path for path in tree.files)
    if nested and len(tops) == 1 and tops != {CODE}:
        top = tops.pop()
        cure = (
            f"tar -czf model.tar.gz -C {top} . (from where {top} is)" if tree.is_archive else f"Use {tree.source / top}"
        )
        return [problem(f"{top}/", "is a folder around everything: containers look for the files at the root", cure)]
    findings: list[Finding] = []
    if script not in tree.files:
        elsewhere = [path for path in tree.files if PurePosixPath(path).name == program]
        if elsewhere:
            findings.append(_misplaced(elsewhere[0], script))
    if "requirements.txt" in tree.files and f"{CODE}/requirements.txt" not in tree.files:
        findings.append(
            warning("requirements.txt", "is at the root and will not be installed", f"mv requirements.txt {CODE}/")
        )
    return findings


def _misplaced(path: str, script: str) -> Finding:
    return problem(path, f"is not where it is looked for ({script})", f"mkdir -p {CODE} && mv {path} {script}")


def _model_files(tree: ModelTree, script: str) -> list[Finding]:
    """Without a model_fn, exactly one file says which model it is and who loads it."""
    root = [path for path in tree.files if "/" not in path]
    known = {path: kind for path in root if (kind := _kind(path, tree)) is not None}
    distinct = {kind.what for kind in known.values()}
    if not known:
        return [
            problem(
                tree.source.name,
                "has no model file that is known, and no model_fn that loads another",
                f"Add one of {', '.join(KINDS)} to the root, or write model_fn in {script}.",
            )
        ]
    if len(known) > 1 and distinct != {"Hugging Face"}:
        return [
            problem(
                ", ".join(sorted(known)),
                "are several model files, and nothing says which to load",
                f"Leave one at the root, or choose in model_fn in {script}.",
            )
        ]
    path, kind = next(iter(known.items()))
    if importlib.util.find_spec(kind.module) is None:
        cure = f"pip install 'trimtab[{kind.extra}]'" if kind.extra else f"pip install {kind.module}"
        return [problem(path, f"is {kind.what}, and {kind.module} is not installed here", cure)]
    return [ok(path, f"{kind.what}, loaded by {kind.module}")]


def _kind(path: str, tree: ModelTree) -> Kind | None:
    name = PurePosixPath(path).name
    if name in KINDS:
        return KINDS[name]
    suffix = PurePosixPath(path).suffix.lower()
    if suffix == ".safetensors" and "config.json" not in tree.files:
        return None
    if suffix == ".json" and name != "config.json":
        return KINDS["xgboost-model"] if "model" in name.lower() else None
    if suffix == ".txt":
        return KINDS[".lgb"] if "model" in name.lower() else None
    return KINDS.get(suffix)
