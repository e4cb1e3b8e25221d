"""Job manifests: restricted pods, names by stage, and no user input."""

import json
import random
import re
from typing import Any

import pytest
from pydantic import ValidationError

from contentgen_contract.names import UID_LABEL, Kind, Stage
from contentgen_operator.kube.job_manifests import JobTemplate, WorkerPod, WorkerSizes, job_manifest, job_name
from contentgen_operator.state.observed import Resource, ResourceRef

TEMPLATE = JobTemplate(
    image="registry.example/worker@sha256:0",
    image_pull_policy="IfNotPresent",
    service_account="worker",
    resources={"requests": {"cpu": "1"}},
    deadline_seconds=600,
    worker_api_url="https://worker-api:8443",
    worker_api_ca="PEM",
)
UID = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a01"


def manifest(**ref: Any) -> dict[str, Any]:
    given = {"kind": Kind.LORA_TRAINING, "namespace": "ns", "name": "it", "uid": UID} | ref
    return job_manifest(ResourceRef(**given), 1, Stage.PREPARE, 1, TEMPLATE)


def violations(job: dict[str, Any]) -> list[str]:
    """Pod Security Standards, profile restricted."""
    pod = job["spec"]["template"]["spec"]
    found = [name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    volumes = {next(k for k in volume if k != "name") for volume in pod["volumes"]}
    found += sorted(volumes - {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "projected", "secret"})
    shared = pod["securityContext"]
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container["securityContext"]
        merged = shared | own
        found += ["privileged"] if own.get("privileged") else []
        found += [] if own.get("allowPrivilegeEscalation") is False else ["allowPrivilegeEscalation"]
        found += [] if own.get("capabilities", {}).get("drop") == ["ALL"] else ["capabilities"]
        found += ["capabilities.add"] if own.get("capabilities", {}).get("add") else []
        found += [] if merged.get("runAsNonRoot") is True and merged.get("runAsUser") != 0 else ["root"]
        found += [] if merged.get("seccompProfile", {}).get("type") == "RuntimeDefault" else ["seccomp"]
        found += ["hostPort"] if any(p.get("hostPort") for p in container.get("ports", ())) else []
    return found


def test_the_pod_is_restricted() -> None:
    assert violations(manifest()) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("securityContext", "runAsNonRoot"), False),
        (("securityContext", "seccompProfile"), {"type": "Unconfined"}),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
        (("containers", 0, "securityContext", "capabilities"), {}),
        (("containers", 0, "securityContext", "privileged"), True),
        (("volumes", 0), {"name": "scratch", "hostPath": {"path": "/"}}),
        (("hostNetwork",), True),
    ],
)
def test_a_mutant_is_not(path: tuple[Any, ...], value: Any) -> None:
    job = manifest()
    where = job["spec"]["template"]["spec"]
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    assert violations(job) != []


def test_the_pod_holds_one_credential() -> None:
    pod = manifest()["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    (token,) = [v["projected"]["sources"] for v in pod["volumes"] if "projected" in v]
    assert [source["serviceAccountToken"]["audience"] for source in token] == ["contentgen"]
    assert all("valueFrom" not in each for each in pod["containers"][0]["env"])
    assert "envFrom" not in pod["containers"][0]
    assert pod["restartPolicy"] == "Never"


def test_the_job_is_the_operators_to_count() -> None:
    job = manifest()
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 600
    assert "activeDeadlineSeconds" not in job["spec"], "a Job's own deadline counts the wait for a node"
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (UID, True, False)


def test_cluster_settings_decide_where_workers_run() -> None:
    pod = WorkerPod(
        labels={"kueue.x-k8s.io/queue-name": "media", UID_LABEL: "planted"},
        annotations={"cost-centre": "7"},
        image_pull_secrets=({"name": "registry"},),
        node_selector={"disk": "fast"},
        tolerations=({"key": "media", "operator": "Exists"},),
        affinity={"nodeAffinity": {}},
        priority_class_name="batch",
        runtime_class_name="gvisor",
    )
    ref = ResourceRef(kind=Kind.LORA_TRAINING, namespace="ns", name="it", uid=UID)
    template = job_manifest(ref, 1, Stage.PREPARE, 1, TEMPLATE.model_copy(update={"pod": pod}))["spec"]["template"]
    plain = manifest()["spec"]["template"]
    assert template["metadata"]["annotations"] == {"cost-centre": "7"}
    assert template["metadata"]["labels"] == plain["metadata"]["labels"] | {"kueue.x-k8s.io/queue-name": "media"}
    changed = {name: value for name, value in template["spec"].items() if value != plain["spec"].get(name)}
    brief = plain["spec"].pop("tolerations")
    assert changed == {
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "media", "operator": "Exists"}, *brief],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "batch",
        "runtimeClassName": "gvisor",
    }
    assert plain["spec"].items() <= template["spec"].items()


