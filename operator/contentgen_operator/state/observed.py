"""Observations as frozen values: the resource, and everything around it that a decision needs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import Field

from contentgen_contract.annotations import approve_run, collect_again
from contentgen_contract.base import Value
from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    FINAL_PHASES,
    FINALIZER,
    GIVEN_UP_LABEL,
    QUEUE_LABELS,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Condition,
    Kind,
    Phase,
    Reason,
    Stage,
)
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.parsing import ResourceBody, strict_status
from contentgen_contract.resources.prices import PriceLookup
from contentgen_contract.resources.spec import COLLECT_DEADLINE_SECONDS, Approval, DeletionPolicy
from contentgen_contract.resources.status import OutputFile, ResourceStatus, VersionStatus
from contentgen_contract.worker.orders import Outcome, Progress
from contentgen_operator.state.provider_requests import RequestView, Verified
from contentgen_operator.state.purchases import Purchase, PurchaseKey, SamePurchase
from contentgen_operator.state.run_document import RunDocument

F = TypeVar("F", bound="FeatureFacts")
_END_CONDITIONS = dict(zip(FINAL_PHASES, (Condition.COMPLETE, Condition.FAILED), strict=True))
_VERDICT_ANNOTATIONS = (*approve_run.ANNOTATION_OF.values(), APPROVED_BY_ANNOTATION)
_MAX_TEXT = 500  # characters of a Job's reason and message


class ResourceRef(Value):
    """Address of a resource, with its uid: a later resource of the same name has another one."""

    kind: Kind
    namespace: str
    name: str
    uid: str

    @property
    def about(self) -> dict[str, str]:
        """Fields of a log line about the resource, for `extra`."""
        return {"jobId": self.uid, "kind": self.kind.value, "namespace": self.namespace, "resource": self.name}


class Resource(Value):
    """Resource as read from the API server."""

    ref: ResourceRef
    generation: int
    resource_version: str
    deleted_at: datetime | None = None
    finalizers: tuple[str, ...] = ()
    rerun: str | None
    resubmit: str | None
    cancel: str | None = None
    adopt: str | None = None
    collect: str | None = None
    verdict_annotations: dict[str, str] = Field(default_factory=dict)  # those of an approval or a rejection
    given_up: str | None = None  # value of the label, which anybody may change
    queue_labels: dict[str, str] = Field(default_factory=dict)  # Kueue's
    created_at: datetime
    spec: dict[str, Any]
    status: ResourceStatus
    tenant: Tenant = Tenant()  # set by the status verifier, as is `scope`
    scope: str = ""  # of the purchase key: the tenant's, unless the run began under another one, before a mapping
    purchase_is_named: bool = True  # False: the API server's status lacks the run document's purchase id or account
    document: RunDocument | None = None  # set once the status was compared with it
    repaired: bool = False  # True: `status` differs from the API server's

    @classmethod
    def parse(cls, kind: Kind, body: dict[str, Any]) -> "Resource":
        """From the JSON object of the API server.

        Raises pydantic.ValidationError for an invalid status: with defaults instead a run could be paid twice.
        """
        given = ResourceBody.parse(body)
        meta, annotations = given.metadata, given.metadata.annotations
        return cls(
            ref=ResourceRef(kind=kind, namespace=meta.namespace, name=meta.name, uid=meta.uid),
            generation=meta.generation,
            resource_version=meta.resource_version,
            deleted_at=meta.deletion_timestamp,
            finalizers=meta.finalizers,
            rerun=given.rerun,
            resubmit=annotations.get(RESUBMIT_ANNOTATION),
            cancel=annotations.get(CANCEL_ANNOTATION),
            adopt=annotations.get(ADOPT_ANNOTATION),
            collect=annotations.get(COLLECT_ANNOTATION),
            verdict_annotations={name: annotations[name] for name in _VERDICT_ANNOTATIONS if name in annotations},
            given_up=meta.labels.get(GIVEN_UP_LABEL),
            queue_labels={name: meta.labels[name] for name in QUEUE_LABELS if name in meta.labels},
            created_at=meta.creation_timestamp,
            spec=given.spec,
            status=strict_status(body),
        )

    @property
    def deleting(self) -> bool:
        """True once it was deleted, while a finalizer keeps it."""
        return self.deleted_at is not None

    @property
    def finalized(self) -> bool:
        """True if it has our finalizer."""
        return FINALIZER in self.finalizers

    # Fields that do not affect the result are read from the current spec, also for a run in progress.

    @property
    def payments_allowed(self) -> bool:
        """True if a person allowed payments although the status named a run that MongoDB lacks."""
        token = self.document.token if self.document is not None else None
        return token is not None and self.resubmit == token

    @property
    def suspended(self) -> bool:
        """True if nothing new may be started."""
        return self.spec.get("suspend") is True

    @property
    def approval(self) -> Approval:
        """Approval that the spec asks for; a value of a newer release counts as Manual."""
        given = self.spec.get("approval")
        return Approval.AUTOMATIC if given in (None, Approval.AUTOMATIC) else Approval.MANUAL

    @property
    def estimates(self) -> bool:
        """True if nothing may be paid: the run ends after its free stages; also for a value of a newer release."""
        return self.spec.get("dryRun") is not None

    @property
    def deletes_files(self) -> bool:
        """True if the files are deleted with the resource."""
        return self.spec.get("deletionPolicy") == DeletionPolicy.DELETE

    @property
    def ttl_seconds(self) -> int | None:
        """Seconds after the end of a run until the resource is deleted; None: it is not."""
        given = self.spec.get("ttlSecondsAfterFinished")
        return given if isinstance(given, int) and not isinstance(given, bool) and given >= 0 else None

    @property
    def deadline_seconds(self) -> int | None:
        """Deadline of a run in seconds after its start; None: no deadline."""
        given = self.spec.get("deadlineSeconds")
        return given if isinstance(given, int) else None

    @property
    def priority(self) -> int:
        """Priority in the queue, within the namespace."""
        given = self.spec.get("priority")
        return given if isinstance(given, int) else 0

    @property
    def queue_deadline_seconds(self) -> int | None:
        """Longest wait in the queue in seconds; None: no limit."""
        given = self.spec.get("queueDeadlineSeconds")
        return given if isinstance(given, int) else None

    @property
    def collect_deadline_seconds(self) -> int:
        """Seconds after the provider has finished in which a failing collect stage is retried."""
        given = self.spec.get("collectDeadlineSeconds")
        return given if isinstance(given, int) else COLLECT_DEADLINE_SECONDS


def is_end(status: dict[str, Any]) -> bool:
    """True if a status (JSON) is the end of its run: phase, conditions, completionTime and versions agree.

    They disagree if somebody else wrote the phase, and after an edit with an invalid spec.
    """
    phase = status.get("phase")
    if phase not in FINAL_PHASES or not status.get("completionTime"):
        return False
    true = {condition.get("type") for condition in status.get("conditions") or () if condition.get("status") == "True"}
    stores = phase == Phase.COMPLETED and status.get("reason") != Reason.ESTIMATED
    return _END_CONDITIONS[phase] in true and has_stored_version(status) == stores


def has_stored_version(status: dict[str, Any]) -> bool:
    """True if a status (JSON) lists the version of its run as stored."""
    version = (status.get("run") or {}).get("version")
    return version is not None and any(
        each_version.get("version") == version for each_version in status.get("versions") or ()
    )


def asks_to_collect(given: str | None, status: dict[str, Any]) -> bool:
    """True if the collect annotation asks for a retry of the run of a status (JSON) that failed, or misses outputs."""
    lacks = (status.get("phase") == Phase.FAILED or collect_again.misses_outputs(status)) and is_end(status)
    return lacks and collect_again.requests_collect(given, status.get("run") or {})


def is_finished(body: dict[str, Any]) -> bool:
    """True if nothing needs reconciling until the resource changes.

    Works on raw JSON: an operator checks thousands of resources at its start.
    """
    meta, status = body["metadata"], body.get("status") or {}
    if not is_end(status):
        return False
    deletes = (body.get("spec") or {}).get("deletionPolicy") == DeletionPolicy.DELETE
    if (status.get("run") or {}).get("requestOpen") is True:
        return False
    annotations = meta.get("annotations") or {}
    return (
        "deletionTimestamp" not in meta
        and status.get("observedGeneration") == meta.get("generation", 1)
        and annotations.get(RERUN_ANNOTATION) in (None, (status.get("run") or {}).get("rerun"))
        and not asks_to_collect(annotations.get(COLLECT_ANNOTATION), status)
        and (FINALIZER in (meta.get("finalizers") or ())) == deletes
    )


class JobView(Value):
    """State of a Kubernetes Job."""

    name: str
    uid: str
    finished: bool
    succeeded: bool
    started_at: datetime
    reason: str = ""
    message: str = ""
    ready: bool = False  # its pod runs
    suspended: bool = False  # by a queue, such as Kueue
    terminating: bool = False  # its deleted pod has not ended yet, and no other pod runs
    deadline_seconds: int | None = None  # of its pod, from the pod's start; None: its pods have no deadline

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "JobView":
        """The state from the API server's JSON."""
        status = body.get("status") or {}
        conditions = status.get("conditions") or []
        true = {c["type"]: c for c in conditions if c["status"] == "True"}
        ends = {name: c for name, c in true.items() if name in ("Complete", "Failed")}
        end = ends.get("Failed") or ends.get("Complete") or true.get("FailureTarget") or {}
        return cls(
            name=body["metadata"]["name"],
            uid=body["metadata"]["uid"],
            # A Job that a queue has held starts when it is resumed.
            started_at=status.get("startTime") or body["metadata"]["creationTimestamp"],
            finished=bool(ends),
            succeeded="Complete" in ends,
            reason=end.get("reason", "")[:_MAX_TEXT],
            message=end.get("message", "")[:_MAX_TEXT],
            ready=bool(status.get("ready")),
            suspended=(body.get("spec") or {}).get("suspend") is True,
            terminating=not ends and bool(status.get("terminating")) and not status.get("active"),
            deadline_seconds=_pod_deadline(body.get("spec") or {}),
        )


