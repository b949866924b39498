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

from trimtab.cli.files import must_be_writable, write_whole
from trimtab.cli.recorded.finding import Found
from trimtab.cli.recorded.metrics import arrivals_of, service_s
from trimtab.cli.render import CliError
from trimtab.jobs.loadtest.quantities import seconds_text
from trimtab.sim.world import Mode

if TYPE_CHECKING:
    from trimtab.cli.recorded.metrics import Metrics

POINTS: Final = 101  # quantiles of what a request takes
_MOST_REQUESTS: Final = 2_000_000  # beyond that counts are written, no longer requests
_ASSUMED_START_S: Final = 1.0


class Recorded(Struct, frozen=True, kw_only=True):
    """`came[i]`: requests in the period of `period_s` that begins at `start_s + i * period_s`."""

    found: Found
    start_s: int
    period_s: int
    came: list[float]
    took_s: list[float]

    @classmethod
    def of(cls, metrics: Metrics, found: Found) -> Recorded:
        """From the metrics. CliError where there was no request."""
        came = arrivals_of(metrics, is_async=found.mode is Mode.ASYNC)
        took_s = service_s(metrics, POINTS)
        if not sum(came) or took_s is None:
            raise CliError(
                f"{found.endpoint} / {found.variant} has answered nothing in that time: there is nothing to record.",
                "Another time: --last 1d, or --from and --to. Metrics of a second appear a moment after it.",
            )
        return cls(found=found, start_s=metrics.start_s, period_s=metrics.period_s, came=came, took_s=took_s)

    @property
    def requests(self) -> int:
        """All of them."""
        return round(sum(self.came))

    @property
    def span_words(self) -> str:
        """How long it was looked at."""
        return seconds_text(len(self.came) * self.period_s)

    @property
    def work_words(self) -> str:
        """What requests took, in the middle and at the end."""
        return f"{seconds_text(self.took_s[50])} (p99 {seconds_text(self.took_s[99])})"

    def document(self) -> dict[str, Any]:
        """As JSON."""
        found = self.found
        return {
            "endpoint": found.endpoint, "variant": found.variant, "mode": found.mode.value,
            "requests": self.requests, "from_s": self.start_s, "to_s": self.start_s + len(self.came) * self.period_s,
            "work_quantiles_s": self.took_s,
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
    """A row a request, at random within its period; a row a period where they are too many."""
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    models = recorded.found.models
    if recorded.requests > _MOST_REQUESTS and not models:
        rows.writerow(("timestamp", "count"))
        for number, count in enumerate(recorded.came):
            rows.writerow((_stamp(recorded.start_s + number * recorded.period_s), f"{count:g}"))
        return file.getvalue()
    chance = np.random.default_rng(0)
    counts = np.rint(recorded.came).astype(np.int64)
    begins = recorded.start_s + np.arange(len(counts)) * recorded.period_s
    at_s = np.sort(np.repeat(begins, counts) + chance.random(int(counts.sum())) * recorded.period_s)
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
    work = {"quantiles": quantiles, "slots": found.slots}
    models = found.models
    chosen = {model.name for model in models}
    workloads: dict[str, Any] = {}
    for name in chosen or {found.endpoint}:
        arrivals: dict[str, Any] = {"trace": trace}
        span_s = len(recorded.came) * recorded.period_s
        if chosen:
            arrivals["only"] = name
        workloads[name] = {"arrivals": arrivals, "work": work}
        arrivals["from"], arrivals["until"] = _stamp(recorded.start_s), _stamp(recorded.start_s + span_s)
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
        "# Measured: arrivals by the second (at random within it), service times, starts, loads.",
        *(f"# - {note}" for note in found.notes),
    ]
    text: str = yaml.dump(document, Dumper=_dumper(), sort_keys=False, width=110, default_flow_style=None)
    return "\n".join(head) + "\n" + text


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
