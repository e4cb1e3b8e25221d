"""What the chart renders: restricted pods, least privileges, every toggle, and values that it refuses.

Needs the helm binary that `make cluster` unpacks, or the one that HELM names; no cluster.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic.alias_generators import to_camel

from contentgen_operator.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "contentgen"
Manifest = dict[str, Any]
MODES: dict[str, list[str]] = {
    "default": [],
    "sandbox": ["sandbox.enabled=true"],
    "namespaced": ["watchNamespace=marketing"],
    "inline": [
        "mongodb.uri=mongodb://db:27017/",
        "storage.accessKeyId=id",
        "storage.secretAccessKey=secret",
        "providers.fal.key=fal",
        "providers.assemblyai.key=aai",
    ],
    "existing": ["mongodb.existingSecret=m", "storage.existingSecret=s", "providers.existingSecret=p"],
}


@pytest.fixture(scope="session")
def helm() -> str:
    found = os.environ.get("HELM") or str(ROOT / ".cluster" / "bin" / "helm")
    if not Path(found).is_file():
        pytest.fail(f"no helm at {found}; run `make cluster`, or set HELM to a helm 3 or 4 binary")
    return found


def run(helm: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm, *arguments], capture_output=True, text=True, timeout=120, check=False)


def template(helm: str, *values: str, release: str = "contentgen") -> subprocess.CompletedProcess[str]:
    settings = [word for value in values for word in ("--set", value)]
    return run(helm, "template", release, str(CHART), "--namespace", "contentgen", *settings)


def render(helm: str, *values: str, release: str = "contentgen") -> list[Manifest]:
    result = template(helm, *values, release=release)
    assert result.returncode == 0, result.stderr
    return [manifest for manifest in yaml.safe_load_all(result.stdout) if manifest]


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    assert len(found) == 1, (kind, name, [(m["kind"], m["metadata"]["name"]) for m in manifests])
    return found[0]


def pod_of(manifests: list[Manifest], name: str) -> Manifest:
    spec = one(manifests, "Deployment", name)["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def env_of(manifests: list[Manifest], name: str) -> dict[str, Any]:
    """Each variable's value, or where it comes from."""
    variables = pod_of(manifests, name)["containers"][0]["env"]
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


def secret_ref(name: str, key: str) -> Manifest:
    return {"secretKeyRef": {"name": name, "key": key}}


@pytest.mark.parametrize("mode", MODES)
def test_lint(helm: str, mode: str) -> None:
    settings = [word for value in MODES[mode] for word in ("--set", value)]
    result = run(helm, "lint", "--strict", str(CHART), *settings)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("mode", MODES)
def test_every_pod_is_restricted(helm: str, mode: str) -> None:
    manifests = render(helm, *MODES[mode])
    deployments = [m for m in manifests if m["kind"] == "Deployment"]
    assert len(deployments) == (2 if mode == "sandbox" else 1)
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["enableServiceLinks"] is False, "CONTENTGEN_DESK_PORT and the like would look like settings"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(not {"hostPath"} & volume.keys() for volume in pod["volumes"])
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]  # noqa: S108 - a pod's own


