"""What the environment of a multi-model container says about its models, and what users have said since. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from trimtab.errors import Invalid
from trimtab.resources.hosting import EVERY_MODEL, MAX_SETTINGS, Hosting, ModelSetting
from trimtab.resources.model import Container

PINNED_VARIABLE = "TRIMTAB_PINNED_MODELS"  # names, separated by commas
TTL_VARIABLE = "TRIMTAB_MODEL_TTL_S"  # of every model without a setting of its own
MEMORY_VARIABLE = "TRIMTAB_MODEL_MEMORY_MIB"  # of all models of one replica together

MAX_COPIES = 1000
_MIB = 2**20
_KEY_BYTES = 1024  # S3: of a whole key


class Declared(Struct, frozen=True, kw_only=True):
    """The three variables, read. 0: not given."""

    settings: tuple[ModelSetting, ...] = ()
    memory_bytes: int = 0


def declared(environment: Mapping[str, str]) -> Declared:
    """Read a container's environment. Raises Invalid, which names the variable and what it should be."""
    ttl_s = _positive(environment, TTL_VARIABLE, "seconds")
    memory_mib = _positive(environment, MEMORY_VARIABLE, "MiB")
    settings = [ModelSetting(model=name, pinned=True) for name in _pinned(environment)]
    if ttl_s:
        settings.append(ModelSetting(model=EVERY_MODEL, ttl_s=ttl_s))
    return Declared(settings=tuple(settings), memory_bytes=int(memory_mib * _MIB))


def hosting_of(container: Container) -> Hosting | None:
    """How a replica of `container` serves many models; None for a container of one model. Raises Invalid."""
    if not container.multi_model:
        return None
    if container.artifact is None:
        raise Invalid("A multi-model container needs the prefix that its models are below, as ModelDataUrl.")
    return Hosting(
        prefix=container.artifact.url,
        cache=container.model_cache,
        memory_bytes=declared(container.environment).memory_bytes,
    )


def merged(environment: Mapping[str, str], since: Iterable[ModelSetting]) -> tuple[ModelSetting, ...]:
    """The settings in force, by model: those of the environment, replaced by what was set since."""
    by_model = {setting.model: setting for setting in declared(environment).settings}
    by_model |= {setting.model: setting for setting in since}
    return tuple(by_model[model] for model in sorted(by_model))


def setting_of(settings: Mapping[str, ModelSetting], model: str) -> ModelSetting:
    """What holds for `model`: its own setting, else that of every model, else nothing in particular.

    One that is pinned or has copies but no time to live keeps those for ever: the time of every model does not count.
    """
    own = settings.get(model)
    if own is not None:
        return own
    every = settings.get(EVERY_MODEL)
    return ModelSetting(model=model, ttl_s=every.ttl_s if every is not None else 0.0)


def check_setting(setting: ModelSetting) -> None:
    """Raise Invalid unless a caller may set this."""
    model = setting.model
    if model == EVERY_MODEL:
        if replace(setting, ttl_s=0.0) != ModelSetting(model=EVERY_MODEL):
            raise Invalid(f"Of {EVERY_MODEL!r} (each model without a setting of its own) only ttl_s can be set.")
    elif not is_key(model):
        raise Invalid(f"{model[:80]!r} is no key below a prefix: name a model as TargetModel does, like `a.tar.gz`.")
    if not (math.isfinite(setting.ttl_s) and setting.ttl_s >= 0):
        raise Invalid(f"ttl_s is {setting.ttl_s}: it must be a number of seconds; 0 for no time to live.")
    for name, count in (("min_copies", setting.min_copies), ("max_copies", setting.max_copies)):
        if not 0 <= count <= MAX_COPIES:
            raise Invalid(f"{name} is {count}: it must be a number from 0 to {MAX_COPIES}.")
    if setting.max_copies and setting.max_copies < setting.least:
        raise Invalid(
            f"max_copies is {setting.max_copies}, fewer than the {setting.least} that there are to be at all times: "
            "raise it (0 for as many as there are replicas), or lower min_copies."
        )


def is_key(name: str) -> bool:
    """Whether it can be the key of a model below a prefix."""
    fits = 0 < len(name.encode("utf-8", "surrogatepass")) <= _KEY_BYTES
    return fits and name.isprintable() and not name.startswith("/") and ".." not in name.split("/")


def _pinned(environment: Mapping[str, str]) -> list[str]:
    names = dict.fromkeys(name.strip() for name in environment.get(PINNED_VARIABLE, "").split(","))
    names.pop("", None)
    if len(names) > MAX_SETTINGS:
        raise Invalid(f"{PINNED_VARIABLE} names {len(names)} models; at most {MAX_SETTINGS} can have settings.")
    for name in names:
        if not is_key(name):
            raise Invalid(
                f"{PINNED_VARIABLE} names {name!r}, which is no key below a prefix: give names as TargetModel has "
                "them, separated by commas, for example `a.tar.gz,team/b.tar.gz`."
            )
    return list(names)


def _positive(environment: Mapping[str, str], variable: str, unit: str) -> float:
    text = environment.get(variable, "").strip()
    if not text:
        return 0.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise Invalid(f"{variable} is {text!r}: it must be a number of {unit} above 0. Leave it out for no bound.")
    return value
