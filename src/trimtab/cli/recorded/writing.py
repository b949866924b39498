"""A recorded endpoint as files: the scenario (YAML), and its trace (CSV)."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from msgspec import Struct

from trimtab.cli.files import must_be_writable
from trimtab.cli.recorded.arriving import MOST_REQUESTS, Came, came_of, spread
from trimtab.cli.recorded.asked import are_alike
from trimtab.cli.recorded.finding import Found
from trimtab.cli.recorded.metrics import in_work_s, service_s
from trimtab.cli.render import CliError
from trimtab.files import write_whole
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.sim.world import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.cli.recorded.asked import Asked
    from trimtab.cli.recorded.metrics import Metrics
    from trimtab.cli.recorded.models import ModelsFound
    from trimtab.control.scaling.entries import Entry

POINTS: Final = 101  # quantiles of what a request takes
_EVEN: Final = 0.5  # a dispersion of counts below it is said to be even
_ASSUMED_START_S: Final = 1.0


class Recorded(Struct, frozen=True, kw_only=True):
    """What came from `start_s` to `end_s`, and what requests took."""

    found: Found
    start_s: int
    end_s: int
    came: Came
    took_s: list[float]
    beside_s: float = 0.0  # of it, the replica had nothing to do: S3 and the queue of asynchronous requests
    tasks: tuple[Asked, ...] = ()  # asynchronous: each one, where that is known of all of them
    first_s: float = 0.0  # so much longer took the first request after a model's load

    @classmethod
    def of(cls, metrics: Metrics, found: Found, entries: Sequence[Entry] = ()) -> Recorded:
        """From the metrics, and from the journal's entries of that time. CliError where there was no request."""
        came = came_of(metrics, entries, is_async=found.mode is Mode.ASYNC)
        took_s: list[float] | None
        took_s, first_s = service_s(metrics, POINTS) or (None, 0.0)
        beside_s = 0.0
        if found.mode is Mode.ASYNC and (known := in_work_s(metrics, POINTS)) is not None:
            took_s, beside_s = known
        if not came.total or took_s is None:
            raise CliError(
                f"{found.endpoint} / {found.variant} has answered nothing in that time: there is nothing to record.",
                "Another time: --last 1d, or --from and --to. Metrics of a second appear a moment after it.",
            )
        return cls(
            found=found, start_s=metrics.start_s, end_s=metrics.end_s, came=came, took_s=took_s, beside_s=beside_s,
            tasks=found.tasks if are_alike(len(found.tasks), came.total) else (), first_s=first_s,
        )  # fmt: skip

    @property
    def requests(self) -> int:
        """All of them."""
        return len(self.tasks) or self.came.total

    @property
    def span_words(self) -> str:
        """How long it was looked at."""
        return seconds_text(self.end_s - self.start_s)

    @property
    def work_words(self) -> str:
        """What requests took, in the middle and at the end."""
        return f"{seconds_text(self.took_s[50])} (p99 {seconds_text(self.took_s[99])})"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found = self.found
        return {
            "endpoint": found.endpoint, "variant": found.variant, "mode": found.mode.value,
            "requests": self.requests, "from_s": self.start_s, "to_s": self.end_s,
            "told_by_signals_s": self.came.told_s, "dispersion": self.came.dispersion,
            "work_quantiles_s": self.took_s, "work_beside_s": self.beside_s, "work_first_s": self.first_s,
            "start_s": found.start_s, "notes": list(found.notes),
        }  # fmt: skip


def write(recorded: Recorded, path: Path, *, slo: str, force: bool) -> list[Path]:
    """Write both files. CliError for what is there already, or has no folder."""
    trace = path.with_name(f"{path.stem}.csv.gz")
    for one in (path, trace):
        if one.exists() and not force:
            raise CliError(f"{one} is there already.", "--force overwrites it; -o writes another.")
        must_be_writable(one)
    write_whole(trace, gzip.compress(_trace(recorded).encode(), mtime=0))
    write_whole(path, _scenario(recorded, trace.name, slo))
    return [path, trace]


