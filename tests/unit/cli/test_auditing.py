"""What `trimtab audit` prints, and how `--apply` asks before it changes anything."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from rich.console import Console

from trimtab.advisor.audit.applying.change import Answer, Refused
from trimtab.advisor.finding import Audit, Call, Confidence, Finding, Fix, Risk, Unseen
from trimtab.cli.auditing.applying import applied, apply
from trimtab.cli.auditing.page import show
from trimtab.cli.render import CliError
from trimtab.resources.cost import MICRO

CALL = Call(
    service="s3",
    operation="put_bucket_versioning",
    parameters={"Bucket": "models", "VersioningConfiguration": {"Status": "Enabled"}},
)
VERSIONS = Finding(
    id="no-versioning/models",
    kind="no-versioning",
    resource="arn:aws:s3:::models",
    title="Bucket models keeps no versions",
    saves_micro_usd_per_month=0,
    risk=Risk.LOW,
    confidence=Confidence.HIGH,
    fix=Fix(title="Keep versions", calls=(CALL,), is_safe=True),
)
IDLE = Finding(
    id="idle-endpoint/old",
    kind="idle-endpoint",
    resource="arn:old",
    title="Nobody calls old",
    saves_micro_usd_per_month=420 * MICRO,
    fix=Fix(title="Delete it", calls=(Call(service="sagemaker", operation="delete_endpoint", parameters={}),)),
)
TWO = Finding(
    id="too-few-instances/pay/main",
    kind="too-few-instances",
    resource="arn:pay",
    title="pay has one instance",
    saves_micro_usd_per_month=-537 * MICRO,
)


def audit(*findings: Finding, **given: Any) -> Audit:
    values: dict[str, Any] = {
        "account": "123456789012", "region": "us-east-1", "at_s": 1.8e9, "days": 14, "unseen": (), "endpoints": 2,
        "month_micro_usd": 1000 * MICRO,
    }  # fmt: skip
    return Audit(findings=findings, **(values | given))


class Bucket:
    """A bucket whose versioning is set. `refuses`: what it denies."""

    def __init__(self, *refuses: str) -> None:
        self.status = ""
        self.refuses = refuses
        self.made = 0

    def call(self, call: Call) -> Answer:
        if call.operation in self.refuses:
            raise Refused("AccessDenied", "You may not.")
        if call.operation == "get_bucket_versioning":
            return {"Status": self.status} if self.status else {}
        self.status = call.parameters["VersioningConfiguration"]["Status"]
        self.made += 1
        return {}


class Person(io.StringIO):
    """Somebody at a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_table_tells_dollars_risk_and_which_can_be_carried_out(capsys: pytest.CaptureFixture[str]) -> None:
    show(audit(VERSIONS, TWO, IDLE))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["-$420", "-", "+$537"]
    assert lines[2].endswith("no-versioning/models *")
    assert "account 123456789012, us-east-1: 2 endpoints, $1,000 a month as it runs now; 3 findings" in lines[5]
    assert "$420 a month can be saved by 1 finding of different things" in lines
    assert "$537 a month is what the instances that are missing would cost" in lines


