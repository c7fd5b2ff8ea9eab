"""The registry of stores: whole, free of contradictions, and within every tenant's deletion SLA."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from consumers.training.settings import TrainingSettings
from inference.settings import InferenceSettings
from schemas.bus.topics import TOPICS, dead_letter_topic
from schemas.objects import object_keys
from schemas.stores.page import PAGE, page
from schemas.stores.registry import STORES, UndeclaredStore, kept, of_medium, store_of_key, swept
from schemas.stores.store import IN_BUCKET, Probe, Purger, Store
from schemas.tenant.policy import TenantPolicy
from tests.fixtures.declared import PATHS

TENANT = "t1"


def test_every_object_has_one_store_the_one_that_says_most_about_it() -> None:
    assert store_of_key(object_keys.tenant_key(TENANT, object_keys.example("e1"))).name == "objects.examples"
    assert store_of_key("tenants/t1/elsewhere/x").name == "objects.strays"
    assert store_of_key(object_keys.key_key(TENANT)).name == "keys.tenant"
    assert store_of_key(object_keys.state_key(TENANT)).name == "state.current"
    assert store_of_key(object_keys.state_key(TENANT), is_current=False).name == "state.superseded"
    assert store_of_key(object_keys.purge_key(TENANT, "p1")).name == "purges.record"
    assert store_of_key(object_keys.certificate_key(TENANT, "p1")).name == "purges.certificate"
    assert store_of_key(object_keys.replica_key("r1")).name == "replicas"


@pytest.mark.parametrize(
    "key",
    [
        "cache/t1/x",
        "tenants/t1",
        "registry/t1/other.json",
        "registry/t1/state.json2",
        "purges/p1.json",
        "t1/examples/x",
    ],
)
def test_an_object_that_no_store_covers_is_undeclared(key: str) -> None:
    with pytest.raises(UndeclaredStore):
        store_of_key(key)


def test_what_a_purge_empties_lies_under_one_tenant_only() -> None:
    assert {store.medium for store in swept()} == set(IN_BUCKET)
    assert {f"objects.{area}" for area in object_keys.TENANT_AREAS} < {store.name for store in swept()}
    for store in swept():
        prefix = store.prefix(TENANT)
        assert f"/{TENANT}/" in prefix
        assert not prefix.startswith(f"tenants/{TENANT}0")
        assert "{" not in prefix


def test_nothing_that_ends_by_itself_outlives_the_smallest_sla() -> None:
    smallest = timedelta(days=TenantPolicy.model_fields["deletion_sla_days"].metadata[0].ge)
    bounded = {name: store.survives for name, store in STORES.items() if isinstance(store.survives, timedelta)}
    assert len(bounded) > len(TOPICS)
    assert {name for name, survives in bounded.items() if survives >= smallest} == set()
    assert STORES["sano.curation.v1"].survives == timedelta(
        milliseconds=TOPICS["sano.curation.v1"].worst_case_survival_ms()
    )


def test_a_dead_letter_is_not_said_to_be_free_of_content() -> None:
    """A publisher that sends text has it buried as it came."""
    assert {STORES[dead_letter_topic(topic)].protection for topic in TOPICS if not topic.endswith(".dlq")} == {
        "as-sent"
    }


def test_what_is_kept_says_why_and_holds_no_content() -> None:
    assert {store.name for store in kept()} >= {"state.current", "purges.record", "purges.certificate", "audit"}
    for store in kept():
        assert store.kept_because
        assert store.protection in ("references", "no-tenant-data")


def _store(**changed: object) -> Store:
    given = STORES["state.current"].model_dump() | changed
    return Store.model_validate(given)


@pytest.mark.parametrize(
    "changed",
    [
        {"kept_because": None},
        {"protection": "clear"},
        {"survives": "until-purge"},
        {"survives_settings": ("lease_seconds",)},
        {"name": "No Name"},
    ],
)
def test_a_contradiction_is_no_store(changed: dict[str, object]) -> None:
    _store()
    with pytest.raises(ValidationError):
        _store(**changed)


def test_only_what_is_in_the_bucket_has_a_prefix() -> None:
    for store in of_medium("bus", "engine", "telemetry", "outside"):
        with pytest.raises(ValueError, match="not in the bucket"):
            store.prefix(TENANT)


def test_every_entry_says_who_empties_it_and_how_that_is_shown() -> None:
    for store in STORES.values():
        assert isinstance(store.purger, Purger)
        assert isinstance(store.probe, Probe)
        assert store.purger.who
        assert store.purger.how
        assert store.probe.how
        if store.purger.method == "evict":
            assert store.probe.evidence == "receipt"
        if store.purger.method == "delete-versions":
            assert store.probe.evidence == "listing"


def test_the_page_is_the_registry() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m schemas.stores.page`"
    for store in STORES.values():
        assert page().count(f"| {store.name} |") == 1, store.name


def test_every_setting_that_bounds_a_survival_exists_and_is_in_seconds() -> None:
    settings = {**InferenceSettings.model_fields, **TrainingSettings.model_fields}
    for store in STORES.values():
        for name in store.survives_settings:
            assert name.endswith("_seconds")
            assert settings[name].annotation is float
        for path in PATHS.get(store.name, ()):
            root = path.partition("}")[0].removeprefix("{")
            assert root in {*settings, "cache_dir", "home", "tmp", "shm", "cwd"}, store.name