def test_a_worker_pods_settings_are_those_and_no_others() -> None:
    with pytest.raises(ValidationError, match="hostNetwork"):
        WorkerPod.model_validate({"hostNetwork": True})


def job_with(**pod: Any) -> dict[str, Any]:
    ref = ResourceRef(kind=Kind.LORA_TRAINING, namespace="ns", name="it", uid=UID)
    template = TEMPLATE.model_copy(update={"pod": WorkerPod.model_validate(pod)})
    return job_manifest(ref, 1, Stage.PREPARE, 1, template)


def test_job_labels_and_annotations_are_not_copied_to_its_pod() -> None:
    queue = {"kueue.x-k8s.io/queue-name": "media"}
    job = job_with(jobLabels=queue | {UID_LABEL: "planted"}, jobAnnotations={"note": "7"}, labels={"team": "a"})
    plain = manifest()
    assert job["metadata"] == plain["metadata"] | {
        "labels": plain["metadata"]["labels"] | queue,
        "annotations": {"note": "7"},
    }
    metadata = job["spec"]["template"]["metadata"]
    assert metadata["labels"] == plain["spec"]["template"]["metadata"]["labels"] | {"team": "a"}
    assert metadata["annotations"] == {}


def test_security_contexts_are_those_that_were_set() -> None:
    pod, container = {"runAsNonRoot": True, "fsGroup": 7}, {"readOnlyRootFilesystem": True}
    spec = job_with(securityContext=pod, containerSecurityContext=container)["spec"]["template"]["spec"]
    assert spec["securityContext"] == pod
    assert spec["containers"][0]["securityContext"] == container


def test_security_contexts_may_be_left_to_the_cluster() -> None:
    spec = job_with(securityContext={}, containerSecurityContext={})["spec"]["template"]["spec"]
    assert "securityContext" not in spec
    assert spec["containers"][0]["securityContext"] == {}


def test_on_openshift_the_pod_is_restricted_without_a_user() -> None:
    """As it is there once it has a user of the namespace's range: restricted-v2 adds it."""
    context = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    job = job_with(securityContext=context)
    assert violations(job) == []
    assert "runAsUser" not in json.dumps(job)
    assert "fsGroup" not in json.dumps(job)


def test_names_are_deterministic_distinct_and_short() -> None:
    names = {
        job_name(uid, run, stage, attempt)
        for uid in ("a" * 36, "b" * 36, "ab" * 200)
        for run in (1, 11, 999_999)
        for stage in Stage
        for attempt in (1, 11, 999)
    }
    assert len(names) == 3 * 3 * 2 * 3
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) and len(name) <= 57 for name in names), (
        "a pod's name is the Job's and six characters more"
    )
    assert job_name(UID, 1, Stage.PREPARE, 1) == job_name(UID, 1, Stage.PREPARE, 1)