@pytest.mark.parametrize("mode", MODES)
def test_the_operator_may_do_what_it_does_and_no_more(helm: str, mode: str) -> None:
    manifests = render(helm, *MODES[mode])
    roles = [m for m in manifests if m["kind"] in ("Role", "ClusterRole")]
    rules = [rule for role in roles for rule in role["rules"]]
    assert not [rule for rule in rules if "*" in rule["apiGroups"] + rule["resources"] + rule["verbs"]]
    secrets = [rule for rule in rules if "secrets" in rule["resources"]]
    assert secrets == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["contentgen-desk-tls"],
            "verbs": ["get", "patch"],
        }
    ]
    everywhere = {
        resource
        for role in roles
        if role["kind"] == "ClusterRole"
        for r in role["rules"]
        for resource in r["resources"]
    }
    namespaced = mode == "namespaced"
    assert "tokenreviews" in everywhere
    assert ("jobs" in everywhere) is not namespaced
    assert ("namespaces" in everywhere) is not namespaced
    granted = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    for plural in ("loratrainings", "imagegenerations", "transcriptions"):
        assert {(plural, "get"), (plural, "list"), (plural, "watch"), (plural, "patch")} <= granted
        assert {(f"{plural}/status", "get"), (f"{plural}/status", "patch"), (f"{plural}/status", "update")} <= granted
        assert (plural, "delete") not in granted
    assert {verb for resource, verb in granted if resource == "jobs"} == {"get", "list", "watch", "create", "delete"}
    assert {verb for resource, verb in granted if resource == "pods"} == {"get"}
    account = one(manifests, "ServiceAccount", "contentgen")
    assert pod_of(manifests, "contentgen")["serviceAccountName"] == account["metadata"]["name"]
    for binding in (m for m in manifests if m["kind"] in ("RoleBinding", "ClusterRoleBinding")):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "contentgen", "namespace": "contentgen"}]
        namespace = binding["metadata"].get("namespace")
        one([m for m in roles if m["metadata"].get("namespace") == namespace], binding["roleRef"]["kind"],
            binding["roleRef"]["name"])  # fmt: skip


def test_namespaced_mode_puts_the_role_where_the_resources_are(helm: str) -> None:
    manifests = render(helm, *MODES["namespaced"])
    roles = {m["metadata"].get("namespace", "") for m in manifests if m["kind"] == "Role"}
    assert roles == {"marketing", ""}
    assert env_of(manifests, "contentgen")["CONTENTGEN_WATCH_NAMESPACE"] == "marketing"


def test_environment_by_default(helm: str) -> None:
    env = env_of(render(helm), "contentgen")
    assert env["CONTENTGEN_NAMESPACE"] == {"fieldRef": {"fieldPath": "metadata.namespace"}}
    assert env["CONTENTGEN_WATCH_NAMESPACE"] == ""
    assert env["CONTENTGEN_MONGODB_DATABASE"] == "content-generation"
    assert env["CONTENTGEN_S3_ENDPOINT"] == env["CONTENTGEN_S3_PUBLIC_ENDPOINT"] == ""
    assert env["CONTENTGEN_S3_BUCKET"] == "content-generation-assets"
    assert env["CONTENTGEN_FAL_QUEUE_URL"] == env["CONTENTGEN_FAL_API_URL"] == env["CONTENTGEN_ASSEMBLYAI_URL"] == ""
    assert json.loads(env["CONTENTGEN_ALLOWED_HOSTS"]) == json.loads(env["CONTENTGEN_SOURCE_BUCKETS"]) == []
    assert json.loads(env["CONTENTGEN_WORKER_RESOURCES"])["limits"]["memory"] == "4Gi"
    assert env["CONTENTGEN_DESK_URL"] == "https://contentgen-desk.contentgen.svc:8443"
    assert env["CONTENTGEN_DESK_SECRET"] == "contentgen-desk-tls"
    assert env["CONTENTGEN_POLL_SECONDS"] == "5"
    assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & env.keys(), "workload identity needs them absent"


