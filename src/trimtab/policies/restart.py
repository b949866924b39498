"""When to start a replica again after one has died."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from msgspec import Struct

from trimtab.resources.deployment import Crash


class RestartPolicy(Struct, frozen=True, kw_only=True):
    """The first restart is immediate; from the second quick crash on each wait is twice the one before.

    A crash is quick when the replica was never ready, or was so for less than `settled_s`. `reset_s` without a
    crash, or a crash that was not quick, forgives those before.
    """

    base_s: float = 0.1
    max_s: float = 60.0
    settled_s: float = 0.5
    reset_s: float = 600.0


DEFAULT = RestartPolicy()


def streak(crashes: Sequence[Crash], *, policy: RestartPolicy = DEFAULT) -> Sequence[Crash]:
    """The quick crashes at the end of `crashes` (oldest first) that nothing has forgiven."""
    length = 0
    for after, crash in zip((None, *reversed(crashes)), reversed(crashes), strict=False):
        if not crash.quick or (after is not None and after.at_s - crash.at_s > policy.reset_s):
            break
        length += 1
    return crashes[len(crashes) - length :]


def rounds(crashes: Sequence[Crash], *, count: int, policy: RestartPolicy = DEFAULT) -> int:
    """How often the variant as a whole has failed quickly: `count` replicas that die once each are one round."""
    return ceil(len(streak(crashes, policy=policy)) / max(count, 1))


def restart_in_s(crashes: Sequence[Crash], *, count: int, now_s: float, policy: RestartPolicy = DEFAULT) -> float:
    """Seconds from `now_s` until a variant of `count` replicas may start another; 0 means at once.

    `crashes` are the variant's, oldest first. A clock that was set back does not prolong a wait beyond its length.
    """
    failed = rounds(crashes, count=count, policy=policy)
    if failed < 2:
        return 0.0
    wait_s = min(policy.max_s, policy.base_s * 2.0 ** min(failed - 2, 32))
    return min(wait_s, max(0.0, crashes[-1].at_s + wait_s - now_s))
