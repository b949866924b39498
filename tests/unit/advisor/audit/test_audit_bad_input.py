"""What an audit makes of an account that hides things, throttles, or has what nobody knows a price of."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import numpy as np
import pytest
from msgspec.structs import replace

from trimtab.advisor.audit.account import Account, Endpoint
from trimtab.advisor.audit.auditing import audited
from trimtab.advisor.audit.reading.account import read_account
from trimtab.advisor.audit.reading.buckets import read_buckets, used
from trimtab.advisor.audit.reading.identity import account_number
from trimtab.advisor.audit.reading.login import Login, is_aws
from trimtab.advisor.audit.reading.permissions import PERMISSIONS
from trimtab.advisor.audit.reading.reader import Reader
from trimtab.advisor.audit.series import Series
from trimtab.advisor.finding import Audit
from trimtab.advisor.prices.book import aws_list
from trimtab.errors import Unavailable
from trimtab.testing.account import CASES, expected, populate
from trimtab.testing.account_stores import ACCOUNT, PRODUCTION, REGION, aged, populate_stores, quick
from trimtab.testing.account_view import account_of
from trimtab.testing.aws_server import AwsServer, aws_server

DAYS = 8
SOME = tuple(
    case for case in CASES if case.name in ("pricing", "search", "vision", "forgotten", "risk-eu", "risk-us", "scans")
)
OPERATIONS = {  # where an operation's name is not its action's
    "s3:ListBucket": "ListObjectsV2",
    "s3:GetLifecycleConfiguration": "GetBucketLifecycleConfiguration",
}


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AwsServer]:
    """Endpoints, jobs, buckets and images with faults."""
    nowhere = str(tmp_path_factory.mktemp("aws") / "none")
    with pytest.MonkeyPatch.context() as patch, aws_server() as running:
        for name, value in {
            "AWS_CONFIG_FILE": nowhere,
            "AWS_SHARED_CREDENTIALS_FILE": nowhere,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": running.url,
        }.items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        clients: Callable[[str], Any] = cache(boto3.client)
        populate_stores(clients)
        populate(quick(clients), time.time(), days=DAYS, cases=(*SOME, *PRODUCTION))
        aged(ACCOUNT, REGION, time.time())
        yield running
        login.cache_clear()
        gc.collect()  # connections of clients


@pytest.fixture
def server(populated: AwsServer) -> Iterator[AwsServer]:
    """The same, with everything allowed again afterwards."""
    yield populated
    populated.denied.clear()
    populated.throttle_every = 0


@cache
def login() -> Login:
    return Login(attempts=2)


def read(by: Login | None = None) -> Audit:
    return audited(read_account(by or login(), days=DAYS, now_s=time.time()), aws_list())


@pytest.fixture(scope="module")
def whole(populated: AwsServer) -> Audit:
    """With everything to be seen."""
    return read()


@pytest.mark.parametrize("action", sorted(PERMISSIONS))
def test_whichever_permission_is_missing_it_is_named_and_nothing_is_found_for_want_of_it(
    server: AwsServer, whole: Audit, action: str
) -> None:
    server.denied.add(OPERATIONS.get(action, action.partition(":")[2]))
    blind = read()
    if action in ("cloudwatch:DescribeAlarms", "sagemaker:DescribeTransformJob"):
        assert blind.unseen == whole.unseen  # there is nothing to ask about: no custom metric, no such job
    else:
        assert action in {unseen.needs for unseen in blind.unseen}
    assert {finding.id for finding in blind.findings} <= {finding.id for finding in whole.findings}


def test_an_account_that_throttles_without_end_is_said_to_and_not_taken_for_an_empty_one(server: AwsServer) -> None:
    server.throttle_every = 1
    blind = read(Login(attempts=2))  # whose clients go slowly from then on
    assert "Endpoints" in {unseen.what for unseen in blind.unseen}
    assert all("throttled" in unseen.why for unseen in blind.unseen)
    assert blind.findings == ()


def test_s3_throttles_in_words_of_its_own(server: AwsServer) -> None:
    account = read_account(login(), days=DAYS, now_s=time.time())
    reader = Reader(Login(attempts=2))
    server.throttle_every = 1
    assert read_buckets(reader, used(account.endpoints, ()), now_s=time.time())[0].versioning is None
    assert {unseen.why.partition(",")[0] for unseen in reader.unseen} == {"throttled"}


def test_a_region_that_no_list_of_prices_has_is_said_beside_every_figure() -> None:
    account = replace(account_of(), region="moon-north-1")
    audit = audited(account, aws_list())
    priced = [finding for finding in audit.findings if finding.saves_micro_usd_per_month]
    assert priced
    assert all("moon-north-1" in finding.price_note for finding in priced)
    assert any("moon-north-1" in note for note in audit.price_notes)


def test_prices_that_are_old_are_said_to_be_beside_every_figure_that_rests_on_them() -> None:
    later = account_of(now_s=2_000_000_000.0)  # 2033
    audit = audited(later, aws_list())
    priced = [finding for finding in audit.findings if finding.saves_micro_usd_per_month]
    assert priced
    assert all("days ago: it may have changed" in finding.price_note for finding in priced)
    assert all("days ago: it may have changed" in note for note in audit.price_notes)


@pytest.mark.parametrize("lost", [0.02, 0.2])
def test_metrics_with_gaps_flag_no_clean_twin_and_hide_no_fault_that_they_still_show(lost: float) -> None:
    random = np.random.default_rng(7)
    account = _changed(account_of(), lambda series: _holed(series, random, lost))
    found = {
        (resource.rpartition("/")[2], finding.kind)
        for finding in audited(account, aws_list()).findings
        for resource in finding.covers or (finding.resource,)
    }
    assert found <= set(expected().items())
    missed = {name for name, _ in set(expected().items()) - found}
    assert missed <= {"tickets"}  # whose minutes, few of them spikes, are what gaps take


def test_a_day_without_any_metrics_is_no_schedule_and_no_idleness() -> None:
    def silent(series: Series) -> Series:
        values = series.values.copy()
        values[-round(86_400 / series.period_s) :] = np.nan
        return Series(series.start_s, series.period_s, values)

    twins = tuple(case for case in CASES if not case.fault)
    assert audited(_changed(account_of(*twins), silent), aws_list()).findings == ()


@pytest.mark.parametrize(
    ("url", "is_awss"),
    [
        ("https://monitoring.us-east-1.amazonaws.com", True),
        ("https://monitoring.cn-north-1.amazonaws.com.cn", True),
        ("https://monitoring.eu-west-1.api.aws", True),
        ("http://127.0.0.1:7070", False),
        ("https://trimtab.example.com/amazonaws.com", False),
        ("https://amazonaws.example.com", False),
    ],
)
def test_only_aws_is_not_asked_for_metrics_that_trimtab_alone_has(url: str, is_awss: bool) -> None:
    assert is_aws(url) == is_awss


def _changed(account: Account, change: Callable[[Series], Series]) -> Account:
    return replace(account, endpoints=tuple(_with(endpoint, change) for endpoint in account.endpoints))


def _with(endpoint: Endpoint, change: Callable[[Series], Series]) -> Endpoint:
    variants = tuple(
        replace(
            variant,
            metrics={measure: change(series) for measure, series in (variant.metrics or {}).items()},
            minutes=change(variant.minutes) if variant.minutes is not None else None,
        )
        for variant in endpoint.variants
    )
    return replace(endpoint, variants=variants)


def _holed(series: Series, random: np.random.Generator, lost: float) -> Series:
    values = series.values.copy()
    values[random.random(len(values)) < lost] = np.nan
    return Series(series.start_s, series.period_s, values)


def test_a_page_that_asks_to_log_in_is_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = b"<html>log in</html>"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(Unavailable, match="does not speak as AWS does"):
            account_number(Login())
        server.shutdown()
    gc.collect()  # botocore's connections go with their client