class JobRecord(Value):
    """Job that the operator has recorded, with its work."""

    uid: str
    name: str
    run: int  # number, from 1
    stage: Stage
    attempt: int  # from 1
    purchase_id: str | None = None  # of a collect stage; None: recorded by an earlier release


def _pod_deadline(spec: dict[str, Any]) -> int | None:
    seconds = ((spec.get("template") or {}).get("spec") or {}).get("activeDeadlineSeconds")
    return seconds if isinstance(seconds, int) else None


class PodTrouble(Value):
    """Reason for which an unfinished Job has no running pod."""

    refused: bool  # True: the Job controller may not create the pod
    queued: bool = False  # the Job is suspended, by a queue such as Kueue
    words: str


class LoraView(Value):
    """LoraTraining that an ImageGeneration refers to."""

    name: str
    phase: Phase | None = None  # None: there is no such resource
    model_key: str | None = None  # key of the newest version's file; None: none is usable
    message: str = ""  # of its status
    state: str = ""  # its state in words, such as "running, 63 %"
    estimated: bool = False  # its last run was a dry run
    trainings: tuple[Purchase, ...] = ()  # collected purchases under its name


class BucketFile(Value):
    """Size and checksum of a file in the bucket."""

    size_bytes: int
    sha256: str


def is_stored(outputs: VersionStatus, stored: Mapping[str, BucketFile]) -> bool:
    """True if all files of a finished version are in the bucket (`stored`, by key) with their size and SHA-256."""
    return bool(outputs.files) and all(_is_same_file(file, stored.get(file.key)) for file in outputs.files)


