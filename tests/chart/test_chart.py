"""Chart tests without a cluster: helm-unittest (charts/contentgen/tests) and further checks of renderings.

Both majors of helm lint and render it. The programs are those of `python -m contentgen_cluster tools`.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity
from pydantic.alias_generators import to_camel

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Stage
from contentgen_gateway.settings import Settings as GatewaySettings
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest
from contentgen_operator.leader.endpoint import WorkerEndpoint, wanted
from contentgen_operator.providers.table import SHIPPED
from contentgen_operator.settings import Settings
from contentgen_operator.state.observed import ResourceRef

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "contentgen"
TOOLS = ROOT / ".cluster" / "bin"
MAJORS = {"helm": "v4.", "helm3": "v3."}
Manifest = dict[str, Any]
MODES: dict[str, list[str]] = {
    "default": [],
    "sandbox": ["sandbox.enabled=true"],
    "namespaced": ["watchNamespaces={marketing,research}"],
    "labelled": ["watchNamespaceSelector.matchLabels.team=a"],
    "inline": [
        "mongodb.uri=mongodb://db:27017/",
        "storage.accessKeyId=id",
        "storage.secretAccessKey=secret",
        "providers.fal.key=fal",
        "providers.assemblyai.key=aai",
        "sentry.dsn=https://key@sentry.local/1",
    ],
    "existing": [
        "mongodb.existingSecret=m",
        "storage.existingSecret=s",
        "providers.existingSecret=p",
        "sentry.existingSecret=e",
    ],
    "reached": [
        "gateway.replicas=2",
        "gateway.ingress.enabled=true",
        "gateway.ingress.host=content.example.com",
        "gateway.ingress.tlsSecret=content-tls",
        "networkPolicy.enabled=true",
        "gateway.trustedProxies={10.1.0.0/16}",
    ],
    "unreached": ["gateway.enabled=false"],
    "monitored": [
        "monitoring.serviceMonitor.enabled=true",
        "monitoring.rules.enabled=true",
        "monitoring.rules.runbookUrl=https://docs.local/runbooks/",
        "monitoring.dashboard.enabled=true",
    ],
    "alone": ["replicas=1", "leaderElection.enabled=false"],
}


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = TOOLS / program
    if not path.exists():
        pytest.fail(
            f"there is no {path}: run `.venv/bin/python -m contentgen_cluster tools helm helm3 helm-unittest promtool`"
        )
    return subprocess.run([path, *arguments], capture_output=True, text=True, timeout=120, check=False)


def template(*values: str, helm: str = "helm") -> subprocess.CompletedProcess[str]:
    settings = [word for value in values for word in ("--set", value)]
    return run(helm, "template", "contentgen", str(CHART), "--namespace", "contentgen", *settings)


@cache
def render(*values: str, helm: str = "helm") -> tuple[Manifest, ...]:
    """Rendering of the chart by one major version of helm; cached and read-only."""
    result = template(*values, helm=helm)
    assert result.returncode == 0, result.stderr
    return tuple(manifest for manifest in yaml.load_all(result.stdout, yaml.CSafeLoader) if manifest)


@cache
def major(helm: str) -> str:
    """Major version, such as `v4.`."""
    return run(helm, "version", "--short").stdout[:3]


def one(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"] == name]
    assert len(found) == 1, (kind, name, [(m["kind"], m["metadata"]["name"]) for m in manifests])
    return found[0]


def pod_of(manifests: Sequence[Manifest], name: str) -> Manifest:
    spec = one(manifests, "Deployment", name)["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def env_of(manifests: Sequence[Manifest], name: str) -> dict[str, Any]:
    """Value or source of each environment variable."""
    variables = pod_of(manifests, name)["containers"][0]["env"]
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in variables}


@pytest.mark.parametrize("suite", [path.name for path in sorted(CHART.glob("tests/*_test.yaml"))])
def test_the_charts_own(suite: str) -> None:
    result = run("helm-unittest", "--strict", "--file", f"tests/{suite}", str(CHART))
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Test Suites: 1 passed, 1 total" in result.stdout


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("helm", MAJORS)
def test_lint(helm: str, mode: str) -> None:
    settings = [word for value in MODES[mode] for word in ("--set", value)]
    result = run(helm, "lint", "--strict", str(CHART), *settings)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("mode", MODES)
def test_helm_3_and_4_render_the_same(mode: str) -> None:
    assert {helm: major(helm) for helm in MAJORS} == MAJORS
    one, other = (by_name(render(*MODES[mode], helm=helm)) for helm in MAJORS)
    assert one == other


def by_name(manifests: Sequence[Manifest]) -> dict[tuple[str, str, str], Manifest]:
    named = {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]): m for m in manifests}
    assert len(named) == len(manifests)
    return named


@pytest.mark.parametrize("mode", MODES)
def test_every_right_is_bound_to_an_account_that_needs_it(mode: str) -> None:
    manifests = by_name(render(*MODES[mode]))
    bound = set()
    for (kind, namespace, _), binding in manifests.items():
        if kind in ("RoleBinding", "ClusterRoleBinding"):
            (subject,) = binding["subjects"]
            assert subject["namespace"] == "contentgen"
            assert ("ServiceAccount", "", subject["name"]) in manifests
            role = (binding["roleRef"]["kind"], namespace, binding["roleRef"]["name"])
            assert role in manifests
            bound.add(role)
    roles = {name for name in manifests if name[0] in ("Role", "ClusterRole")}
    # Roles aggregated into Kubernetes' own ones, which others bind.
    aggregated = {name for name in roles if name[2].endswith(("-view", "-edit", "-approve"))}
    # The role's unique name prevents a second release of the class; its rights are unused (docs/decisions/0025).
    names_the_class = {("ClusterRole", "", "contentgen-class-default")}
    assert roles - aggregated - names_the_class == bound
    rules = [rule for name in roles for rule in manifests[name]["rules"]]
    assert not [rule for rule in rules if "*" in rule["apiGroups"] + rule["resources"] + rule["verbs"]]
    assert not [rule for rule in rules if "secrets" in rule["resources"] and not rule.get("resourceNames")]


@pytest.mark.parametrize("mode", MODES)
def test_only_the_operator_may_write_the_status(mode: str) -> None:
    manifests = by_name(render(*MODES[mode]))
    writers = {
        name[2]
        for name, role in manifests.items()
        if name[0] in ("Role", "ClusterRole")
        for rule in role["rules"]
        for resource in rule["resources"]
        if resource.endswith("/status")
    }
    assert writers == {"contentgen-contentgen"}


def test_admission_policy_names_the_operators_image_and_account() -> None:
    """Image references by repository and tag, by digest, and by the chart's version."""
    by_tag = ("worker.image.repository=registry.local/w", "worker.image.tag=v7", "worker.serviceAccount.name=media")
    for values in ((), by_tag, ("worker.image.reference=registry.local/w@sha256:00",)):
        manifests = render(*values)
        env = env_of(manifests, "contentgen")
        policy = one(manifests, "ValidatingAdmissionPolicy", "contentgen-contentgen-workers")
        asked = " ".join(validation["expression"] for validation in policy["spec"]["validations"])
        assert f'variables.container.image == "{env["CONTENTGEN_WORKER_IMAGE"]}"' in asked
        account = env["CONTENTGEN_WORKER_SERVICE_ACCOUNT"]
        assert f"serviceAccountName.orValue('default') == \"{account}\"" in asked


