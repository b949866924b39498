"""What a Scaler needs of the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from trimtab.clock import Clock
from trimtab.policies.scaling.decisions import Decision, Rules
from trimtab.policies.scaling.inputs import Input
from trimtab.policies.scaling.state import State
from trimtab.resources.scaling import ScalableTarget
from trimtab.store.scaling import ScalingStore


class Scales(Protocol):
    """`ControlApi.scale`."""

    def __call__(
        self,
        name: str,
        variant: str,
        count: int,
        *,
        why: str,
        detect_s: float = 0.0,
        decided_monotonic_s: float | None = None,
    ) -> bool: ...


class Notes(Protocol):
    """`Journal.note`: one step of the reducer, as it was."""

    def __call__(
        self,
        endpoint: str,
        variant: str,
        rules: Rules,
        before: State,
        given: Input,
        decisions: Sequence[Decision],
        after: State,
    ) -> None: ...


class Means(Struct, frozen=True, kw_only=True):
    """`later` runs what is to be written once what was ordered has begun: a new replica does not wait for the disk.

    `moved` saves a target whose bounds a scheduled action has moved; `decided` counts decisions that were carried out.
    """

    store: ScalingStore
    scale: Scales
    note: Notes
    clock: Clock
    later: Callable[[Callable[[], None]], None]
    moved: Callable[[ScalableTarget], None]
    decided: Callable[[ScalableTarget, Decision], None] = lambda target, decision: None
