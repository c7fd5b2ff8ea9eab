"""Renders the Helm chart with Helm's own engine, as ``helm template`` does."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local.services import PROJECT_ROOT

CHART = PROJECT_ROOT / "deploy" / "kubernetes" / "sanolith"
NAMESPACE = "sanolith"
RENDER_SECONDS = 60
Manifest = dict[str, Any]
Values = Mapping[str, Any]

# What an operator must give, and nothing else.
REQUIRED: Values = {
    "images": {name: f"registry.example/{name}@sha256:{'0' * 64}" for name in ("services", "training", "inference")},
    "settings": {
        "SANO_KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
        "SANO_S3_BUCKET": "sanolith",
        "SANO_KMS_KEY_ID": "alias/sanolith",
    },
    "trust": "sano-trust",
    "baseModel": {"volume": {"persistentVolumeClaim": {"claimName": "base-model", "readOnly": True}}},
}
# Of everything something: each branch of the templates is taken.
FULL: Values = {
    "imagePullSecrets": ["registry"],
    "kafkaAuthorities": "kafka-ca",
    "secretSettings": ["database"],
    "services": {
        **{
            name: {"keys": f"sano-{name}", "secretSettings": [f"kafka-{name}"], "account": {"example.com/role": name}}
            for name in ("curation", "training", "adapters", "export", "knowledge", "purge", "ledger", "review")
        },
        "review": {
            "enabled": True,
            "keys": "sano-review",
            "settings": {"SANO_REVIEW_URL": "https://review.example"},
            "from": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        },
        "inference": {
            "keys": "sano-inference",
            "replicas": 2,
            "from": [{"podSelector": {"matchLabels": {"app": "gateway"}}}],
            "nodeSelector": {"gpu": "a"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
        },
        "fhir-one": {"module": "producers.sources.fhir.app", "image": "services", "port": 8070, "signs": ["event"]},
    },
    "worker": {"labels": {"kueue.x-k8s.io/queue-name": "gpu"}, "account": {"example.com/role": "worker"}},
    "networkPolicy": {"metricsFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
}


@dataclass(frozen=True)
class Chart:
    """``program``: the tests' own (tests/kubernetes/program.py). ``folder`` is for values."""

    program: Path
    folder: Path

    def rendered(self, *values: Values) -> list[Manifest]:
        """The manifests for these values over the chart's own. Raises :class:`subprocess.CalledProcessError`."""
        files = []
        for number, given in enumerate(values):
            files.append(self.folder / f"values-{number}.yaml")
            files[-1].write_text(yaml.safe_dump(dict(given)))
        command = [str(part) for part in (self.program, "render", CHART, NAMESPACE, *files)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RENDER_SECONDS, check=True)
        texts: dict[str, str] = yaml.safe_load(done.stdout)
        return [manifest for text in texts.values() for manifest in yaml.safe_load_all(text) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """By their names, without the release's."""
    found = (manifest for manifest in manifests if manifest["kind"] == kind)
    return {manifest["metadata"]["name"].removeprefix("sanolith-"): manifest for manifest in found}


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The specifications of all pods, the workers' too."""
    workloads = {**of_kind(manifests, "Deployment"), **of_kind(manifests, "StatefulSet")}
    workloads["training-worker"] = worker_job(manifests)
    return {name: workload["spec"]["template"]["spec"] for name, workload in workloads.items()}


def worker_job(manifests: list[Manifest]) -> Manifest:
    job: Manifest = yaml.safe_load(of_kind(manifests, "ConfigMap")["worker"]["data"]["job.yaml"])
    return job
