"""What every store must do with settings of models, as a suite: subclass it and give it a `store`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from trimtab.errors import LimitExceeded, NotFound
from trimtab.resources.hosting import ModelSetting
from trimtab.store import hosting
from trimtab.store.store import Store
from trimtab.testing.store import a_record


def a_setting(model: str = "a.tar.gz", **more: object) -> ModelSetting:
    """A pinned model."""
    return replace(ModelSetting(model=model, pinned=True, ttl_s=60.5, min_copies=1, max_copies=3), **more)


class HostingStoreSuite:
    """The promises of `store.hosting.HostingStore`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A new, empty store."""
        raise NotImplementedError("a subclass gives the store")

    def test_what_was_set_comes_back_whole_and_by_model(self, store: Store) -> None:
        store.add_endpoint(a_record(), {})
        settings = [a_setting(name) for name in ("A", "a", "b/c.tar.gz", "ü" * 512)]
        for setting in reversed(settings):
            store.hosting.save_setting("fraud", setting)
        assert list(store.hosting.settings("fraud")) == settings

    def test_setting_again_replaces_and_taking_back_is_idempotent(self, store: Store) -> None:
        store.add_endpoint(a_record(), {})
        store.hosting.save_setting("fraud", a_setting())
        store.hosting.save_setting("FRAUD", a_setting(pinned=False))
        assert list(store.hosting.settings("Fraud")) == [a_setting(pinned=False)]
        for _ in range(2):
            store.hosting.delete_setting("FRAUD", "a.tar.gz")
            assert list(store.hosting.settings("fraud")) == []

    def test_an_endpoint_takes_its_settings_with_it_and_no_others(self, store: Store) -> None:
        record = store.add_endpoint(a_record(), {})
        store.add_endpoint(a_record("other"), {})
        for name in ("fraud", "other"):
            store.hosting.save_setting(name, a_setting())
        store.remove_endpoint("fraud", revision=record.endpoint.revision)
        assert list(store.hosting.settings("fraud")) == []
        store.add_endpoint(a_record(), {})
        assert list(store.hosting.settings("fraud")) == []
        assert list(store.hosting.settings("other")) == [a_setting()]

    def test_an_endpoint_that_is_not_there_has_no_settings_and_takes_none(self, store: Store) -> None:
        assert list(store.hosting.settings("nobody")) == []
        with pytest.raises(NotFound) as caught:
            store.hosting.save_setting("nobody", a_setting())
        assert (caught.value.kind, caught.value.name) == ("endpoint", "nobody")
        with pytest.raises(NotFound):
            store.hosting.delete_setting("nobody", "a.tar.gz")

    def test_settings_are_bounded_and_those_that_there_are_can_be_replaced(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(hosting, "MAX_SETTINGS", 2)
        store.add_endpoint(a_record(), {})
        for name in ("a", "b"):
            store.hosting.save_setting("fraud", a_setting(name))
        with pytest.raises(LimitExceeded, match="settings of 2 models"):
            store.hosting.save_setting("fraud", a_setting("c"))
        store.hosting.save_setting("fraud", a_setting("b", pinned=False))
        store.hosting.delete_setting("fraud", "a")
        store.hosting.save_setting("fraud", a_setting("c"))