def _is_same_file(file: OutputFile, found: BucketFile | None) -> bool:
    return found is not None and found.size_bytes == file.size_bytes and file.sha256 in (None, found.sha256)


class OpenRequest(Value):
    """Paid attempt that no run waits for, with the provider's answer if it was polled or searched."""

    key: PurchaseKey
    purchase: Purchase
    found_request: str | None = None  # request id that a search for a lost reply found
    view: RequestView | None = None  # answer to a poll


class WantedPurchase(Value):
    """Purchase that an image needs, by the trainings of its LoRAs."""

    identity: str | None = None  # in the purchase key; None: with LoRA names only
    scope: str | None = None  # of the existing purchase's key; None: the resource's
    waits: bool = False  # undecided: a LoRA is not ready, and an existing purchase may be of another training


class NamespaceLabels(Value):
    """Labels of a namespace, by which policies hold for it, read at one moment."""

    uid: str = ""  # of the namespace; empty: it cannot be read
    labels: Mapping[str, str] = {}
    problem: str = ""  # why it cannot be read; empty: it is read


class FeatureFacts(Value):
    """Part of an observation that the gate of a feature reads. Not observed, it has its defaults."""


class Observation(Value):
    """Everything around one resource that the decision needs; other fields have their defaults."""

    job: JobView | None = None
    outdated_job: bool = False  # its worker never started, and the pod template has changed since: it is replaced
    left_job: JobView | None = None  # recorded Job that its run has moved past long ago, and that has not ended
    left_in: float | None = None  # seconds until a Job that the run has moved past is looked at again
    unrecorded_job: bool = False  # the status names a Job that MongoDB does not record: it is replaced
    outcome: Outcome | None = None
    outcome_problem: str = ""
    stored: dict[str, BucketFile] = Field(default_factory=dict)  # files of the outcome in the bucket, by name
    part: Outcome | None = None  # of an earlier attempt that stored a part of the outputs; read if there is no outcome
    outputs_stored: bool = False  # all files of a collected purchase are in the bucket, unchanged
    purchase: Purchase | None = None
    superseded: bool = False  # `purchase` is of a deleted resource, and the next attempt's files are stored
    same: SamePurchase | None = None  # of an unpaid run: the same request was bought under another key
    earlier: tuple[Purchase, ...] = ()  # earlier paid attempts of this run
    other_runs: tuple[Purchase, ...] = ()  # purchases of the resource's other runs
    open_requests: tuple[OpenRequest, ...] = ()  # earlier attempts, and the last one of a run that has ended
    same_lora_name: str | None = None  # name of an older LoraTraining with the same loraName
    price: PriceLookup = PriceLookup()  # the provider's
    facts: tuple[FeatureFacts, ...] = ()  # of features, read for a run that may be paid
    response_kept: bool = False  # the provider's response is in the bucket
    response_missing: bool = False  # it is not, and is to be collected
    found_request: str | None = None  # request id that a search for a lost reply found
    named: Verified | None = None  # verdict on the request of the adopt annotation
    history_complete: bool = True  # False: the search could not read all of the provider's history
    request: RequestView | None = None
    provider_problem: str = ""
    access_refused: bool = False  # the problem is the operator's key or its account
    namespace_labels: NamespaceLabels | None = None  # up to 15 s old; read again before a payment. None: not used
    trouble: PodTrouble | None = None
    cause: str = ""  # why a Job ended without an outcome
    timed_out: bool = False  # the kubelet ended the Job's pod at its deadline
    never_ran: bool = False  # an ended Job's pods are there, and the worker was started in none of them
    node_gone: bool = False  # the Job's node is lost; its pod may still run there
    lost_in: float | None = None  # seconds until a deleted pod that does not end counts as lost
    log: str = ""  # last lines of the pod of a Job that ended without an outcome
    loras: tuple[LoraView, ...] = ()
    wanted: WantedPurchase | None = None  # None: the run keeps its purchase, or refers to no LoraTraining
    progress: Progress | None = None
    seconds_per_unit: float | None = None  # duration of the provider's latest requests of this model

    def with_facts(self, facts: FeatureFacts) -> "Observation":
        """The observation with these facts of a feature, instead of its earlier ones."""
        return self.model_copy(update={"facts": (facts, *self.facts)})

    def facts_of(self, kind: type[F]) -> F:
        """Facts of a feature."""
        return next((fact for fact in self.facts if isinstance(fact, kind)), kind())
