"""The HTML report: whole in one file, true to the audit, safe with what an account's owner has named things."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from trimtab.advisor.audit.report import report
from trimtab.advisor.audit.words import as_python, bill_words, endpoints_words, evidence_words, kind_words
from trimtab.advisor.finding import Audit, Call, Confidence, Finding, Fix, Risk, Unseen
from trimtab.advisor.html.bars import Bar, bars_svg, waterfall
from trimtab.advisor.html.money import usd
from trimtab.resources.cost import MICRO

CALL = Call(service="s3", operation="put_bucket_versioning", parameters={"Bucket": "b", "Nested": {"Status": "On"}})


def finding(name: str, dollars: int | None, **given: object) -> Finding:
    values: dict[str, object] = {"kind": "idle-endpoint", "resource": f"arn:{name}", "title": f"{name} is idle"}
    saves = None if dollars is None else dollars * MICRO
    return Finding(id=f"idle-endpoint/{name}", saves_micro_usd_per_month=saves, **(values | given))  # type: ignore[arg-type]


def audit(*findings: Finding, **given: object) -> Audit:
    values: dict[str, object] = {
        "account": "123456789012", "region": "us-east-1", "at_s": 1.8e9, "days": 14, "unseen": (), "endpoints": 3,
        "month_micro_usd": 5000 * MICRO,
    }  # fmt: skip
    return Audit(findings=findings, **(values | given))  # type: ignore[arg-type]


class Tags(HTMLParser):
    """Every tag with its attributes; the text between them."""

    VOID = frozenset({"meta", "rect", "line", "link", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_needs_nothing_but_itself_and_every_tag_is_closed() -> None:
    page = Tags(report(audit(finding("a", 900), finding("b", -100), finding("c", None))))
    assert page.open == []
    assert [attrs for _, attrs in page.tags if attrs.keys() & {"src", "srcset", "data-src"}] == []
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "img", "iframe"})
    assert "url(" not in page.text


def test_the_bill_is_a_waterfall_to_what_is_left() -> None:
    page = report(audit(finding("a", 900), finding("b", 300), finding("c", -100, kind="too-few-instances")))
    assert "$5,000" in page
    assert "$1,200" in page  # saved
    assert "-$1,200" in page
    assert "+$100" in page
    assert "$3,900" in page  # left


def test_two_findings_about_one_thing_count_once() -> None:
    page = report(audit(finding("a", 900), finding("a2", 500, resource="arn:a")))
    assert "$900" in page
    assert "$1,400" not in page
    assert "Not in the sum above" in page


def test_names_from_the_account_cannot_become_markup() -> None:
    evil = "<script>alert(1)</script>\"'&"
    page = Tags(
        report(
            audit(
                finding(
                    evil,
                    900,
                    evidence={"what": evil},
                    price_note=evil,
                    fix=Fix(title=evil, calls=(Call(service="s3", operation="x", parameters={"Bucket": evil}),)),
                ),
                unseen=(Unseen(what=evil, why=evil, needs=evil),),
                price_notes=(evil,),
            )
        )
    )
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count("<script>alert(1)</script>") >= 6


def test_what_was_not_seen_is_said_at_the_top_and_in_full() -> None:
    page = report(
        audit(unseen=(Unseen(what="Metrics", why="permission is missing", needs="cloudwatch:GetMetricData"),))
    )
    assert "1 thing could not be looked at" in page
    assert "cloudwatch:GetMetricData" in page
    assert "nothing that was looked at costs money" in page


def test_a_safe_fix_says_how_to_have_it_applied_and_another_does_not() -> None:
    assert "--apply idle-endpoint/a" in report(
        audit(finding("a", 1, fix=Fix(title="t", calls=(CALL,), is_safe=True), risk=Risk.NONE))
    )
    assert "--apply" not in report(audit(finding("a", 1, fix=Fix(title="t", calls=(CALL,)), confidence=Confidence.LOW)))


def test_a_call_is_written_as_a_program_that_python_takes() -> None:
    code = as_python(CALL)
    compile(code, "fix", "exec")
    calls = []

    class Client:
        def put_bucket_versioning(self, **parameters: object) -> None:
            calls.append(parameters)

    class Boto3:
        def client(self, service: str) -> Client:
            assert service == "s3"
            return Client()

    exec(code, {"boto3": Boto3()})
    assert calls == [CALL.parameters]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mean_gpu_percent", 12.44, ("mean gpu", "12.44 %")),
        ("now_usd_per_month", 1234.4, ("now", "$1,234 a month")),
        ("then_usd_per_month", 0.0004, ("then", "$0.0004 a month")),
        ("then_usd_per_month", "not known", ("then", "not known")),
        ("spot_usd_per_hour", 0.2362, ("spot", "$0.2362 an hour")),
        ("instances", 3, ("instances", "3")),
        ("instance_type", "ml.m5.large", ("instance type", "ml.m5.large")),
        ("days", 14, ("days", "14")),
        ("size_gb", 0.125, ("size", "0.125 GB")),
    ],
)
def test_evidence_is_told_with_its_unit(name: str, value: float | str, words: tuple[str, str]) -> None:
    assert evidence_words(name, value) == words


def test_a_kind_is_told_in_words() -> None:
    assert kind_words("no-scaling-policy") == "No scaling policy"


@pytest.mark.parametrize(
    ("micro", "told"),
    [(0, "$0.00"), (12_300_000, "$12.30"), (1_234_567_890, "$1,235"), (-420_000, "-$0.42"), (1200, "$0.0012"),
     (3, "$0.000003")],
)  # fmt: skip
def test_dollars_have_as_many_digits_as_say_something(micro: int, told: str) -> None:
    assert usd(micro) == told


def test_bars_lie_within_their_picture_also_where_they_go_below_zero() -> None:
    for values in ((5.0, 3.0), (-5.0, 3.0), (-2.0, -1.0), (0.0,)):
        svg = str(bars_svg("t", [Bar("name " * 20, 0.0, value, f"{value}") for value in values]))
        for x, width in re.findall(r'<rect class="\w+" x="([\d.]+)" y="\d+" width="([\d.]+)"', svg):
            assert float(x) >= 150
            assert float(x) + float(width) <= 860
    assert bars_svg("t", []) == ""


def test_a_waterfall_ends_where_its_steps_lead() -> None:
    bars = waterfall(Bar("now", 0.0, 10.0, "$10"), [("a", -4.0, "-$4"), ("b", 1.0, "+$1")], ("after", "$7"))
    assert [(bar.start, bar.end, bar.tone) for bar in bars] == [
        (0.0, 10.0, "now"), (10.0, 6.0, "less"), (6.0, 7.0, "more"), (0.0, 7.0, "after"),
    ]  # fmt: skip


def test_what_could_not_be_seen_is_not_counted_as_nothing() -> None:
    assert (bill_words(audit()), endpoints_words(audit())) == ("$5,000", "3 endpoints")
    hidden = audit(unseen=(Unseen(what="Endpoints", why="permission is missing"),), endpoints=0)
    assert (bill_words(hidden), endpoints_words(hidden)) == ("at least $5,000", "endpoints not seen")
    some = audit(unseen=(Unseen(what="Details of endpoints (8 times)", why="permission is missing"),), endpoints=1)
    assert (bill_words(some), endpoints_words(some)) == ("at least $5,000", "1 endpoint seen, others not")
    besides = audit(unseen=(Unseen(what="Tags of endpoints (8 times)", why="permission is missing"),))
    assert (bill_words(besides), endpoints_words(besides)) == ("$5,000", "3 endpoints")
    none = audit(unseen=(Unseen(what="Training jobs", why="not supported there (UnsupportedOperationException)"),))
    assert bill_words(none) == "$5,000"
    assert bill_words(audit(month_is_whole=False)) == "at least $5,000"
    page = report(hidden)
    assert "<b>at least $5,000</b>" in page
    assert "endpoints not seen" in page


def test_endpoints_that_nobody_asks_are_the_emptiest() -> None:
    used = report(audit(finding("forgotten", 336)))
    assert "How much of what is paid is used" in used
    assert "forgotten: 0 %" in used or ">0 %<" in used


def test_sentences_of_a_fix_are_wrapped_not_cut_off() -> None:
    fix = Fix(title="share them", document="Copy these artifacts below one prefix, each under a name of its own.")
    assert '<pre class="prose"><code>Copy these' in report(audit(finding("f", 1, fix=fix)))
