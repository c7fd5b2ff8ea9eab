"""Object keys: nothing leaves a tenant's prefix, and no two things share a key."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.bus.events import PurgeRequested
from schemas.objects import object_keys
from schemas.objects.object_keys import TENANT_AREAS, ForbiddenKey
from tests.unit.event_strategies import opaque_ids, tenants

AREAS = sorted(TENANT_AREAS)
PARTS = st.sampled_from(
    ["", ".", "..", "%2e%2e", "%2f", "..%2f..", "a/../b", "t10", "\x00", "\n", "\\", "~", " ", "ä", "．．", "／"]
)
RELATIVE = st.one_of(
    st.text(),
    st.lists(st.one_of(PARTS, st.sampled_from(AREAS), opaque_ids, st.text(max_size=4)), max_size=5).map("/".join),
    st.tuples(st.sampled_from(AREAS), st.lists(st.one_of(PARTS, opaque_ids), max_size=4)).map(
        lambda drawn: "/".join([drawn[0], *drawn[1]])
    ),
)


def normalised(key: str) -> str:
    """A key as the most careless reader of paths and URLs would take it."""
    text = urllib.parse.unquote(urllib.parse.unquote(key)).replace("\\", "/")
    stack: list[str] = []
    for part in text.split("/"):
        if part == "..":
            del stack[-1:]
        elif part not in {"", "."}:
            stack.append(part)
    return "/".join(stack)


@given(tenants, RELATIVE)
@example("t1", "examples/../../t2/examples/x")
@example("t1", "../t2/examples/x")
@example("t1", "/examples/x")
@example("t1", "examples//x")
@example("t1", "examples/x/")
@example("t1", "examples/%2e%2e/%2e%2e/t2")
@example("t1", "examples/.")
@example("t1", "examples/x\n")
def test_no_relative_key_leaves_the_tenants_prefix_in_any_reading(tenant: str, relative: str) -> None:
    prefix = f"tenants/{tenant}/"
    try:
        key = object_keys.tenant_key(tenant, relative)
    except ForbiddenKey:
        return
    assert key == prefix + relative
    assert normalised(key) == key
    assert re.fullmatch(r"[A-Za-z0-9._/-]+", key)
    assert key.split("/")[2] in TENANT_AREAS


@given(tenants, RELATIVE)
def test_the_refusal_of_a_key_does_not_repeat_it(tenant: str, relative: str) -> None:
    canary = f"Müller's MRN 8841 {relative}"
    with pytest.raises(ForbiddenKey) as refused:
        object_keys.tenant_key(tenant, f"{canary}/{relative}")
    assert "8841" not in str(refused.value)


@given(st.text())
@example("t1/../t2")
@example("")
@example("t1/")
@example("t1\n")
@example("T1")
@example("t1%2f")
def test_only_a_tenant_id_makes_a_prefix(text: str) -> None:
    is_tenant = re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", text, re.ASCII) is not None
    for make in (
        object_keys.tenant_prefix,
        object_keys.registry_prefix,
        object_keys.state_key,
        object_keys.key_key,
        object_keys.audit_prefix,
        object_keys.audit_head,
    ):
        if is_tenant:
            assert f"/{text}/" in make(text)
        else:
            with pytest.raises(ForbiddenKey):
                make(text)


@given(tenants, tenants)
@example("t1", "t10")
@example("t", "t-1")
def test_no_tenants_prefix_covers_a_key_of_another(one: str, other: str) -> None:
    key = object_keys.tenant_key(other, "examples/x")
    assert key.startswith(object_keys.tenant_prefix(one)) == (one == other)
    assert object_keys.state_key(other).startswith(object_keys.registry_prefix(one)) == (one == other)
    assert object_keys.audit_entry(other, 1).startswith(object_keys.audit_prefix(one)) == (one == other)


@given(opaque_ids, opaque_ids)
@example("run-1", "run-10")
def test_the_folder_of_one_run_covers_no_file_of_another(one: str, other: str) -> None:
    folder = object_keys.tenant_area("t1", "staging", one)
    assert folder.endswith("/")
    key = object_keys.tenant_key("t1", object_keys.staging(other, 1, "f"))
    assert key.startswith(folder) == (one == other)


def test_an_area_that_nobody_declared_is_refused() -> None:
    for relative in ("secrets/x", "Examples/x", "examples", "examples/", ""):
        with pytest.raises(ForbiddenKey):
            object_keys.tenant_key("t1", relative)


@given(st.lists(opaque_ids, min_size=1, max_size=3), st.integers(1, 99))
@example(["p", "p.certificate"], 1)
def test_no_two_things_share_a_key(ids: list[str], number: int) -> None:
    made: dict[str, tuple[str, str]] = {}
    ways: dict[str, Callable[[str], str]]
    for name in ids:
        ways = {
            "replica": object_keys.replica_key,
            "purge": lambda text: object_keys.purge_key("t1", text),
            "purge of another": lambda text: object_keys.purge_key("t2", text),
            "in hand": lambda text: object_keys.record_in_hand(text, "sano.tenants.v1", number),
            "certificate": lambda text: object_keys.certificate_key("t1", text),
            "claim": lambda text: object_keys.audit_claim("t1", text),
            "example": lambda text: object_keys.tenant_key("t1", object_keys.example(text)),
            "content": lambda text: object_keys.tenant_key("t1", object_keys.content(text, number)),
            "consent": lambda text: object_keys.tenant_key("t1", object_keys.consent(text)),
            "set": lambda text: object_keys.tenant_key("t1", object_keys.training_set(text)),
            "job": lambda text: object_keys.tenant_key("t1", object_keys.job(text)),
            "lease": lambda text: object_keys.tenant_key("t1", object_keys.lease(text)),
            "adapter": lambda text: object_keys.tenant_key("t1", object_keys.adapter(text, "manifest.json")),
            "export": lambda text: object_keys.tenant_key("t1", object_keys.export(text, "manifest.json")),
            "usage": lambda text: object_keys.tenant_key("t1", object_keys.usage(text)),
        }
        for what, make in ways.items():
            try:
                key = make(name)
            except ForbiddenKey:
                continue
            assert made.setdefault(key, (what, name)) == (what, name)


def test_a_purge_may_not_be_named_so_that_its_record_lies_where_a_certificate_does() -> None:
    for key in (object_keys.purge_key, object_keys.certificate_key):
        with pytest.raises(ForbiddenKey, match="purge id"):
            key("t1", "p.certificate")
    with pytest.raises(ValidationError, match="purge_id"):
        PurgeRequested(purge_id="p.certificate", reason_code="churned", requested_by="op")
