"""``sano up`` and ``sano down``: one file says what runs, and afterwards nothing does."""

from __future__ import annotations

import base64
import json
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psutil
import pytest

from deploy.local.embedded import REGION
from deploy.local.errors import AlreadyUp, LocalStackError, NotReady, NotUp
from deploy.local.services import PROJECT_ROOT, Service
from deploy.local.settings import LocalSettings
from deploy.local.stack import LocalStack
from deploy.local.stack_file import StackFile
from deploy.local.teardown import running_members
from producers.operations.trust_admin import ensure_keys

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

IDLE = Service("idle", "tests.integration.idle_service")
BOUND_SECONDS = 60

MakeStack = Callable[..., LocalStack]


@pytest.fixture
def topics_applied_to() -> list[str]:
    return []


@pytest.fixture
def make_stack(tmp_path: Path, topics_applied_to: list[str]) -> Iterator[MakeStack]:
    """A stack in ``tmp_path`` with one trivial service and an empty folder for a base model."""
    made: list[LocalStack] = []

    def make(services: tuple[Service, ...] = (IDLE,), **settings: object) -> LocalStack:
        stack = LocalStack(
            tmp_path,
            apply_topics=topics_applied_to.append,
            make_keys=ensure_keys,
            settings=LocalSettings.model_validate({"base_model": str(tmp_path), **settings}),
            services=services,
            tie_to_parent=True,
        )
        made.append(stack)
        return stack

    yield make
    for stack in made:
        stack.down()


@dataclass
class UpStack:
    """A stack that is up, and the bootstrap servers that topics were applied to."""

    stack: LocalStack
    applied_to: list[str]

    @property
    def described(self) -> StackFile:
        return self.stack.connect()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpStack]:
    """For tests that look at a stack, or leave it as it was."""
    root, applied_to = tmp_path_factory.mktemp("up"), list[str]()
    stack = LocalStack(
        root,
        apply_topics=applied_to.append,
        make_keys=ensure_keys,
        settings=LocalSettings.model_validate({"base_model": str(root)}),
        services=(IDLE,),
        tie_to_parent=True,
    )
    stack.up()
    yield UpStack(stack, applied_to)
    stack.down()


def alive(stack: LocalStack) -> list[str]:
    return [process.name for process in stack.status() if process.alive]


def client(described: StackFile) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=described.s3_endpoint_url,
        region_name=REGION,
        aws_access_key_id=described.aws_access_key_id,
        aws_secret_access_key=described.aws_secret_access_key,
    )


def test_the_stack_file_names_everything_and_only_its_owner_may_read_it(up: UpStack) -> None:
    described = up.described
    path = up.stack.folders.stack_file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(json.loads(path.read_text())) == [
        "kafka_bootstrap_servers",
        "s3_endpoint_url",
        "s3_bucket",
        "aws_access_key_id",
        "aws_secret_access_key",
        "inference_url",
        "inference_health_url",
        "review_url",
        "master_key_file",
        "trust_file",
        "trust_root_file",
        "trust_root_key",
        "token_key",
        "event_key",
        "base_model",
        "processes",
    ]
    assert alive(up.stack) == ["bus", "object-store", "idle"]
    assert up.applied_to == [described.kafka_bootstrap_servers]
    s3 = client(described)
    assert s3.get_bucket_versioning(Bucket=described.s3_bucket)["Status"] == "Enabled"


def test_services_get_their_settings_from_the_stack(up: UpStack) -> None:
    stack, described = up.stack, up.described
    seen = json.loads((stack.folders.data / "idle" / "environment.json").read_text())
    assert seen == {
        "SANO_KAFKA_BOOTSTRAP_SERVERS": described.kafka_bootstrap_servers,
        "SANO_S3_ENDPOINT_URL": described.s3_endpoint_url,
        "SANO_S3_BUCKET": described.s3_bucket,
        "SANO_MASTER_KEY_FILE": str(described.master_key_file),
        "TMPDIR": str(stack.folders.tmp),
    }


