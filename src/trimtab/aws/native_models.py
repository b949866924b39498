"""Models of multi-model endpoints in trimtab's own API; `trimtab models` and `trimtab explain` are made of it.

    GET    .../endpoints/NAME/models             {"hosts": what each replica holds, "models": counters by model,
                                                 "settings": those in force}
    GET    .../endpoints/NAME/models/events      {"events": loads, unloads, failures, ... with their reasons, oldest
                                                 first}; model=KEY, since= (seconds since the epoch), last=1000
    PUT    .../endpoints/NAME/models/settings    a setting: {"model", "pinned", "ttl_s", "min_copies", "max_copies"};
                                                 what is left out is as if never set
    PATCH  .../endpoints/NAME/models/settings    the same; what is left out stays as it is in force
    DELETE .../endpoints/NAME/models/settings    model=KEY: as if nothing had been set

The last three answer {"settings": those in force then}. Members: control/hosts/api.py, wire/hosting.py,
resources/hosting.py. A model is named by its key below the prefix; "*" is each without a setting of its own.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from trimtab.aws.http import HttpRequest
from trimtab.aws.native_queries import READS, Methods, count, given, seconds
from trimtab.control.hosts.api import ModelsApi
from trimtab.errors import Invalid, NotFound
from trimtab.resources.hosting import ModelSetting

METHODS: Final[Methods] = {(): READS, ("events",): READS, ("settings",): ("PUT", "PATCH", "DELETE")}
"""What can be done, by the path below `models`."""

_MOST_EVENTS: Final = 100_000
_SETTING_BYTES: Final = 16_384
_MEMBERS: Final = ModelSetting.__struct_fields__


async def answer_models(models: ModelsApi, name: str, below: tuple[str, ...], request: HttpRequest) -> dict[str, Any]:
    """The document that answers a request for a path in METHODS, of what can be encoded. As ModelsApi; Invalid."""
    match below:
        case ():
            given("models", request.query)
            return await _listed(models, name)
        case ("events",):
            return await _events(models, name, request.query)
        case ("settings",):
            return await _set(models, name, request)
    raise NotFound("path", request.path, f"trimtab's API has no {request.path}.")


async def _listed(models: ModelsApi, name: str) -> dict[str, Any]:
    return {"hosts": models.hosts(name), "models": await models.counts(name), "settings": models.settings(name)}


async def _events(models: ModelsApi, name: str, query: str) -> dict[str, Any]:
    asked = given("events", query, "model", "since", "last")
    found = await models.events(
        name,
        model=asked.get("model", ""),
        since_s=seconds(asked, "since", 0.0),
        last=count(asked, "last", 1000, _MOST_EVENTS),
    )
    return {
        "events": [
            {"replica_id": past.replica_id, "variant": past.variant, **_event(msgspec.to_builtins(past.event))}
            for past in found
        ]
    }


def _event(event: dict[str, Any]) -> dict[str, Any]:
    del event["type"]  # how it travels from hosts
    return event


async def _set(models: ModelsApi, name: str, request: HttpRequest) -> dict[str, Any]:
    if request.method == "DELETE":
        asked = given("settings", request.query, "model")
        if not asked.get("model"):
            raise Invalid("Which model? Say model=KEY, as TargetModel names it.")
        models.unset(name, asked["model"])
    else:
        given("settings", request.query)
        models.set(name, _setting(models, name, await request.body.read(_SETTING_BYTES), request.method))
    return {"settings": models.settings(name)}


def _setting(models: ModelsApi, name: str, body: bytes, method: str) -> ModelSetting:
    try:
        told = msgspec.json.decode(body, type=dict[str, Any])
        if unknown := sorted(told.keys() - set(_MEMBERS)):
            raise Invalid(f"A setting has no {unknown[0][:40]!r}, only {', '.join(_MEMBERS)}.")
        if method == "PATCH":
            held = next((one for one in models.settings(name) if one.model == told.get("model")), None)
            told = {**(msgspec.to_builtins(held) if held is not None else {}), **told}
        return msgspec.convert(told, ModelSetting)
    except msgspec.MsgspecError as error:
        raise Invalid(f"The setting cannot be read: {error}.") from error
