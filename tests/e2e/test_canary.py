"""Markers in every input of two tenants, and an identifier of each class in what each source of one proposes, through
the whole loop on real Kafka, a real S3 API, real training and the real engine; then that one is purged. The raw bytes
of every medium are searched, before and after.

What is content (``Canary.secret``) may be nowhere in clear. What is an id or a code (``Canary.opaque``) may be where
the contract puts ids: in object names, in the sealed records, in the events, and in what is kept of a purge.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.kafka import KafkaCluster
from deploy.local.services import SHARED_MEMORY
from schemas.bus import events
from schemas.bus.topics import dead_letter_topic
from schemas.evidence.purposes import Purpose
from schemas.objects import object_keys
from schemas.stores.registry import STORES, kept, of_medium, store_of_key
from tenancy.bootstrap import master_key, trust
from tenancy.bus import RawMessage
from tenancy.errors import SealBroken
from tenancy.evidence.verification import verify_file
from tenancy.storage.keys import KeyRecord
from tenancy.storage.sealing import MAGIC, open_sealed
from tests.fixtures import raw_bytes, write_audit
from tests.fixtures.canaries import Canary
from tests.fixtures.canary_life import RAW, Evidence, Life
from tests.fixtures.declared import PATHS, covers_path
from tests.fixtures.hospital import leaked
from tests.fixtures.leaks import (
    planted_in_files,
    planted_in_telemetry,
    planted_in_the_bucket,
    planted_in_the_database,
)
from tests.fixtures.markers import Hit, new_marker, search, token_forms
from tests.fixtures.platform import Platform
from tests.fixtures.postgres import Postgres
from tests.fixtures.server_kill import ServerKill

pytestmark = [pytest.mark.kafka, pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(2400)]

MEDIA = {"bucket", "bus", "database", "logs", "memory", "files", "traces", "metrics"}


@pytest.fixture(scope="module")
def base_model(shallow_base: Path) -> str:
    return str(shallow_base)


@pytest.fixture(scope="module")
def life(
    killed: ServerKill, platform: Platform, consumers_kafka: KafkaCluster, base_model: str, postgres: Postgres
) -> Iterator[Life]:
    """One life for all tests of this file, on the replica that was killed and is back, and runs on."""
    # The lease is as long as in production, and no longer: the purge waits for its end. The worker renews it every
    # 10 s in its event loop, and trains in a thread, in which torch lets go of the interpreter: so a step may take
    # longer than the lease. With an engine and a trainer on two processors, a renewal may come late by 10 s more,
    # or fail once. An attempt that loses its lease all the same is made again.
    patient = {"SANO_BASE_MODEL": base_model, "SANO_LEASE_SECONDS": "30", "SANO_TEST_TRAINER": ""}
    platform.restart("training", None, **patient)
    for service in ("knowledge", "purge"):
        platform.restart(service, None, **killed.indexes)
    try:
        lived = Life(platform, consumers_kafka, killed.adapter_dir, postgres, killed.memory_before)
        asyncio.run(lived.live_through())
        yield lived
    finally:
        for service in ("training", "knowledge", "purge"):
            platform.restart(service)


@pytest.fixture(params=["one", "other"])
def canary(request: pytest.FixtureRequest, life: Life) -> Canary:
    found: Canary = getattr(life, request.param)
    return found


def hits(marker: str | bytes, evidence: Evidence) -> list[tuple[str, Hit]]:
    """Medium and hit, of everything."""
    return [(medium, hit) for medium, places in evidence.items() for hit in search(marker, places)]


def key_of(place: str) -> str:
    """The key of an object, of which the place names a version."""
    return place.partition("@")[0]


def topic_of(place: str) -> str:
    """The topic of a segment file."""
    return Path(place).parent.name.rpartition("-")[0]


# --- the search is not blind


def test_the_life_was_whole_and_every_medium_holds_something(life: Life) -> None:
    for evidence in (life.live, life.after):
        assert set(evidence) == MEDIA
        assert all(evidence.values()), {medium: len(places) for medium, places in evidence.items()}
    for tenant in (life.one.tenant, life.other.tenant):
        areas = {relative.partition("/")[0] for relative, _ in life.opened[tenant]}
        assert areas >= {"examples", "contents", "consents", "training-sets", "runs", "adapters", "exports", "usage"}
        assert areas >= {"terms", "knowledge"}
        assert areas <= set(object_keys.TENANT_AREAS) - {"staging"}, "a run that is over has no staging"
        assert (
            len([name for name, _ in life.messages[tenant] if name.startswith(dead_letter_topic(events.CURATION))]) == 2
        )
        assert [name for name, _ in life.answers[tenant]][-4:] == [
            "answer 6, status 404",
            "answer 7, status 400",
            "answer 8, status 400",
            "models",
        ]


def test_the_markers_are_found_where_they_have_to_be(life: Life, canary: Canary) -> None:
    tenant = canary.tenant
    assert {hit.place.partition("/")[0] for hit in search(canary.secret, life.opened[tenant])} == {
        "contents",
        "knowledge",
        "terms",
    }
    assert search(canary.opaque, life.opened[tenant])
    assert search(canary.opaque, life.messages[tenant])
    by_heart = [hit for hit in search(canary.secret, life.answers[tenant]) if "status 200" in hit.place]
    assert len({hit.place for hit in by_heart}) >= 3, "the adapter knows its tenant's marker by heart"
    assert any(b"sano_bus_events" in body for _, body in life.live["metrics"])
    assert any(b"example.approved" in body for _, body in life.live["traces"])


def test_what_the_brokers_wrote_is_not_compressed_or_the_search_would_not_see_it(life: Life) -> None:
    segments = [(name, body) for name, body in life.after["bus"] if name.endswith(".log") and body]
    assert {topic_of(name) for name, _ in segments} >= {events.CURATION, events.TENANTS, "__consumer_offsets"}
    for name, body in segments:
        assert raw_bytes.codecs(body) <= {0}, name


# --- two live tenants


def test_no_identifier_of_what_came_in_raw_is_anywhere_nor_drawn_out_of_the_adapter(life: Life) -> None:
    opened = life.opened[life.one.tenant]
    everywhere = [*life.proposed, *opened, *life.answers[life.one.tenant], *life.drawn, *life.later_answers]
    for evidence in (life.live, life.after):
        everywhere += [place for places in evidence.values() for place in places]
    assert leaked(((place, body.decode("latin-1")) for place, body in everywhere), *RAW) == set()
    redacted = [place.partition("/")[0] for place, body in (*life.proposed, *opened) if b"[BIOMETRIC-1]" in body]
    said = {place for place, _ in life.proposed}
    assert len(redacted) == len(said) + len(RAW), "all were approved, and the adapter learnt them"
    assert set(redacted) == {"contents", *said}
    assert len(life.drawn) == 4 * len(RAW[0].patient.texts())


def test_no_content_no_key_and_no_token_is_in_clear_anywhere(life: Life, canary: Canary) -> None:
    data_key, token = life.keys[canary.tenant], life.tokens[canary.tenant]
    for evidence in (life.live, life.after):
        markers: list[str | bytes] = [canary.secret, data_key, token, *canary.salts]
        for marker in markers:
            assert hits(marker, evidence) == []


def test_an_id_is_only_where_the_contract_puts_ids(life: Life, canary: Canary) -> None:
    found = hits(canary.opaque, life.live)
    assert {medium for medium, _ in found} == {"bucket", "bus", "database"}, "documents' ids lie in the database"
    for medium, hit in found:
        if medium == "database":
            continue
        if medium == "bus":
            assert STORES[topic_of(hit.place)].protection in (
                "references",
                "references-or-ciphertext",
                "as-sent",
            )
            continue
        key = key_of(hit.place)
        store = store_of_key(key)
        assert store.name != "objects.strays"
        # Sealed objects have it in their names; their bytes are the matter of the test before.
        assert store.protection in ("tenant-key", "references"), store.name
        assert store.protection != "tenant-key" or canary.opaque in key


def test_text_that_is_sent_in_clear_stays_where_it_was_sent(life: Life, canary: Canary) -> None:
    places = {(medium, topic_of(hit.place)) for medium, hit in hits(canary.careless, life.after)}
    assert places == {("bus", events.CURATION)}, "its dead letters say why, and do not copy it"


def test_nothing_of_one_tenant_is_served_to_stored_for_or_published_under_the_other(life: Life) -> None:
    for mine, others in ((life.one, life.other), (life.other, life.one)):
        tenant = mine.tenant
        under_its_name = [place for place in life.live["bucket"] if tenant in key_of(place[0]).split("/")]
        assert len(under_its_name) > 20
        for places in (life.opened[tenant], life.messages[tenant], life.answers[tenant], under_its_name):
            for marker in (others.secret, others.opaque, others.careless):
                assert search(marker, places) == []
            assert search(mine.opaque, places) or search(mine.secret, places)


# --- after the purge of one


def test_the_purge_is_certified_and_delivering_everything_again_has_no_effect(life: Life, tmp_path: Path) -> None:
    file = tmp_path / "certificate.json"
    file.write_bytes(life.certificate)
    assert verify_file(file, trust(life.platform.settings)).proves
    assert life.redelivery is not None
    assert life.redelivery.events > 20
    assert life.redelivery.effects == 0


def test_every_key_was_rotated_amid_the_life_and_what_either_signed_is_believed(life: Life) -> None:
    """No process was restarted: the purge is by the new keys, of what the old ones had signed."""
    envelope = json.loads(life.certificate)
    assert {one["keyid"] for one in envelope["signatures"]} <= life.rotated[Purpose.CERTIFICATE]
    new = life.rotated[Purpose.EVENT]
    assert life.signed_since[events.AdapterReady.type].isdisjoint(new)
    for data in (events.PurgeFenced, events.ReplicaEvicted, events.PurgeCompleted):
        assert life.signed_since[data.type] <= new, data.type
    assert life.answer_by_new_token == 200, "and all later answers are by a token of the old key"


def test_in_the_bucket_only_what_is_kept_on_purpose_names_the_purged_tenant(life: Life) -> None:
    purged = life.one
    found = search(purged.opaque, life.after["bucket"])
    assert {store_of_key(key_of(hit.place)).name for hit in found} <= {store.name for store in kept()}
    for name, body in life.after["bucket"]:
        # Who it was and who asked for the purge; no id of an example, consent, reviewer, export or document.
        said = read_through(body)
        without = said.replace(purged.tenant.encode(), b"").replace(purged.id("operator").encode(), b"")
        assert search(purged.opaque, [(name.replace(purged.tenant, ""), without)]) == []
    assert search(life.other.opaque, life.after["bucket"]), "the other tenant is all there"


def read_through(body: bytes) -> bytes:
    """A document with what its envelopes sign, in base64, as the text that it is. Another body as it stands."""

    def opened(value: Any) -> Any:
        if isinstance(value, dict):
            if {"payload", "signatures"} <= set(value):
                return {**value, "payload": opened(json.loads(base64.b64decode(value["payload"])))}
            return {name: opened(each) for name, each in value.items()}
        return [opened(each) for each in value] if isinstance(value, list) else value

    try:
        return json.dumps(opened(json.loads(body))).encode()
    except ValueError:
        return body


def test_on_the_bus_its_ids_end_with_the_topics_retention_and_nowhere_else_is_any(life: Life) -> None:
    found = hits(life.one.opaque, life.after)
    assert {medium for medium, _ in found} == {"bucket", "bus"}
    for medium, hit in found:
        if medium == "bus":
            assert STORES[topic_of(hit.place)].purger.method == "retention"


def test_sealed_bytes_of_the_purged_tenant_open_with_no_key_that_is_left(life: Life) -> None:
    purged, master = life.one.tenant, master_key(life.platform.settings)

    def data_key(key_record: bytes) -> tuple[str, bytes]:
        record = KeyRecord.model_validate_json(key_record)
        return record.tenant, master.unwrap(record.tenant, base64.b64decode(record.wrapped_data_key))

    sealed = {
        key_of(name): body
        for name, body in life.live["bucket"]
        if name.startswith(object_keys.tenant_prefix(purged)) and body.startswith(MAGIC)
    }
    assert len(sealed) > 15
    # Before: the tenant's key record, under the master key, opened every one of them.
    tenant, key = data_key(life.key_record)
    assert (tenant, key) == (purged, life.keys[purged])
    assert any(life.one.secret.encode() in open_sealed(key, name, body) for name, body in sealed.items())
    # After: no version of any key record is the purged tenant's, and none opens any of them.
    left = dict(
        data_key(body) for name, body in life.after["bucket"] if store_of_key(key_of(name)).name == "keys.tenant"
    )
    assert purged not in left
    assert life.other.tenant in left
    for key in left.values():
        for name, body in sealed.items():
            with pytest.raises(SealBroken):
                open_sealed(key, name, body)


def test_the_replica_holds_the_other_tenants_adapter_and_no_trace_of_the_purged_ones(life: Life) -> None:
    def digests(evidence: Evidence) -> set[str]:
        return {Path(name).parent.name for name, _ in evidence["memory"] if name.endswith(object_keys.ADAPTER_WEIGHTS)}

    assert len(digests(life.live)) == 2
    assert len(digests(life.after)) == 1
    gone = (digests(life.live) - digests(life.after)).pop()
    weights = next(body for name, body in life.live["memory"] if name.endswith(f"{gone}/{object_keys.ADAPTER_WEIGHTS}"))
    assert search(weights[-4096:], life.after["memory"]) == []


def test_no_prompt_of_the_purged_tenant_is_left_in_shared_memory_as_token_ids(life: Life, base_model: str) -> None:
    """vLLM's own executor on a processor would hand prompts on as token ids, through files there."""
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(base_model)(life.one.secret, add_special_tokens=False)["input_ids"]
    for form in token_forms(ids[2:-2]):
        assert [name for name, body in life.after["memory"] if form in body] == []


