"""How handlers declare themselves."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from trimtab.aws.registry import AwsError, Call, Declaration, declarations_of, handlers_of, merge, operation


class Things:
    @operation("sagemaker", "CreateModel", missing="half of it")
    async def create(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        return {"of": self}

    @operation("sagemaker", "DeleteModel")
    def delete(self, call: Call, params: dict[str, Any]) -> dict[str, Any]:
        return {}

    def helper(self) -> None: ...


def test_an_instances_declared_methods_are_its_handlers() -> None:
    things = Things()
    handlers = handlers_of(things)
    assert handlers == {"sagemaker": {"CreateModel": things.create, "DeleteModel": things.delete}}


def test_declarations_can_be_read_without_an_instance() -> None:
    expected = [
        Declaration(service="sagemaker", operation="CreateModel", missing="half of it"),
        Declaration(service="sagemaker", operation="DeleteModel"),
    ]
    assert declarations_of(Things) == expected


def test_a_modules_functions_and_own_classes_are_found() -> None:
    module = ModuleType("things")

    @operation("sts", "GetCallerIdentity")
    def who(call: Call, params: dict[str, Any]) -> dict[str, Any]:
        return {}

    module.who = who  # type: ignore[attr-defined]
    module.Things = Things  # type: ignore[attr-defined] # of another module: not this one's
    assert handlers_of(module) == {"sts": {"GetCallerIdentity": who}}
    assert [d.operation for d in declarations_of(module)] == ["GetCallerIdentity"]


def test_two_handlers_of_one_operation_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="sagemaker:CreateModel has two handlers"):
        merge(handlers_of(Things()), handlers_of(Things()))
    assert merge({}, handlers_of(Things())).keys() == {"sagemaker"}


def test_an_aws_error_says_its_code_when_there_is_nothing_more_to_say() -> None:
    assert str(AwsError("NoSuchKey")) == "NoSuchKey"
    assert AwsError("NoSuchKey", status=404, extra={"Key": "k"}).extra == {"Key": "k"}