@pytest.mark.parametrize("columns", [80, 120, 200])
def test_an_id_is_shown_whole_however_narrow_the_terminal_is(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trimtab.cli.render.console", lambda: Console(width=columns, highlight=False))
    show(audit(VERSIONS, TWO, IDLE))
    lines = capsys.readouterr().out.splitlines()
    for finding in (VERSIONS, TWO, IDLE):
        assert any(line.rstrip(" *").endswith(f" {finding.id}") for line in lines)
    assert max(map(len, lines[:8])) <= columns


def test_what_was_not_seen_is_told_with_the_permission_that_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    unseen = Unseen(what="Metrics", why="permission is missing", needs="cloudwatch:GetMetricData")
    show(audit(unseen=(unseen,), price_notes=("ml.x: old",)))
    told = capsys.readouterr()
    assert "not seen: Metrics: permission is missing (needs cloudwatch:GetMetricData)" in told.err
    assert "price: ml.x: old" in told.err
    assert "1 thing could not be looked at" in told.out


def test_a_fix_is_shown_carried_out_and_told_how_to_undo(capsys: pytest.CaptureFixture[str]) -> None:
    bucket = Bucket()
    apply(audit(VERSIONS), [VERSIONS.id], bucket, yes=True)
    told = capsys.readouterr()
    assert bucket.status == "Enabled"
    shown, _, undo = told.out.partition("done: s3 put_bucket_versioning")
    assert "now: it never had versioning" in shown
    assert "VersioningConfiguration={'Status': 'Enabled'}" in shown
    assert "to undo it:" in undo
    assert "'Suspended'" in undo
    assert "note: Versions made until then stay" in told.err


def test_applied_again_nothing_is_changed_and_nobody_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    bucket = Bucket()
    apply(audit(VERSIONS), [VERSIONS.id], bucket, yes=True)
    apply(audit(VERSIONS), [VERSIONS.id], bucket)
    assert bucket.made == 1
    assert "nothing to change: it is so already" in capsys.readouterr().out


def test_without_an_answer_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket()
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(CliError, match="Nobody is there to ask") as caught:
        apply(audit(VERSIONS), [VERSIONS.id], bucket)
    assert "--yes" in caught.value.hint
    assert bucket.made == 0


@pytest.mark.parametrize(("said", "made"), [("y\n", 1), ("n\n", 0), ("\n", 0)])
def test_a_person_is_asked(monkeypatch: pytest.MonkeyPatch, said: str, made: int) -> None:
    bucket = Bucket()
    monkeypatch.setattr(sys, "stdin", Person(said))
    if made:
        apply(audit(VERSIONS), [VERSIONS.id], bucket)
    else:
        with pytest.raises(CliError, match="Nothing was changed"):
            apply(audit(VERSIONS), [VERSIONS.id], bucket)
    assert bucket.made == made


def test_a_finding_that_there_is_not_is_an_error_that_names_those_that_there_are() -> None:
    with pytest.raises(CliError, match="finds no 'no-versioning/modles'") as caught:
        apply(audit(VERSIONS, IDLE), ["no-versioning/modles"], Bucket(), yes=True)
    assert caught.value.hint == "There are no-versioning/models."


def test_an_id_that_begins_with_no_kind_of_finding_is_a_slip_and_not_a_thing_that_is_mended() -> None:
    with pytest.raises(CliError, match="'no-version/models'") as caught:
        apply(audit(VERSIONS), ["no-version/models"], Bucket(), yes=True, looked_at=("models",))
    assert "no-versioning" in caught.value.hint


def test_what_was_mended_meanwhile_is_no_error_and_the_rest_is_carried_out(capsys: pytest.CaptureFixture[str]) -> None:
    bucket = Bucket()
    ids = ["no-versioning/other", "gpu-underused/pay/main", VERSIONS.id]
    apply(audit(VERSIONS), ids, bucket, yes=True, looked_at=("other", "pay"))
    assert "the audit does not find no-versioning/other (any more)" in capsys.readouterr().out
    assert bucket.made == 1


def test_all_names_are_checked_before_anything_is_changed() -> None:
    bucket = Bucket()
    with pytest.raises(CliError):
        apply(audit(VERSIONS), [VERSIONS.id, "nothing/of-the-kind"], bucket, yes=True)
    assert bucket.made == 0


def test_a_refusal_is_told_with_what_to_do_next() -> None:
    with pytest.raises(CliError, match="put_bucket_versioning was refused: AccessDenied: You may not.") as caught:
        apply(audit(VERSIONS), [VERSIONS.id], Bucket("put_bucket_versioning"), yes=True)
    assert "Applying again goes on from there" in caught.value.hint
    with pytest.raises(CliError, match="what is there now cannot be seen"):
        apply(audit(VERSIONS), [VERSIONS.id], Bucket("get_bucket_versioning"), yes=True)


def test_a_program_is_told_what_was_there_what_was_called_and_how_to_undo_it() -> None:
    bucket = Bucket()
    document = applied(audit(VERSIONS), [VERSIONS.id], bucket)
    (one,) = document["applied"]
    assert one["id"] == VERSIONS.id
    (change,) = one["changes"]
    assert change["before"] == "it never had versioning"
    assert change["call"]["operation"] == "put_bucket_versioning"
    assert (change["failed"], change["is_seen"]) == ("", True)
    assert one["undo"][0]["parameters"]["VersioningConfiguration"] == {"Status": "Suspended"}
    assert bucket.made == 1
    json.dumps(document)

    again = applied(audit(VERSIONS), [VERSIONS.id], bucket)  # it is so already
    assert again == {"applied": [{"id": VERSIONS.id, "failed": "", "changes": [], "undo": []}]}
    mended = applied(audit(), [VERSIONS.id], bucket, looked_at=["models"])
    assert mended == again
    assert bucket.made == 1


def test_a_program_is_told_of_a_refusal() -> None:
    (one,) = applied(audit(VERSIONS), [VERSIONS.id], Bucket("put_bucket_versioning"))["applied"]
    assert one["failed"] == one["changes"][0]["failed"] == "AccessDenied: You may not."
    assert one["undo"] == []
