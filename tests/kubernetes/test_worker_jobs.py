"""Worker Jobs that webhooks have changed, and the admission policy `workers` of the chart, on an API server without a
node. The changes are those of facts/kubernetes/mutations.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jsonpatch
import pytest
import yaml

from contentgen_cluster.paths import REPO
from contentgen_contract.names import Kind, Stage
from contentgen_e2e.api_server import NAMESPACE, STORES, kubectl, run, sets
from contentgen_e2e.attempts import MUTANTS, ONE, POD, changed
from contentgen_e2e.boundary import OPERATOR, Attempt, BoundaryAnswer, BoundaryCaller, connected, jobs, template_told
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest
from contentgen_operator.state.observed import ResourceRef

CHART = REPO / "charts/contentgen"
FACTS = REPO / "facts/kubernetes/mutations"
TENANT = "mutated-jobs"
Body = dict[str, Any]
VALUES: dict[str, tuple[str, ...]] = {
    "default": (),
    "no contexts": ("worker.podSecurityContext=null", "worker.securityContext=null"),
    "another seccomp profile": (
        "worker.podSecurityContext.seccompProfile.type=Localhost",
        "worker.podSecurityContext.seccompProfile.localhostProfile=worker.json",
    ),
    "other keys": (
        "worker.allowedJobAnnotationKeys={example.com/note,team.example.com/*}",
        "worker.jobAnnotations.team\\.example\\.com/cost=much",
    ),
}
ADMITTED = {
    "autopilot": {
        "resourceAdjustment",
        "wardenVersion",
        "seccompProfile",
        "containerSecurityContext",
        "archToleration",
        "limitsLikeRequests",
    },
    "gatekeeper": {"seccompProfile", "readOnlyRoot", "runAsNonRoot", "privilegeEscalation", "label", "pullPolicy"},
    "istio": {"podLabels"},
    "kyverno": {"ttl", "requests", "podLabel", "pullPolicy", "toleration", "emptyDirSize"},
}
REFUSED = {
    "autopilot": {"templateAnnotations": "worker.podAnnotations"},
    "gatekeeper": {
        "capabilities": "worker.securityContext",
        "seLinux": "worker.securityContext",
        "fsGroup": "worker.podSecurityContext",
        "runAsGroup": "worker.securityContext",
        "runAsUser": "worker.securityContext",
        "supplementalGroups": "worker.podSecurityContext",
    },
    "istio": {
        "podAnnotations": "worker.podAnnotations",
        "initContainer": "no initContainers",
        "proxyContainer": "expected one container",
        "volumes": "spec.template.spec.volumes",
        "fsGroup": "worker.podSecurityContext",
    },
    "kyverno": {
        "podSecurityContext": "worker.podSecurityContext",
        "runtimeClass": "worker.runtimeClassName",
        "imageRegistry": "worker.image",
        "pullSecrets": "worker.imagePullSecrets",
        "safeToEvict": "worker.podAnnotations",
        "doNotEvict": "worker.podAnnotations",
        "addedCapabilities": "worker.securityContext",
    },
}
"""Mutations by engine, with a part of the refusal's message."""


@dataclass(frozen=True)
class InstalledPolicy:
    """The policy as rendered with some values, its operator's template, and a client with the operator's name."""

    values: str
    template: JobTemplate
    operator: BoundaryCaller

    def job(self) -> Body:
        """Job in the operator's form."""
        ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace=TENANT, name="talk", uid="0a1b2c3d")
        return job_manifest(ref, 1, Stage.PREPARE, 1, self.template)

    def answer(self, job: Body) -> BoundaryAnswer:
        return self.operator(Attempt("a worker Job", "POST", jobs(TENANT), job))


@pytest.fixture(scope="module")
def operator() -> Iterator[BoundaryCaller]:
    """Impersonation of the operator's account, with all rights: only the policy refuses."""
    kubectl("create", "namespace", TENANT)
    who = (("Impersonate-User", OPERATOR), ("Impersonate-Group", "system:masters"))
    with connected(kubeconfig=os.environ["KUBECONFIG"]) as api:
        yield BoundaryCaller("the operator", api, who)
    kubectl("delete", "namespace", TENANT, "--wait=false")


