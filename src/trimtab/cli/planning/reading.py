"""The scenario that a plan begins with: of a scenario file, or of what an audit has observed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.cli.render import CliError

if TYPE_CHECKING:
    from trimtab.advisor.observed import Observed
    from trimtab.sim.world import Scenario


def scenario_from(
    path: Path, *, load_s: float = 0.0, start_s: float = 0.0
) -> tuple[Scenario, list[str], tuple[Observed, ...]]:
    """The scenario, what is to be said of it, and what an audit observed where it is from one. CliError for a file that
    is neither kind. What no audit sees is told beside it: `load_s` of a model, `start_s` of an instance; 0: not known.
    """
    if path.suffix.lower() == ".json":
        return _audited(path, load_s, start_s)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise CliError(
            f"{path.name} is neither AUDIT.json nor WORKLOAD.yaml.",
            "`trimtab audit --json > audit.json` writes the one; docs/guides/simulating.md tells of the other.",
        )
    from trimtab.aws.autoscaling.declared import policy_of
    from trimtab.sim.scenario.loading import load

    loaded = load(path, read_policy=policy_of)
    return loaded.scenario, list(loaded.notes), ()


def _audited(path: Path, load_s: float, start_s: float) -> tuple[Scenario, list[str], tuple[Observed, ...]]:
    from trimtab.advisor.finding import Audit
    from trimtab.advisor.plan.observing import scenario_of

    body = path.read_bytes()
    try:
        audit = msgspec.json.decode(body, type=Audit)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CliError(f"{path} is not what `trimtab audit --json` prints: {error}.") from error
    if not audit.observed:
        raise CliError(
            f"{path} holds no workloads.", "An audit observes endpoints that were asked while it looked: --days 14."
        )
    strange = _strange(msgspec.json.decode(body))
    scenario, notes = scenario_of(
        audit.observed, audit.region, name=f"account {audit.account}", load_s=load_s, start_s=start_s
    )
    apart = audit.endpoints - len({one.endpoint for one in audit.observed})
    if apart > 0:
        are, which = ("is", "it") if apart == 1 else ("are", "them")
        notes.append(
            f"{apart} of the account's {audit.endpoints} endpoints {are} not in the plan, nor in its figures: nobody"
            f" asked {which} anything, or too little was seen of {which} (`trimtab audit` says which)"
        )
    seen = [f"not seen by the audit, so not in the plan: {one.what} ({one.why})" for one in audit.unseen]
    return scenario, strange + notes + seen, audit.observed


def _strange(document: Any) -> list[str]:
    """What stands in an audit and is not read: of another version, or misspelt by hand."""
    from trimtab.advisor.finding import Audit
    from trimtab.advisor.observed import Observed

    known = set(Observed.__struct_encode_fields__)
    found = dict.fromkeys(sorted(set(document) - set(Audit.__struct_encode_fields__)))
    found |= dict.fromkeys(f"observed.{name}" for one in document["observed"] for name in one if name not in known)
    return [f"not known here, so not read: {', '.join(found)}"] if found else []