@pytest.mark.parametrize("mode", MODES)
def test_the_policy_knows_what_a_workers_container_has(mode: str) -> None:
    """Each variable, mount and value that the operator sets is in an expression of the policy."""
    manifests = render(*MODES[mode])
    policy = one(manifests, "ValidatingAdmissionPolicy", "contentgen-contentgen-workers")["spec"]
    said = " ".join(validation["expression"] for validation in policy["validations"])
    (container,) = _worker_spec(env_of(manifests, "contentgen")["CONTENTGEN_WORKER_API_URL"])["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert names == set(re.findall(r"'(CONTENTGEN_\w+|TMPDIR)'", said))
    fixed = {variable["value"] for variable in container["env"] if variable["name"] not in _VARYING}
    mounted = {mount[field] for mount in container["volumeMounts"] for field in ("name", "mountPath")}
    assert [each for each in fixed | mounted if f"'{each}'" not in said and f'"{each}"' not in said] == []


_VARYING = ("CONTENTGEN_WORKER_API_CA", "CONTENTGEN_DEADLINE_SECONDS")


def _worker_spec(worker_api_url: str) -> Manifest:
    template = JobTemplate(
        image="w",
        image_pull_policy="Always",
        service_account="default",
        resources={},
        deadline_seconds=600,
        worker_api_url=worker_api_url,
        worker_api_ca="PEM",
    )
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="u")
    spec: Manifest = job_manifest(ref, 1, Stage.PREPARE, 1, template)["spec"]["template"]["spec"]
    return spec


