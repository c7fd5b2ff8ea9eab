"""Has the redaction gate judge every text of a set that is about to be frozen, and sends back what it finds.

The third look: the source's gate and curation's came before; of an imported approval the source's only, of a
publisher's none of ours. A later version of the gate sees more, and so does one that knows more of the tenant's own
terms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from consumers.training.result import TrainingStopped
from consumers.training.tokenization import TrainingExample
from schemas.base.redaction import RedactionReport
from schemas.bus.events import ExampleReturned
from schemas.bus.redaction import GateVerdict, Redaction
from schemas.objects.training import EligibleExample, JobRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.port import JudgingStopped
from tenancy.redaction.terms import TenantTerms
from tenancy.tenant_id import TenantId

IDENTIFIERS_FOUND = "identifiers-found"


@dataclass(frozen=True)
class Judged:
    """Holds the gate's answers, by example id: a verdict for each clean one, a code for each other one."""

    clean: Mapping[str, GateVerdict]
    hits: Mapping[str, RedactionReport]
    codes: Mapping[str, str]


def judged(
    gate: GateSource, examples: Sequence[TrainingExample], terms: TenantTerms, should_stop: Callable[[], bool]
) -> Judged:
    """Judge one text after another, some tens in a second: no more than one is in the gate's memory.

    Blocks. Raises :class:`TrainingStopped` between two messages when asked to.
    """
    opened, clean, hits, codes = gate(), {}, {}, {}
    for example in examples:
        try:
            report = opened.judge(example.messages, should_stop, terms=terms)
        except JudgingStopped:
            raise TrainingStopped from None
        except Refused as refusal:  # too long to be judged
            codes[example.example_id] = refusal.code
            continue
        if report.verdict == "clean":
            clean[example.example_id] = GateVerdict.of(report)
        else:
            hits[example.example_id] = report
            codes[example.example_id] = IDENTIFIERS_FOUND
    return Judged(clean, hits, codes)


async def send_back(
    tenancy: Tenancy, tenant: TenantId, job: JobRecord, fence: int, entries: Sequence[EligibleExample], found: Judged
) -> None:
    """Publish, of each example with a hit, that it goes back to review. What follows from that is curation's.

    Another attempt finds the same, and publishes what is stale by then.
    """

    async def send(entry: EligibleExample) -> None:
        returned = ExampleReturned(
            example_id=entry.example_id,
            version=entry.version,
            commitment=entry.commitment,
            run_id=job.run_id,
            fence=fence,
            redaction=Redaction.of(found.hits[entry.example_id]),
        )
        await tenancy.outbox.publish(tenant, returned, causation_id=job.request_event_id)

    await gathered(send(entry) for entry in entries if entry.example_id in found.hits)
