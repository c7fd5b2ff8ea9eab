"""kill -9 of the serving replica between its eviction and its acknowledgement: the purge waits for it, and goes on
when the replica is back."""

from __future__ import annotations

import pytest

from tests.fixtures.canary_life import REPLICA
from tests.fixtures.server_kill import ServerKill

pytestmark = [pytest.mark.kafka, pytest.mark.engine, pytest.mark.slow]


@pytest.mark.timeout(1200)
def test_a_purge_waits_for_a_killed_replica_and_never_skips_it(killed: ServerKill) -> None:
    assert killed.outlived, "what outlives its server is found by its stack"
    assert killed.waited is not None
    assert (killed.waited.step, killed.waited.replicas) == ("shredded", (REPLICA,)), "looking again does not skip it"
    assert killed.waited.acknowledgements == ()
    assert killed.certified is not None
    assert [noted.outcome for noted in killed.certified.acknowledgements] == ["evicted"]