def test_a_new_credential_restarts_nothing() -> None:
    """Only the DSN of Sentry is in the environment."""

    def pods(*values: str) -> list[Manifest]:
        manifests = render("storage.accessKeyId=id", *values)
        names = ("contentgen", "contentgen-gateway")
        return [one(manifests, "Deployment", name)["spec"]["template"] for name in names]

    credentials = (
        "mongodb.uri=mongodb://{}/",
        "storage.accessKeyId={}",
        "storage.secretAccessKey={}",
        "providers.fal.key={}",
        "providers.assemblyai.key={}",
    )
    for credential in credentials:
        assert pods(credential.format("a")) == pods(credential.format("b"))
    operator, gateway = zip(*(pods(f"sentry.dsn=https://{key}@sentry.local/1") for key in "ab"), strict=True)
    assert operator[0] != operator[1]
    assert gateway[0] == gateway[1]


# Values for OpenShift's restricted-v2, which assigns user and group by namespace.
OPENSHIFT = tuple(
    f"{where}podSecurityContext.{field}=null"
    for where in ("", "gateway.", "worker.")
    for field in ("runAsUser", "runAsGroup", "fsGroup")
)


@pytest.mark.parametrize("helm", MAJORS)
def test_on_openshift_no_pod_names_its_user(helm: str) -> None:
    manifests = render("sandbox.enabled=true", *OPENSHIFT, helm=helm)
    pods = {m["metadata"]["name"]: pod for m in manifests if (pod := _pod_spec(m)) is not None}
    assert len(pods) == 5
    for name, pod in pods.items():
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def _pod_spec(manifest: Manifest) -> Manifest | None:
    if manifest["kind"] == "Pod":
        return dict(manifest["spec"])
    found = manifest.get("spec", {}).get("template", {}).get("spec")
    return dict(found) if found else None


CONTEXTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "openshift": OPENSHIFT,
    "none": ("worker.podSecurityContext=null", "worker.securityContext=null"),
    "own": (
        "worker.podSecurityContext.runAsUser=1000680000",
        "worker.podSecurityContext.supplementalGroups={7,8}",
        "worker.securityContext.readOnlyRootFilesystem=null",
        r"worker.jobLabels.kueue\.x-k8s\.io/queue-name=media",
        "worker.jobAnnotations.note=a<b",
    ),
}


@pytest.mark.parametrize("case", CONTEXTS)
def test_the_policy_expects_what_the_operator_is_told_of_workers(case: str) -> None:
    manifests = render(*CONTEXTS[case])
    policy = one(manifests, "ValidatingAdmissionPolicy", "contentgen-contentgen-workers")["spec"]
    variables = {variable["name"]: variable["expression"] for variable in policy["variables"]}
    told = json.loads(env_of(manifests, "contentgen")["CONTENTGEN_WORKER_POD"])
    names = {
        "podContextExpected": "securityContext",
        "contextExpected": "containerSecurityContext",
        "jobLabels": "jobLabels",
        "jobAnnotations": "jobAnnotations",
    }
    for expected, name in names.items():
        assert json.loads(re.sub(r"dyn\(|\)", "", variables[expected])) == told[name]


def test_services_find_only_their_own_pods() -> None:
    manifests = render(*MODES["sandbox"])
    pods = {
        m["metadata"]["name"]: m["spec"]["template"]["metadata"]["labels"]
        for m in manifests
        if m["kind"] == "Deployment"
    }
    found = {
        "metrics": "contentgen",
        "sandbox": "contentgen-sandbox",
        "gateway": "contentgen-gateway",
        "gateway-metrics": "contentgen-gateway",
    }
    for service, deployment in ((f"contentgen-{name}", found[name]) for name in found):
        selector = one(manifests, "Service", service)["spec"]["selector"]
        assert [name for name, labels in pods.items() if selector.items() <= labels.items()] == [deployment]
    # The leader writes the EndpointSlice itself; a selector that matches pods would add the standbys.
    selector = one(manifests, "Service", "contentgen-worker-api")["spec"]["selector"]
    assert selector
    assert not [name for name, labels in pods.items() if selector.items() <= labels.items()]


