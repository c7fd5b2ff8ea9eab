"""What the Helm chart makes of values. The API server has its say in tests/integration/test_kubernetes.py."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from consumers.runtime.settings import ConsumerSettings
from consumers.training.launching.kubernetes_jobs import job_of, read_job_template
from deploy.local.services import REVIEW, SERVICES
from inference.settings import InferenceSettings
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import SIGNS, key_file
from tenancy.tenant_id import TenantId
from tests.kubernetes.chart import CHART, FULL, NAMESPACE, REQUIRED, Chart, Manifest, of_kind, pods, worker_job
from tests.unit.test_docs import settings_classes, variable

NAMES = {service.name for service in SERVICES}
WRITTEN_BY_LIBRARIES = {"HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TRITON_CACHE_DIR", "VLLM_CACHE_ROOT"}
UNITS = {"Mi": 2**20, "Gi": 2**30}


@pytest.fixture(scope="module")
def least(chart: Chart) -> list[Manifest]:
    """Of an installation that gives what it must."""
    return chart.rendered(REQUIRED)


@pytest.fixture(scope="module")
def full(chart: Chart) -> list[Manifest]:
    return chart.rendered(REQUIRED, FULL)


def main_container(pod: Manifest) -> Manifest:
    (container,) = pod["containers"]
    found: Manifest = container
    return found


def environment(pod: Manifest) -> dict[str, str]:
    return {one["name"]: one["value"] for one in main_container(pod)["env"]}


def size(quantity: str) -> int:
    return int(quantity[:-2]) * UNITS[quantity[-2:]]


# --- what is installed


def test_each_service_of_the_local_stack_is_a_workload(least: list[Manifest]) -> None:
    found = pods(least)
    assert set(found) == NAMES | {"training-worker"}
    for service in SERVICES:
        assert main_container(found[service.name])["command"] == ["python", "-m", service.module]
    assert set(of_kind(least, "StatefulSet")) == {"inference"}, "whose name is its replica's, over restarts"


def test_the_review_page_and_sources_are_there_where_they_are_asked_for(full: list[Manifest]) -> None:
    found = pods(full)
    assert set(found) == NAMES | {"training-worker", REVIEW.name, "fhir-one"}
    assert main_container(found[REVIEW.name])["command"] == ["python", "-m", REVIEW.module]


@pytest.mark.parametrize(
    "lacking", ["images", "trust", "baseModel", "SANO_KAFKA_BOOTSTRAP_SERVERS", "SANO_S3_BUCKET", "SANO_KMS_KEY_ID"]
)
def test_an_installation_that_lacks_what_must_be_given_is_refused_by_its_name(chart: Chart, lacking: str) -> None:
    given: dict[str, Any] = json.loads(json.dumps(REQUIRED))
    del (given["settings"] if lacking.startswith("SANO_") else given)[lacking]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        chart.rendered(given)
    assert lacking in refused.value.stderr


# --- settings and secrets


def test_what_the_chart_sets_are_settings(full: list[Manifest]) -> None:
    known = {variable(kind, name) for kind in settings_classes() for name in kind.model_fields}
    given = {name for pod in pods(full).values() for name in environment(pod)}
    given |= set(of_kind(full, "ConfigMap")["settings"]["data"])
    assert {name for name in given if name.startswith("SANO_")} - known == set()


def test_no_secret_setting_can_be_given_in_clear() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    refused = set(schema["definitions"]["settings"]["propertyNames"]["not"]["enum"])
    secret = {
        variable(kind, name)
        for kind in settings_classes()
        for name, field in kind.model_fields.items()
        if field.annotation == SecretStr | None
    }
    assert {name for name in refused if name.startswith("SANO_")} == secret


def test_a_secret_setting_is_refused(chart: Chart) -> None:
    given = {"services": {"curation": {"settings": {"SANO_KAFKA_SASL_PASSWORD": "in-clear"}}}}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        chart.rendered(REQUIRED, given)
    assert "SANO_KAFKA_SASL_PASSWORD" in refused.value.stderr


def test_no_manifest_is_a_secret(full: list[Manifest]) -> None:
    assert of_kind(full, "Secret") == {}


def test_each_pod_has_the_private_keys_that_it_signs_with_and_no_others(full: list[Manifest]) -> None:
    names = {f"SANO_{purpose}_KEY".upper(): purpose for purpose in Purpose}
    for name, pod in pods(full).items():
        signer = "training" if name == "training-worker" else name
        if signer in SIGNS:
            folder = Path("/etc/sanolith/keys")
            expected = {f"SANO_{p}_KEY".upper(): str(key_file(folder, p, signer)) for p in SIGNS[signer]}
            assert {key: value for key, value in environment(pod).items() if key in names} == expected


# --- pods


def test_a_root_that_is_read_only_has_a_volume_wherever_something_is_written_or_read(full: list[Manifest]) -> None:
    for name, pod in pods(full).items():
        mounts = {one["mountPath"]: one["name"] for one in main_container(pod)["volumeMounts"]}
        volumes = {one["name"]: one for one in pod["volumes"]}
        assert set(mounts.values()) | {"secrets"} >= set(volumes), name
        for key, value in environment(pod).items():
            if value.startswith("/"):
                (volume,) = {volumes[mounts[path]]["name"] for path in mounts if Path(value).is_relative_to(path)}
                if key in WRITTEN_BY_LIBRARIES or key == "SANO_WORK_DIR":
                    assert "emptyDir" in volumes[volume], key


def test_what_lies_in_memory_fits_into_the_memory(full: list[Manifest]) -> None:
    for name, pod in pods(full).items():
        in_memory = [one["emptyDir"] for one in pod["volumes"] if one.get("emptyDir", {}).get("medium") == "Memory"]
        limit = size(main_container(pod)["resources"]["limits"]["memory"])
        assert 2 * sum(size(one["sizeLimit"]) for one in in_memory) <= limit, name


def test_an_adapter_lies_in_the_clear_in_memory_only(full: list[Manifest]) -> None:
    for name in ("training", "training-worker"):
        (work,) = [one for one in pods(full)[name]["volumes"] if one["name"] == "work"]
        assert work["emptyDir"]["medium"] == "Memory"
    mounts = main_container(pods(full)["inference"])["volumeMounts"]
    adapters = InferenceSettings.model_fields["adapter_dir"].default
    assert any(adapters.is_relative_to(one["mountPath"]) for one in mounts if one["name"] == "shared-memory")


def test_a_pod_has_the_time_that_its_process_may_need_to_end(full: list[Manifest]) -> None:
    handling = ConsumerSettings.model_fields["handler_deadline_seconds"].default
    for name, pod in pods(full).items():
        needed = handling + 15 + 40
        if name == "inference":  # docs/operations.md, Serving replicas
            before = main_container(pod)["lifecycle"]["preStop"]["sleep"]["seconds"]
            needed = before + InferenceSettings.model_fields["drain_seconds"].default + handling + 170
        assert pod["terminationGracePeriodSeconds"] >= needed, name


def test_no_service_can_set_a_setting_by_its_name(full: list[Manifest]) -> None:
    """Of a service `sano-inference` the kubelet would make SANO_INFERENCE_PORT=tcp://…"""
    assert not any(pod["enableServiceLinks"] for pod in pods(full).values())