def test_the_remaining_tenant_is_answered_as_before_with_nothing_of_the_purged_one(life: Life) -> None:
    for marker in (life.one.secret, life.one.opaque, life.one.careless):
        assert search(marker, life.later_answers) == []
    assert len({hit.place for hit in search(life.other.secret, life.later_answers)}) >= 3


async def test_a_leak_into_any_medium_would_be_found(life: Life) -> None:
    leak, platform = new_marker(), life.platform
    with planted_in_the_bucket(life, leak), planted_in_files(life, leak), planted_in_the_database(life, leak):
        planted_in_telemetry(platform.telemetry.url, leak)
        async with platform.tenancy() as tenancy:
            await tenancy.publisher.publish_raw(RawMessage(events.CURATION, b"nobody", leak.encode(), ()))
        found = hits(leak, life.evidence())
    assert {medium for medium, _ in found} == MEDIA
    in_bucket = {hit.place.partition("@")[0] for medium, hit in found if medium == "bucket"}
    assert in_bucket == {"leaks/overwritten", "leaks/metadata", f"leaks/{leak}"}
    assert hits(leak, life.after) == []


# --- everything that was written is declared


def test_every_object_and_topic_is_declared(life: Life) -> None:
    for name, _ in (*life.live["bucket"], *life.after["bucket"]):
        assert store_of_key(key_of(name)).name != "objects.strays"
    topics = {
        topic_of(name) for name, _ in life.after["bus"] if name.endswith(".log") and "-" in Path(name).parent.name
    }
    declared = {store.where for store in of_medium("bus")} | {"__consumer_offsets", "__cluster_metadata"}
    assert topics <= declared | {"__share_group_state", "__transaction_state"}


