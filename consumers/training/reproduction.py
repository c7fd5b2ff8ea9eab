"""Trains an adapter a second time, from its signed manifest, and compares the bytes. Nothing is published or kept.

``sano reproduce`` runs it as ``python -m consumers.training.reproduction``: settings as JSON on standard input, beside
those of the environment, and lines of :class:`~schemas.evidence.reproduction.ReproductionProgress` on standard output.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
from collections.abc import Callable
from itertools import zip_longest

from consumers.training.base_model import BaseModel
from consumers.training.freeze import TrainingSetVoid, eligible, frozen_content
from consumers.training.result import StepProgress, TrainingResult, TrainingStopped
from consumers.training.scratch import scratch_folder, sweep_scratch
from consumers.training.settings import ReproductionSettings
from consumers.training.tokenization import TrainingExample
from consumers.training.trainer import LoraTrainer, Trainer, import_tensor_libraries
from consumers.training.worker_environment import set_threads
from schemas.base.json_text import parse_json
from schemas.evidence.reproduction import Difference, Reproduction, ReproductionProgress
from schemas.evidence.statements import TrainingManifest
from schemas.objects.training import TrainingSetEntry
from schemas.version import VERSION
from tenancy.bootstrap import Tenancy, open_reading, trust
from tenancy.errors import Refused, TenantFenced
from tenancy.lifecycle.manifests import published_manifest
from tenancy.platform.concurrency import gathered
from tenancy.platform.logs import safe_message
from tenancy.platform.settings import PlatformSettings, loaded
from tenancy.service.periodic import Periodic
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

Report = Callable[[StepProgress], None]


async def reproduce(
    tenancy: Tenancy, settings: PlatformSettings, trainer: Trainer, manifest: TrainingManifest, report: Report
) -> Reproduction:
    """Train on exactly the manifest's set, and compare.

    A purge of the tenant ends it at the next step, with :class:`TenantFenced`. Raises :class:`Refused` for another base
    model, and for a set of which an example was withdrawn, lost its consent or was erased.
    """
    tenant = TenantId(manifest.tenant)
    base = await asyncio.to_thread(trainer.base_model)
    if base.digest != manifest.base_model_digest:
        why = f"refused: SANO_BASE_MODEL is not {manifest.base_model}, on which the adapter was trained"
        raise Refused("other-base-model", f"{why}; its digest is {manifest.base_model_digest}")
    examples = await _examples(tenancy, await tenancy.store(tenant), manifest)
    stop = threading.Event()
    losses: list[float] = []

    def progress(step: StepProgress) -> None:
        losses.append(step.loss)
        report(step)

    async def look() -> None:
        try:
            await tenancy.active(tenant)
        except TenantFenced:
            stop.set()

    watching = Periodic("tenant", settings.lease_seconds / 3, look)
    watching.start()
    try:
        result = await _trained(settings, trainer, manifest, base, examples, progress, stop)
    except TrainingStopped:
        raise TenantFenced from None
    finally:
        stop.set()
        await watching.stop()
    return Reproduction(
        tenant=tenant,
        adapter_digest=manifest.adapter_digest,
        run_id=manifest.run_id,
        is_same=(result.weights_sha256, result.config_sha256) == (manifest.weights_sha256, manifest.config_sha256),
        weights_sha256=result.weights_sha256,
        config_sha256=result.config_sha256,
        first_different_step=_first_different(losses, manifest),
        differences=tuple(_differences(manifest, result)),
        seconds=result.seconds,
    )


async def _examples(tenancy: Tenancy, store: TenantStore, manifest: TrainingManifest) -> list[TrainingExample]:
    """Read the texts of the set. Raises :class:`Refused` where one is not eligible now, or was erased."""
    policy = (await tenancy.active(store.tenant)).state.policy
    usable = {entry.example_id for entry in await eligible(store, policy, tenancy.clock())}
    entries = manifest.training_set.entries
    found = await gathered(_text(store, entry) for entry in entries if entry.example_id in usable)
    texts = [example for example in found if example is not None]
    if missing := len(entries) - len(texts):
        why = f"refused: {missing} of the adapter's {len(entries)} examples may not be used any more, or were erased"
        raise Refused("set-not-usable", f"{why}; `sano withdrawals --tenant {store.tenant}` shows what was withdrawn")
    return texts


async def _text(store: TenantStore, entry: TrainingSetEntry) -> TrainingExample | None:
    try:
        return TrainingExample(entry.example_id, (await frozen_content(store, entry)).messages)
    except TrainingSetVoid:
        return None  # erased


async def _trained(
    settings: PlatformSettings,
    trainer: Trainer,
    manifest: TrainingManifest,
    base: BaseModel,
    examples: list[TrainingExample],
    progress: Report,
    stop: threading.Event,
) -> TrainingResult:
    """In the arithmetic of the first training, also where this processor would choose another."""
    asked = manifest.hyperparameters.evolve(precision=manifest.precision)
    await asyncio.to_thread(sweep_scratch, settings.work_dir)  # of one that was killed
    with scratch_folder(settings.work_dir, f"{manifest.run_id}-again") as scratch:
        output, run_id = scratch / "adapter", manifest.run_id
        return await asyncio.to_thread(trainer.train, examples, base, asked, run_id, output, progress, stop.is_set)


def _first_different(losses: list[float], manifest: TrainingManifest) -> int | None:
    steps = zip_longest(losses, (metric.loss for metric in manifest.metrics))
    return next((number for number, (now, then) in enumerate(steps, 1) if now != then), None)


def _differences(manifest: TrainingManifest, result: TrainingResult) -> list[Difference]:
    then = {**manifest.library_versions, "processor": manifest.processor, "sanolith": manifest.code_version}
    now = {**result.library_versions, "processor": result.processor.description, "sanolith": VERSION}
    names = sorted(then.keys() | now.keys())
    return [
        Difference(what=name, then=then.get(name, "-"), now=now.get(name, "-"))
        for name in names
        if then.get(name) != now.get(name)
    ]


def _say(line: ReproductionProgress) -> None:
    sys.stdout.write(line.model_dump_json(exclude_defaults=True) + "\n")
    sys.stdout.flush()


async def _run(settings: ReproductionSettings, tenant: TenantId, digest: str) -> Reproduction:
    async with open_reading(settings, "operators") as tenancy:
        manifest = await published_manifest(await tenancy.store(tenant), digest, trust(settings))
        trainer = LoraTrainer(settings.base_model, manifest.base_model, settings.work_dir / "models")
        return await reproduce(
            tenancy,
            settings,
            trainer,
            manifest,
            lambda step: _say(ReproductionProgress(step=step.step, steps=step.total_steps)),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="train an adapter again and compare")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--digest", required=True)
    arguments = parser.parse_args()
    set_threads()
    given = parse_json(sys.stdin.buffer.read())
    try:
        settings = loaded(ReproductionSettings, given=given)
        import_tensor_libraries()
        found = asyncio.run(_run(settings, TenantId(arguments.tenant), arguments.digest))
    except Exception as error:
        _say(ReproductionProgress(refused=safe_message(error)))
        raise SystemExit(1) from None
    _say(ReproductionProgress(found=found))


if __name__ == "__main__":
    main()