def test_the_leader_may_write_the_endpoint_that_it_writes() -> None:
    """The Role permits the EndpointSlices by name, for both address families."""
    manifests = render()
    env = env_of(manifests, "contentgen")
    rules = one(manifests, "Role", "contentgen-leader-election")["rules"]
    (named,) = (rule for rule in rules if "endpointslices" in rule["resources"] and "resourceNames" in rule)
    slices = {
        WorkerEndpoint(str(env["CONTENTGEN_WORKER_API_SERVICE"]), 8443, "contentgen", "pod", "uid", address).name
        for address in ("10.0.0.1", "fd00::1")
    }
    assert set(named["resourceNames"]) == slices
    body = wanted(
        WorkerEndpoint(str(env["CONTENTGEN_WORKER_API_SERVICE"]), 8443, "contentgen", "pod", "uid", "10.0.0.1")
    )
    service = one(manifests, "Service", body["metadata"]["labels"]["kubernetes.io/service-name"])
    assert [port["name"] for port in service["spec"]["ports"]] == [port["name"] for port in body["ports"]]


def settings_names() -> set[str]:
    """Names of the operator's environment variables, in lower case and without their prefix."""
    groups = {name: type(setting) for name, setting in Settings() if isinstance(setting, Value) and name != "limits"}
    nested = {f"{name}_{field}" for name, group in groups.items() for field in group.model_fields}
    return nested | provider_variables() | (Settings.model_fields.keys() - groups.keys() - {"providers"})


def names_set(settings: Settings) -> set[str]:
    """Names of the variables that these settings were read from."""
    groups = {name: setting for name, setting in settings if isinstance(setting, Value)}
    nested = {f"{name}_{field}" for name, group in groups.items() for field in group.model_fields_set}
    return nested | settings.model_fields_set


@pytest.mark.parametrize("mode", MODES)
def test_the_operator_understands_its_environment(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = env_of(render(*MODES[mode]), "contentgen")
    for name, value in env.items():
        assert name.startswith(("CONTENTGEN_", "AWS_", "SENTRY_"))
        if name.startswith("CONTENTGEN_"):
            assert name.removeprefix("CONTENTGEN_").lower() in settings_names()
            monkeypatch.setenv(name, value if isinstance(value, str) else "mongodb://from-a-secret/")
    settings = Settings()
    filled = {name.removeprefix("CONTENTGEN_").lower() for name in env if env[name] and name.startswith("CONTENTGEN_")}
    assert filled <= names_set(settings) | provider_variables()
    assert settings.poll_seconds == (1 if mode == "sandbox" else 5)
    assert settings.worker.resources["limits"]["memory"] == "4Gi"
    assert (settings.s3_endpoint is None) is (mode != "sandbox")
    urls = [url for provider in settings.providers.values() for url in provider.urls.values()]
    assert len(urls) == (3 if mode == "sandbox" else 0)
    assert all(url.startswith("http://contentgen-sandbox") for url in urls)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "unreached"])
def test_the_gateway_understands_its_environment(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    env = env_of(render(*MODES[mode]), "contentgen-gateway")
    for name, value in env.items():
        assert name.startswith(("CONTENTGEN_", "AWS_"))
        if name.startswith("CONTENTGEN_"):
            assert name.removeprefix("CONTENTGEN_").lower() in GatewaySettings.model_fields
            monkeypatch.setenv(name, value if isinstance(value, str) else "mongodb://from-a-secret/")
    settings = GatewaySettings()
    assert settings.gateway_sign_in == "Token"
    assert settings.gateway_url == ("https://content.example.com" if mode == "reached" else "")
    assert settings.gateway_trusted_proxies == (("10.1.0.0/16",) if mode == "reached" else ())


def test_by_default_the_gateway_is_as_it_takes_itself() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())["gateway"]
    settings = GatewaySettings()
    named = {
        name.removeprefix("gateway_"): name for name in GatewaySettings.model_fields if name.startswith("gateway_")
    }
    for short, name in named.items():
        if short not in ("port", "metrics_port", "webhook_keys_file"):
            given = getattr(settings, name)
            assert values[to_camel(short)] == (list(given) if isinstance(given, tuple) else given)


