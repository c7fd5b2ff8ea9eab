"""The sweep on a real S3 API, over more versions than one page of a listing holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from consumers.purge.counting import listed
from consumers.purge.roots import SweepTarget
from consumers.purge.sweep import sweep
from tenancy.storage.objects import BATCH
from tenancy.storage.s3 import S3ObjectStore
from tests.contract.conftest import begin_s3_upload

EVERYTHING = SweepTarget("objects", "tenants/t1/")


@pytest.mark.slow
async def test_versions_markers_and_uploads_on_several_pages_all_go(s3_store: S3ObjectStore) -> None:
    client, bucket = s3_store.client, s3_store.bucket

    def put(number: int) -> None:
        client.put_object(Bucket=bucket, Key=f"tenants/t1/examples/{number}", Body=b"sealed")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, [*range(BATCH), *range(60)]))
    for number in range(50):
        client.delete_object(Bucket=bucket, Key=f"tenants/t1/examples/{number}")
    begin_s3_upload(s3_store, "tenants/t1/runs/open")
    client.put_object(Bucket=bucket, Key="tenants/t10/examples/1", Body=b"another tenant's")
    examples, runs = await listed(s3_store, EVERYTHING)
    assert (examples.objects, examples.versions, examples.delete_markers, examples.uploads) == (
        BATCH,
        BATCH + 60,
        50,
        0,
    )
    assert (runs.objects, runs.versions, runs.delete_markers, runs.uploads) == (0, 0, 0, 1)
    await sweep(s3_store, EVERYTHING)
    assert [upload async for upload in s3_store.uploads("")] == []
    assert [version.key async for version in s3_store.versions("")] == ["tenants/t10/examples/1"]
