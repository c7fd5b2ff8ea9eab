"""Describes a local stack that was never started, for what is made of such a description."""

from __future__ import annotations

from deploy.local.services import Folders
from deploy.local.stack_file import StackFile
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import ROOT_FILE, ROOT_PUBLIC_FILE, TRUST_FILE, key_file


def stack_of(folders: Folders, **changes: str) -> StackFile:
    """Everything that every stack has; its keys are said to lie in ``folders``."""
    keys = folders.keys
    stack = StackFile(
        kafka_bootstrap_servers="127.0.0.1:9092",
        s3_endpoint_url="http://127.0.0.1:9000",
        s3_bucket="bucket",
        aws_access_key_id=None,
        aws_secret_access_key=None,
        inference_url="http://127.0.0.1:8000",
        inference_health_url="http://127.0.0.1:8081",
        master_key_file=keys / "master.key",
        trust_file=keys / TRUST_FILE,
        trust_root_file=keys / ROOT_PUBLIC_FILE,
        trust_root_key=str(keys / ROOT_FILE),
        token_key=str(key_file(keys, Purpose.TOKEN, "operators")),
        event_key=str(key_file(keys, Purpose.EVENT, "operators")),
        base_model="base",
        processes=[],
    )
    return stack.model_copy(update=changes)