def test_probes_ask_the_health_port_and_a_replica_has_half_an_hour_to_load_its_model(least: list[Manifest]) -> None:
    for name, pod in pods(least).items():
        container = main_container(pod)
        if name == "training-worker":
            assert not any(key.endswith("Probe") for key in container)
            continue
        asked = {key: container[key]["httpGet"] for key in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert asked["livenessProbe"] == {"path": "/health/live", "port": "health"}
        assert asked["readinessProbe"] == {"path": "/health/ready", "port": "health"}
        assert {"name": "health", "containerPort": 8080} in container["ports"]
        assert environment(pod)["SANO_HEALTH_HOST"] == "0.0.0.0"  # noqa: S104
    startup = main_container(pods(least)["inference"])["startupProbe"]
    assert startup["httpGet"]["path"] == "/health/ready"
    assert startup["periodSeconds"] * startup["failureThreshold"] == 1800


# --- rights


def test_each_component_has_an_account_and_the_training_service_alone_a_token(full: list[Manifest]) -> None:
    found = pods(full)
    assert {name: pod["serviceAccountName"] for name, pod in found.items()} == {n: f"sanolith-{n}" for n in found}
    assert set(of_kind(full, "ServiceAccount")) == set(found)
    assert [name for name, pod in found.items() if pod["automountServiceAccountToken"]] == ["training"]
    annotations = of_kind(full, "ServiceAccount")["training-worker"]["metadata"]["annotations"]
    assert annotations == {"example.com/role": "worker"}


def test_the_training_service_may_do_what_its_launcher_does(full: list[Manifest]) -> None:
    (role,) = of_kind(full, "Role").values()
    assert role["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "delete"]}
    ]
    (binding,) = of_kind(full, "RoleBinding").values()
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "sanolith-training", "namespace": NAMESPACE}]