def _trace(recorded: Recorded) -> str:
    """A row a request, or a row an interval where they are too many."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    found, came = recorded.found.models, recorded.came
    if recorded.requests > MOST_REQUESTS and not found:
        rows.writerow(("timestamp", "count"))
        rows.writerows((_stamp(at_s), count) for at_s, count in zip(came.edges_s, came.counts, strict=False))
        return file.getvalue()
    chance = np.random.default_rng(0)
    if not found:
        if tasks := recorded.tasks:
            rows.writerow(("timestamp", "took_s"))
            rows.writerows((_stamp(one.start_s), f"{one.took_s:.6f}") for one in tasks)
        else:
            rows.writerow(("timestamp",))
            rows.writerows((_stamp(moment),) for moment in came.moments(chance).tolist())
        return file.getvalue()
    rows.writerow(("timestamp", "model"))
    rows.writerows((_stamp(moment), model) for moment, model in _asked(found, came, chance))
    return file.getvalue()


def _asked(found: ModelsFound, came: Came, chance: np.random.Generator) -> list[tuple[float, str]]:
    """When which model was asked: as gateways told; else drawn by shares."""
    if not found.came:
        at_s = came.moments(chance)
        shares = np.array([model.requests for model in found.models], dtype=np.float64)
        chosen = chance.choice(len(shares), size=len(at_s), p=shares / shares.sum())
        names = [found.models[one].name for one in chosen.tolist()]
        return list(zip(at_s.tolist(), names, strict=True))
    asked: list[tuple[float, str]] = []
    for one in found.came:
        places = spread(chance, one.count, came.dispersion) * (one.end_s - one.start_s)
        asked += [(one.start_s + place, one.model) for place in places.tolist()]
    return sorted(asked)


def _stamp(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def _scenario(recorded: Recorded, trace: str, slo: str) -> str:
    import yaml

    found = recorded.found
    work: dict[str, Any] = {"quantiles": [_seconds(value) for value in recorded.took_s]}
    if recorded.tasks:
        work = {"trace": True}
    work["slots"] = found.slots
    if recorded.beside_s:
        work["beside"] = _seconds(recorded.beside_s)
    if recorded.first_s:
        work["first"] = _seconds(recorded.first_s)
    models = found.models.models if found.models else ()
    chosen = {model.name for model in models}
    workloads: dict[str, Any] = {}
    for name in chosen or {found.endpoint}:
        arrivals: dict[str, Any] = {"trace": trace}
        if chosen:
            arrivals["only"] = name
        workloads[name] = {"arrivals": arrivals, "work": work}
        arrivals["from"], arrivals["until"] = _stamp(recorded.start_s), _stamp(recorded.end_s)
        if slo:
            workloads[name]["slo"] = slo
        if found.mode is Mode.ASYNC:
            workloads[name]["may_wait"] = True
    for model in models:
        told = workloads[model.name]
        told |= {"memory": model.memory_bytes, "load": _seconds(model.load_s)}
        if model.artifact_bytes:
            told["artifact"] = model.artifact_bytes
        if model.loads:
            told["loads"] = [[_seconds(load.took_s), load.memory_bytes] for load in model.loads]
    workloads = {name: workloads[name] for name in sorted(workloads)}
    document = {
        "name": f"{found.endpoint} as recorded",
        "workloads": workloads,
        "architectures": {"as it is": {found.endpoint: _endpoint(recorded)}},
    }
    head = [
        f"# {found.endpoint} / {found.variant}: {recorded.requests:,} requests from {_stamp(recorded.start_s)} UTC.",
        f"# Measured: arrivals {_finely(recorded)}, service times, starts, loads.",
        *(f"# - {note}" for note in found.notes),
    ]
    text: str = yaml.dump(document, Dumper=_dumper(), sort_keys=False, width=110, default_flow_style=None)
    return "\n".join(head) + "\n" + text


def _finely(recorded: Recorded) -> str:
    came = recorded.came
    if recorded.tasks:
        return "and what each request took, one by one"
    if recorded.found.models and recorded.found.models.came:
        return "by model, to the millisecond (of very many in a second, those beyond a thousand by the second)"
    by = f"by the {'second' if came.period_s == 1 else 'minute'}"
    fine = f"by gateways' signals for {seconds_text(came.told_s)}, else {by}" if came.told_s else by
    return f"{fine} ({'evenly' if came.dispersion < _EVEN else 'at random'} within it)"


def _dumper() -> Any:
    import yaml

    class Plain(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return not (isinstance(data, dict) and "quantiles" in data)

    return Plain


def _seconds(value_s: float) -> str:
    return f"{value_s * 1e3:.6g}ms"


def _endpoint(recorded: Recorded) -> dict[str, Any]:
    found = recorded.found
    start = _seconds(found.start_s if found.start_s is not None else _ASSUMED_START_S)
    if found.mode is Mode.SERVERLESS:
        rules = found.serverless
        return {
            "mode": found.mode.value, "memory": f"{rules['MemorySizeInMB']}MiB", "concurrency": rules["MaxConcurrency"],
            "provisioned": rules.get("ProvisionedConcurrency", 0), "start": start,
        }  # fmt: skip
    document: dict[str, Any] = {"mode": found.mode.value, "instance_type": found.instance_type, "start": start}
    if found.least is None:
        document["replicas"] = max(1, found.count)
    else:
        initial = min(max(found.count, found.least), found.most)
        document["replicas"] = {"min": found.least, "max": max(1, found.most), "initial": initial}
    if found.policies:
        document["policies"] = [{"aws": policy} for policy in found.policies]
    if found.schedule:
        document["schedule"] = list(found.schedule)
    if found.models:
        names = sorted(model.name for model in found.models.models)
        # Each model has slots of its own: it is a process of its own.
        document |= {"serves": names, "models": found.models.memory_bytes, "slots": found.slots * len(names)}
        if found.models.unload_s is not None:
            document["unload"] = _seconds(found.models.unload_s)
        if pinned := sorted(model.name for model in found.models.models if model.pinned):
            document["pinned"] = pinned
    return document
