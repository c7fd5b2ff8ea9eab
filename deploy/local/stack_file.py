"""Reads and writes ``.sano/stack.json``: where everything of the local stack is, and what runs."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.local.errors import StackFileOutOfReach, UnreadableStackFile


class RunningProcess(BaseModel):
    """One process of the stack, which may have ended since."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int
    log: Path


class StackFile(BaseModel):
    """The file's fields (DESIGN, section 8). Credentials are None where an S3 of your own takes them elsewhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kafka_bootstrap_servers: str
    s3_endpoint_url: str
    s3_bucket: str
    aws_access_key_id: str | None
    aws_secret_access_key: str | None
    inference_url: str
    inference_health_url: str
    review_url: str | None = None
    master_key_file: Path
    trust_file: Path
    trust_root_file: Path
    trust_root_key: str
    token_key: str
    event_key: str
    base_model: str
    processes: list[RunningProcess]

    def write(self, path: Path) -> None:
        """Replace the file at once; only its owner may read it, since it holds credentials."""
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
        scratch.replace(path)

    @classmethod
    def read(cls, path: Path) -> StackFile | None:
        """None when there is no file. Raises :class:`UnreadableStackFile` and :class:`StackFileOutOfReach`."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StackFileOutOfReach(path, error.strerror) from None
        except ValidationError:
            raise UnreadableStackFile(path) from None
