"""What compliance sees on the review page: the same answers as on the command line, checked, of its own tenant only."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from producers.queries.audit_copy import read_copy
from producers.review_page import compliance
from schemas.bus import events
from tenancy.audit.copy import AuditCopy
from tenancy.bootstrap import Tenancy
from tenancy.evidence.verification import verify_file
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import purged
from tests.unit.review_page_parts import Browser, Desk, OfWorld, desk_of, have_asked
from tests.world.world import POLICY, World

TENANT, OTHER = TenantId("t1"), TenantId("t2")
PAGES = (
    "/compliance",
    "/compliance/documents",
    "/compliance/consents",
    "/compliance/withdrawals",
    "/compliance/purges",
    "/compliance/audit",
    "/compliance/agreement",
)


async def lived(world: World) -> str:
    """A tenant with a served adapter, one of whose examples was withdrawn, and another tenant; the adapter's digest."""
    for tenant in (TENANT, OTHER):
        await world.onboard(tenant, POLICY.evolve(on_withdrawal="flag"))
    await world.publish(TENANT, events.ConsentGranted(consent_id="consent-1", version=1))
    for name in ("w1", "w2", "w3"):
        await world.publish(TENANT, await world.approval(TENANT, name, consent="consent-2"))
    for number in range(3):
        await world.publish(TENANT, await world.approval(TENANT, f"e{number}"))
    await world.publish(TENANT, world.document(TENANT, "d1"))
    for _ in range(2):
        await world.publish(TENANT, world.document(TENANT, "d1", 2, "10 mg"))
    await world.publish(TENANT, world.document(TENANT, "d2"))
    await world.publish(TENANT, events.DocumentRemoved(document_id="d2", version=1))
    await world.settle()
    active = await world.served(TENANT)
    for name in ("e1", "w3"):
        await world.publish(TENANT, events.ExampleWithdrawn(example_id=name, reason_code="patient-request"))
    await world.settle()
    return active


