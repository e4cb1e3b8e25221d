"""Chart on a real cluster: installation, upgrade, test and uninstallation by both majors of helm, with pods that the
restricted Pod Security Standard admits, limited to one namespace, and without stuck resources afterwards.

These tests replace the main release and leave none; the CRDs stay.
"""

import copy
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client.exceptions import ApiException

from contentgen_cluster import release
from contentgen_cluster.paths import KUBECONFIG, STATE
from contentgen_contract.names import FINALIZER, Kind, Stage
from contentgen_e2e.settings import ROOT
from contentgen_operator.kube.job_manifests import JobTemplate, WorkerPod, job_manifest
from contentgen_operator.state.observed import ResourceRef
from kubernetes import client, config

Body = dict[str, Any]
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
PLURALS = [kind.plural for kind in Kind]
CRDS = [f"crd/{plural}.contentgen.dev" for plural in (*PLURALS, "operatorclasses")]
FREE_PICTURE = {"model": "flux-schnell", "prompt": "A grey square", "image": {"size": {"width": 256, "height": 256}}}
NO_SOUND = {"source": {"url": f"{release.SANDBOX}/media/none.mp3"}}
SUSPENDED = NO_SOUND | {"deletionPolicy": "Delete", "suspend": True}

NO_FINALIZERS = '{"metadata": {"finalizers": null}}'

# Rights of the operator that a run to its end does not need.
IN_TROUBLE = {
    ("", "pods", "list"): "the log of a worker that failed",
    ("", "pods/log", "get"): "the log of a worker that failed",
    ("", "events", "list"): "a Job that got no pod",
    ("batch", "jobs", "get"): "a Job that an operator made just before it died",
    ("batch", "jobs", "delete"): "a resource that is deleted or suspended while it works",
    ("coordination.k8s.io", "leases", "create"): "the first start; it stays when the release goes",
    ("discovery.k8s.io", "endpointslices", "create"): "the first leader, and one whose predecessor's pod is gone",
    ("discovery.k8s.io", "endpointslices", "patch"): "another leader",
    ("discovery.k8s.io", "endpointslices/restricted", "create"): "OpenShift, which asks for it at each create",
    ("", "secrets", "patch"): "the first start, and a certificate that runs out",
    ("contentgen.dev", "operatorclasses", "serve"): "admission policies ask for it",
    ("contentgen.dev", "contentbudgets", "get"): "a budget whose status was changed meanwhile",
    ("contentgen.dev", "contentbudgets/status", "update"): "a budget",
    **{("contentgen.dev", plural, "delete"): "spec.ttlSecondsAfterFinished" for plural in PLURALS},
    **{("contentgen.dev", f"{plural}/status", "update"): "a resource of the kind" for plural in PLURALS},
    **{("contentgen.dev", plural, "patch"): "the finalizer" for plural in PLURALS},
    **{("contentgen.dev", plural, "get"): "before something is paid" for plural in PLURALS},
}


def kubectl(*args: str, stdin: Body | None = None) -> str:
    return release.kubectl(ROOT, *args, stdin=json.dumps(stdin) if stdin is not None else None)


def apply(kind: str, namespace: str, name: str, spec: Body, *finalizers: str) -> Body:
    meta = {"name": name, "namespace": namespace, "finalizers": list(finalizers)}
    body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}
    applied: Body = json.loads(kubectl("apply", "--filename", "-", "--output", "json", stdin=body))
    return applied


def get(kind: str, namespace: str, name: str) -> Body:
    found: Body = json.loads(kubectl("--namespace", namespace, "get", kind.lower(), name, "--output", "json"))
    return found


def left_in(namespace: str) -> list[str]:
    """Remaining objects, without those that Kubernetes creates in every namespace."""
    kinds = "all,serviceaccounts,roles,rolebindings,secrets,networkpolicies,endpointslices,poddisruptionbudgets"
    listed = kubectl("--namespace", namespace, "get", kinds, "--output", "name").splitlines()
    return [name for name in listed if name != "serviceaccount/default"]


def wait_until(reached: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.5)