@contextmanager
def installed(operator: BoundaryCaller, values: str) -> Iterator[InstalledPolicy]:
    """The policy with these values. Its image shows which version of the policy the API server uses."""
    image = f"example.com/worker:{values.replace(' ', '-')}"
    given = sets((*STORES, *VALUES[values], f"worker.image.reference={image}"))
    template = ("template", "contentgen", str(CHART), "--namespace", NAMESPACE, *given, "--show-only")
    manifests = run("helm", *template, "templates/admission/workers.yaml")
    (deployment,) = yaml.safe_load_all(run("helm", *template, "templates/operator.yaml"))
    run("kubectl", "apply", "--server-side", "--force-conflicts", "--filename", "-", stdin=manifests)
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    policy = InstalledPolicy(values, template_told(env), operator)
    _until_in_force(policy, image)
    yield policy
    run("kubectl", "delete", "--filename", "-", stdin=manifests)


def _until_in_force(policy: InstalledPolicy, image: str) -> None:
    deadline = time.monotonic() + 60
    foreign = changed(policy.job(), (*ONE, "image"), "example.com/foreign:1")
    while f"{image} (worker.image)" not in (said := policy.answer(foreign).message):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)


@pytest.fixture(scope="module", params=VALUES)
def policy(request: pytest.FixtureRequest, operator: BoundaryCaller) -> Iterator[InstalledPolicy]:
    with installed(operator, request.param) as found:
        yield found


def facts() -> dict[str, Body]:
    """Mutations by `engine/name`."""
    read = {path.stem: json.loads(path.read_text())["mutations"] for path in sorted(FACTS.glob("*.json"))}
    return {f"{engine}/{mutation['name']}": mutation for engine, found in read.items() for mutation in found}


def mutated(job: Body, mutation: Body) -> Body | None:
    """The Job after a mutation, one of pods applied to its pod template; None: its conditions do not hold."""
    where = "/spec/template" if mutation["at"] == "pod" else ""
    absent = mutation.get("onlyIf", {}).get("absent", ())
    pointers = [jsonpatch.JsonPointer(f"{where}{path}") for path in absent]
    if any(pointer.resolve(job, None) is not None for pointer in pointers):
        return None
    patch = [step | {"path": f"{where}{step['path']}"} for step in mutation["patch"]]
    changed_job = deepcopy(job)
    for step in patch:
        _make_parents(changed_job, step["path"].split("/")[1:])
    result: Body = jsonpatch.apply_patch(changed_job, patch)
    return result


def _make_parents(job: Any, steps: list[str]) -> None:
    for step, child in pairwise(steps):
        empty: Any = [] if child == "-" else {}
        job = job[int(step)] if isinstance(job, list) else job.setdefault(step.replace("~1", "/"), empty)


def test_every_fact_has_an_expectation() -> None:
    expected = {f"{engine}/{name}" for engine, names in ADMITTED.items() for name in names}
    refused = {f"{engine}/{name}" for engine, names in REFUSED.items() for name in names}
    assert not expected & refused
    assert expected | refused == facts().keys()


def test_operators_own_job_is_admitted(policy: InstalledPolicy) -> None:
    answer = policy.answer(policy.job())
    assert answer.allowed, answer.message


@pytest.mark.parametrize("policy", ["default", "no contexts"], indirect=True)
def test_mutations_are_admitted_where_nothing_is_weakened(policy: InstalledPolicy) -> None:
    wrong = {}
    for name, mutation in facts().items():
        job = mutated(policy.job(), mutation)
        engine, _, short = name.partition("/")
        if job is not None:
            answer = policy.answer(job)
            says = REFUSED[engine].get(short)
            if answer.allowed is not (says is None) or (says or "") not in answer.message:
                wrong[name] = answer.message
    assert wrong == {}


@pytest.mark.parametrize("policy", ["default"], indirect=True)
def test_conditions_of_every_mutation_hold_in_some_values(policy: InstalledPolicy) -> None:
    bare = changed(changed(policy.job(), (*POD, "securityContext"), None), (*ONE, "securityContext"), {})
    never = {
        name
        for name, mutation in facts().items()
        if mutated(policy.job(), mutation) is None and mutated(bare, mutation) is None
    }
    # The operator's Jobs have an owner, a time to live, and by default requests.
    assert never == {"kyverno/ttl", "kyverno/requests"}