def test_the_job_that_the_service_reads_is_one(full: list[Manifest], tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(of_kind(full, "ConfigMap")["worker"]["data"]["job.yaml"])
    job = job_of(read_job_template(file), TenantId("t1"), "r-1", 1)
    labels = job["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "gpu"
    assert labels["app.kubernetes.io/component"] == "training-worker"
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert environment(pods(full)["training"])["SANO_WORKER_JOB_FILE"] == "/etc/sanolith/worker/job.yaml"
    assert "SANO_WORKER_JOB_FILE" not in environment(job["spec"]["template"]["spec"])


# --- drains and updates


def test_updates_need_no_spare_node_and_drains_take_one_of_several(full: list[Manifest]) -> None:
    for name, deployment in of_kind(full, "Deployment").items():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}, name
    budgets = of_kind(full, "PodDisruptionBudget")
    assert set(budgets) == {"inference"}, "a budget of a single one would hold up every drain"
    assert budgets["inference"]["spec"]["maxUnavailable"] == 1


def test_pods_start_anew_when_their_settings_change(chart: Chart, least: list[Manifest]) -> None:
    changed = chart.rendered(REQUIRED, {"settings": {"SANO_S3_BUCKET": "other"}})
    for kind in ("Deployment", "StatefulSet"):
        for name, workload in of_kind(changed, kind).items():
            before = of_kind(least, kind)[name]["spec"]["template"]["metadata"]["annotations"]
            assert workload["spec"]["template"]["metadata"]["annotations"] != before, name


# --- network


def test_every_pod_is_denied_what_no_policy_allows(full: list[Manifest]) -> None:
    policies = of_kind(full, "NetworkPolicy")
    everything = policies["sanolith"]["spec"]
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    templates = [
        one["spec"]["template"] for kind in ("Deployment", "StatefulSet") for one in of_kind(full, kind).values()
    ]
    for template in [*templates, worker_job(full)["spec"]["template"]]:
        labels = template["metadata"]["labels"].items()
        assert everything["podSelector"]["matchLabels"].items() <= labels
    assert set(policies) == {"sanolith", "training-api-server", "inference", "review"}
    (training,) = [t for t in templates if t["metadata"]["labels"]["app.kubernetes.io/component"] == "training"]
    selected = policies["training-api-server"]["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= training["metadata"]["labels"].items()


def test_nobody_reaches_a_port_until_somebody_is_named(least: list[Manifest], full: list[Manifest]) -> None:
    assert not any(policy["spec"].get("ingress") for policy in of_kind(least, "NetworkPolicy").values())
    (rule,) = of_kind(full, "NetworkPolicy")["inference"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app": "gateway"}}}]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8000}]


def test_the_values_of_the_chart_are_those_of_its_schema() -> None:
    values, schema = (
        yaml.safe_load((CHART / "values.yaml").read_text()),
        json.loads((CHART / "values.schema.json").read_text()),
    )
    assert set(values) == set(schema["properties"])
    assert set(values["defaults"]) | {"module", "image"} == set(schema["definitions"]["pod"]["properties"]) - {
        *("labels", "ttlSecondsAfterFinished", "activeDeadlineSeconds")
    }
