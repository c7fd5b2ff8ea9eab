"""Every id and number that an event may bring makes a valid object key wherever a handler builds one from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bus.envelope import event_id
from schemas.bus.events import EVENT_TYPES
from schemas.bus.json_schemas import golden_schema
from schemas.objects import object_keys
from schemas.objects.object_keys import tenant_key
from schemas.objects.usage import report_of
from tests.fixtures.examples import examples
from tests.unit.event_strategies import data_of, tenants

S3_KEY_BYTES = 1024
LONGEST_ID = "x" * 128

KeyOf = Callable[[str, Any], str]


def _relative(*ways: Callable[[Any], str]) -> tuple[KeyOf, ...]:
    return tuple(lambda tenant, value, way=way: tenant_key(tenant, way(value)) for way in ways)


def _usage(tenant: str, usage_id: str) -> str:
    report = report_of(usage_id)
    return tenant_key(tenant, object_keys.usage("x" if report is None else f"days/{report.day}"))


DIGEST_KEYS = _relative(
    lambda value: object_keys.adapter(value, object_keys.ADAPTER_WEIGHTS),
    object_keys.adapter_record,
    lambda value: object_keys.retirement_acknowledgement(value, LONGEST_ID),
)

KEYS: dict[str, tuple[KeyOf, ...]] = {
    "example_id": _relative(
        object_keys.example,
        lambda value: object_keys.content(value, 2**53 - 1),
        lambda value: object_keys.kept_text(value, 2**53 - 1),
        lambda value: object_keys.waiting_example(LONGEST_ID, value),
    ),
    "version": _relative(
        lambda value: object_keys.content(LONGEST_ID, value), lambda value: object_keys.kept_text(LONGEST_ID, value)
    ),
    "consent_id": _relative(object_keys.consent, lambda value: object_keys.waiting_example(value, LONGEST_ID)),
    "run_id": _relative(
        object_keys.job,
        object_keys.ended_run,
        object_keys.lease,
        lambda value: object_keys.staging(value, 2**53 - 1, object_keys.ADAPTER_WEIGHTS),
    ),
    "training_set_id": _relative(object_keys.training_set),
    "adapter_digest": DIGEST_KEYS,
    "previous_digest": DIGEST_KEYS,
    "export_id": _relative(
        lambda value: object_keys.export(value, object_keys.ADAPTER_WEIGHTS), object_keys.export_decision
    ),
    "files": (lambda tenant, files: max(tenant_key(tenant, object_keys.export("x", file)) for file in ("x", *files)),),
    "purge_id": (
        object_keys.purge_key,
        object_keys.certificate_key,
        lambda tenant, value: tenant_key(tenant, object_keys.export(value, object_keys.ADAPTER_WEIGHTS)),
    ),
    "replica_id": (
        lambda _, value: object_keys.replica_key(value),
        lambda tenant, value: tenant_key(tenant, object_keys.retirement_acknowledgement("a" * 64, value)),
    ),
    "usage_id": (_usage,),
    "event_id": (object_keys.audit_claim,),
}
"""What is built from each field, whole keys. The ids of a cause, an export and a purge are looked up as a purge's by
:class:`tenancy.lifecycle.purge_records.PurgeRecords`, which knows which of them cannot be one."""

NEVER_IN_A_KEY = {
    "acknowledged_by",
    "author_id",
    "base_model_digest",
    "cause_id",
    "certificate_sha256",
    "commitment",
    "consumer",
    "delivery",
    "document_id",
    "event_type",
    "provenance_ids",
    "public_key_thumbprint",
    "reason_code",
    "replay_id",
    "requested_by",
    "reviewer_id",
    "stated_by",
}


def test_it_is_said_of_every_id_whether_keys_are_built_from_it() -> None:
    named = {
        name
        for event_type in EVENT_TYPES
        for name, field in golden_schema(event_type)["properties"].items()
        if "pattern" in str(field) or name == "version"
    }
    assert named == KEYS.keys() | NEVER_IN_A_KEY


@pytest.mark.parametrize("event_type", sorted(EVENT_TYPES))
@examples(25)
@given(st.data())
def test_whatever_the_schema_accepts_makes_keys_that_the_store_takes(event_type: str, data: st.DataObject) -> None:
    tenant, sent = data.draw(tenants), data.draw(data_of(event_type))
    for name, value in sent.items():
        for key_of in KEYS.get(name, ()) if value is not None else ():
            assert len(key_of(tenant, value).encode()) <= S3_KEY_BYTES
    identity = event_id(event_type, tenant, EVENT_TYPES[event_type].model_validate(sent).natural_key())
    for way in (object_keys.open_withdrawal, object_keys.closed_withdrawal, object_keys.withdrawal_receipt):
        assert tenant_key(tenant, way(identity))
    assert tenant_key(tenant, object_keys.usage(identity))
    assert object_keys.audit_claim(tenant, f"{identity}.dead_lettered")
