"""Manifests of the Jobs of a run; pure. Jobs are created and never updated: a pod template is immutable.

Of a user's manifest only names, the uid and Kueue's two labels get into the Job: no image, environment variable,
annotation or other label. None of the labels gets into its pod.
"""

import hashlib
import json
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Literal

from pydantic import Field

from contentgen_contract.base import Manifest, Value
from contentgen_contract.names import (
    KIND_LABEL,
    QUEUE_LABEL,
    QUEUE_LABELS,
    STAGE_LABEL,
    TOKEN_AUDIENCE,
    TOKEN_FOLDER,
    UID_LABEL,
    Kind,
    Stage,
)
from contentgen_contract.resources.operator_class import CLASS_LABEL, DEFAULT_CLASS
from contentgen_contract.resources.owner_references import owner_reference
from contentgen_contract.worker.orders import EgressProxy
from contentgen_operator.state.observed import ResourceRef

FINISHED_JOB_SECONDS = 3600  # for `kubectl logs`; the outcome is already in the bucket
_SCRATCH = "/scratch"
_USER = 65532
_NOT_OF_THE_SPEC = {"job_labels", "job_annotations", "labels", "annotations", "container_security_context"}
_NODE_GONE = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")  # taints of a node
_NODE_GONE_SECONDS = 30  # until a worker's pod is deleted from it; Kubernetes' default is 300


def _pod_context() -> dict[str, Any]:
    ids = dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), _USER)
    return {"runAsNonRoot": True, **ids, "seccompProfile": {"type": "RuntimeDefault"}}


def _container_context() -> dict[str, Any]:
    return {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


class WorkerPod(Manifest):
    """Settings of worker Jobs and pods: labels, annotations, nodes and security contexts. Set by the chart's values,
    never by a user's manifest.
    """

    job_labels: dict[str, str] = Field(default_factory=dict)
    job_annotations: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    security_context: dict[str, Any] = Field(default_factory=_pod_context)
    container_security_context: dict[str, Any] = Field(default_factory=_container_context)
    image_pull_secrets: tuple[dict[str, str], ...] = ()
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] = Field(default_factory=dict)
    priority_class_name: str = ""
    runtime_class_name: str = ""

    def spec(self) -> dict[str, Any]:
        """Fields of the pod spec that are set."""
        fields = self.model_dump(mode="json", exclude=_NOT_OF_THE_SPEC)
        tolerations = [*self.tolerations, *(_brief(taint) for taint in _NODE_GONE if not self._tolerates(taint))]
        return {name: value for name, value in (fields | {"tolerations": tolerations}).items() if value}

    def _tolerates(self, taint: str) -> bool:
        """True if a toleration matches this taint of an unreachable node, by the rule of DefaultTolerationSeconds."""
        return any(
            (toleration.get("key") or taint) == taint and (toleration.get("effect") or "NoExecute") == "NoExecute"
            for toleration in self.tolerations
        )


def _brief(taint: str) -> dict[str, Any]:
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NODE_GONE_SECONDS}


class WorkerSize(Manifest):
    """Changes to the worker pods of one kind and stage, or of one namespace. None and empty fields change nothing."""

    resources: dict[str, dict[str, str | int | float | None]] = Field(default_factory=dict)  # a quantity None: removed
    node_selector: dict[str, str] = Field(default_factory=dict)  # added
    tolerations: tuple[dict[str, Any], ...] | None = None
    priority_class_name: str | None = None

    def changed_pod(self, pod: WorkerPod) -> WorkerPod:
        """The pod's settings with these changes."""
        given = {"tolerations": self.tolerations, "priority_class_name": self.priority_class_name}
        changes = {name: value for name, value in given.items() if value is not None}
        return pod.model_copy(update=changes | {"node_selector": pod.node_selector | self.node_selector})

    def changed_resources(self, resources: dict[str, Any]) -> dict[str, Any]:
        """Requests and limits with these changes."""
        names = dict.fromkeys((*resources, *self.resources))
        merged = {name: (resources.get(name) or {}) | self.resources.get(name, {}) for name in names}
        return {
            name: {key: member for key, member in given.items() if member is not None} for name, given in merged.items()
        }


class WorkerSizes(Manifest):
    """Changes by kind and stage, and by namespace, which come last. Set by the chart's values alone."""

    kinds: dict[Kind, dict[Stage, WorkerSize]] = Field(default_factory=dict)
    namespaces: dict[str, WorkerSize] = Field(default_factory=dict)

    def of(self, kind: Kind, stage: Stage, namespace: str) -> tuple[WorkerSize, ...]:
        """The changes for a Job, in their order."""
        found = self.kinds.get(kind, {}).get(stage), self.namespaces.get(namespace)
        return tuple(size for size in found if size is not None)


