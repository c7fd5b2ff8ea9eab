"""Imports go one way (DESIGN section 2), and what is dangerous or heavy is imported in few places only."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import TENSORS

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "tenancy", "consumers", "producers", "inference", "deploy")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "schemas": (),
    "tenancy": ("schemas",),
    "consumers": ("schemas", "tenancy"),
    "producers": ("schemas", "tenancy"),
    "inference": ("schemas", "tenancy", "consumers.runtime"),  # its agent is a consumer
    "deploy": ("schemas",),
    "producers.cli": ("schemas", "tenancy", "deploy.local"),  # `sano up` and `sano demo` start the local stack
    "producers.demo": ("schemas", "tenancy", "deploy.local"),
}
"""What each package may import of ours besides itself; the longest matching name counts."""

FLOORS: dict[str, tuple[str, ...]] = {
    "schemas": (
        "version",
        "serving_api",
        "base",
        "tenant",
        "bus",
        "objects",
        "models",
        "stores",
        "evidence",
        "generate",
    ),
    "tenancy": (
        "errors",
        "redaction",
        "tenant_id",
        "platform",
        "embedding",
        "service",
        "evidence",
        "bus",
        "kafka_publisher",
        "storage",
        "tokens",
        "state",
        "knowledge",
        "lifecycle",
        "audit",
        "bootstrap",
    ),
    "producers": (
        "settings",
        "connection",
        "progress",
        "sources",
        "queries",
        "commands",
        "operations",
        "review_page",
        "replay",
        "demo",
        "cli",
    ),
    "inference": (
        "errors",
        "settings",
        "engine",
        "adapters",
        "knowledge",
        "tenants",
        "replica",
        "api",
        "wiring",
        "app",
        "scoring",
    ),
}
"""The rooms of a package from the ground up: each imports only those before it. Nothing of ours goes in a circle."""

EMBEDDER = ("tenancy.embedding.sentence_transformer", "tenancy.embedding.model_parts")
HEAVY_ALLOWED = ("consumers.training", "inference", *EMBEDDER)

CLOUD = {"boto3", "botocore", "aiobotocore", "s3fs"}
CLOUD_ALLOWED = {
    "tenancy.platform.aws",  # how long clients wait
    "tenancy.storage.s3",
    "tenancy.storage.direct_s3",
    "tenancy.storage.master_keys",  # KMS
    "tenancy.evidence.kms",
    "deploy.local.embedded",  # makes the bucket of the local stack
}

ENVIRONMENT_ALLOWED = {
    "consumers.training.worker_environment",  # libgomp reads how threads wait from the environment only
    # Programs to copy, with nothing of ours.
    "deploy.examples.clients.with_langchain",
    "deploy.examples.clients.with_litellm",
    "deploy.examples.clients.with_llama_index",
    "deploy.local.settings",  # hands the whole environment on to child processes
    "inference.engine.config",  # vLLM reads some of its settings from the environment only
}


@dataclass(frozen=True)
class Module:
    """One source file by its import name."""

    name: str
    tree: ast.Module

    def imported(self) -> Iterator[str]:
        """Every module named by an import statement, anywhere in the file, or by ``import_module``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in {"import_module", "__import__"}:
                    yield str(node.args[0].value)

    def _absolute(self, node: ast.ImportFrom) -> str:
        parents = self.name.split(".")[: -node.level] if node.level else []
        return ".".join([*parents, node.module] if node.module else parents)

    def reads_environment(self) -> bool:
        return any(
            (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "putenv"})
            or (isinstance(node, ast.ImportFrom) and node.module == "os" and _names(node) & {"environ", "getenv"})
            for node in ast.walk(self.tree)
        )


def _names(node: ast.ImportFrom) -> set[str]:
    return {alias.name for alias in node.names}


def parsed(name: str, source: str) -> Module:
    return Module(name, ast.parse(source))


def modules() -> list[Module]:
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return [parsed(".".join(path.relative_to(ROOT).with_suffix("").parts), path.read_text()) for path in paths]


ALL = modules()


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def misdirected(module: Module) -> list[str]:
    """Imports of ours that the house does not allow."""
    home = module.name.split(".")[0]
    rule = max((package for package in MAY_IMPORT if _within(module.name, package)), key=len)
    return [
        imported
        for imported in module.imported()
        if imported.split(".")[0] in (*PACKAGES, "tests")
        and not _within(imported, home)
        and not any(_within(imported, allowed) or _within(allowed, imported) for allowed in MAY_IMPORT[rule])
    ]


def upward(module: Module) -> list[str]:
    """Imports of a room of the same package that lies on no lower floor."""
    home, *inner = module.name.split(".")
    floors = FLOORS.get(home)
    if floors is None or not inner or inner[0] == "__init__":
        return []
    lower = floors[: floors.index(inner[0])]
    rooms = (imported.split(".")[1] for imported in module.imported() if imported.startswith(f"{home}."))
    return [room for room in rooms if room != inner[0] and room in floors and room not in lower]


def across_consumers(module: Module) -> list[str]:
    """Imports of one consumer by another; only the runtime is shared."""
    parts = module.name.split(".")
    if parts[0] != "consumers" or len(parts) < 2:
        return []
    return [
        imported
        for imported in module.imported()
        if _within(imported, "consumers") and imported.split(".")[1:2] not in ([], [parts[1]], ["runtime"])
    ]