def test_environment_in_the_sandbox(helm: str) -> None:
    manifests = render(helm, *MODES["sandbox"])
    env = env_of(manifests, "contentgen")
    host = "contentgen-sandbox.contentgen.svc"
    assert one(manifests, "Secret", "contentgen-mongodb")["stringData"] == {"uri": f"mongodb://{host}:27017/"}
    assert env["CONTENTGEN_MONGODB_URI"] == secret_ref("contentgen-mongodb", "uri")
    assert env["CONTENTGEN_S3_ENDPOINT"] == env["CONTENTGEN_S3_PUBLIC_ENDPOINT"] == f"http://{host}:7070"
    assert env["CONTENTGEN_FAL_QUEUE_URL"] == f"http://{host}/fal"
    assert env["CONTENTGEN_FAL_API_URL"] == f"http://{host}/fal-api"
    assert env["CONTENTGEN_ASSEMBLYAI_URL"] == f"http://{host}/assemblyai"
    assert json.loads(env["CONTENTGEN_ALLOWED_HOSTS"]) == [f"{host}:80"]
    assert json.loads(env["CONTENTGEN_SOURCE_BUCKETS"]) == ["recordings"]
    assert env["CONTENTGEN_POLL_SECONDS"] == "1"
    keys = one(manifests, "Secret", "contentgen-providers")["stringData"]
    assert keys == {"fal-key": "sandbox", "assemblyai-key": "sandbox"}
    sandbox = env_of(manifests, "contentgen-sandbox")
    assert sandbox["SANDBOX_DATA"] == "/data"
    assert sandbox["ROOT_ACCESS_KEY"] == env["AWS_ACCESS_KEY_ID"] == secret_ref("contentgen-storage", "access-key-id")
    assert sandbox["ROOT_SECRET_KEY"] == env["AWS_SECRET_ACCESS_KEY"]
    ports = {port["name"]: port["port"] for port in one(manifests, "Service", "contentgen-sandbox")["spec"]["ports"]}
    assert ports == {"http": 80, "s3": 7070, "mongodb": 27017}
    container = pod_of(manifests, "contentgen-sandbox")["containers"][0]
    assert container["args"] == ["all"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {
        "http": 8080,
        "s3": 7070,
        "mongodb": 27017,
    }
    assert pod_of(manifests, "contentgen-sandbox")["automountServiceAccountToken"] is False


def test_what_is_set_wins_over_the_sandbox(helm: str) -> None:
    manifests = render(
        helm, "sandbox.enabled=true", "mongodb.uri=mongodb://mine/", "pollSeconds=7", "allowedHosts={media.local:80}"
    )
    env = env_of(manifests, "contentgen")
    assert one(manifests, "Secret", "contentgen-mongodb")["stringData"] == {"uri": "mongodb://mine/"}
    assert env["CONTENTGEN_POLL_SECONDS"] == "7"
    assert json.loads(env["CONTENTGEN_ALLOWED_HOSTS"]) == ["media.local:80", "contentgen-sandbox.contentgen.svc:80"]


def test_inline_credentials_are_in_secrets_only(helm: str) -> None:
    manifests = render(helm, *MODES["inline"])
    env = env_of(manifests, "contentgen")
    assert env["AWS_SECRET_ACCESS_KEY"] == secret_ref("contentgen-storage", "secret-access-key")
    assert one(manifests, "Secret", "contentgen-storage")["stringData"]["secret-access-key"] == "secret"
    assert one(manifests, "Secret", "contentgen-providers")["stringData"] == {"fal-key": "fal", "assemblyai-key": "aai"}
    others = json.dumps([m for m in manifests if m["kind"] != "Secret"])
    assert "mongodb://db" not in others


def test_existing_secrets_make_no_secret(helm: str) -> None:
    manifests = render(helm, *MODES["existing"])
    assert [m["metadata"]["name"] for m in manifests if m["kind"] == "Secret"] == ["contentgen-desk-tls"]
    env = env_of(manifests, "contentgen")
    assert env["CONTENTGEN_MONGODB_URI"] == secret_ref("m", "uri")
    assert env["AWS_ACCESS_KEY_ID"] == secret_ref("s", "access-key-id")
    providers = [v for v in pod_of(manifests, "contentgen")["volumes"] if v["name"] == "providers"]
    assert providers == [{"name": "providers", "secret": {"secretName": "p", "optional": True}}]


def test_no_upgrade_takes_the_desks_certificate_away(helm: str) -> None:
    secret = one(render(helm), "Secret", "contentgen-desk-tls")
    assert not {"data", "stringData"} & secret.keys()


def test_a_new_credential_restarts_the_operator(helm: str) -> None:
    def checksum(*values: str) -> str:
        deployment = one(render(helm, *values), "Deployment", "contentgen")
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"])

    assert checksum("mongodb.uri=mongodb://a/") != checksum("mongodb.uri=mongodb://b/")
    assert checksum() == checksum("logFormat=plain")


def test_ports_and_probes(helm: str) -> None:
    manifests = render(helm)
    container = pod_of(manifests, "contentgen")["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"health": 8080, "desk": 8443}
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/healthz", "port": "health"}
    service = one(manifests, "Service", "contentgen-desk")["spec"]
    assert service["ports"] == [{"name": "https", "port": 8443, "targetPort": "desk"}]
    labels = one(manifests, "Deployment", "contentgen")["spec"]["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()


def test_services_find_only_their_own_pods(helm: str) -> None:
    manifests = render(helm, *MODES["sandbox"])
    pods = {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"]["labels"]
        for m in manifests
        if m["kind"] == "Deployment"
    }
    for service, deployment in (("contentgen-desk", "contentgen"), ("contentgen-sandbox", "contentgen-sandbox")):
        selector = one(manifests, "Service", service)["spec"]["selector"]
        assert [name for name, labels in pods.items() if selector.items() <= labels.items()] == [deployment]


@pytest.mark.parametrize("mode", MODES)
def test_the_operator_understands_its_environment(helm: str, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = env_of(render(helm, *MODES[mode]), "contentgen")
    for name, value in env.items():
        assert name.startswith(("CONTENTGEN_", "AWS_"))
        if name.startswith("CONTENTGEN_"):
            assert name.removeprefix("CONTENTGEN_").lower() in Settings.model_fields
            monkeypatch.setenv(name, value if isinstance(value, str) else "mongodb://from-a-secret/")
    settings = Settings()
    assert settings.poll_seconds == (1 if mode == "sandbox" else 5)
    assert settings.worker_resources["limits"]["memory"] == "4Gi"
    assert (settings.s3_endpoint is None) is (mode != "sandbox")
    assert settings.fal_queue_url.startswith("http://contentgen-sandbox" if mode == "sandbox" else "https://")


@pytest.mark.parametrize(
    ("values", "image"),
    [
        ((), "contentgen/contentgen-operator:0.1.0"),
        (("image.tag=v9",), "contentgen/contentgen-operator:v9"),
        (("image.reference=localhost/contentgen-operator:abc", "image.tag=v9"), "localhost/contentgen-operator:abc"),
    ],
)
def test_images(helm: str, values: tuple[str, ...], image: str) -> None:
    assert pod_of(render(helm, *values), "contentgen")["containers"][0]["image"] == image


def test_worker_and_sandbox_images(helm: str) -> None:
    manifests = render(helm, "sandbox.enabled=true", "worker.image.reference=l/w:1", "sandbox.image.reference=l/s:1")
    assert env_of(manifests, "contentgen")["CONTENTGEN_WORKER_IMAGE"] == "l/w:1"
    assert pod_of(manifests, "contentgen-sandbox")["containers"][0]["image"] == "l/s:1"


@pytest.mark.parametrize(("release", "name"), [("contentgen", "contentgen"), ("studio", "studio-contentgen")])
def test_names(helm: str, release: str, name: str) -> None:
    one(render(helm, release=release), "Deployment", name)


def test_crds_are_those_of_the_repository(helm: str) -> None:
    rendered = {m["metadata"]["name"]: m for m in render(helm) if m["kind"] == "CustomResourceDefinition"}
    files = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert len(files) == len(rendered) == 3
    for crd in files:
        same = rendered[crd["metadata"]["name"]]
        assert same["spec"] == crd["spec"]
        assert same["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_crds_can_be_left_out_or_removed_with_the_release(helm: str) -> None:
    def crds(*values: str) -> list[Manifest]:
        return [m for m in render(helm, *values) if m["kind"] == "CustomResourceDefinition"]

    assert crds("crds.install=false") == []
    assert [m for m in crds("crds.keep=false") if "annotations" in m["metadata"]] == []


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("imag.tag=1", "imag"),
        ("image.repo=a", "repo"),
        ("sandbox.enable=true", "enable"),
        ("sandbox.enabled=sometimes", "enabled"),
        ("providers.fal.token=x", "token"),
        ("logFormat=xml", "logFormat"),
        ("pollSeconds=-1", "pollSeconds"),
        ("storage.bucket=Not_A_Bucket", "bucket"),
        ("storage.endpoint=s3.local", "endpoint"),
        ("mongodb.uri=postgres://db", "uri"),
        ("allowedHosts={media.local}", "allowedHosts"),
        ("watchNamespace=Marketing", "watchNamespace"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("resources.limit.memory=1Gi", "limit"),
    ],
)
def test_wrong_values_are_refused_by_name(helm: str, value: str, named: str) -> None:
    result = template(helm, value)
    assert result.returncode != 0
    assert named in result.stderr


# What is the Kubernetes API's own to check: selectors, volumes, affinities.
OPEN = {
    "nodeAffinity", "podAffinity", "podAntiAffinity", "labelSelector", "namespaceSelector", "podSelector",
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
    "global",
}  # fmt: skip


def test_the_schema_is_strict_and_says_what_everything_is() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    nodes = dict(schema_nodes(schema, "values")) | {
        f"{name}{where}": node
        for name, definition in schema["definitions"].items()
        for where, node in schema_nodes(definition, "")
    }
    assert len(nodes) > 150
    loose = [
        where
        for where, node in nodes.items()
        if node.get("type") == "object" and "additionalProperties" not in node and where.rpartition(".")[2] not in OPEN
    ]
    assert loose == []
    named = {where: node for where, node in nodes.items() if not where.endswith(("[]", "{}", "values"))}
    assert [where for where, node in named.items() if not node.get("description")] == []


def schema_nodes(node: Manifest, where: str) -> Iterator[tuple[str, Manifest]]:
    yield where, node
    for name, below in node.get("properties", {}).items():
        yield from schema_nodes(below, f"{where}.{name}")
    for key, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(node.get(key), dict):
            yield from schema_nodes(node[key], where + mark)


def test_limits_and_deadlines_are_by_default_what_the_operator_takes_by_itself() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    settings = Settings()
    assert values["limits"] == settings.limits.model_dump(mode="json")
    for name in ("stage_deadline_seconds", "stage_attempts", "adoption_seconds", "provider_deadline_seconds"):
        assert values[to_camel(name)] == getattr(settings, name)


def notes(helm: str, *values: str) -> str:
    settings = [word for value in values for word in ("--set", value)]
    arguments = ("--namespace", "contentgen", "--dry-run=client", "--disable-openapi-validation", *settings)
    # A dry run without a cluster still wants an address for it; nothing listens there and nothing is sent.
    result = run(helm, "install", "contentgen", str(CHART), *arguments, "--kube-apiserver", "http://127.0.0.1:1")
    assert result.returncode == 0, result.stderr
    return result.stdout.split("NOTES:")[-1]


def test_notes_say_what_to_do_next_and_what_is_missing(helm: str) -> None:
    bare = notes(helm)
    assert len(re.findall(r"^  kubectl ", bare.split("WARNING")[0], re.MULTILINE)) == 3
    for missing in ("no MongoDB", "no key for fal", "no key for AssemblyAI"):
        assert f"WARNING: {missing}" in bare
    assert "WARNING" not in notes(helm, *MODES["sandbox"])
    assert "WARNING" not in notes(helm, *MODES["existing"])
