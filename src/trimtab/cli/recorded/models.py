"""Of a multi-model endpoint: its models, what each of their loads took, and which of them was asked when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from trimtab.aws.client import CallFailed
from trimtab.cli.recorded.asked import Asked, are_alike, asked_of
from trimtab.cli.render import CliError
from trimtab.sim.world import PastLoad

if TYPE_CHECKING:
    from trimtab.aws.client import Client
    from trimtab.cli.recorded.metrics import Metrics


class ModelFound(Struct, frozen=True):
    """A model of a multi-model endpoint. `loads`: in the time, in order; of what was loaded before, that one first."""

    name: str
    requests: int
    memory_bytes: int
    load_s: float
    pinned: bool
    loads: tuple[PastLoad, ...] = ()
    artifact_bytes: int = 0  # unpacked

    @property
    def most_bytes(self) -> int:
        """Of any of its copies."""
        return max([self.memory_bytes, *(load.memory_bytes for load in self.loads)])


class ModelsFound(Struct, frozen=True):
    """All of one variant that were ever loaded. `came` is empty where that is not known of all requests. `unload_s`:
    None: none was seen. `unloaded`: models that were asked for, and never loaded."""

    models: tuple[ModelFound, ...]
    memory_bytes: int  # for models, of a replica
    unload_s: float | None = None
    came: tuple[Asked, ...] = ()
    unloaded: tuple[str, ...] = ()


def models_of(client: Client, endpoint: str, variant: str, metrics: Metrics, requests: float) -> ModelsFound:
    """Models that were asked for, as hosts and gateways have told. `requests`: as many as metrics know of. CliError
    where nobody tells what a scenario needs."""
    try:
        page = client.get(f"endpoints/{endpoint}/models")
        events = client.get(f"endpoints/{endpoint}/models/events", last="100000")["events"]
    except CallFailed as error:
        raise CliError(f"The models of {endpoint} cannot be listed: {error}") from error
    events = [event for event in events if event["variant"] == variant]
    hosts = [host for host in page["hosts"] if host["variant"] == variant]
    memory_bytes = max((host["memory_bytes"] for host in hosts), default=0)
    if not memory_bytes:
        raise CliError(
            f"No replica of {endpoint} / {variant} runs, so nobody tells how much memory one has for models.",
            "Record it while one runs: ask it something first.",
        )
    lives = _lives(events, hosts)
    pinned = {one["model"] for one in page["settings"] if one.get("pinned")}
    asked = [one for one in page["models"] if one.get("requests")]
    models = tuple(
        ModelFound(
            name := one["model"],
            one["requests"],
            max(life.memory_bytes for life in lives[name]),
            one["load_s"] / one["loads"] if one.get("loads") else 0.0,
            name in pinned,
            _in_time(lives[name], metrics.start_s, metrics.end_s),
            max(life.artifact_bytes for life in lives[name]),
        )
        for one in asked
        if any(life.memory_bytes for life in lives[one["model"]])
    )
    if not models:
        raise CliError(
            f"No model of {endpoint} / {variant} is known to have been loaded: there is nothing to record.",
            "Ask it for its models, each one once, and record it then.",
        )
    unloads = [event["unload_s"] for event in events if event["what"] == "unloaded" and event.get("unload_s")]
    known = {model.name for model in models}
    came = [one for one in asked_of(client, endpoint, variant, metrics) if one.model in known]
    told = sum(one.count for one in came)
    return ModelsFound(
        models,
        memory_bytes,
        median(unloads) if unloads else None,
        tuple(came) if are_alike(told, requests) else (),
        tuple(one["model"] for one in asked if one["model"] not in known),
    )


class _Life(Struct):
    """A copy of a model, from its load on. `memory_bytes`: the most that it was seen to take."""

    loaded_s: float
    took_s: float
    memory_bytes: int
    artifact_bytes: int
    ended_s: float = float("inf")


def _lives(events: Sequence[Mapping[str, Any]], hosts: Iterable[Mapping[str, Any]]) -> dict[str, list[_Life]]:
    """Of each model, in order of their loads."""
    lives: dict[str, list[_Life]] = defaultdict(list)
    last: dict[tuple[str, str], _Life] = {}  # by replica and model
    for event in sorted(events, key=lambda event: float(event["at_s"])):
        model, key = event["model"], (event["replica_id"], event["model"])
        size = int(event.get("bytes", 0))
        if event["what"] == "loaded":
            took_s = event.get("load_s", 0.0) + event.get("download_s", 0.0)
            last[key] = _Life(event["at_s"], took_s, size, int(event.get("artifact_bytes", 0)))
            lives[model].append(last[key])
        elif event["what"] in ("unloaded", "crashed") and (life := last.pop(key, None)) is not None:
            life.memory_bytes, life.ended_s = max(life.memory_bytes, size), event["at_s"]
    for host in hosts:
        for one in host["residents"]:
            size = max(one.get("peak_bytes", 0), one.get("bytes", 0))
            if (life := last.get((host["replica_id"], one["model"]))) is not None:
                life.memory_bytes = max(life.memory_bytes, size)
            else:  # its load was forgotten
                lives[one["model"]].insert(0, _Life(one.get("loaded_s", 0.0), one.get("load_s", 0.0), size, 0))
    return lives


def _in_time(lives: Sequence[_Life], start_s: float, end_s: float) -> tuple[PastLoad, ...]:
    return tuple(
        PastLoad(life.took_s, life.memory_bytes) for life in lives if life.ended_s > start_s and life.loaded_s <= end_s
    )