class WorkerSettings(Value):
    """Settings of workers."""

    image: str = "contentgen-worker"
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    resources: dict[str, Any] = Field(default_factory=dict)
    service_account: str = "default"
    proxy: EgressProxy | None = Field(None, description="HTTP proxy of workers; None: they connect directly.")
    pod: WorkerPod = WorkerPod()
    sizes: WorkerSizes = WorkerSizes()
    finished_seconds: int = Field(
        FINISHED_JOB_SECONDS, ge=60, description="Time after which finished worker Jobs are deleted."
    )


class JobTemplate(WorkerSettings):
    """Properties common to all Jobs."""

    deadline_seconds: int  # from the start of the pod on its node
    worker_api_url: str
    worker_api_ca: str  # PEM; public
    operator_class: str = DEFAULT_CLASS

    def sized(self, kind: Kind, stage: Stage, namespace: str) -> "JobTemplate":
        """The template for the Jobs of this kind and stage in this namespace."""
        pod, resources = self.pod, self.resources
        for size in self.sizes.of(kind, stage, namespace):
            pod, resources = size.changed_pod(pod), size.changed_resources(resources)
        return self.model_copy(update={"pod": pod, "resources": resources})


def job_name(uid: str, run: int, stage: Stage, attempt: int) -> str:
    """Name of a Job. The same work has the same name, so it cannot be started twice."""
    digest = hashlib.sha256(uid.encode()).hexdigest()[:12]
    return f"contentgen-{digest}-r{run}-{stage}-{attempt}"


def template_hash(manifest: Mapping[str, Any]) -> str:
    """SHA-256 of the pod template of a Job's manifest, by which a later one is compared with it."""
    return hashlib.sha256(json.dumps(manifest["spec"]["template"], sort_keys=True).encode()).hexdigest()


_NO_LABELS: Mapping[str, str] = {}


def job_manifest(
    ref: ResourceRef,
    run: int,
    stage: Stage,
    attempt: int,
    template: JobTemplate,
    *,
    queue_labels: Mapping[str, str] = _NO_LABELS,
) -> dict[str, Any]:
    """Job for one attempt of one stage. `queue_labels` are the resource's; a Job with a queue is created suspended,
    and the queue resumes it.
    """
    template = template.sized(ref.kind, stage, ref.namespace)
    queue = {name: value for name, value in queue_labels.items() if name in QUEUE_LABELS}
    job_labels = queue | template.pod.job_labels  # the administrator's queue is for all resources
    labels = {
        "app.kubernetes.io/name": "contentgen-worker",
        "app.kubernetes.io/managed-by": "contentgen",
        UID_LABEL: ref.uid,
        KIND_LABEL: ref.kind.value,
        STAGE_LABEL: stage.value,
        CLASS_LABEL: template.operator_class,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(ref.uid, run, stage, attempt),
            "namespace": ref.namespace,
            "labels": job_labels | labels,
            "annotations": dict(template.pod.job_annotations),
            "ownerReferences": [owner_reference(ref.kind, ref.name, ref.uid)],
        },
        "spec": ({"suspend": True} if job_labels.get(QUEUE_LABEL) else {})
        | {
            "backoffLimit": 0,  # the operator counts attempts, because it knows the outcome
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": template.finished_seconds,
            "template": {
                "metadata": {"labels": template.pod.labels | labels, "annotations": dict(template.pod.annotations)},
                "spec": template.pod.spec() | _pod(stage, template),
            },
        },
    }


def _pod(stage: Stage, template: JobTemplate) -> dict[str, Any]:
    return {
        # Of the pod: its kubelet counts from the start on the node. A Job's own would count the wait for a node.
        "activeDeadlineSeconds": template.deadline_seconds,
        "restartPolicy": "Never",
        "serviceAccountName": template.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "containers": [_container(stage, template)],
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {
                "name": "token",
                "projected": {
                    "sources": [
                        {
                            "serviceAccountToken": {
                                "audience": TOKEN_AUDIENCE,
                                "expirationSeconds": 3600,
                                "path": "token",
                            }
                        }
                    ]
                },
            },
        ],
    }


def _container(stage: Stage, template: JobTemplate) -> dict[str, Any]:
    return {
        "name": "worker",
        "image": template.image,
        "imagePullPolicy": template.image_pull_policy,
        "args": [stage.value],
        "env": [
            {"name": "CONTENTGEN_WORKER_API_URL", "value": template.worker_api_url},
            {"name": "CONTENTGEN_WORKER_API_CA", "value": template.worker_api_ca},
            {"name": "CONTENTGEN_DEADLINE_SECONDS", "value": str(template.deadline_seconds)},
            {"name": "CONTENTGEN_SCRATCH", "value": _SCRATCH},
            {"name": "TMPDIR", "value": _SCRATCH},
        ],
        "resources": template.resources,
        "securityContext": deepcopy(template.pod.container_security_context),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "scratch", "mountPath": _SCRATCH},
            {"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": True},
        ],
    }