async def test_a_tenants_people_look_at_its_log_one_at_a_time_and_hold_up_no_other_tenants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look holds the whole log, and takes a thread that all share."""
    desk, reading, read = await desk_of(), list[TenantId](), read_copy
    release = asyncio.Event()

    async def slowly(tenancy: Tenancy, tenant: TenantId) -> AuditCopy:
        reading.append(tenant)
        await release.wait()
        return await read(tenancy, tenant)

    monkeypatch.setattr(compliance, "read_copy", slowly)
    people = [await desk.signed_in(tenant, "compliance") for tenant in (TENANT, TENANT, TENANT, OTHER)]
    looks = [asyncio.create_task(person.get("/compliance/audit")) for person in people]
    await have_asked(desk, 4)
    assert sorted(reading) == [TENANT, OTHER]
    release.set()
    assert {(await look).status_code for look in looks} == {200}
    assert sorted(reading) == [TENANT] * 3 + [OTHER]


async def test_compliance_sees_what_was_trained_withdrawn_and_purged_and_keeps_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "scratch")
    digest = await lived(world)
    desk = Desk(OfWorld(world))
    browser, stranger = await desk.signed_in(role="compliance"), await desk.signed_in(OTHER, "compliance")

    assert f"/compliance/adapters/{digest}" in await browser.look("/")
    html = await browser.look(f"/compliance/adapters/{digest}")
    assert all(f"e{number}</th>" in html for number in range(3))
    assert "consent-1" in html
    assert html.count("test-gate 1: clean") == 3
    assert re.search(r"Answers rated down</dt><dd>0<", html)
    assert html.count("consent-missing") == 3, "what was left out, and why"
    consents = re.sub(r"<[^>]+>", " ", await browser.look("/compliance/consents"))
    assert re.search(r"consent-1\s+granted\s+1\s.* UTC\s+0\s", consents)
    assert re.search(r"consent-2\s+never granted\s+0\s+never\s+2\s", consents), "the third was withdrawn"
    html = await browser.look("/compliance/documents")
    for name in ("d1", "d2"):
        assert f'href="/compliance/documents/{name}"' in html
    assert "Dose" not in html and " mg" not in html, "compliance sees no title and no text"
    replaced = re.sub(r"<[^>]+>", " ", await browser.look("/compliance/documents/d1"))
    assert re.search(r"1\s+upserted\s+over\s.*\s+2\s+upserted\s+counts\s", replaced, re.DOTALL)
    assert re.search(r"Texts at rest, of versions\s+2\s", replaced)
    gone = await browser.look("/compliance/documents/d2")
    assert re.search(r"Passages in it\s+0\s", re.sub(r"<[^>]+>", " ", gone))
    assert "Dose" not in gone and " mg" not in gone
    with monkeypatch.context() as few:
        few.setattr("producers.review_page.compliance.SHOWN_DOCUMENTS", 1)
        first = await browser.look("/compliance/documents")
        assert "documents/d1" in first and "documents/d2" not in first
        following = await browser.look(re.findall(r'href="(/compliance/documents\?behind=[^"]+)"', first)[0])
        assert "documents/d2" in following and "documents/d1" not in following and "Next page" not in following
        assert 'href="/compliance/documents"' in following
    html = await browser.look("/compliance/withdrawals")
    assert "example e1" in html
    assert f'href="/compliance/adapters/{digest}"' in html, "which adapters have it, and not only how many"
    html = await browser.look("/compliance/audit")
    assert "holds" in html
    assert "example.withdrawn" in html
    only = await browser.look("/compliance/audit?kind=example.withdrawn")
    assert only.count('<th scope="row">') == 2
    assert "No purge was requested" in await browser.look("/compliance/purges")

    assert (await stranger.get(f"/compliance/adapters/{digest}")).status_code == 404
    assert (await stranger.get("/compliance/documents/d1")).status_code == 404
    assert "example e1" not in await stranger.look("/compliance/withdrawals")

    await purged(world, TENANT)
    fresh = await desk.signed_in(role="compliance")
    html = await fresh.look("/compliance/purges")
    assert "certified" in html
    purge_id = html.partition('href="/compliance/purges/')[2].partition('"')[0]
    html = await fresh.look(f"/compliance/purges/{purge_id}")
    assert "The signature is good" in html
    assert "It does not prove" in html
    answer = await fresh.get(f"/compliance/purges/{purge_id}/certificate")
    assert answer.headers["content-disposition"].startswith("attachment")
    kept = tmp_path / "certificate.json"
    kept.write_bytes(answer.content)
    assert verify_file(kept, world.keys.trust).facts["tenant"] == TENANT
    assert "purge.completed" in await fresh.look("/compliance/audit")
    for path in ("/compliance/consents", "/compliance/documents", "/compliance/documents/d1"):
        assert (await fresh.get(path)).status_code == 410, "the key that opens them is gone"
    other = await desk.signed_in(OTHER, "compliance")
    for path in (f"/compliance/purges/{purge_id}", f"/compliance/purges/{purge_id}/certificate"):
        assert (await other.get(path)).status_code == 404

    [place] = [key for key in world.memory.objects if key.endswith(".certificate.json")]
    envelope = json.loads(answer.content)
    envelope["signatures"][0]["sig"] = envelope["signatures"][0]["sig"][::-1]
    await world.memory.put(place, json.dumps(envelope).encode())
    forged = await fresh.get(f"/compliance/purges/{purge_id}")
    assert forged.status_code == 409
    assert "The signature is good" not in forged.text


@pytest.mark.parametrize("path", PAGES)
async def test_each_role_sees_its_own_pages_and_a_tenant_in_which_nothing_happened_yet(path: str) -> None:
    desk = await desk_of()
    assert (await (await desk.signed_in(role="compliance")).get(path)).status_code == 200
    assert (await (await desk.signed_in(role="reviewer")).get(path)).status_code == 403
    assert (await Browser(desk.app).get(path)).headers["location"] == "/sign-in"


async def test_compliance_sees_no_text_and_decides_nothing() -> None:
    desk = await desk_of()
    await desk.review().handle(await desk.review().proposed("e1"))
    browser = await desk.signed_in(role="compliance")
    await browser.look("/compliance")
    for path in ("/queue", "/queue/next", "/examples/e1", "/examples/e1/edit"):
        assert (await browser.get(path)).status_code == 403
    assert (await browser.send_form("/examples/e1/approve", version="1")).status_code == 403
    assert desk.parts.publisher.events == []
