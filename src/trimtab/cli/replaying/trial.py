"""Policies tried on a record, and what came of each; as the simulator tells it, what happened included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trimtab.cli.render import CliError

if TYPE_CHECKING:
    from trimtab.resources.scaling import ScalingPolicy
    from trimtab.sim.arrivals import Counted
    from trimtab.sim.replay.recording import Recording
    from trimtab.sim.replay.trial import Machine, Trial

AS_IT_WAS = "as it was"


class Tried(Struct, frozen=True):
    """One set of policies, and what came of it."""

    name: str
    trial: Any  # trimtab.sim.replay.trial.Trial: numpy is imported when it is needed

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found: Trial = self.trial
        served = found.served
        return {
            "name": self.name,
            "replica_hours": found.replica_s / 3600,
            "replicas_least": found.least,
            "replicas_most": found.most,
            "requests": served.requests,
            "latency_s": {"mean": served.mean_s, "p50": served.p50_s, "p99": served.p99_s, "max": served.max_s},
            "requests_over_200_ms": found.slow,
            "unanswered": served.waiting,
            "changes": len(found.decisions),
            "decisions": msgspec.to_builtins(found.decisions),
        }


def policy_from(path: Path, endpoint: str, variant: str) -> ScalingPolicy:
    """A policy of a file. CliError for one that cannot be read, or that PutScalingPolicy would refuse."""
    from trimtab.aws.autoscaling.declared import policy_of
    from trimtab.errors import TrimtabError

    try:
        body = path.read_bytes()
    except OSError as error:
        raise CliError(f"The policy {path} cannot be read: {error.strerror}.") from error
    try:
        return policy_of(body, endpoint, variant, path.stem)
    except TrimtabError as error:
        raise CliError(f"The policy {path}: {error}") from error


def tried(recording: Recording, arrivals: Counted, machine: Machine, policies: Sequence[ScalingPolicy]) -> list[Tried]:
    """What happened, then each policy by itself in the place of all that were there."""
    from trimtab.errors import Invalid
    from trimtab.sim.replay.trial import under_rules

    done = [Tried(AS_IT_WAS, recording.happened(arrivals, machine))]
    for policy in policies:
        if policy.tracking is None:
            raise CliError(
                f"The policy {policy.name} is no target tracking: it acts on alarms or forecasts of its own,"
                " which its file does not tell."
            )
        rules = replace(recording.rules, policies=(policy,))
        try:
            found = under_rules(arrivals, rules, machine, replicas=recording.replicas, given=recording.scheduled)
        except Invalid as error:
            raise CliError(f"The policy {policy.name}: {error}") from error
        done.append(Tried(policy.name, found))
    return done