STRICT: dict[str, Body] = {
    "readOnlyRootFilesystem": {"readOnlyRootFilesystem": True},
    "allowPrivilegeEscalation": {"allowPrivilegeEscalation": False},
    "runAsNonRoot": {"runAsNonRoot": True},
    "not privileged": {"privileged": False},
    "dropped capabilities": {"capabilities": {"drop": ["NET_RAW", "ALL"]}},
    "seccomp profile": {"seccompProfile": {"type": "RuntimeDefault"}},
}
LOOSE: dict[str, Body] = {
    "escalation": {"allowPrivilegeEscalation": True},
    "a writable root": {"readOnlyRootFilesystem": False},
    "root": {"runAsNonRoot": False},
    "a user": {"runAsUser": 1000},
    "an added capability": {"capabilities": {"add": ["SYS_ADMIN"]}},
    "an added capability beside dropped ones": {"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}},
    "no seccomp": {"seccompProfile": {"type": "Unconfined"}},
    "a seccomp profile of the node": {"seccompProfile": {"type": "Localhost", "localhostProfile": "x.json"}},
    "no AppArmor": {"appArmorProfile": {"type": "Unconfined"}},
    "a SELinux type": {"seLinuxOptions": {"type": "spc_t"}},
}


def test_only_stricter_contexts_are_admitted(policy: InstalledPolicy) -> None:
    job = policy.job()
    context = job["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    for name, more in STRICT.items():
        answer = policy.answer(changed(job, (*ONE, "securityContext"), context | more))
        weaker = (
            name == "seccomp profile" and policy.values == "another seccomp profile"
        )  # RuntimeDefault would replace it
        assert answer.allowed is not weaker, (name, answer.message)
    for name, more in LOOSE.items():
        answer = policy.answer(changed(job, (*ONE, "securityContext"), context | more))
        assert "worker.securityContext" in answer.message, (name, answer)


@pytest.mark.parametrize("policy", ["no contexts"], indirect=True)
def test_stricter_context_of_a_pod_without_one_is_admitted(policy: InstalledPolicy) -> None:
    strict = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    job = changed(policy.job(), (*POD, "securityContext"), strict)
    assert policy.answer(job).allowed
    for loose in (
        {"runAsNonRoot": False},
        {"seccompProfile": {"type": "Unconfined"}},
        {"runAsUser": 1000},
        {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}]},
        {"supplementalGroups": [0]},
    ):
        answer = policy.answer(changed(job, (*POD, "securityContext"), strict | loose))
        assert "worker.podSecurityContext" in answer.message, (loose, answer)


def test_annotations_of_the_job_are_admitted_by_key(policy: InstalledPolicy) -> None:
    ours = policy.values == "other keys"
    for key, admitted in {
        "autopilot.gke.io/anything": not ours,
        "xautopilot.gke.io/a": False,
        "autopilot.gke.io.example.com/a": False,
        "example.com/note": ours,
        "example.com/notes": False,
        "team.example.com/a": ours,
        "contentgen.dev/a": False,
        "kueue.x-k8s.io/job-min-parallelism": False,
    }.items():
        job = changed(policy.job(), ("metadata", "annotations", key), "of a webhook")
        answer = policy.answer(job)
        assert answer.allowed is admitted, (key, answer.message)
        assert admitted or "worker.allowedJobAnnotationKeys" in answer.message
        on_the_pod = changed(policy.job(), ("spec", "template", "metadata", "annotations", key), "x")
        assert "worker.podAnnotations" in policy.answer(on_the_pod).message


@pytest.mark.parametrize("policy", ["other keys"], indirect=True)
def test_annotation_of_the_values_keeps_its_value(policy: InstalledPolicy) -> None:
    """A key that the values set, and that a prefix allows, may not be changed."""
    replaced = changed(policy.job(), ("metadata", "annotations", "team.example.com/cost"), "little")
    assert "worker.jobAnnotations" in policy.answer(replaced).message


@pytest.mark.parametrize("policy", ["default"], indirect=True)
def test_what_an_attacker_would_change_stays_refused(policy: InstalledPolicy) -> None:
    """Sidecars, volumes, images, environment, host namespaces, weaker contexts: each also with Autopilot's changes."""
    job, found = policy.job(), facts()
    for name in sorted(ADMITTED["autopilot"]):
        job = mutated(job, found[f"autopilot/{name}"]) or job
    assert policy.answer(job).allowed
    privileged = {"privileged": ((*ONE, "securityContext", "privileged"), True, "rivileged")}
    wrong = {}
    for name, (path, value, says) in (MUTANTS | privileged).items():
        for genuine in (policy.job(), job):
            answer = policy.answer(changed(genuine, path, value))
            if answer.allowed or says not in answer.message:
                wrong[name] = answer
    assert wrong == {}