def heavy(module: Module) -> list[str]:
    if any(_within(module.name, package) for package in HEAVY_ALLOWED):
        return []
    return [imported for imported in module.imported() if imported.split(".")[0] in TENSORS]


def cloud(module: Module) -> list[str]:
    return [
        imported
        for imported in module.imported()
        if imported.split(".")[0] in CLOUD and module.name not in CLOUD_ALLOWED
    ]


def test_every_package_of_the_house_is_looked_at() -> None:
    assert {module.name.split(".")[0] for module in ALL} == set(PACKAGES)
    assert len(ALL) > 80


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.name)
def test_imports_go_one_way(module: Module) -> None:
    assert misdirected(module) == []


def test_every_room_of_a_package_has_its_floor() -> None:
    rooms = {(name[0], name[1]) for module in ALL if len(name := module.name.split(".")) > 1 and name[0] in FLOORS}
    assert rooms - {(home, "__init__") for home in FLOORS} == {(home, room) for home in FLOORS for room in FLOORS[home]}


@pytest.mark.parametrize("module", ALL, ids=lambda module: module.name)
def test_a_room_imports_only_rooms_below_it(module: Module) -> None:
    assert upward(module) == []


def test_no_consumer_imports_another() -> None:
    assert {module.name: found for module in ALL if (found := across_consumers(module))} == {}


def test_tensor_libraries_are_imported_only_by_training_inference_and_the_embedder() -> None:
    assert {module.name: found for module in ALL if (found := heavy(module))} == {}


def test_only_the_tenant_boundary_talks_to_the_object_store_and_to_kms() -> None:
    assert {module.name: found for module in ALL if (found := cloud(module))} == {}
    clients = {
        (module.name, call.args[0].value)
        for module in ALL
        for call in ast.walk(module.tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in {"client", "resource"}
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert clients == {
        ("tenancy.storage.s3", "s3"),
        ("tenancy.storage.master_keys", "kms"),
        ("tenancy.evidence.kms", "kms"),
        ("deploy.local.embedded", "s3"),
    }


def test_the_environment_is_read_by_settings_only() -> None:
    assert {module.name for module in ALL if module.reads_environment()} <= ENVIRONMENT_ALLOWED


@pytest.mark.parametrize("service", ["adapters", "curation", "export", "knowledge", "ledger", "purge", "training"])
def test_a_service_with_a_settings_module_has_no_other_settings_class(service: str) -> None:
    found = {
        module.name
        for module in ALL
        if _within(module.name, f"consumers.{service}")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and any(ast.unparse(base).endswith("Settings") for base in node.bases)
    }
    assert found <= {f"consumers.{service}.settings"}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("schemas.x", "from tenancy.errors import Refused"),
        ("schemas.x", "import tests.fixtures"),
        ("tenancy.x", "import consumers.runtime.policy"),
        ("tenancy.x", "def f():\n    from inference import api"),
        ("consumers.x.app", "from producers.cli import main"),
        ("consumers.x.app", "from deploy.local import stack"),
        ("producers.sources.importing", "from deploy.local.stack import up"),
        ("producers.sources.importing", "from consumers.runtime.service import serve"),
        ("producers.cli.x", "import deploy.kubernetes"),
        ("inference.x", "from consumers.curation import handlers"),
        ("inference.x", "import importlib\nimportlib.import_module('producers.cli.main')"),
        ("deploy.local.x", "from tenancy.storage.s3 import connect"),
    ],
)
def test_a_wrong_direction_is_seen(name: str, source: str) -> None:
    assert misdirected(parsed(name, source))


def test_the_other_checks_see_what_they_look_for() -> None:
    assert upward(parsed("tenancy.storage.x", "from tenancy.state.registry import owing"))
    assert upward(parsed("schemas.base.x", "def f():\n    from schemas import bus"))
    assert not upward(parsed("tenancy.state.x", "from tenancy.storage.objects import ObjectStore"))
    assert across_consumers(parsed("consumers.purge.x", "from consumers.export import handlers"))
    assert across_consumers(parsed("consumers.purge.x", "from ..export import handlers"))
    assert not across_consumers(parsed("consumers.purge.x", "from consumers.runtime.service import serve"))
    assert heavy(parsed("consumers.purge.x", "def f():\n    import torch.nn"))
    assert not heavy(parsed("consumers.training.x", "import torch"))
    assert cloud(parsed("consumers.purge.x", "from botocore.exceptions import ClientError"))
    assert parsed("x", "import os\nos.environ['A']").reads_environment()
    assert parsed("x", "import os as o\no.getenv('A')").reads_environment()
    assert parsed("x", "from os import environ").reads_environment()


def test_no_service_but_the_engine_and_the_worker_pays_for_tensor_libraries() -> None:
    """By really importing: an indirect import would not be seen in the source."""
    services = ["adapters", "curation", "export", "knowledge", "ledger", "purge", "training"]
    program = "\n".join(
        [
            "import sys",
            *[f"import consumers.{service}.app" for service in services],
            f"print(sorted({TENSORS!r} & sys.modules.keys()))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
