"""What one turn of the loop has seen of one endpoint: the plan's only input besides the time."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trimtab.policies.serverless.environments import Wanted
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.hosting import ModelSetting
from trimtab.resources.replica import ReplicaStatus
from trimtab.resources.routing import EndpointRoute


class Settings(Struct, frozen=True, kw_only=True):
    """What the whole control plane was configured with, as far as plans need it."""

    drain_grace_s: float = 60.0
    timeout_s: float = 60.0  # AWS: a container must answer an invocation within 60 s
    max_payload_bytes: int = 26_214_400
    max_starting: int = 64  # replicas of one endpoint that start at the same time
    deadline_slack_s: float = 2.0  # the engine's own start timeout knows more: let it speak first


class Seen(Struct, frozen=True, kw_only=True):
    """One endpoint at one moment.

    `record` is None when nobody asked for this endpoint: what runs under its name is left from an earlier control.
    `published` is its route in the table published last; `settled`: every connected gateway has applied a table
    with it. `draining` and `stopped` are the replicas that were already told to drain or to stop.
    `token` is random, different in each turn: new replicas are named after it.
    """

    name: str
    record: EndpointRecord | None
    replicas: tuple[ReplicaStatus, ...] = ()
    published: EndpointRoute | None = None
    settled: bool = True
    draining: frozenset[str] = frozenset()
    stopped: frozenset[str] = frozenset()
    token: str = ""
    room_s: float = 0.0  # wall time when a replica last left the machine, and made room; 0: not seen
    room_coming: bool = False  # a start has found no room while others were about to leave
    signals: frozenset[str] = frozenset()  # variants of which control wants to know at once what gateways have in hand
    model_settings: tuple[ModelSetting, ...] = ()  # what users have set of the endpoint's models since it was made
    environments: Mapping[str, Wanted] = {}  # by name of serverless variant; times are monotonic
    detect_s: float = 0.0  # from what woke the loop to this observation
    monotonic_s: float = 0.0  # when this was observed
    recheck_in_s: float | None = None  # when to look again at orders that had no effect yet
    settings: Settings = Settings()
