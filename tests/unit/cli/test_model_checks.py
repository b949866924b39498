"""`trimtab doctor MODEL`: what the containers would trip over."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from trimtab.cli.findings import Finding, Level, problems
from trimtab.cli.model_checks import check_model
from trimtab.cli.model_tree import read_tree
from trimtab.resources.runtime import Flavor

SCRIPT = "import os\n\ndef model_fn(model_dir):\n    return 1\n"


def folder(tmp_path: Path, **files: str | bytes) -> Path:
    """A model folder; `__` in a name stands for a slash, `DOT` for a dot."""
    root = tmp_path / "model"
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def script(tmp_path: Path, text: str, **more: str) -> Path:
    return folder(tmp_path, **{"code__inferenceDOTpy": text, "wDOTbin": "w", **more})


def found(source: Path, level: Level | None = None, **environment: str) -> list[Finding]:
    findings = check_model(read_tree(source), environment)
    return [finding for finding in findings if level in (None, finding.level)]


def the_problem(source: Path) -> str:
    (finding,) = found(source, Level.PROBLEM)
    return f"{finding.subject} {finding.message} -> {finding.cure}"


def test_a_script_with_its_files_is_fine(tmp_path) -> None:
    assert {finding.level for finding in found(script(tmp_path, SCRIPT))} == {Level.OK}


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("m.onnx", b"x"),
        ("m.joblib", b"x"),
        ("m.ubj", b"x"),
        ("xgboost-model", b"binf"),
        ("model.txt", b"tree\nversion=v4\n"),
        ("model.json", b'{"learner": {}}'),
    ],
)
def test_one_model_file_of_a_known_kind_is_fine_without_a_script(tmp_path, name, start) -> None:
    assert {finding.level for finding in found(folder(tmp_path, **{name.replace(".", "DOT"): start}))} == {Level.OK}


@pytest.mark.parametrize(
    ("flavor", "name", "fine"),
    [
        (Flavor.PYTORCH, "model.onnx", False),
        (Flavor.SKLEARN, "model.joblib", True),
        (Flavor.SKLEARN, "model.onnx", False),
        (Flavor.HUGGINGFACE, "config.json", True),
        (Flavor.HUGGINGFACE, "model.onnx", False),
    ],
)
def test_each_container_loads_its_own_kinds(tmp_path, flavor, name, fine) -> None:
    tree = read_tree(folder(tmp_path, **{name.replace(".", "DOT"): b"x"}))
    assert bool(problems(check_model(tree, {}, flavor))) is not fine


def test_a_hugging_face_model_by_name_needs_no_files_of_its_own(tmp_path) -> None:
    tree = read_tree(script(tmp_path, "x = 1"))
    assert not problems(check_model(tree, {"HF_MODEL_ID": "org/name"}, Flavor.HUGGINGFACE))


def test_a_named_script_that_is_not_there_is_a_problem(tmp_path) -> None:
    root = folder(tmp_path, mDOTonnx=b"x")
    assert "named by SAGEMAKER_PROGRAM" in found(root, Level.PROBLEM, SAGEMAKER_PROGRAM="serve.py")[0].message


def test_a_library_that_is_not_installed_is_a_problem_with_its_extra(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'trimtab[torch]'" in the_problem(folder(tmp_path, modelDOTpt=b"x"))


def test_an_empty_folder_is_a_problem(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no files" in the_problem(tmp_path / "empty")


def test_no_model_file_is_a_problem(tmp_path) -> None:
    assert "holds no model that can be served without a script" in the_problem(folder(tmp_path, READMEDOTmd="x"))


def test_two_model_files_are_ambiguous_unless_the_script_chooses(tmp_path) -> None:
    root = folder(tmp_path, aDOTonnx=b"a", bDOTonnx=b"b")
    assert "holds several models: a.onnx, b.onnx" in the_problem(root)
    (root / "code").mkdir()
    (root / "code" / "inference.py").write_text(SCRIPT)
    assert not found(root, Level.PROBLEM)


def test_a_script_outside_code_is_misplaced_and_at_the_root_a_warning(tmp_path) -> None:
    root = folder(tmp_path, src__inferenceDOTpy=SCRIPT, mDOTonnx=b"x")
    assert "mkdir -p code && mv src/inference.py code/inference.py" in the_problem(root)
    (root / "src" / "inference.py").rename(root / "inference.py")
    (finding,) = found(root, Level.WARNING)
    assert "AWS's containers do not" in finding.message
    assert not found(root, Level.PROBLEM)


def test_a_folder_around_everything_is_a_problem_in_folder_and_archive(tmp_path) -> None:
    root = folder(tmp_path, top__mDOTonnx=b"x", top__code__inferenceDOTpy=SCRIPT)
    assert f"Use {root / 'top'}" in the_problem(root)
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(root / "top", "top")
    assert "tar -czf model.tar.gz -C top ." in the_problem(archive)


def test_the_folder_of_an_artifact_is_not_taken_for_the_model(tmp_path) -> None:
    root = folder(tmp_path, modelDOTtarDOTgz=b"x")
    assert f"Use {root / 'model.tar.gz'}" in the_problem(root)


def test_requirements_at_the_root_are_a_warning(tmp_path) -> None:
    root = folder(tmp_path, mDOTonnx=b"x", requirementsDOTtxt="numpy")
    assert [finding.cure for finding in found(root, Level.WARNING)] == ["mv requirements.txt code/"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def model_fn(:\n  pass", "line 1: "),
        ("def model_fn(d):\n\treturn 1\n        return 2", "line 3: "),
        ("\0", "null bytes"),
        (
            f"{SCRIPT}def transform_fn(m, d, c, a): ...\ndef predict_fn(d, m): ...",
            "transform_fn together with predict_fn",
        ),
        ("def model_fn(): ...", "line 1: model_fn takes 0 argument(s) and is called with 1"),
        ("def model_fn(a, b, c): ...", "model_fn takes 3 argument(s)"),
        (f"{SCRIPT}def output_fn(prediction): ...", "output_fn takes 1 argument(s) and is called with 2"),
        ("async def model_fn(d): ...", "model_fn is async"),
        (f"{SCRIPT}def predict_batch_fn(inputs): ...", "predict_batch_fn takes 1 argument(s) and is called with 2"),
        (
            f"{SCRIPT}def transform_fn(m, d, c, a): ...\ndef predict_batch_fn(i, m): ...",
            "transform_fn together with predict_batch_fn",
        ),
    ],
)
def test_scripts_that_cannot_work_are_problems_with_their_line(tmp_path, text, expected) -> None:
    assert expected in the_problem(script(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "def model_fn(d, context): ...",
        "def model_fn(*args): ...",
        "def model_fn(d, strict=True, device='cpu'): ...",
        "from mine import model_fn",
        "model_fn = lambda d: 1",
    ],
)
def test_other_ways_to_write_a_function_are_fine(tmp_path, text) -> None:
    assert not found(script(tmp_path, text, code__mineDOTpy=""), Level.PROBLEM)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{SCRIPT}def predict_fun(d, m): ...", "Did you mean predict_fn?"),
        (f"import no_such_module\n{SCRIPT}", "Add no_such_module to code/requirements.txt"),
        (f"from no.such import x\n{SCRIPT}", "Add no to code/requirements.txt"),
    ],
)
def test_what_may_go_wrong_is_a_warning(tmp_path, text, expected) -> None:
    (finding,) = found(script(tmp_path, text), Level.WARNING)
    assert expected in finding.cure


def test_imports_that_are_required_or_part_of_the_code_are_fine(tmp_path) -> None:
    root = script(
        tmp_path,
        f"import no_such_module, mine, yaml\nfrom . import mine\n{SCRIPT}",
        code__mineDOTpy="",
        code__requirementsDOTtxt="no-such-module==1.0  # pinned\nPyYAML\n",
    )
    assert {finding.level for finding in found(root)} == {Level.OK}


def test_a_script_without_any_known_function_is_a_warning_and_needs_a_model_file(tmp_path) -> None:
    root = script(tmp_path, "x = 1", mDOTonnx="m")
    assert "defines none of the functions" in found(root, Level.WARNING)[0].message
    assert not found(root, Level.PROBLEM)


def test_another_program_is_looked_for_when_named(tmp_path) -> None:
    root = folder(tmp_path, code__serve_meDOTpy=SCRIPT, wDOTbin="w")
    assert not found(root, Level.PROBLEM, SAGEMAKER_PROGRAM="serve_me.py")
    assert found(root, Level.PROBLEM)


def test_requirements_are_read_as_pip_reads_them(tmp_path) -> None:
    good = (
        "# comment\nnumpy>=1.2,<3 ; python_version >= '3.8'\n-r other.txt\n--index-url https://x/\n./local\n\n"
        "git+https://example.com/x.git\nx @ https://example.com/x.whl\nscipy \\\n  >=1\n"
    )
    root = script(tmp_path, SCRIPT, code__requirementsDOTtxt=good)
    assert not found(root, Level.PROBLEM)
    (root / "code" / "requirements.txt").write_text("numpy\nnumpy==\n")
    assert "line 2: 'numpy==' is no requirement" in the_problem(root)


def test_links_are_followed_and_loops_are_found(tmp_path) -> None:
    root = script(tmp_path, SCRIPT)
    (tmp_path / "big.bin").write_bytes(b"12345")
    (root / "linked.bin").symlink_to(tmp_path / "big.bin")
    assert read_tree(root).files["linked.bin"] == 5
    (root / "loop").symlink_to(root)
    assert "leads back to a folder above it" in the_problem(root)
    (root / "loop").unlink()
    (root / "broken").symlink_to(root / "nothing")
    assert "cannot be read" in the_problem(root)


def test_what_is_no_file_is_a_problem(tmp_path) -> None:
    root = script(tmp_path, SCRIPT)
    os.mkfifo(root / "pipe")
    assert "is no file" in the_problem(root)


def tar(tmp_path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    path = tmp_path / "model.tar.gz"
    good = tarfile.TarInfo("m.onnx")
    good.size = 1
    with tarfile.open(path, mode) as archive:
        archive.addfile(good, io.BytesIO(b"x"))
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (member("../evil"), "leads out"),
        (member("/etc/passwd"), "leads out"),
        (member("l", tarfile.SYMTYPE, "/etc/passwd"), "links out"),
        (member("a/l", tarfile.SYMTYPE, "../../x"), "links out"),
        (member("l", tarfile.LNKTYPE, "../x"), "links out"),
        (member("dev", tarfile.CHRTYPE), "is a device"),
        (member("pipe", tarfile.FIFOTYPE), "is a device or a pipe"),
    ],
)
def test_archives_that_lead_out_of_their_folder_are_problems(tmp_path, bad, expected) -> None:
    assert expected in the_problem(tar(tmp_path, bad))


def test_links_inside_the_archive_are_fine(tmp_path) -> None:
    assert not found(tar(tmp_path, member("a/l", tarfile.SYMTYPE, "../m.onnx")), Level.PROBLEM)


def test_the_empty_first_member_of_the_sagemaker_sdk_is_fine(tmp_path) -> None:
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(member("", tarfile.DIRTYPE))
        info = member("./m.onnx")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    assert {finding.level for finding in found(path)} == {Level.OK}


def test_a_tar_without_gzip_and_broken_archives_are_problems(tmp_path) -> None:
    assert "is not gzip-compressed" in the_problem(tar(tmp_path, mode="w"))
    whole = tar(tmp_path, *(member(f"f{n}") for n in range(50))).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read to its end" in found(tmp_path / "cut.tar.gz", Level.PROBLEM)[0].message
    (tmp_path / "junk.tar.gz").write_bytes(b"\x1f\x8bjunk")
    assert "cannot be read to its end" in found(tmp_path / "junk.tar.gz", Level.PROBLEM)[0].message


def test_doctor_prints_findings_with_cures_and_its_exit_status_says_problem(bare, tmp_path) -> None:
    root = folder(tmp_path, src__inferenceDOTpy=SCRIPT, mDOTonnx=b"x")
    result = bare("doctor", str(root))
    assert result.exit_code == 1
    assert "problem  src/inference.py" in result.stdout
    assert "-> mkdir -p code && mv src/inference.py code/inference.py" in result.stdout
    document = json.loads(bare("doctor", str(root), "--json").stdout)
    assert document["problems"] == 1
    (root / "code").mkdir()
    (root / "src" / "inference.py").rename(root / "code" / "inference.py")
    assert bare("doctor", str(root)).exit_code == 0
    assert bare("doctor", "/no/such").exit_code == 1
