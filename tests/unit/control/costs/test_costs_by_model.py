"""Costs by model: also of variants that have one model, whose name only their declaration tells."""

from __future__ import annotations

from trimtab.control.costs.asking import CostBook, CostQuery
from trimtab.control.costs.only_models import only_model
from trimtab.errors import NotFound
from trimtab.policies.costs.cells import CellKey
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Container, Model
from trimtab.testing.costs import LedgerWorld


class Told:
    """What was declared."""

    def __init__(self, *models: Model) -> None:
        self.models = {model.name: model for model in models}

    def get_model(self, name: str) -> Model:
        if name not in self.models:
            raise NotFound("model", name)
        return self.models[name]

    def get_endpoint_config(self, name: str) -> EndpointConfig:
        if name == "gone":
            raise NotFound("endpoint config", name)
        return EndpointConfig(name=name, created_s=0.0, variants=(VariantSpec(name="main", model_name="scorer"),))


def a_model(*, multi_model: bool = False) -> Model:
    return Model(name="scorer", created_s=0.0, containers=(Container(multi_model=multi_model),))


def test_a_variant_has_the_model_that_its_config_names_while_that_is_known() -> None:
    of = only_model(Told(a_model()))
    assert of("v1", "main") == "scorer"
    assert of("v1", "other") == ""
    assert of("gone", "main") == ""
    assert only_model(Told())("v1", "main") == ""
    assert only_model(Told(a_model(multi_model=True)))("v1", "main") == ""


async def test_what_a_variant_of_one_model_costs_is_told_by_its_name() -> None:
    world = LedgerWorld()
    world.ready()
    world.passes(20)
    world.settle()
    book = CostBook(world.ledger, world.store, world.clock, lambda version, variant: f"model of {version}/{variant}")
    (key,) = world.cells()
    assert isinstance(key, CellKey)
    (row,) = (await book.report(CostQuery(by=("model",)))).rows
    assert row.of == {"model": f"model of {key.version}/{key.variant}"}
    assert row.micro_usd == world.spent()