def test_the_keys_are_private_well_formed_and_kept_over_a_down(make_stack: MakeStack) -> None:
    stack = make_stack(services=())
    described = stack.up()
    master = described.master_key_file.read_bytes()
    trusted = described.trust_file.read_bytes()
    assert len(base64.b64decode(master, validate=False)) == 32
    private = [path for path in stack.folders.keys.glob("*.pem") if not path.name.endswith(".pub.pem")]
    assert {path.name for path in private} >= {"root.pem", "token.pem", "certificate.pem", "event-inference.pem"}
    for path in (described.master_key_file, *private):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    stack.down()
    again = stack.up()
    assert (again.master_key_file.read_bytes(), again.trust_file.read_bytes()) == (master, trusted)


def files_of(pid: int) -> set[str]:
    """Every file that the process has open or mapped, unnamed ones too."""
    proc = Path("/proc") / str(pid)
    opened = {str(fd.readlink()) for fd in (proc / "fd").iterdir()}
    mapped = {line.split(maxsplit=5)[5] for line in (proc / "maps").read_text().splitlines() if line.count("/")}
    return {path for path in opened | mapped if path.startswith("/")}


def test_down_leaves_no_process_and_no_data_and_all_files_were_in_one_folder(make_stack: MakeStack) -> None:
    stack = make_stack()
    described = stack.up()
    left_its_group = psutil.Process(int((stack.folders.data / "idle" / "child.pid").read_text()))
    assert left_its_group in running_members(stack.folders)
    assert_temporary_files_are_ours(stack, described)
    assert stack.down() == ["bus", "object-store", "idle"]
    assert running_members(stack.folders) == []
    assert sorted(path.name for path in stack.folders.home.iterdir()) == ["keys", "lock", "logs"]
    assert stack.down() == []


def assert_temporary_files_are_ours(stack: LocalStack, described: StackFile) -> None:
    """Stores a body that moto spills to disk first, so that there is something to misplace."""
    s3 = client(described)
    s3.put_object(Bucket=described.s3_bucket, Key="large", Body=bytes(20_000_000))
    files = {path for process in described.processes for path in files_of(process.pid)}
    assert any(path.startswith(f"{stack.folders.tmp}/") for path in files)
    system = f"{tempfile.gettempdir()}/"
    assert [path for path in files if path.startswith(system) and not path.startswith(str(stack.folders.home))] == []


def test_a_second_up_is_refused_and_disturbs_nothing(up: UpStack) -> None:
    described = up.described
    second = LocalStack(up.stack.folders.home.parent, apply_topics=lambda servers: None, make_keys=ensure_keys)
    with pytest.raises(AlreadyUp, match="run `sano down` first"):
        second.up()
    assert len(alive(up.stack)) == 3
    assert up.described == described


def test_a_stack_file_whose_processes_are_gone_is_replaced(make_stack: MakeStack) -> None:
    stack = make_stack()
    before = stack.up()
    killed = list(running_members(stack.folders))
    for process in killed:
        process.kill()
    # A signal is no death yet: what is about to die is still seen as running.
    assert not psutil.wait_procs(killed, timeout=BOUND_SECONDS)[1]
    again = make_stack()
    after = again.up()
    assert len(alive(again)) == 3
    assert not {p.pid for p in before.processes} & {p.pid for p in after.processes}


def test_what_settings_point_at_is_used_and_not_started(
    make_stack: MakeStack, topics_applied_to: list[str], object_store_endpoint: str
) -> None:
    stack = make_stack(kafka_bootstrap_servers="127.0.0.1:1", s3_endpoint_url=object_store_endpoint, s3_bucket="mine")
    described = stack.up()
    assert [process.name for process in described.processes] == ["idle"]
    assert (described.kafka_bootstrap_servers, described.s3_endpoint_url, described.s3_bucket) == (
        "127.0.0.1:1",
        object_store_endpoint,
        "mine",
    )
    assert topics_applied_to == ["127.0.0.1:1"]


def test_an_up_that_fails_names_the_service_and_leaves_nothing_running(make_stack: MakeStack) -> None:
    stack = make_stack(services=(IDLE, Service("mute", "http.server", ready_seconds=1.0)))
    with pytest.raises(NotReady, match=r"mute was not ready within 1 s; its log is .*mute\.log"):
        stack.up()
    assert running_members(stack.folders) == []
    assert not stack.folders.stack_file.exists()
    with pytest.raises(NotUp, match="run `sano up` first"):
        stack.connect()


