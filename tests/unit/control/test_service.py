"""What control accepts and refuses: models, configs, names, tags."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from trimtab.control.api import ControlApi
from trimtab.control.service import Control
from trimtab.errors import AlreadyExists, Invalid, LimitExceeded, NotFound, NotSupported
from trimtab.resources.model import Artifact, Container, Model
from trimtab.testing.store import a_config, a_model
from trimtab.testing.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def control(world: World) -> ControlApi:
    return world.control


def test_control_keeps_its_contract(control: Control) -> None:
    promised = {name for name in vars(ControlApi) if not name.startswith("_")}
    assert promised <= {name for name in dir(control) if callable(getattr(control, name))}


def test_a_model_whose_artifact_is_not_there_is_refused(control: ControlApi) -> None:
    container = Container(image="i", artifact=Artifact(url="s3://b/missing.tar.gz"))
    with pytest.raises(Invalid, match=r"Could not find model data at s3://b/missing\.tar\.gz"):
        control.create_model(replace(a_model(), containers=(container,)), {})
    assert control.list_models() == []


def test_a_model_without_or_with_several_containers_is_refused(control: ControlApi) -> None:
    with pytest.raises(Invalid, match="no container"):
        control.create_model(replace(a_model(), containers=()), {})
    with pytest.raises(NotSupported, match="not supported yet"):
        control.create_model(replace(a_model(), containers=(Container(image="i"), Container(image="j"))), {})


def a_multi_model(name: str = "many", url: str = "s3://b/models/", **environment: str) -> Model:
    container = Container(
        image="i", multi_model=True, artifact=Artifact(url=url, compressed=False), environment=environment
    )
    return replace(a_model(name), containers=(container,))


def test_a_multi_model_container_needs_a_bucket_but_no_model_yet(control: ControlApi) -> None:
    control.create_model(a_multi_model(), {})
    assert control.get_model("many").containers[0].multi_model
    with pytest.raises(Invalid, match=r"Could not find model data at s3://missing/models/\."):
        control.create_model(a_multi_model("other", "s3://missing/models/"), {})
    with pytest.raises(Invalid, match="needs the prefix"):
        control.create_model(replace(a_model("other"), containers=(Container(image="i", multi_model=True),)), {})


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("TRIMTAB_MODEL_TTL_S", "soon", "must be a number of seconds above 0"),
        ("TRIMTAB_MODEL_TTL_S", "-1", "above 0"),
        ("TRIMTAB_MODEL_MEMORY_MIB", "inf", "must be a number of MiB above 0"),
        ("TRIMTAB_PINNED_MODELS", "a.tar.gz, ../b.tar.gz", "is no key below a prefix"),
        ("TRIMTAB_PINNED_MODELS", "/a.tar.gz", "is no key below a prefix"),
    ],
)
def test_settings_in_the_environment_are_checked_when_the_model_is_made(
    control: ControlApi, variable: str, value: str, says: str
) -> None:
    with pytest.raises(Invalid, match=says) as caught:
        control.create_model(a_multi_model(**{variable: value}), {})
    assert variable in str(caught.value)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a_b", "a/b", "..", "a" * 64, "a\n", "é"])
def test_names_outside_awss_pattern_are_refused(control: ControlApi, name: str) -> None:
    control.create_model(a_model(), {})
    control.create_endpoint_config(a_config(), {})
    with pytest.raises(Invalid, match="not valid"):
        control.create_model(a_model(name), {})
    with pytest.raises(Invalid, match="not valid"):
        control.create_endpoint_config(a_config(name), {})
    with pytest.raises(Invalid, match="not valid"):
        control.create_endpoint_config(a_config("c", variant=name), {})
    with pytest.raises(Invalid, match="not valid"):
        control.create_endpoint(name, "fraud-1", {}, {})


def test_a_config_names_models_that_exist(control: ControlApi) -> None:
    with pytest.raises(NotFound) as caught:
        control.create_endpoint_config(a_config(model="nobody"), {})
    assert (caught.value.kind, caught.value.name) == ("model", "nobody")


def test_a_config_has_variants_each_of_its_own_name_and_a_sensible_size(control: ControlApi) -> None:
    control.create_model(a_model(), {})
    config = a_config()
    variant = config.variants[0]
    with pytest.raises(Invalid, match="no production variant"):
        control.create_endpoint_config(replace(config, variants=()), {})
    with pytest.raises(Invalid, match=r'The variant name "main" was non-unique within the request\.'):
        control.create_endpoint_config(replace(config, variants=(variant, variant)), {})
    with pytest.raises(Invalid, match="at least 1"):
        control.create_endpoint_config(replace(config, variants=(replace(variant, initial_count=0),)), {})
    with pytest.raises(LimitExceeded, match="at most 1000"):
        control.create_endpoint_config(replace(config, variants=(replace(variant, initial_count=1001),)), {})
    for weight in (-0.1, float("inf"), float("nan")):
        with pytest.raises(Invalid, match="weight"):
            control.create_endpoint_config(replace(config, variants=(replace(variant, initial_weight=weight),)), {})


def test_an_endpoint_needs_its_config_and_the_configs_models(control: ControlApi) -> None:
    with pytest.raises(NotFound) as caught:
        control.create_endpoint("ep", "nobody", {}, {})
    assert caught.value.kind == "endpoint-config"
    control.create_model(a_model(), {})
    control.create_endpoint_config(a_config(), {})
    control.delete_model("fraud")
    with pytest.raises(NotFound) as caught:
        control.create_endpoint("ep", "fraud-1", {}, {})
    assert caught.value.kind == "model"
    assert control.list_endpoints() == []


def test_the_same_name_twice_is_refused_whatever_its_case(control: ControlApi) -> None:
    control.create_model(a_model(), {})
    control.create_endpoint_config(a_config(), {})
    control.create_endpoint("ep", "fraud-1", {}, {})
    with pytest.raises(AlreadyExists):
        control.create_model(a_model("FRAUD"), {})
    with pytest.raises(AlreadyExists):
        control.create_endpoint_config(a_config("FRAUD-1"), {})
    with pytest.raises(AlreadyExists):
        control.create_endpoint("EP", "fraud-1", {}, {})


def test_an_endpoint_is_found_whatever_the_case_and_shows_what_runs(world: World) -> None:
    world.create("Ep", world.config("c1"))
    world.settle()
    view = world.control.get_endpoint("EP")
    assert view.endpoint.name == "Ep"
    assert [replica.id for replica in view.replicas] == world.engine.ids()
    world.update("eP", "c1")
    world.settle()
    world.control.delete_endpoint("EP")
    world.settle()
    assert world.control.list_endpoints() == []


def test_the_callers_document_changes_places_with_the_config(world: World) -> None:
    world.config("c1")
    world.config("c2")
    world.control.create_endpoint("ep", "c1", {}, {"n": 1})
    world.settle()
    world.control.update_endpoint("ep", "c2", retain_counts=False, retain_weights=False, document={"n": 2})
    assert world.endpoint("ep").document == {"n": 1}
    world.settle()
    assert world.endpoint("ep").document == {"n": 2}


def test_tags_are_added_replaced_removed_and_limited(control: ControlApi) -> None:
    control.create_model(a_model(), {"a": "1"})
    assert control.add_tags("model", "fraud", {"b": "2", "a": "3"}) == {"a": "3", "b": "2"}
    control.delete_tags("model", "fraud", ["a", "never there"])
    assert control.get_tags("model", "fraud") == {"b": "2"}
    with pytest.raises(LimitExceeded, match="at most 50"):
        control.add_tags("model", "fraud", {f"k{n}": "" for n in range(50)})
    assert control.get_tags("model", "fraud") == {"b": "2"}
    with pytest.raises(LimitExceeded):
        control.create_model(a_model("other"), {f"k{n}": "" for n in range(51)})
    with pytest.raises(NotFound):
        control.get_tags("endpoint", "nobody")