def uninstall(program: str = "helm") -> str:
    """Uninstall the release and wait for its pods; returns the output of helm and its hook."""
    said = release.uninstall(ROOT, program=program)
    pods = ("--namespace", release.NAMESPACE, "get", "pods", "--output", "name")
    wait_until(lambda: not kubectl(*pods), 60, "the pods of an uninstalled release are gone")
    return said


def label(namespace: str, labels: Body) -> None:
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    kubectl("apply", "--server-side", "--field-manager=chart-tests", "--filename", "-", stdin=body)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Cluster without a release, and a namespace for it with the restricted profile."""
    installed = json.loads(release.helm(ROOT, "list", "--all-namespaces", "--output", "json"))
    if (release.RELEASE, release.NAMESPACE) in {(each["name"], each["namespace"]) for each in installed}:
        uninstall()
    label(release.NAMESPACE, RESTRICTED)
    yield
    label(release.NAMESPACE, {})


@pytest.fixture
def namespaces() -> Iterator[Callable[[str], str]]:
    """Factory of restricted namespaces for resources; each must be deletable at the end."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(f"chart-{name}-{int(time.time())}")
        label(made[-1], RESTRICTED)
        return made[-1]

    yield make
    if made:
        kubectl("delete", "namespace", *made, "--timeout=60s")


def older_chart(folder: Path) -> Path:
    """Older chart, in which Transcriptions could not be suspended."""
    chart = folder / "contentgen"
    shutil.copytree(ROOT / "charts/contentgen", chart)
    path = chart / "files/crds/contentgen.dev_transcriptions.yaml"
    crd = yaml.safe_load(path.read_text())
    del crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["suspend"]
    path.write_text(yaml.safe_dump(crd))
    return chart


@pytest.mark.parametrize(("program", "replicas"), [("helm3", 1), ("helm", 0)])
@pytest.mark.usefixtures("cluster")
def test_a_release_from_install_to_uninstall(
    program: str, replicas: int, tmp_path: Path, namespaces: Callable[[str], str]
) -> None:
    team = namespaces(program)
    notes = release.install(ROOT, program=program, chart=older_chart(tmp_path))
    assert "The sandbox is on" in notes
    assert "WARNING" not in notes
    kept = apply("Transcription", team, "kept", NO_SOUND)
    with pytest.raises(release.CommandFailed, match="suspend"):
        apply("Transcription", team, "refused", SUSPENDED)

    release.install(ROOT, program=program)
    apply("Transcription", team, "taken", SUSPENDED)
    same = get("Transcription", team, "kept")
    assert same["metadata"]["uid"] == kept["metadata"]["uid"]
    assert same["spec"] == kept["spec"] | {"suspend": False}, "with the default of the new field"

    where = ("--namespace", release.NAMESPACE)
    tested = release.helm(ROOT, "test", release.RELEASE, *where, "--logs", "--timeout", "150s", program=program)
    assert "Phase:          Succeeded" in tested
    for said in ("the operator is ready", "Transcription is served", "Completed", "deleted ImageGeneration"):
        assert said in tested

    # Held by an operator that is well, and by one that is dead.
    kubectl(*where, "scale", "deployment/contentgen", f"--replicas={replicas}", "--timeout=60s")
    others = "example.com/somebody-elses"
    apply("Transcription", team, "taken", SUSPENDED, FINALIZER)
    apply("Transcription", team, "held", SUSPENDED, FINALIZER, others)
    kubectl("--namespace", team, "delete", "transcription", "held", "--wait=false")
    said = uninstall(program)
    assert "the operator is stopped, and no resource has its finalizer" in said
    assert ("released Transcription" in said) or replicas
    assert get("Transcription", team, "held")["metadata"]["finalizers"] == [others]
    assert not get("Transcription", team, "taken")["metadata"].get("finalizers")
    kubectl("--namespace", team, "patch", "transcription/held", "--type=merge", "--patch", NO_FINALIZERS)
    # Kubernetes' garbage collector deletes the leader's EndpointSlice after its pod.
    wait_until(lambda: left_in(release.NAMESPACE) == [], 30, "nothing is left of the release")
    cluster_wide = kubectl("get", "clusterroles,clusterrolebindings", "--output", "name").splitlines()
    assert [name for name in cluster_wide if "contentgen" in name] == []
    assert kubectl("get", *CRDS, "--output", "name").count("\n") == 4, "crds.keep"
    assert kubectl("get", "operatorclasses", "--output", "name") == "", "the class is free"


