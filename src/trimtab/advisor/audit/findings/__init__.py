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
    flat_artifacts,
    image_tags,
    images_unscanned,
    images_untagged,
    no_scaling,
    too_few_instances,
    training_checkpoints,
    training_spot,
    unversioned_artifacts,
)
from trimtab.advisor.audit.money import Prices
from trimtab.advisor.finding import Finding

Check = Callable[[Account, Prices], Iterable[Finding]]

CHECKS: Final[tuple[Check, ...]] = (
    no_scaling.find,
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