def test_user_text_reaches_no_pod() -> None:
    chance = random.Random(7)  # noqa: S311 - not for secrets
    plain = manifest()

    def text() -> str:
        return "evil-" + "".join(chance.choices("abc${}\n\"'/:= é", k=chance.randint(1, 40)))

    def tree(depth: int) -> Any:
        if depth == 0:
            return text()
        return {text(): tree(depth - 1) for _ in range(3)} if chance.random() < 0.5 else [tree(depth - 1), text()]

    for _ in range(1000):
        body = {
            "metadata": {
                "name": "it",
                "namespace": "ns",
                "uid": UID,
                "resourceVersion": "1",
                "creationTimestamp": "2026-11-21T00:00:00Z",
                "labels": {text(): text()},
                "annotations": {text(): text(), "contentgen.dev/rerun": text()},
            },
            "spec": {
                "image": text(),
                "env": tree(2),
                "serviceAccountName": text(),
                "template": tree(3),
                "prompt": text(),
                "nodeSelector": tree(1),
            },
        }
        made = job_manifest(Resource.parse(Kind.LORA_TRAINING, body).ref, 1, Stage.PREPARE, 1, TEMPLATE)
        assert made == plain
    assert "evil" not in json.dumps(plain)
    assert "planted" in json.dumps(manifest(name="planted")), "the search finds what is there"


def test_manifests_share_nothing() -> None:
    one, other = manifest(), manifest()
    one["spec"]["template"]["spec"]["containers"][0]["env"].append("x")
    one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["capabilities"]["add"] = ["SYS_ADMIN"]
    assert "SYS_ADMIN" not in json.dumps(other)
    one["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] = "x"
    assert manifest() == other


SIZES = WorkerSizes.model_validate(
    {
        "kinds": {
            "LoraTraining": {
                "prepare": {
                    "resources": {"limits": {"memory": "8Gi"}, "requests": {"cpu": 2}},
                    "nodeSelector": {"pool": "large"},
                    "tolerations": [{"key": "large", "operator": "Exists"}],
                },
                "collect": {"priorityClassName": "paid"},
            }
        },
        "namespaces": {
            "team-a": {"resources": {"limits": {"cpu": "1", "memory": None}}, "priorityClassName": "team-a"},
            "team-b": {"nodeSelector": {"pool": "b"}},
        },
    }
)
SIZED = TEMPLATE.model_copy(
    update={
        "sizes": SIZES,
        "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "4Gi"}},
        "pod": WorkerPod(node_selector={"disk": "fast"}, priority_class_name="low"),
    }
)


@pytest.mark.parametrize(
    ("kind", "stage", "namespace", "expected"),
    [
        (Kind.TRANSCRIPTION, Stage.PREPARE, "ns", (("250m", {"memory": "4Gi"}), {"disk": "fast"}, "low")),
        (Kind.LORA_TRAINING, Stage.PREPARE, "ns", ((2, {"memory": "8Gi"}), {"disk": "fast", "pool": "large"}, "low")),
        (Kind.LORA_TRAINING, Stage.COLLECT, "ns", (("250m", {"memory": "4Gi"}), {"disk": "fast"}, "paid")),
        (Kind.LORA_TRAINING, Stage.COLLECT, "team-a", (("250m", {"cpu": "1"}), {"disk": "fast"}, "team-a")),
        (Kind.LORA_TRAINING, Stage.PREPARE, "team-b", ((2, {"memory": "8Gi"}), {"disk": "fast", "pool": "b"}, "low")),
    ],
)
def test_sizes_by_kind_stage_and_namespace(
    kind: Kind, stage: Stage, namespace: str, expected: tuple[object, ...]
) -> None:
    ref = ResourceRef(kind=kind, namespace=namespace, name="it", uid=UID)
    spec = job_manifest(ref, 1, stage, 1, SIZED)["spec"]["template"]["spec"]
    given = spec["containers"][0]["resources"]
    resources = given["requests"]["cpu"], given["limits"]
    assert (resources, spec["nodeSelector"], spec["priorityClassName"]) == expected
    large = [toleration for toleration in spec["tolerations"] if toleration["key"] == "large"]
    assert bool(large) is ((kind, stage) == (Kind.LORA_TRAINING, Stage.PREPARE))
