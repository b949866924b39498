"""Everything of an account that the audit looks at, read in order."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.reading.buckets import read_buckets, used
from trimtab.advisor.audit.reading.hosting import read_endpoints
from trimtab.advisor.audit.reading.images import read_repositories
from trimtab.advisor.audit.reading.jobs import read_training, read_transforms
from trimtab.advisor.audit.reading.login import Login
from trimtab.advisor.audit.reading.reader import Reader

Progress = Callable[[str], None]


def read_account(login: Login, *, days: int, now_s: float, progress: Progress = lambda step: None) -> Account:
    """One look at the account that `login` is of. Each subject is read by a file of its own beside this one.

    Invalid: there is nothing to log in with.
    """
    reader = Reader(login)
    progress("endpoints")
    identity = reader.call("sts", "get_caller_identity", "The account's number")
    endpoints = read_endpoints(reader)
    progress("jobs")
    training = read_training(reader, days=days, now_s=now_s)
    transforms = read_transforms(reader, days=days, now_s=now_s)
    progress("buckets")
    buckets = read_buckets(reader, used(endpoints or (), training or ()), now_s=now_s)
    progress("images")
    repositories = read_repositories(reader)
    return Account(
        account=(identity or {}).get("Account", ""),
        region=reader.region,
        at_s=now_s,
        days=days,
        endpoints=endpoints or (),
        training=training,
        transforms=transforms,
        buckets=buckets,
        repositories=repositories,
        unseen=reader.unseen,
    )
