"""Hosting: a variant whose replicas hold many models each, loaded when they are asked for; and what its users set."""

from __future__ import annotations

from msgspec import Struct

MAX_SETTINGS = 10_000  # models of one endpoint that have settings of their own
EVERY_MODEL = "*"  # the model of a setting that holds for each model without one of its own; it can only set a `ttl_s`


class ModelSetting(Struct, frozen=True, kw_only=True):
    """What a user has said of one model of a multi-model endpoint. `model` is the key below the prefix.

    `min_copies` replicas hold it at all times (pinned: at least 1), whether it is asked for or not; a hot model is
    spread over up to `max_copies` (0: as many as there are replicas).
    """

    model: str
    pinned: bool = False  # never evicted, whatever else needs the memory; loaded at once
    ttl_s: float = 0.0  # unloaded when nobody has asked for it for so long; 0: only when room is needed
    min_copies: int = 0
    max_copies: int = 0

    @property
    def least(self) -> int:
        """Copies that there are to be at all times."""
        return max(self.min_copies, 1 if self.pinned else 0)


class Hosting(Struct, frozen=True, kw_only=True):
    """How a replica of a multi-model variant serves: where its models come from, and whether they stay.

    `prefix` is `s3://bucket/key/`, ending in a slash; a model is an archive below it. With `cache` false a model is
    unloaded after each request (AWS: MultiModelConfig.ModelCacheSetting Disabled).
    """

    prefix: str
    cache: bool = True
    memory_bytes: int = 0  # of all models of one replica together; 0: what the instance type has, less a margin
