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
from trimtab.cli.recorded.arriving import MOST_REQUESTS, Came, came_of
from trimtab.cli.recorded.finding import Found
from trimtab.cli.recorded.metrics import in_work_s, service_s
from trimtab.cli.render import CliError
from trimtab.files import write_whole
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.sim.world import Mode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trimtab.cli.recorded.metrics import Metrics
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

    @classmethod
    def of(cls, metrics: Metrics, found: Found, entries: Sequence[Entry] = ()) -> Recorded:
        """From the metrics, and from the journal's entries of that time. CliError where there was no request."""
        came = came_of(metrics, entries, is_async=found.mode is Mode.ASYNC)
        took_s, beside_s = service_s(metrics, POINTS), 0.0
        if found.mode is Mode.ASYNC and (known := in_work_s(metrics, POINTS)) is not None:
            took_s, beside_s = known
        if not came.total or took_s is None:
            raise CliError(
                f"{found.endpoint} / {found.variant} has answered nothing in that time: there is nothing to record.",
                "Another time: --last 1d, or --from and --to. Metrics of a second appear a moment after it.",
            )
        return cls(
            found=found, start_s=metrics.start_s, end_s=metrics.end_s, came=came, took_s=took_s, beside_s=beside_s
        )

    @property
    def requests(self) -> int:
        """All of them."""
        return self.came.total

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
            "work_quantiles_s": self.took_s, "work_beside_s": self.beside_s,
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
    models, came = recorded.found.models, recorded.came
    if recorded.requests > MOST_REQUESTS and not models:
        rows.writerow(("timestamp", "count"))
        rows.writerows((_stamp(at_s), count) for at_s, count in zip(came.edges_s, came.counts, strict=False))
        return file.getvalue()
    chance = np.random.default_rng(0)
    at_s = came.moments(chance)
    if not models:
        rows.writerow(("timestamp",))
        rows.writerows((_stamp(moment),) for moment in at_s.tolist())
        return file.getvalue()
    shares = np.array([model.requests for model in models], dtype=np.float64)
    chosen = chance.choice(len(models), size=len(at_s), p=shares / shares.sum())
    rows.writerow(("timestamp", "model"))
    for moment, one in zip(at_s.tolist(), chosen.tolist(), strict=True):
        rows.writerow((_stamp(moment), models[one].name))
    return file.getvalue()


def _stamp(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).replace(tzinfo=None).isoformat(timespec="microseconds")


def _scenario(recorded: Recorded, trace: str, slo: str) -> str:
    import yaml

    found = recorded.found
    quantiles = [_seconds(value) for value in recorded.took_s]
    work: dict[str, Any] = {"quantiles": quantiles, "slots": found.slots}
    if recorded.beside_s:
        work["beside"] = _seconds(recorded.beside_s)
    models = found.models
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
        workloads[model.name] |= {"memory": model.memory_bytes, "load": _seconds(model.load_s)}
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
    if found.mode is Mode.MULTI_MODEL:
        document["serves"] = sorted(model.name for model in found.models)
        document["models"] = found.models_bytes
        if pinned := sorted(model.name for model in found.models if model.pinned):
            document["pinned"] = pinned
    return document
