"""docs/operations.md says what is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.aws import operations
from trimtab.aws.operations import LISTED, Support, declarations, differences, page, table
from trimtab.aws.registry import Declaration
from trimtab.aws.services import load

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"


def test_the_page_is_what_the_handlers_declare() -> None:
    assert PAGE.read_text() == page(table(declarations())), "run: python -m trimtab.aws.operations"


def test_every_operation_of_every_listed_service_has_a_row() -> None:
    rows = table([])
    assert {row.service for row in rows} == set(LISTED)
    assert len(rows) == sum(len(load(service, ()).names) for service in LISTED)
    assert {row.support for row in rows} == {Support.NOT_SUPPORTED}


def test_a_declaration_with_something_missing_is_partly() -> None:
    rows = table(
        [
            Declaration(service="sts", operation="GetCallerIdentity"),
            Declaration(service="iam", operation="GetRole", missing="a | b\nc"),
        ]
    )
    support = {row.operation: row.support for row in rows if row.support is not Support.NOT_SUPPORTED}
    assert support == {"GetCallerIdentity": Support.WORKS, "GetRole": Support.PARTLY}
    assert "| GetRole | partly | a \\| b c |" in page(rows)


def test_a_misspelt_operation_is_found() -> None:
    with pytest.raises(ValueError, match="CreateModle"):
        table([Declaration(service="sagemaker", operation="CreateModle")])


def test_the_control_plane_of_endpoints_is_declared() -> None:
    declared = {d.operation for d in declarations() if d.service == "sagemaker"}
    assert {"CreateModel", "CreateEndpointConfig", "CreateEndpoint", "UpdateEndpoint", "DescribeEndpoint"} <= declared


def test_what_is_declared_and_what_is_registered_are_compared() -> None:
    handlers: dict[str, dict[str, Any]] = {}
    for declaration in declarations():
        if declaration.service != "sagemaker-runtime":
            handlers.setdefault(declaration.service, {})[declaration.operation] = print
    assert differences(handlers) == []
    handlers["sts"] = {"GetSessionToken": print}
    assert differences(handlers) == [
        "sts:GetCallerIdentity is declared, but not registered",
        "sts:GetSessionToken is registered, but not declared",
    ]


def test_the_page_is_written_from_the_root_of_a_repository_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="no folder docs/"):
        operations.main()
    (tmp_path / "docs").mkdir()
    operations.main()
    assert (tmp_path / "docs" / "operations.md").read_text().startswith("# Supported operations")
    assert capsys.readouterr().out == "docs/operations.md\n"
