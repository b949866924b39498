"""What every store must do, as a suite: subclass it and give it a `store` fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from trimtab.errors import AlreadyExists, NotFound
from trimtab.resources.deployment import EndpointRecord
from trimtab.resources.endpoint import Endpoint, EndpointStatus, Event, VariantState
from trimtab.resources.endpoint_config import EndpointConfig, VariantSpec
from trimtab.resources.model import Artifact, Container, Model
from trimtab.store.store import EVENTS_KEPT, Stale, Store


def a_model(name: str = "fraud") -> Model:
    """A model with one container."""
    artifact = Artifact(url="s3://bucket/model.tar.gz")
    return Model(
        name=name,
        created_s=1.5,
        containers=(Container(image="trimtab://python", artifact=artifact, environment={"A": "1"}),),
        document={"ModelName": name, "Deep": [{"x": 1}]},
    )


def a_config(name: str = "fraud-1", *, model: str = "fraud", count: int = 1, variant: str = "main") -> EndpointConfig:
    """A config with one variant."""
    spec = VariantSpec(name=variant, model_name=model, initial_count=count)
    return EndpointConfig(name=name, created_s=2.5, variants=(spec,), document={"EndpointConfigName": name})


def a_record(name: str = "fraud") -> EndpointRecord:
    """An endpoint that nothing serves yet."""
    return EndpointRecord(
        uid="abc",
        endpoint=Endpoint(
            name=name,
            created_s=3.0,
            modified_s=3.0,
            status=EndpointStatus.CREATING,
            config_name="fraud-1",
            variants=(VariantState(name="main", desired_count=1, desired_weight=1.0),),
        ),
    )


class StoreSuite:
    """The promises of `store.store.Store`."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        """A new, empty store."""
        raise NotImplementedError("a subclass gives the store")

    def test_endpoints_are_listed_as_they_were_written_last(self, store: Store) -> None:
        first = store.add_endpoint(a_record("one"), {})
        store.add_endpoint(a_record("two"), {})
        assert {record.endpoint.name for record in store.list_endpoints()} == {"one", "two"}
        changed = replace(first, endpoint=replace(first.endpoint, failure_reason="changed"))
        saved = store.save_endpoint(changed)
        assert saved in store.list_endpoints()
        store.remove_endpoint("one", revision=saved.endpoint.revision)
        assert [record.endpoint.name for record in store.list_endpoints()] == ["two"]

    def test_an_endpoint_that_was_made_anew_is_not_taken_for_the_one_before(self, store: Store) -> None:
        old = store.add_endpoint(a_record("one"), {})
        assert list(store.list_endpoints()) == [old]
        store.remove_endpoint("one", revision=old.endpoint.revision)
        new = store.add_endpoint(replace(a_record("one"), uid="another"), {})
        assert new.endpoint.revision == old.endpoint.revision
        assert list(store.list_endpoints()) == [new]

    def test_the_last_events_can_be_had_alone(self, store: Store) -> None:
        store.add_endpoint(a_record(), {}, [Event(at_s=1.0, what=str(number)) for number in range(5)])
        assert [event.what for event in store.list_events("fraud", last=2)] == ["3", "4"]
        assert list(store.list_events("fraud", last=0)) == []

    def test_what_was_added_comes_back_whole(self, store: Store) -> None:
        store.add_model(a_model(), {})
        store.add_config(a_config(), {})
        added = store.add_endpoint(a_record(), {})
        assert store.get_model("fraud") == a_model()
        assert store.get_config("fraud-1") == a_config()
        assert store.get_endpoint("fraud") == added
        assert list(store.list_models()) == [a_model()]
        assert list(store.list_configs()) == [a_config()]
        assert list(store.list_endpoints()) == [added]

    def test_names_are_found_and_unique_without_regard_to_case(self, store: Store) -> None:
        store.add_model(a_model("Fraud"), {})
        store.add_config(a_config("Fraud-1"), {})
        store.add_endpoint(a_record("Fraud"), {})
        assert store.get_model("FRAUD").name == "Fraud"
        assert store.get_config("fraud-1").name == "Fraud-1"
        assert store.get_endpoint("fraud").endpoint.name == "Fraud"
        with pytest.raises(AlreadyExists):
            store.add_model(a_model("fraud"), {})
        with pytest.raises(AlreadyExists):
            store.add_config(a_config("fraud-1"), {})
        with pytest.raises(AlreadyExists):
            store.add_endpoint(a_record("FRAUD"), {})

    def test_what_is_not_there_is_named(self, store: Store) -> None:
        for look, kind in (
            (store.get_model, "model"),
            (store.get_config, "endpoint-config"),
            (store.get_endpoint, "endpoint"),
            (store.delete_model, "model"),
            (store.delete_config, "endpoint-config"),
        ):
            with pytest.raises(NotFound) as caught:
                look("nobody")
            assert (caught.value.kind, caught.value.name) == (kind, "nobody")

    def test_what_was_deleted_is_gone_and_its_name_is_free(self, store: Store) -> None:
        store.add_model(a_model(), {"team": "risk"})
        store.delete_model("FRAUD")
        with pytest.raises(NotFound):
            store.get_model("fraud")
        store.add_model(a_model(), {})
        assert store.get_tags("model", "fraud") == {}

    def test_a_refused_add_changes_nothing(self, store: Store) -> None:
        store.add_endpoint(a_record(), {"a": "1"}, [Event(at_s=1.0, what="first")])
        with pytest.raises(AlreadyExists):
            store.add_endpoint(a_record(), {"b": "2"}, [Event(at_s=2.0, what="second")])
        assert store.get_tags("endpoint", "fraud") == {"a": "1"}
        assert [event.what for event in store.list_events("fraud")] == ["first"]

    def test_each_save_moves_the_revision_on(self, store: Store) -> None:
        first = store.add_endpoint(a_record(), {})
        second = store.save_endpoint(replace(first, generations=7))
        assert second.endpoint.revision > first.endpoint.revision
        assert store.get_endpoint("fraud") == second

    def test_a_lazy_save_is_seen_and_fenced_as_any_other(self, store: Store) -> None:
        first = store.add_endpoint(a_record(), {})
        second = store.save_endpoint(replace(first, generations=7), [Event(at_s=1.0, what="scaled")], lazily=True)
        assert store.get_endpoint("fraud") == second
        assert [event.what for event in store.list_events("fraud")] == ["scaled"]
        for lazily in (True, False):
            with pytest.raises(Stale):
                store.save_endpoint(first, lazily=lazily)
        third = store.save_endpoint(second)
        assert store.get_endpoint("fraud") == third

    def test_a_stale_save_changes_nothing(self, store: Store) -> None:
        first = store.add_endpoint(a_record(), {})
        second = store.save_endpoint(replace(first, generations=7))
        with pytest.raises(Stale):
            store.save_endpoint(replace(first, generations=8), [Event(at_s=1.0, what="never")])
        assert store.get_endpoint("fraud") == second
        assert list(store.list_events("fraud")) == []

    def test_a_save_after_the_removal_is_stale(self, store: Store) -> None:
        first = store.add_endpoint(a_record(), {})
        store.remove_endpoint("fraud", revision=first.endpoint.revision)
        with pytest.raises(Stale):
            store.save_endpoint(first)

    def test_a_stale_removal_changes_nothing(self, store: Store) -> None:
        first = store.add_endpoint(a_record(), {})
        second = store.save_endpoint(first)
        with pytest.raises(Stale):
            store.remove_endpoint("fraud", revision=first.endpoint.revision)
        assert store.get_endpoint("fraud") == second

    def test_removal_takes_tags_and_events_along_and_may_be_repeated(self, store: Store) -> None:
        first = store.add_endpoint(a_record(), {"a": "1"}, [Event(at_s=1.0, what="created")])
        for _ in range(2):
            store.remove_endpoint("fraud", revision=first.endpoint.revision)
        with pytest.raises(NotFound):
            store.get_endpoint("fraud")
        store.add_endpoint(a_record(), {})
        assert store.get_tags("endpoint", "fraud") == {}
        assert list(store.list_events("fraud")) == []

    def test_events_come_back_in_order_and_the_oldest_make_room(self, store: Store) -> None:
        store.add_endpoint(a_record(), {})
        store.add_endpoint(a_record("other"), {}, [Event(at_s=0.0, what="of the other")])
        total = EVENTS_KEPT + 3
        for start in range(0, total, 101):
            batch = [Event(at_s=float(n), what=str(n)) for n in range(start, min(start + 101, total))]
            store.add_events("FRAUD", batch)
        assert [event.what for event in store.list_events("fraud")] == [str(n) for n in range(3, total)]
        assert [event.what for event in store.list_events("other")] == ["of the other"]

    def test_events_of_an_endpoint_that_is_not_there_are_dropped(self, store: Store) -> None:
        store.add_events("nobody", [Event(at_s=0.0, what="lost")])
        store.add_endpoint(a_record("nobody"), {})
        assert list(store.list_events("nobody")) == []

    def test_tags_keep_their_order_and_are_replaced_whole(self, store: Store) -> None:
        store.add_model(a_model(), {"z": "1", "a": "2"})
        assert list(store.get_tags("model", "Fraud").items()) == [("z", "1"), ("a", "2")]
        store.set_tags("model", "fraud", {"b": "3"})
        assert store.get_tags("model", "fraud") == {"b": "3"}

    def test_tags_belong_to_what_exists(self, store: Store) -> None:
        with pytest.raises(NotFound):
            store.get_tags("model", "nobody")
        with pytest.raises(NotFound):
            store.set_tags("endpoint", "nobody", {"a": "1"})
