"""Training jobs by family, as the findings about training look at them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction

from msgspec import Struct

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.jobs import TrainingJob
from trimtab.advisor.audit.money import Money, instances_month
from trimtab.advisor.prices.book import Book


class Family(Struct, frozen=True):
    """Runs of the same training: jobs whose names differ in dates and numbers alone, on one instance type."""

    name: str
    jobs: tuple[TrainingJob, ...]  # the newest first

    @property
    def newest(self) -> TrainingJob:
        """What the next run will look like."""
        return self.jobs[0]

    @property
    def billed_s(self) -> float:
        """Instance-seconds that were paid for."""
        return sum(job.billable_s * job.instance_count for job in self.jobs)


def families(jobs: Iterable[TrainingJob]) -> list[Family]:
    """All of them, by name."""
    found: dict[tuple[str, str], list[TrainingJob]] = defaultdict(list)
    for job in jobs:
        found[job.family, job.instance_type].append(job)
    return [
        Family(name, tuple(sorted(runs, key=lambda job: -job.created_s))) for (name, _), runs in sorted(found.items())
    ]


def month(family: Family, account: Account, book: Book) -> Money:
    """What its runs cost a month, if it goes on as in the days that were looked at."""
    instances = Fraction(family.billed_s) / (account.days * 86_400)
    return instances_month(
        book, family.newest.instance_type, instances, region=account.region, at_s=account.at_s, use="training"
    )
