from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import Invalid
from trimtab.policies import runtimes
from trimtab.resources.runtime import Flavor, RuntimeKind

TABLE = runtimes.packaged()


@pytest.mark.parametrize(
    ("image", "flavor"),
    [
        (
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker",
            "pytorch",
        ),
        ("763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-inference-graviton:2.4", "pytorch"),
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3", "sklearn"),
        ("246618743249.dkr.ecr.us-west-2.amazonaws.com/sagemaker-xgboost:1.7-1", "xgboost"),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/xgboost:latest", "xgboost"),
        ("763104351884.dkr.ecr.cn-north-1.amazonaws.com.cn/huggingface-pytorch-inference:2.1", "huggingface"),
        ("registry.example:5000/sagemaker-scikit-learn@sha256:" + "0" * 64, "sklearn"),
        ("sagemaker-xgboost", "xgboost"),
        ("trimtab://python", "plain"),
    ],
)
def test_known_images_of_any_account_region_and_tag_map_to_a_python_flavor(image: str, flavor: str) -> None:
    runtime = runtimes.resolve(image, {}, TABLE)

    assert (runtime.kind, runtime.flavor, runtime.image) == (RuntimeKind.PYTHON, Flavor(flavor), image)
    assert "numpy" in runtime.imports


def test_a_command_is_split_as_a_shell_would_without_running_one() -> None:
    runtime = runtimes.resolve("trimtab://command", {"TRIMTAB_COMMAND": "serve --name 'a b' {port} $(x)"}, TABLE)

    assert runtime.kind is RuntimeKind.COMMAND
    assert runtime.command == ("serve", "--name", "a b", "{port}", "$(x)")


@pytest.mark.parametrize("line", ["", "   ", "serve 'unclosed"])
def test_a_command_that_is_missing_or_cannot_be_split_is_refused_naming_its_variable(line: str) -> None:
    with pytest.raises(Invalid, match="TRIMTAB_COMMAND"):
        runtimes.resolve("trimtab://command", {"TRIMTAB_COMMAND": line}, TABLE)


def test_an_unknown_image_runs_as_a_container_where_there_is_an_engine_and_is_refused_with_a_cure_elsewhere() -> None:
    assert runtimes.resolve("my/own:1", {}, TABLE, container_engine=True).kind is RuntimeKind.CONTAINER

    with pytest.raises(Invalid) as refused:
        runtimes.resolve("my/own:1", {}, TABLE, more="/data/runtimes.toml")
    for needed in ("my/own:1", "*/pytorch-inference", "/data/runtimes.toml", "no container engine"):
        assert needed in str(refused.value)


def test_an_unknown_trimtab_scheme_is_never_handed_to_a_container_engine() -> None:
    with pytest.raises(Invalid, match="trimtab://pyton"):
        runtimes.resolve("trimtab://pyton", {}, TABLE, container_engine=True)


def test_images_known_not_to_work_say_what_to_use_instead_even_with_a_container_engine() -> None:
    with pytest.raises(Invalid, match="ONNX"):
        runtimes.resolve("1.dkr.ecr.r.amazonaws.com/tensorflow-inference:2.16", {}, TABLE, container_engine=True)


def test_no_image_at_all_is_refused() -> None:
    with pytest.raises(Invalid, match="trimtab://python"):
        runtimes.resolve("", {}, TABLE)


def test_a_users_entries_come_before_the_packaged_ones() -> None:
    mine = runtimes.parse(
        '[[runtime]]\nmatch = ["*/pytorch-inference:1.*"]\nkind = "command"\ncommand = ["serve", "{port}"]\n'
    ).before(TABLE)

    assert runtimes.resolve("a/pytorch-inference:1.13-cpu", {}, mine).command == ("serve", "{port}")
    assert runtimes.resolve("a/pytorch-inference:2.1-cpu", {}, mine).flavor is Flavor.PYTORCH


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[runtime]\n", "cannot be read"),
        ('[[runtime]]\nkind = "python"\n', "match"),
        ('[[runtime]]\nmatch = ["a"]\nkind = "pyhton"\n', "pyhton"),
        ('[[runtime]]\nmatch = ["a"]\nflavour = "plain"\n', "flavour"),
        ('[[runtime]]\nmatch = ["a"]\nflavor = "tensorflow"\n', "tensorflow"),
        ('[[runtime]]\nmatch = []\nkind = "python"\n', "no pattern"),
        ('[[runtime]]\nmatch = ["a"]\nkind = "python"\ncommand = ["x"]\n', "command"),
    ],
)
def test_a_table_with_a_mistake_is_refused_naming_the_file_and_the_mistake(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=said) as refused:
        runtimes.parse(text, "/data/runtimes.toml")
    assert "/data/runtimes.toml" in str(refused.value)


@given(st.text(max_size=80))
def test_any_image_text_resolves_or_is_refused_as_the_callers_fault(image: str) -> None:
    try:
        runtime = runtimes.resolve(image, {}, TABLE)
    except Invalid:
        return
    assert runtime.image == image
