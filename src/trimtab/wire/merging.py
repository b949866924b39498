"""Reports added up: of several seconds, or of several gateways."""

from __future__ import annotations

from typing import Final, TypeVar

from trimtab.wire.reports import ModelsReport, Range, Tally, TasksReport, VariantReport, VersionReport

K = TypeVar("K")
N = TypeVar("N", int, float)

_TALLIES: Final = (
    "latency", "model_latency", "queue_time", "compute_time", "first_chunk", "first_chunk_model", "billed_ms",
)  # fmt: skip
_VERSION_COUNTS: Final = ("ended", "client_faults", "server_faults", "model_faults", "broken_streams", "wasted_us",
                   "input_tokens", "output_tokens", "request_bytes", "response_bytes")  # fmt: skip
SINGLES_MOST: Final = (
    10_000  # requests that a merged report tells of one by one: while control is away, it grows no more
)
_TASK_COUNTS: Final = (
    "ok", "failed", "expired", "dropped", "download_failures", "upload_failures", "notice_failures",
)  # fmt: skip
_TASK_TALLIES: Final = ("download", "upload", "in_backlog", "whole", "in_work")
_VARIANT_COUNTS: Final = ("received", "throttled", "retried", "clients_gone", "spilled")


def merge_variants(into: VariantReport, other: VariantReport, *, at_once: bool = False) -> None:
    """Add what `other` counted, of another time; with `at_once` in another gateway at the same time: gauges add up."""
    for name in _VARIANT_COUNTS:
        setattr(into, name, getattr(into, name) + getattr(other, name))
    together = _sum if at_once else _widened
    into.in_hand = together(into.in_hand, other.in_hand)
    into.waiting = together(into.waiting, other.waiting)
    _add_counts(into.busy_s, other.busy_s)
    held = {version.version: version for version in into.versions}
    for version in other.versions:
        if (mine := held.get(version.version)) is None:
            into.versions.append(version)
        else:
            merge_versions(mine, version)
    if other.models is not None:
        if into.models is None:
            into.models = ModelsReport()
        merge_models(into.models, other.models)
    if other.tasks is not None:
        if into.tasks is None:
            into.tasks = TasksReport()
        merge_tasks(into.tasks, other.tasks)


def merge_models(into: ModelsReport, other: ModelsReport) -> None:
    """Add what `other` counted."""
    into.hits += other.hits
    into.misses += other.misses
    merge_tallies(into.waits, other.waits)
    _add_pairs(into.models, other.models)
    _add_pairs(into.tokens, other.tokens)
    _add_counts(into.busy_s, other.busy_s)
    merge_tallies(into.firsts, other.firsts)
    room = SINGLES_MOST - sum(map(len, into.came_ms.values()))
    for model, moments in other.came_ms.items():
        if kept := moments[: max(0, room)]:
            into.came_ms.setdefault(model, []).extend(kept)
            room -= len(kept)


def merge_tasks(into: TasksReport, other: TasksReport) -> None:
    """Add what `other` counted."""
    for name in _TASK_COUNTS:
        setattr(into, name, getattr(into, name) + getattr(other, name))
    for name in _TASK_TALLIES:
        merge_tallies(getattr(into, name), getattr(other, name))
    into.each += other.each[: max(0, SINGLES_MOST - len(into.each))]


def merge_versions(into: VersionReport, other: VersionReport) -> None:
    """Add what `other` counted."""
    for name in _VERSION_COUNTS:
        setattr(into, name, getattr(into, name) + getattr(other, name))
    _add_counts(into.errors, other.errors)
    _add_counts(into.batched, other.batched)
    for name in _TALLIES:
        merge_tallies(getattr(into, name), getattr(other, name))


def merge_tallies(into: Tally, other: Tally) -> None:
    """Add what `other` counted."""
    if not other.count:
        return
    into.min = min(into.min, other.min) if into.count else other.min
    into.max = max(into.max, other.max) if into.count else other.max
    into.count += other.count
    into.sum += other.sum
    _add_counts(into.buckets, other.buckets)


def _sum(one: Range, other: Range) -> Range:
    return Range(one.least + other.least, one.most + other.most)


def _widened(one: Range, other: Range) -> Range:
    return Range(min(one.least, other.least), max(one.most, other.most))


def _add_pairs(into: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]) -> None:
    for key, (one, two) in other.items():
        before = into.get(key, (0, 0))
        into[key] = (before[0] + one, before[1] + two)


def _add_counts(into: dict[K, N], other: dict[K, N]) -> None:
    for key, count in other.items():
        into[key] = into[key] + count if key in into else count
