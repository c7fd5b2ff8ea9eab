"""A world whose workers train for real, on a tiny model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from consumers.training.trainer import LoraTrainer
from consumers.training.worker import Worker
from schemas.bus import events
from schemas.tenant.policy import TenantPolicy
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId
from tests.unit.tiny_training import BASE_NAME, THREE_STEPS, build_tiny_base, load_tokenizer
from tests.world.world import World

GOOD = tuple(f"e{number}" for number in range(4))


def tiny_trainer(folder: Path) -> LoraTrainer:
    """Trains on a tiny model, which is written into the folder."""
    return LoraTrainer(str(build_tiny_base(folder / "tiny", load_tokenizer()).path), BASE_NAME, folder)


class Real(World):
    """A world whose workers train for real."""

    real: LoraTrainer

    async def worker(self, tenant: TenantId) -> Worker:
        worker = await super().worker(tenant)
        worker.trainer = self.real
        return worker


async def made(
    scratch: Path,
    trainer: LoraTrainer,
    bad: dict[str, tuple[str, str]],
    objects: ObjectStore | None = None,
    **policy: Any,
) -> Any:
    """The world after a run on the good examples and the bad ones, and the tenant's run."""
    world = Real(scratch, objects=objects)
    world.real = trainer
    held = {"min_new_examples": 100, "min_training_examples": 2, "hyperparameters": THREE_STEPS, **policy}
    tenant = await world.onboard("t1", TenantPolicy.model_validate(held))
    await world.publish(tenant, events.ConsentGranted(consent_id="consent-1", version=1))
    for name in GOOD:
        await world.publish(tenant, await world.approval(tenant, name))
    for name, (text, _) in bad.items():
        await world.publish(tenant, await world.approval(tenant, name, text=text))
    await world.settle()
    await world.publish(tenant, events.TrainingRequested(run_id="r1", trigger="operator"))
    await world.settle()
    return world, tenant, (await world.state(tenant)).runs["r1"]
