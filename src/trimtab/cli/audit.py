"""`trimtab audit`: what an AWS account pays for inference without need, with evidence, dollars and the fix."""

from __future__ import annotations

import re
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from trimtab.cli.files import must_be_writable
from trimtab.cli.options import AsJson
from trimtab.cli.render import CliError, emit, emit_json, say
from trimtab.files import write_whole

if TYPE_CHECKING:
    from trimtab.advisor.audit.account import Account
    from trimtab.advisor.finding import Audit

_THROTTLED: Final = "note: calls are throttled: each is tried up to ten times, with growing pauses, which takes minutes"
_NUMBERS: Final = re.compile(r"\[\s+(-?\d[^\[\]{}\"]*?)\s+\]")


def audit(
    profile: Annotated[str, typer.Option(help="The AWS profile to read with.", show_default="as AWS has it")] = "",
    region: Annotated[str, typer.Option(help="The region to look at.", show_default="the profile's")] = "",
    days: Annotated[int, typer.Option(help="How many days of metrics to look at: 1 to 15.")] = 14,
    resilient: Annotated[
        list[str] | None,
        typer.Option(
            "--resilient",
            metavar="PATTERN",
            help="Endpoints that must have two instances, beside those tagged as production. May be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Write a report with charts.", show_default=False)] = None,
    policy: Annotated[
        bool, typer.Option("--policy", help="Print the least IAM policy that an audit needs, and end.")
    ] = False,
    ids: Annotated[
        list[str] | None,
        typer.Option("--apply", metavar="ID", help="Carry out a finding's fix. May be repeated.", show_default=False),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="With --apply: do not ask.")] = False,
) -> None:
    """Read an AWS account (or trimtab) and find what is paid for and not needed, or not safe. Changes nothing.

    Reads endpoints with their metrics of some days, scaling, jobs, buckets and images, with AWS's usual credentials;
    AWS_ENDPOINT_URL names another place. What may not be seen is said, never counted as fine. --apply alone changes
    something: it shows the calls of fixes that can be undone, asks, makes them, and says how to undo them.
    """
    if policy:
        from trimtab.advisor.audit.reading.permissions import policy as least

        emit_json(least())
        return
    if yes and not ids:
        raise CliError("--yes goes with --apply.")
    if ids and as_json:
        raise CliError(
            "--json is of an audit; --apply tells what it changes in words.",
            "`trimtab audit --json` has each finding's calls, for a program to make.",
        )
    if html is not None:
        must_be_writable(html)
    found, account = _read(profile, region, days, tuple(resilient or ()))
    for pattern in resilient or ():
        if not any(fnmatchcase(endpoint.name, pattern) for endpoint in account.endpoints):
            say(f"note: --resilient {pattern}: no endpoint has such a name")
    if html is not None:
        from trimtab.advisor.audit.report import report

        write_whole(html, report(found))
        say(f"the report is in {html}")
    if ids:
        _apply(found, account, ids, profile, region, yes=yes)
    elif as_json:
        emit(as_text(found))
    else:
        from trimtab.cli.auditing.page import show

        show(found)


def _read(profile: str, region: str, days: int, resilient: tuple[str, ...]) -> tuple[Audit, Account]:
    from msgspec.structs import replace

    from trimtab.advisor.audit.auditing import audited
    from trimtab.advisor.audit.reading.account import read_account
    from trimtab.advisor.audit.reading.login import Login
    from trimtab.advisor.prices.book import book
    from trimtab.cli.progress import Progress

    prices = book()  # before anything is read: what is wrong with the user's own file is told at once
    with Progress() as progress:
        login = Login(profile=profile, region=region, on_throttled=lambda: progress.done(_THROTTLED))
        account = read_account(
            login, days=days, now_s=time.time(), progress=lambda step: progress.step(f"reading {step}")
        )
    account = replace(account, resilient=resilient)
    return audited(account, prices), account


def _apply(found: Audit, account: Account, ids: list[str], profile: str, region: str, *, yes: bool) -> None:
    from trimtab.advisor.audit.account import names
    from trimtab.advisor.audit.applying.caller import AccountCaller
    from trimtab.advisor.audit.reading.login import Login
    from trimtab.cli.auditing.applying import apply

    caller = AccountCaller(Login(profile=profile, region=region))
    apply(found, ids, caller, yes=yes, looked_at=names(account))


def as_text(found: Audit) -> str:
    """JSON, indented; rows of numbers (requests over time) on one line each."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    return _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