def test_every_file_that_any_process_wrote_is_declared(life: Life, base_model: str) -> None:
    """Python's audit events of all processes, and what lies in the folders for what native code writes unheard."""
    platform = life.platform
    written = write_audit.noted(platform.writes) - {"/dev/null"}
    assert any("/scratch/" in path for path in written), "or nobody was watched"
    assert any(path.startswith(str(life.adapter_dir)) for path in written)
    lying = {name for name, _ in raw_bytes.files(platform.user, platform.home / "work", platform.home / "tmp")}
    lying |= {name for name, _ in raw_bytes.files(*life.new_memory())}
    undeclared = {path for path in written | lying if not is_declared(path, life, base_model)}
    assert undeclared == set(), "add it to a store in schemas/stores/processes.py"


def test_a_replica_that_is_stopped_leaves_nothing_in_its_folder_and_in_shared_memory(life: Life) -> None:
    """The last of all: nothing answers any more."""
    replica = life.platform.processes["inference"]
    assert list(life.adapter_dir.rglob(object_keys.ADAPTER_WEIGHTS))
    replica.terminate()
    assert replica.wait_exit(120) == 0
    assert list(life.adapter_dir.rglob("*")) == []
    assert [name for name, _ in life.after["memory"] if Path(name).exists()] == []


def is_declared(path: str, life: Life, base_model: str) -> bool:
    platform = life.platform
    if any(str(folder).startswith(path) for folder in (life.adapter_dir, platform.user, platform.home / "tmp")):
        return True  # a folder that we made for the purpose
    for name in platform.processes | {"inference": None}:
        work = platform.work_dir(name)
        if path in (str(work), str(work.parent), str(work / "scratch")):
            return True
        roots = {
            "work_dir": str(work),
            "adapter_dir": str(life.adapter_dir),
            "home": str(platform.user),
            "base_model": base_model,
            "shm": str(SHARED_MEMORY),
        }
        if name in ("inference", "knowledge", "training"):  # torch makes some; no other service may
            roots["tmp"] = str(platform.temporary(name))
        elif path == str(platform.temporary(name)):
            return True
        if any(covers_path(store, path, roots) for store in PATHS):
            return True
    return False