@pytest.mark.usefixtures("cluster")
def test_single_namespace_install_has_minimal_rights(namespaces: Callable[[str], str]) -> None:
    ours, other = namespaces("ours"), namespaces("other")
    start = time.time()
    release.install(
        ROOT,
        f"watchNamespaces={{{ours}}}",
        "worker.serviceAccount.name=media",
        f"worker.serviceAccount.namespaces={{{ours}}}",
        "worker.podLabels.team=a",
        r"worker.nodeSelector.kubernetes\.io/os=linux",
        "networkPolicy.enabled=true",
        f"networkPolicy.workerNamespaces={{{ours}}}",
        # The sandbox's, but the chart cannot know that it costs nothing.
        f"providers.fal.queueUrl={release.SANDBOX}/fal",
    )
    for namespace in (other, ours):
        apply("ImageGeneration", namespace, "picture", FREE_PICTURE)
    kubectl("--namespace", ours, "wait", "imagegeneration/picture", "--for=condition=Complete", "--timeout=120s")
    assert "phase" not in get("ImageGeneration", other, "picture")["status"], "another namespace is not its own"
    (pod,) = json.loads(kubectl("--namespace", ours, "get", "pods", "--output", "json"))["items"]
    assert pod["spec"]["serviceAccountName"] == "media"
    assert pod["spec"]["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["metadata"]["labels"]["team"] == "a"

    where = ("--namespace", release.NAMESPACE)
    tested = release.helm(ROOT, "test", release.RELEASE, *where, "--logs", "--timeout", "90s")
    assert "no job was run" in tested
    assert "applied" not in tested
    log = kubectl(*where, "logs", "deployment/contentgen")
    assert "forbidden" not in log.lower()
    rights = granted()
    everywhere = {right[1:] for right in rights if right[0] == ""}
    assert everywhere == {
        ("authentication.k8s.io", "tokenreviews", "create"),
        ("", "namespaces", "get"),
        *(("contentgen.dev", "operatorclasses", verb) for verb in ("get", "create", "serve")),
        *(("contentgen.dev", "contentbudgets", verb) for verb in ("get", "list")),
        ("contentgen.dev", "contentbudgets/status", "update"),
    }
    assert all(scope in ("", ours) for scope, group, *_ in rights if group in ("contentgen.dev", "batch"))
    # The API server of the bare cluster keeps an audit log; others do not show theirs.
    if (STATE / "logs/audit.log").exists():
        asked, refused = used(start)
        assert refused == set()
        spare = {right[1:] for right in rights} - asked - IN_TROUBLE.keys()
        assert spare == set(), f"granted, but never used: {spare}"
    uninstall()


def granted() -> set[tuple[str, str, str, str]]:
    """Rights of the operator's account: namespace (empty for all), group, resource and verb."""
    found = set()
    for kind, role in (("rolebindings", "role"), ("clusterrolebindings", "clusterrole")):
        for binding in json.loads(kubectl("get", kind, "--all-namespaces", "--output", "json"))["items"]:
            account = {"kind": "ServiceAccount", "name": "contentgen", "namespace": release.NAMESPACE}
            if account not in binding.get("subjects", ()):
                continue
            namespace = binding["metadata"].get("namespace", "")
            at = ("--namespace", namespace) if namespace else ()
            rules = json.loads(kubectl(*at, "get", role, binding["roleRef"]["name"], "--output", "json"))["rules"]
            found |= {
                (namespace, group, resource, verb)
                for rule in rules
                for group in rule["apiGroups"]
                for resource in rule["resources"]
                for verb in rule["verbs"]
            }
    assert found
    return found


def used(start: float) -> tuple[set[tuple[str, str, str]], set[tuple[str, str, str]]]:
    """Requests of the operator's account since then, and the refused ones."""
    asked, refused = set(), set()
    since = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(start))
    for path in (STATE / "logs").glob("audit*.log"):
        for line in path.read_text(errors="replace").splitlines():
            if f'system:serviceaccount:{release.NAMESPACE}:contentgen"' not in line:
                continue
            event = json.loads(line)
            target = event.get("objectRef") or {}
            if event["requestReceivedTimestamp"] < since or "resource" not in target:
                continue
            resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
            right = (target.get("apiGroup", ""), resource, event["verb"])
            asked.add(right)
            if (event.get("responseStatus") or {}).get("code") == 403:
                refused.add(right)
    assert asked
    return asked, refused


