"""A recorded endpoint as files: the scenario (YAML), and its trace (CSV)."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from trimtab.advisor.plan.words import names_of
from trimtab.cli.files import must_be_writable
from trimtab.cli.recorded.arriving import Came, came_of
from trimtab.cli.recorded.asked import are_alike
from trimtab.cli.recorded.finding import Found
from trimtab.cli.recorded.metrics import in_work_s, service_s
from trimtab.cli.recorded.trace import Trace, stamp, trace_of
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


class Written(Struct, frozen=True):
    """The files, and what of the endpoint is not in them."""

    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def write(recorded: Recorded, path: Path, *, slo: str, force: bool) -> Written:
    """Write both files. CliError for what is there already, or has no folder."""
    beside = path.with_name(f"{path.stem}.csv.gz")
    for one in (path, beside):
        if one.exists() and not force:
            raise CliError(f"{one} is there already.", "--force overwrites it; -o writes another.")
        must_be_writable(one)
    trace = trace_of(recorded.came, models=recorded.found.models, tasks=recorded.tasks)
    models = recorded.found.models.models if recorded.found.models else ()
    idle = [model.name for model in models if model.name not in trace.models]
    notes = (f"nobody asked for {names_of(idle)} in that time: not in the scenario",) if idle else ()
    if path.is_file():  # killed between the two files, a record lacks its scenario rather than having an old one
        path.resolve().unlink()
    write_whole(beside, gzip.compress(trace.text.encode(), mtime=0))
    write_whole(path, _scenario(recorded, trace, beside.name, slo, notes))
    return Written((path, beside), notes)


def _scenario(recorded: Recorded, trace: Trace, name: str, slo: str, notes: Sequence[str]) -> str:
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
    models = [model for model in found.models.models if model.name in trace.models] if found.models else []
    workloads: dict[str, Any] = {}
    for one in sorted(trace.models) or [found.endpoint]:
        arrivals: dict[str, Any] = {"trace": name}
        if models:
            arrivals["only"] = one
        if trace.step_s is not None:
            arrivals["step"] = f"{trace.step_s}s"
        workloads[one] = {"arrivals": arrivals, "work": work}
        arrivals["from"], arrivals["until"] = stamp(recorded.start_s), stamp(recorded.end_s)
        if slo:
            workloads[one]["slo"] = slo
        if found.mode is Mode.ASYNC:
            workloads[one]["may_wait"] = True
    for model in models:
        told = workloads[model.name]
        told |= {"memory": model.memory_bytes, "load": _seconds(model.load_s)}
        if model.artifact_bytes:
            told["artifact"] = model.artifact_bytes
        if model.loads:
            told["loads"] = [[_seconds(load.took_s), load.memory_bytes] for load in model.loads]
    document = {
        "name": f"{found.endpoint} as recorded",
        "workloads": workloads,
        "architectures": {"as it is": {found.endpoint: _endpoint(found, trace)}},
    }
    head = [
        f"# {found.endpoint} / {found.variant}: {recorded.requests:,} requests from {stamp(recorded.start_s)} UTC.",
        f"# Measured: arrivals {_finely(recorded)}, service times, starts, loads.",
        *(f"# - {note}" for note in (*found.notes, *notes)),
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


def _endpoint(found: Found, trace: Trace) -> dict[str, Any]:
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
        document |= _hosting(found.models, trace, found.slots)
    return document


def _hosting(found: ModelsFound, trace: Trace, slots: int) -> dict[str, Any]:
    """Of a multi-model endpoint. What nobody asked for takes no room from the others, unless it is pinned."""
    served = [model for model in found.models if model.name in trace.models]
    held = sum(model.memory_bytes for model in found.models if model.pinned and model not in served)
    room = max(found.memory_bytes - held, *(model.most_bytes for model in served))
    # Each model has slots of its own: it is a process of its own.
    document = {"serves": sorted(trace.models), "models": room, "slots": slots * len(served)}
    if found.unload_s is not None:
        document["unload"] = _seconds(found.unload_s)
    if pinned := sorted(model.name for model in served if model.pinned):
        document["pinned"] = pinned
    return document
