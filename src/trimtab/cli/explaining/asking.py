"""What `trimtab explain` asks a trimtab: the decisions of one endpoint's scaling, and what happened to its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trimtab.aws.client import CallFailed, Client
from trimtab.cli.explaining.model_story import ModelTold, model_story
from trimtab.cli.explaining.story import Told, story
from trimtab.cli.hosting.prices import VariantPrices, prices_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_EVENTS = 1000  # of models: the newest


class Asked:
    """One endpoint, and what of it is wanted. With `model` only what happened to that one."""

    def __init__(self, client: Client, name: str, *, variant: str = "", model: str = "", made: bool = False) -> None:
        self._client = client
        self._name = name
        self._variant = {"variant": variant} if variant else {}
        self._model = model
        self._made = made
        self._prices: VariantPrices | None = None

    def about(self) -> dict[str, Any]:
        """Targets, policies and the newest activities."""
        return self._client.get(f"endpoints/{self._name}/scaling/activities", **self._variant, limit="1000")

    def decisions(self, about: Mapping[str, Any], start_s: float, end_s: float) -> list[Told]:
        """Those of scaling, with what became of them."""
        if self._model:
            return []
        path, span = f"endpoints/{self._name}/scaling", {"start": repr(start_s), "end": repr(end_s)}
        lines = self._client.lines(path, **self._variant, **span, only="decisions")
        told = story(lines, about["activities"], self._endpoint())
        return [one for one in told if one.at_s >= start_s and (one.made or not self._made)]

    def models(self, start_s: float, end_s: float) -> list[ModelTold]:
        """Loads, unloads and failures; none of an endpoint that holds one model, or is no more."""
        query = {"since": repr(start_s), "last": str(_MOST_EVENTS)}
        if self._model:
            query["model"] = self._model
        try:
            found = self._client.get(f"endpoints/{self._name}/models/events", **query)["events"]
        except CallFailed as error:
            if self._model or error.code not in ("Invalid", "NotFound"):
                raise
            return []
        wanted = self._variant.get("variant", "")
        told = model_story(found, self._priced() if found else VariantPrices(), start_s, end_s)
        return [one for one in told if not wanted or one.variant == wanted]

    def queue(self) -> dict[str, Any] | None:
        """How the queue of an asynchronous endpoint is now; None of any other, or while it cannot be had."""
        try:
            return self._client.get(f"endpoints/{self._name}/queue")
        except CallFailed as error:
            if error.code not in ("Invalid", "NotFound", "Unavailable"):
                raise
            return None

    def _endpoint(self) -> dict[str, Any]:
        try:
            return self._client.get(f"endpoints/{self._name}")
        except CallFailed as error:
            if error.code != "NotFound":
                raise
            return {}  # it is no more; what was decided of it is still known

    def _priced(self) -> VariantPrices:
        if self._prices is None:
            self._prices = prices_of(self._client, self._name)
        return self._prices
