"""Everything of an account that the audit looks at, read in order."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.advisor.audit.account import Account
from trimtab.advisor.audit.reading.hosting import read_endpoints
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
    return Account(
        account=(identity or {}).get("Account", ""),
        region=reader.region,
        at_s=now_s,
        days=days,
        endpoints=endpoints or (),
        unseen=reader.unseen,
    )