def test_every_setting_of_the_gateway_is_a_value() -> None:
    manifests = render(*MODES["sandbox"], "caBundle.configMap=company-ca")
    told = {name.removeprefix("CONTENTGEN_").lower() for name in env_of(manifests, "contentgen-gateway")}
    by_hand = {"gateway_port", "gateway_metrics_port", "listen_address", "mongodb_uri"}
    assert GatewaySettings.model_fields.keys() - told == by_hand


def test_the_gateway_and_the_operator_work_on_the_same_stores() -> None:
    manifests = render(*MODES["inline"])
    gateway, operator = env_of(manifests, "contentgen-gateway"), env_of(manifests, "contentgen")
    shared = {name for name in gateway if not name.startswith("CONTENTGEN_GATEWAY_")}
    assert {name: gateway[name] for name in shared} == {name: operator[name] for name in shared}


def test_crds_are_those_of_the_repository() -> None:
    rendered = {m["metadata"]["name"]: m for m in render() if m["kind"] == "CustomResourceDefinition"}
    files = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    assert len(files) == len(rendered) == 5
    for crd in files:
        same = rendered[crd["metadata"]["name"]]
        assert same["spec"] == crd["spec"]
        assert same["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


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
        ("watchNamespaces={Marketing}", "watchNamespaces"),
        ("watchNamespaceSelector.matchLabel.a=b", "matchLabel"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("resources.limit.memory=1Gi", "limit"),
        ("worker.serviceAccountName=x", "serviceAccountName"),
        ("worker.tolerations[0].keys=x", "keys"),
        ("worker.runtimeClassName=gVisor!", "runtimeClassName"),
        ("affinity.podAfinity.x=y", "podAfinity"),
        ("prices.fal-ai/flux-lora.micros=1", "unit"),
        ("prices.x.unit=week,prices.x.micros=1,prices.x.source=s", "unit"),
        ("limits.downloadBytes=0", "downloadBytes"),
        ("limits.downloadByte=1", "downloadByte"),
        ("stageAttempts=0", "stageAttempts"),
        ("stageDeadlineSeconds=1.5", "stageDeadlineSeconds"),
        ("providerDeadlineSeconds=1", "providerDeadlineSeconds"),
        ("adoptionSeconds=yes", "adoptionSeconds"),
        ("logLevel=debug", "logLevel"),
        ("extraEnv[0].nam=x", "nam"),
        ("extraVolumes[0].name=x,extraVolumes[0].hostPath.path=/", "hostPath"),
        ("networkPolicy.enabled=1", "enabled"),
        ("networkPolicy.workerNamespaces={Team}", "workerNamespaces"),
        ("hooks.deadlineSeconds=5", "deadlineSeconds"),
        ("sentry.dsn=key", "dsn"),
        ("monitoring.rule.enabled=true", "rule"),
        ("monitoring.serviceMonitor.interval=30", "interval"),
        ("monitoring.rules.dollarsPerHour=0", "dollarsPerHour"),
        ("tests.timeout=5", "timeout"),
        ("gateway.replica=2", "replica"),
        ("gateway.signIn=Maybe", "signIn"),
        ("gateway.url=content.example.com", "url"),
        ("gateway.requestsPerSecond=0", "requestsPerSecond"),
        ("gateway.bodyBytes=10", "bodyBytes"),
        ("gateway.trustedProxies={everybody}", "trustedProxies"),
        ("gateway.ingress.hosts=a", "hosts"),
        ("gateway.service.type=ExternalName", "type"),
        ("admission.states=true", "states"),
        ("admission.spend=maybe", "spend"),
        ("roles.spend=1", "spend"),
    ],
)
@pytest.mark.parametrize("helm", MAJORS)
def test_wrong_values_are_refused_by_name(helm: str, value: str, named: str) -> None:
    result = template(value, helm=helm)
    assert result.returncode != 0
    assert named in result.stderr


# Values that the schema leaves to the Kubernetes API: selectors, volumes, affinities.
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


