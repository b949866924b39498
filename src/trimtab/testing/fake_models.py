"""A ModelsApi in memory."""

from __future__ import annotations

from collections.abc import Sequence

from trimtab.control.hosts.api import HostView, ModelCount, PastEvent
from trimtab.errors import Invalid, NotFound
from trimtab.policies.models.settings import check_setting
from trimtab.resources.hosting import ModelSetting


class FakeModels:
    """Implements `ModelsApi`: of the endpoint `many`; `fraud` is one that holds one model a replica."""

    def __init__(self) -> None:
        self.held_hosts: list[HostView] = []
        self.held_counts: list[ModelCount] = []
        self.held_events: list[PastEvent] = []
        self.held_settings: dict[str, ModelSetting] = {}

    def hosts(self, endpoint: str) -> Sequence[HostView]:
        """See ModelsApi."""
        self._check(endpoint)
        return self.held_hosts

    async def counts(self, endpoint: str) -> Sequence[ModelCount]:
        """See ModelsApi."""
        self._check(endpoint)
        return self.held_counts

    async def events(
        self, endpoint: str, *, model: str = "", since_s: float = 0.0, last: int = 1000
    ) -> Sequence[PastEvent]:
        """See ModelsApi."""
        self._check(endpoint)
        found = [one for one in self.held_events if one.event.at_s >= since_s and model in ("", one.event.model)]
        return found[-last:]

    def settings(self, endpoint: str) -> Sequence[ModelSetting]:
        """See ModelsApi."""
        self._check(endpoint)
        return [self.held_settings[model] for model in sorted(self.held_settings)]

    def set(self, endpoint: str, setting: ModelSetting) -> None:
        """See ModelsApi."""
        self._check(endpoint)
        check_setting(setting)
        self.held_settings[setting.model] = setting

    def unset(self, endpoint: str, model: str) -> None:
        """See ModelsApi."""
        self._check(endpoint)
        self.held_settings.pop(model, None)

    @staticmethod
    def _check(endpoint: str) -> None:
        if endpoint == "fraud":
            raise Invalid("The endpoint 'fraud' is not a multi-model endpoint: each of its replicas holds one model.")
        if endpoint != "many":
            raise NotFound("endpoint", endpoint)
