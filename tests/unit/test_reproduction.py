"""An adapter is trained again from its manifest: on exactly its set, while that may be used, and compared byte for
byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consumers.training.reproduction import reproduce
from consumers.training.result import StepProgress, TrainingStopped
from consumers.training.settings import ReproductionSettings
from schemas.bus import events
from schemas.evidence.reproduction import Difference, Reproduction
from schemas.evidence.statements import TrainingManifest
from tenancy.errors import Refused, TenantFenced
from tenancy.lifecycle.manifests import published_manifest
from tests.world.fakes import FakeTrainer
from tests.world.world import World

NAMES = ("e0", "e1", "e2")


class Trained:
    """A tenant whose adapter was trained on three examples, and what trains again."""

    def __init__(self, scratch: Path) -> None:
        self.world = World(scratch)
        self.trainer = FakeTrainer()
        self.settings = ReproductionSettings(
            kafka_bootstrap_servers="127.0.0.1:1",
            s3_bucket="bucket",
            base_model="base",
            work_dir=scratch / "again",
            lease_seconds=0.06,
        )

    async def made(self) -> Trained:
        self.tenant = await self.world.onboard("t1")
        await self.world.publish(self.tenant, events.ConsentGranted(consent_id="consent-1", version=1))
        for name in NAMES:
            await self.world.publish(self.tenant, await self.world.approval(self.tenant, name, text=f"text of {name}"))
        await self.world.settle()
        digest = (await self.world.state(self.tenant)).active_adapter
        assert digest is not None
        store = await self.world.outside.store(self.tenant)
        self.manifest = await published_manifest(store, digest, self.world.keys.trust)
        return self

    async def again(self, **changes: Any) -> Reproduction:
        manifest: TrainingManifest = self.manifest.evolve(**changes)
        return await reproduce(self.world.outside, self.settings, self.trainer, manifest, lambda _: None)


async def trained(scratch: Path) -> Trained:
    return await Trained(scratch).made()


async def test_the_same_set_gives_the_same_bytes_and_nothing_is_left(tmp_path: Path) -> None:
    it = await trained(tmp_path)
    before = [key async for key in it.world.memory.keys("")]
    found = await it.again()
    assert (found.is_same, found.first_different_step, found.differences) == (True, None, ())
    assert (found.adapter_digest, found.run_id) == (it.manifest.adapter_digest, it.manifest.run_id)
    assert it.trainer.trained == [NAMES]
    assert [key async for key in it.world.memory.keys("")] == before
    assert not list((it.settings.work_dir / "scratch").iterdir())


async def test_other_bytes_are_told_with_what_differs(tmp_path: Path) -> None:
    it = await trained(tmp_path)
    found = await it.again(weights_sha256="0" * 64, processor="another")
    assert (found.is_same, found.weights_sha256) == (False, it.manifest.weights_sha256)
    assert found.differences == (Difference(what="processor", then="another", now="fake"),)


async def test_an_example_that_was_withdrawn_is_not_trained_on_again(tmp_path: Path) -> None:
    it = await trained(tmp_path)
    await it.world.publish(it.tenant, events.ConsentRevoked(consent_id="consent-1", version=2))
    await it.world.settle()
    with pytest.raises(Refused, match="3 of the adapter's 3 examples may not be used any more"):
        await it.again()
    assert it.trainer.trained == []


async def test_another_base_model_is_refused(tmp_path: Path) -> None:
    it = await trained(tmp_path)
    with pytest.raises(Refused, match="SANO_BASE_MODEL is not base, on which the adapter was trained"):
        await it.again(base_model_digest="0" * 64)


async def test_a_purge_ends_it_at_its_next_step(tmp_path: Path) -> None:
    it = await trained(tmp_path)
    begun, told = asyncio.Event(), asyncio.get_running_loop()

    class UntilStopped(FakeTrainer):
        def train(self, *arguments: Any, **_: Any) -> Any:
            progress: Callable[[StepProgress], None] = arguments[-2]
            should_stop: Callable[[], bool] = arguments[-1]
            told.call_soon_threadsafe(begun.set)
            step = 0
            while not should_stop():
                step += 1
                time.sleep(0.005)
                progress(StepProgress(step=step, total_steps=10**9, loss=1.0, learning_rate=0.1, tokens=1))
            raise TrainingStopped

    it.trainer = UntilStopped()
    async with asyncio.timeout(60):
        again = asyncio.create_task(it.again())
        await begun.wait()
        await it.world.publish(it.tenant, events.TenantChurned(requested_by="operator-1"))
        await it.world.settle()
        with pytest.raises(TenantFenced):
            await again


async def test_another_tenant_has_no_such_adapter(tmp_path: Path) -> None:
    it = await trained(tmp_path)
    store = await it.world.outside.store(await it.world.onboard("t2"))
    with pytest.raises(Refused, match="no published adapter of this digest"):
        await published_manifest(store, it.manifest.adapter_digest, it.world.keys.trust)
