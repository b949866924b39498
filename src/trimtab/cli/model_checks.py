"""Is this a model that can be served? By the same rules as the worker that will load it, without running anything."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from trimtab.cli.findings import Finding, Level, ok, problem, warning
from trimtab.cli.model_tree import ModelTree
from trimtab.cli.render import size
from trimtab.cli.script_checks import check_requirements, check_script, defines_model_fn, required_modules
from trimtab.resources.runtime import Flavor
from trimtab.worker import artifact
from trimtab.worker.failures import StartFailed

CODE = "code"

# Kinds of model files that the containers of a flavor load without a script, and the extra that brings what loads them.
_KINDS: Mapping[Flavor, tuple[str, ...]] = {
    Flavor.SKLEARN: ("pickle", "skops"),
    Flavor.XGBOOST: ("xgboost", "pickle"),
    Flavor.PYTORCH: ("torchscript",),
}
_EXTRAS = {
    "pickle": "sklearn",
    "skops": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "torchscript": "torch",
}


def check_model(
    tree: ModelTree, environment: Mapping[str, str] | None = None, flavor: Flavor = Flavor.PLAIN
) -> list[Finding]:
    """Everything that can be said of the files. `environment` is the model's: it may name another script."""
    environment = environment or {}
    findings = check_paths(tree)
    if not tree.files:
        return findings
    if (around := _folder_around(tree) or _archive_inside(tree)) is not None:
        return [*findings, around]  # everything is in the wrong place: nothing else can be said
    program = environment.get("SAGEMAKER_PROGRAM", "inference.py")
    script = next((path for path in (f"{CODE}/{program}", program) if path in tree.texts), "")
    findings += _places(tree, program, script, named="SAGEMAKER_PROGRAM" in environment)
    if script:
        findings += check_script(script, tree.texts[script], tree)
    requirements = f"{CODE}/requirements.txt"
    if requirements in tree.texts:
        findings += check_requirements(requirements, tree.texts[requirements])
    if not (script and defines_model_fn(tree.texts[script])):
        findings += _model_file(tree, environment, flavor)
    if not any(finding.level is Level.PROBLEM for finding in findings):
        count = "1 file" if len(tree.files) == 1 else f"{len(tree.files)} files"
        findings.append(ok(tree.source.name, f"{count}, {size(sum(tree.files.values()))}"))
    return findings


def check_paths(tree: ModelTree) -> list[Finding]:
    """What holds for any model, whoever serves it: there are files, and they can be read."""
    if not tree.files and not tree.findings:
        return [problem(str(tree.source), "holds no files", "Put the model file into it.")]
    return list(tree.findings)


def _folder_around(tree: ModelTree) -> Finding | None:
    tops = {PurePosixPath(path).parts[0] for path in tree.files}
    if len(tops) != 1 or tops == {CODE} or any("/" not in path for path in tree.files):
        return None
    top = tops.pop()
    cure = f"tar -czf model.tar.gz -C {top} . (from where {top} is)" if tree.is_archive else f"Use {tree.source / top}"
    return problem(f"{top}/", "is a folder around everything: files are looked for at the root", cure)


def _archive_inside(tree: ModelTree) -> Finding | None:
    """A folder that `model.tar.gz` was written into, as programs that train for SageMaker do, and nothing else."""
    [first, *others] = tree.files
    if others or not first.endswith((".tar.gz", ".tgz")):
        return None
    return problem(first, "is an artifact itself, and all that is there", f"Use {tree.source / first}")


def _places(tree: ModelTree, program: str, script: str, *, named: bool) -> list[Finding]:
    """Scripts and requirements belong into code/: what is elsewhere is not seen by every container, or by none."""
    findings: list[Finding] = []
    wanted = f"{CODE}/{program}"
    if script == program:
        findings.append(
            warning(program, "is at the root: trimtab finds it, AWS's containers do not", f"mv {program} {wanted}")
        )
    elif not script:
        elsewhere = [path for path in tree.files if PurePosixPath(path).name == PurePosixPath(program).name]
        if elsewhere:
            cure = f"mkdir -p {CODE} && mv {elsewhere[0]} {wanted}"
            findings.append(problem(elsewhere[0], f"is not where it is looked for ({wanted})", cure))
        elif named:
            findings.append(
                problem(wanted, "is named by SAGEMAKER_PROGRAM and is not there", "Add it, or name another.")
            )
    if "requirements.txt" in tree.files and f"{CODE}/requirements.txt" not in tree.files:
        findings.append(
            warning("requirements.txt", "is at the root and will not be installed", f"mv requirements.txt {CODE}/")
        )
    return findings


def _model_file(tree: ModelTree, environment: Mapping[str, str], flavor: Flavor) -> list[Finding]:
    """Without a model_fn, one file at the root must say which model it is and who loads it."""
    if flavor is Flavor.HUGGINGFACE:
        if environment.get("HF_MODEL_ID") or {"config.json", "model_index.json"} & tree.files.keys():
            return []
        return [
            problem("config.json", "is not there, and HF_MODEL_ID is not set", "Save the model with save_pretrained.")
        ]
    with tempfile.TemporaryDirectory(prefix="trimtab-look-") as scratch:
        for name, head in tree.heads.items():
            (Path(scratch) / name).write_bytes(head)
        try:
            path, kind = artifact.detect(Path(scratch), _KINDS.get(flavor, artifact.KINDS))
        except StartFailed as failed:
            return [problem(tree.source.name, str(failed))]
    missing = _missing(kind, tree)
    if missing:
        extra = _EXTRAS.get(kind)
        cure = f"pip install 'trimtab[{extra}]'" if extra else f"pip install {missing}"
        return [problem(path.name, f"is a model of kind {kind}, and {missing} is not installed here", cure)]
    return [ok(path.name, f"the model, of kind {kind}")]


def _missing(kind: str, tree: ModelTree) -> str:
    """The first module that this kind needs, and that is neither installed nor required by the model."""
    required = required_modules(tree)
    for module in artifact.MODULES[kind]:
        top = module.partition(".")[0]
        if importlib.util.find_spec(top) is None and top.lower() not in required:
            return top
    return ""