def test_default_limits_and_deadlines_equal_the_operators() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    settings = Settings()
    assert values["limits"] == settings.limits.model_dump(mode="json")
    deadlines = ("stage_deadline_seconds", "adoption_seconds", "provider_deadline_seconds", "drain_seconds")
    for name in ("stage_attempts", *deadlines):
        assert values[to_camel(name)] == getattr(settings, name)
    for name in ("certificate_seconds", "renew_before_seconds"):
        assert values["workerApi"][to_camel(name)] == getattr(settings.worker_api, name)
    assert values["worker"]["podSecurityContext"] == settings.worker.pod.security_context
    assert values["worker"]["securityContext"] == settings.worker.pod.container_security_context
    for name in ("watch_dead_seconds", "queue_stuck_seconds"):
        assert values["health"][to_camel(name)] == getattr(settings, name)


def test_every_setting_is_a_value() -> None:
    """Each setting of the operator can be set by a chart value, but those that are the same in every pod."""
    given = (
        "workerApi.existingSecret=issued",
        "sentry.existingSecret=told",
        "caBundle.configMap=company-ca",
        "proxy.https=http://proxy:1",
    )
    manifests = render("sandbox.enabled=true", *given, "providers.accounts.team.secret=team-keys")
    told = {name.removeprefix("CONTENTGEN_").lower() for name in env_of(manifests, "contentgen")}
    only_try = {"s3_unreachable_for"}  # in a cluster, providers fetch files from the public endpoint
    same = {"health_port", "worker_api_port", "listen_address", "mongodb_uri"}
    assert settings_names() - told == same | only_try


def provider_variables() -> set[str]:
    """Names of the settings of all providers."""
    found = {f"max_concurrent_{name}" for name in SHIPPED.clients}
    for name, clients in SHIPPED.clients.items():
        keys = ("key_file", "audit_key_file", *(["billing_key_file"] if clients.billing else []))
        found |= {f"{name}_{key}" for key in (*keys, *clients.urls)}
    return found


AUTOPILOT = json.loads((ROOT / "facts/kubernetes/mutations/autopilot.json").read_text())["limits"]


@cache
def on_autopilot() -> tuple[Manifest, ...]:
    """Rendering with examples/values/autopilot.yaml."""
    values = ("--values", str(ROOT / "examples/values/autopilot.yaml"))
    result = run("helm", "template", "contentgen", str(CHART), "--namespace", "contentgen", *values)
    assert result.returncode == 0, result.stderr
    return tuple(manifest for manifest in yaml.load_all(result.stdout, yaml.CSafeLoader) if manifest)


def quantity(text: str) -> Decimal:
    """Kubernetes quantity, such as 10Gi."""
    return Decimal(parse_quantity(text))  # type: ignore[no-untyped-call]


def test_limits_equal_requests_on_autopilot() -> None:
    """Autopilot lowers other limits."""
    worker = json.loads(env_of(on_autopilot(), "contentgen")["CONTENTGEN_WORKER_RESOURCES"])
    pods = [pod_of(on_autopilot(), name)["containers"][0]["resources"] for name in ("contentgen", "contentgen-gateway")]
    for resources in (worker, *pods):
        requests = {name: quantity(text) for name, text in resources["requests"].items()}
        assert resources["limits"] == resources["requests"]
        assert requests["cpu"] >= quantity(AUTOPILOT["cpuLeast"])
        assert requests["memory"] >= quantity(AUTOPILOT["memoryLeast"])
    assert worker["requests"]["ephemeral-storage"] == AUTOPILOT["ephemeralStorageMost"]


def test_largest_film_fits_into_autopilots_ephemeral_storage() -> None:
    largest = json.loads(env_of(on_autopilot(), "contentgen")["CONTENTGEN_LIMITS"])["downloadBytes"]
    assert largest <= quantity(AUTOPILOT["ephemeralStorageMost"]) * 2 / 3


def test_keys_that_jobs_may_have_are_complete_or_prefixes() -> None:
    """No pattern for all keys, and none for our own."""
    for key in ("*", "/*", "a*", "a.b/c*", "contentgen.dev/*", "x.contentgen.dev/note", "a/b/*"):
        result = template(f"worker.allowedJobAnnotationKeys={{{key}}}")
        assert result.returncode != 0, key
        assert "allowedJobAnnotationKeys" in result.stderr
    assert template("worker.allowedJobAnnotationKeys={note,a.b/c,a.b/*}").returncode == 0
    assert template("worker.allowedJobAnnotationKeys=null").returncode == 0
