"""What is looked for: one file for each kind of finding, one pure function in it.

A check takes the account and the prices, and gives a finding for each resource at fault. It takes None (not seen) for
no ground to find anything: what was not seen is told by `Account.unseen`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.findings import (
    checkpoints_kept,
    cooldown,
    flat_artifacts,
    gpu_use,
    idle,
    image_tags,
    images_unscanned,
    images_untagged,
    no_scaling,
    schedule,
    shared,
    slow_calls,
    slow_metric,
    sporadic,
    too_few_instances,
    training_checkpoints,
    training_spot,
    unversioned_artifacts,
)
from trimtab.advisor.audit.resilience import KIND as TOO_FEW
from trimtab.advisor.finding import Finding
from trimtab.advisor.prices.book import Book

Check = Callable[[Account, Book], Iterable[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    idle.find,
    no_scaling.find,
    cooldown.find,
    slow_metric.find,
    gpu_use.find,
    shared.find,
    slow_calls.find,
    sporadic.find,
    schedule.find,
    too_few_instances.find,
    training_spot.find,
    training_checkpoints.find,
    checkpoints_kept.find,
    unversioned_artifacts.find,
    flat_artifacts.find,
    images_untagged.find,
    images_unscanned.find,
    image_tags.find,
)
"""All of them, in the order in which a reader should meet them."""

KINDS: Final = frozenset({
    idle.KIND,
    no_scaling.KIND,
    cooldown.KIND,
    slow_metric.KIND,
    gpu_use.UNDERUSED,
    gpu_use.QUEUEING,
    shared.KIND,
    slow_calls.KIND,
    sporadic.KIND,
    schedule.KIND,
    TOO_FEW,
    training_spot.KIND,
    training_checkpoints.KIND,
    checkpoints_kept.KIND,
    unversioned_artifacts.KIND,
    flat_artifacts.KIND,
    images_untagged.KIND,
    images_unscanned.KIND,
    image_tags.KIND,
})  # fmt: skip
"""What they find, as the first part of a finding's id."""
