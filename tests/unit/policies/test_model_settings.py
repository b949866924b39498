"""What a multi-model container's environment says of its models, and what users have said since."""

import pytest

from trimtab.errors import Invalid
from trimtab.policies.models.settings import declared, hosting_of, merged, setting_of
from trimtab.resources.hosting import EVERY_MODEL, MAX_SETTINGS, Hosting, ModelSetting
from trimtab.resources.model import Artifact, Container

PINS = {"TRIMTAB_PINNED_MODELS": " a.tar.gz,team/b.tar.gz,, a.tar.gz "}


def test_an_environment_that_says_nothing_sets_nothing() -> None:
    assert declared({"OTHER": "1", "TRIMTAB_PINNED_MODELS": ""}).settings == ()
    assert declared({}).memory_bytes == 0


def test_pins_and_the_time_to_live_of_every_model_become_settings() -> None:
    settings = declared({**PINS, "TRIMTAB_MODEL_TTL_S": "90"}).settings
    assert settings == (
        ModelSetting(model="a.tar.gz", pinned=True),
        ModelSetting(model="team/b.tar.gz", pinned=True),
        ModelSetting(model=EVERY_MODEL, ttl_s=90.0),
    )


def test_too_many_pins_are_refused() -> None:
    with pytest.raises(Invalid, match="at most 10000"):
        declared({"TRIMTAB_PINNED_MODELS": ",".join(map(str, range(MAX_SETTINGS + 1)))})


def test_what_was_set_since_replaces_what_the_environment_says_of_that_model() -> None:
    since = [ModelSetting(model="a.tar.gz"), ModelSetting(model="c.tar.gz", min_copies=2)]
    assert merged(PINS, since) == (since[0], since[1], ModelSetting(model="team/b.tar.gz", pinned=True))


def test_a_model_has_its_own_setting_or_that_of_every_model() -> None:
    settings = {s.model: s for s in declared({**PINS, "TRIMTAB_MODEL_TTL_S": "90"}).settings}
    assert setting_of(settings, "a.tar.gz") == ModelSetting(model="a.tar.gz", pinned=True)
    assert setting_of(settings, "z.tar.gz") == ModelSetting(model="z.tar.gz", ttl_s=90.0)
    assert setting_of({}, "z.tar.gz") == ModelSetting(model="z.tar.gz")


def test_only_a_multi_model_container_is_hosted() -> None:
    prefix = Artifact(url="s3://b/models/", compressed=False)
    many = Container(
        image="i", multi_model=True, model_cache=False, artifact=prefix, environment={"TRIMTAB_MODEL_MEMORY_MIB": "1.5"}
    )
    assert hosting_of(many) == Hosting(prefix="s3://b/models/", cache=False, memory_bytes=3 * 2**19)
    assert hosting_of(Container(image="i", artifact=prefix)) is None