def test_a_secret_that_is_not_there_is_named() -> None:
    said = release.helm(
        ROOT, "install", "elsewhere", str(ROOT / "charts/contentgen"), "--namespace", "default", "--dry-run=server",
        "--set", "operatorClass=elsewhere,crds.install=false,mongodb.existingSecret=none-such,storage.accessKeyId=id",
    )  # fmt: skip
    assert "WARNING: mongodb.existingSecret names the Secret none-such, which lacks the key uri" in said


def pods_of_the_chart() -> dict[str, Body]:
    sets = "sandbox.enabled=true,image.reference=localhost/o:1,sandbox.image.reference=localhost/s:1"
    rendered = release.helm(ROOT, "template", "it", str(ROOT / "charts/contentgen"), "--set", sets)
    pods = {}
    for manifest in filter(None, yaml.safe_load_all(rendered)):
        if manifest["kind"] in ("Deployment", "Job", "DaemonSet", "StatefulSet"):
            pods[manifest["metadata"]["name"]] = manifest["spec"]["template"]["spec"]
        elif manifest["kind"] == "Pod":
            pods[manifest["metadata"]["name"]] = manifest["spec"]
    return pods


def worker_pod() -> Body:
    template = JobTemplate(
        image="localhost/w:1",
        image_pull_policy="Never",
        service_account="default",
        resources={},
        deadline_seconds=600,
        worker_api_url="https://worker-api:8443",
        worker_api_ca="PEM",
        pod=WorkerPod(node_selector={"disk": "fast"}, tolerations=({"operator": "Exists"},)),
    )
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="u")
    spec: Body = job_manifest(ref, 1, Stage.PREPARE, 1, template)["spec"]["template"]["spec"]
    return spec


def without(pod: Body, *path: str | int) -> Body:
    """Pod without one field."""
    mutant = copy.deepcopy(pod)
    at: Any = mutant
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return mutant


MUTATIONS: dict[str, tuple[str | int, ...]] = {
    "runAsNonRoot": ("securityContext", "runAsNonRoot"),
    "seccomp": ("securityContext", "seccompProfile"),
    "privilege escalation": ("containers", 0, "securityContext", "allowPrivilegeEscalation"),
    "capabilities": ("containers", 0, "securityContext", "capabilities", "drop"),
    "security context": ("containers", 0, "securityContext"),
}


def test_pods_pass_the_restricted_level_and_mutants_do_not(
    namespaces: Callable[[str], str],
) -> None:
    namespace = namespaces("restricted")
    config.load_kube_config(str(KUBECONFIG))

    def refusal(spec: Body) -> str:
        # The chart's accounts don't exist here, and Pod Security ignores the account.
        body = {"metadata": {"name": "it"}, "spec": spec | {"serviceAccountName": "default"}}
        try:
            core.create_namespaced_pod(namespace, body, dry_run="All")
        except ApiException as error:
            return str(json.loads(error.body or "{}")["message"])
        return ""

    with client.ApiClient() as api:
        core: Any = client.CoreV1Api(api)
        core.read_namespaced_service_account("default", namespace)
        pods = pods_of_the_chart() | {"worker": worker_pod()}
        parts = ("", "-gateway", "-sandbox", "-uninstall", "-test")
        assert set(pods) == {"worker", *(f"it-contentgen{part}" for part in parts)}
        for name, pod in pods.items():
            assert refusal(pod) == "", name
            for mutation, path in MUTATIONS.items():
                assert "violates PodSecurity" in refusal(without(pod, *path)), (name, mutation)
            assert "violates PodSecurity" in refusal(pod | {"hostNetwork": True}), name