def test_a_service_that_was_killed_is_restarted_on_its_port_with_its_settings(up: UpStack) -> None:
    before = up.described
    up.stack.service("idle").kill()
    up.stack.restart_service("idle")
    after = up.described
    assert len(alive(up.stack)) == 3
    assert [p.pid for p in after.processes][:2] == [p.pid for p in before.processes][:2]
    assert after.processes[2].pid != before.processes[2].pid


UP_ONLY = """
import sys
from pathlib import Path
from deploy.local.services import Service
from deploy.local.settings import LocalSettings
from deploy.local.stack import LocalStack
services = [Service("idle", "tests.integration.idle_service")]
settings = LocalSettings.model_validate({"base_model": sys.argv[1]})
nothing = lambda given: None
LocalStack(Path(sys.argv[1]), apply_topics=nothing, make_keys=nothing, settings=settings, services=services).up()
"""


def test_a_stack_outlives_the_command_that_started_it_and_another_process_takes_it_down(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    stack = make_stack()
    subprocess.run([sys.executable, "-c", UP_ONLY, str(tmp_path)], cwd=PROJECT_ROOT, check=True, timeout=BOUND_SECONDS)
    assert [status.alive for status in stack.status()] == [True, True, True]
    assert stack.down() == ["bus", "object-store", "idle"]
    assert running_members(stack.folders) == []
    assert stack.status() == []


UNREADABLE = (b'{"unknown": 1}', b"{", b"", b"\xff")


def test_a_stack_file_that_cannot_be_read_is_tidied_by_down_and_its_processes_are_ended(make_stack: MakeStack) -> None:
    stack = make_stack()
    for content in UNREADABLE:
        stack.folders.home.mkdir(exist_ok=True)
        stack.folders.stack_file.write_bytes(content)
        assert make_stack().down() == []
        assert not stack.folders.stack_file.exists()
    described = stack.up()
    for content in UNREADABLE:
        stack.folders.stack_file.write_bytes(content)
        for refused in (make_stack().up, stack.status, stack.connect):
            with pytest.raises(
                LocalStackError, match=r"stack\.json is not a stack file of this version; run `sano down`"
            ):
                refused()
    running = {member.pid for member in running_members(stack.folders)}
    assert {process.pid for process in described.processes} <= running, "what is refused touches nothing"
    stopped = make_stack().down()
    assert {f"process {process.pid}" for process in described.processes} <= set(stopped)
    assert running_members(stack.folders) == []
    assert not stack.folders.stack_file.exists()
    assert make_stack().down() == []


def test_what_another_folder_started_is_no_business_of_down(up: UpStack, tmp_path: Path) -> None:
    other = LocalStack(tmp_path / "other", apply_topics=lambda servers: None, make_keys=ensure_keys)
    other.folders.home.mkdir(parents=True)
    other.folders.stack_file.write_text("{")
    assert other.down() == []
    assert len(alive(up.stack)) == 3


def test_a_stack_file_out_of_reach_is_left_alone(make_stack: MakeStack) -> None:
    stack = make_stack()
    stack.folders.stack_file.mkdir(parents=True)
    for refused in (stack.up, stack.down, stack.status):
        with pytest.raises(LocalStackError, match=r"stack\.json cannot be read \(Is a directory\); run this as"):
            refused()
    stack.folders.stack_file.rmdir()


def test_a_wrong_setting_is_named_by_up_and_keeps_nobody_from_taking_a_stack_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SANO_S3_ENDPOINT_URL", "http://secret:word@host:port")
    stack = LocalStack(tmp_path, apply_topics=lambda servers: None, make_keys=ensure_keys)
    with pytest.raises(LocalStackError, match="SANO_S3_ENDPOINT_URL: give a URL, such as") as wrong:
        stack.up()
    assert "word" not in str(wrong.value)
    assert stack.down() == []


@pytest.mark.kafka
def test_with_kafka_the_bus_is_apache_kafka_and_down_removes_its_segments(
    make_stack: MakeStack, kafka_jars: Path
) -> None:
    stack = make_stack(cache_dir=kafka_jars.parent)
    described = stack.up(kafka=True)
    assert alive(stack) == ["kafka-0", "object-store", "idle"]
    assert list(stack.folders.data.glob("kafka/broker-1/data/meta.properties"))
    assert_temporary_files_are_ours(stack, described)
    stack.down()
    assert running_members(stack.folders) == []
    assert not stack.folders.data.exists()
