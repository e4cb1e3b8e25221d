"""What the operator sees, as frozen values: the resource, and everything around it that a decision needs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import Field

from contentgen_contract.annotations import collect_again
from contentgen_contract.base import Value
from contentgen_contract.names import (
    ADOPT_ANNOTATION,
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    FINAL_PHASES,
    FINALIZER,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Condition,
    Kind,
    Phase,
    Reason,
)
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.parsing import ResourceBody, strict_status
from contentgen_contract.resources.prices import PriceLookup
from contentgen_contract.resources.spec import COLLECT_DEADLINE_SECONDS, DeletionPolicy
from contentgen_contract.resources.status import OutputFile, ResourceStatus, VersionStatus
from contentgen_contract.worker.orders import Outcome, Progress
from contentgen_operator.state.provider_requests import RequestView, Verified
from contentgen_operator.state.purchases import Purchase, PurchaseKey
from contentgen_operator.state.run_document import RunDocument

_END_CONDITIONS = dict(zip(FINAL_PHASES, (Condition.COMPLETE, Condition.FAILED), strict=True))
_MAX_TEXT = 500  # characters of a Job's reason or message


class ResourceRef(Value):
    """How a resource is addressed, and the uid that tells it from a later one of the same name."""

    kind: Kind
    namespace: str
    name: str
    uid: str

    @property
    def about(self) -> dict[str, str]:
        """What a log line about it has, for `extra`."""
        return {"jobId": self.uid, "kind": self.kind.value, "namespace": self.namespace, "resource": self.name}


class Resource(Value):
    """A resource as the API server gave it."""

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
    created_at: datetime
    spec: dict[str, Any]
    status: ResourceStatus
    tenant: Tenant = Tenant()  # this and the scope are put there by the witness
    scope: str = ""  # of the run's buying key: the tenant's, unless the run began under a key of an older release
    purchase_is_named: bool = True  # False: the API server's status lacks the purchase id that the run document has
    document: RunDocument | None = None  # its runs, once the status was compared with them
    repaired: bool = False  # whether `status` is not the one that the API server has

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
            created_at=meta.creation_timestamp,
            spec=given.spec,
            status=strict_status(body),
        )

    @property
    def deleting(self) -> bool:
        """Whether somebody has deleted it, and a finalizer still holds it."""
        return self.deleted_at is not None

    @property
    def finalized(self) -> bool:
        """Whether our finalizer is on it."""
        return FINALIZER in self.finalizers

    # What does not decide the result holds as it is now, also for a run that has begun.

    @property
    def payments_allowed(self) -> bool:
        """Whether a person has allowed payments although the status had named what MongoDB lacks."""
        token = self.document.token if self.document is not None else None
        return token is not None and self.resubmit == token

    @property
    def suspended(self) -> bool:
        """Whether nothing new may be started."""
        return self.spec.get("suspend") is True

    @property
    def deletes_files(self) -> bool:
        """Whether the files go when the resource does."""
        return self.spec.get("deletionPolicy") == DeletionPolicy.DELETE

    @property
    def deadline_seconds(self) -> int | None:
        """How long a run may take."""
        given = self.spec.get("deadlineSeconds")
        return given if isinstance(given, int) else None

    @property
    def collect_deadline_seconds(self) -> int:
        """How long after the provider has finished a failing collect stage is retried."""
        given = self.spec.get("collectDeadlineSeconds")
        return given if isinstance(given, int) else COLLECT_DEADLINE_SECONDS


def is_end(status: dict[str, Any]) -> bool:
    """Whether a status (JSON) is the end of its run as the operator writes it: phase, conditions, completionTime and
    versions agree. A phase that somebody else wrote, and an InvalidSpec that an edit got, don't agree.

    LoraFailed was an end before it became a state in which the run waits.
    """
    phase = status.get("phase")
    if phase not in FINAL_PHASES or status.get("reason") == Reason.LORA_FAILED or not status.get("completionTime"):
        return False
    true = {each.get("type") for each in status.get("conditions") or () if each.get("status") == "True"}
    return _END_CONDITIONS[phase] in true and has_stored_version(status) == (phase == Phase.COMPLETED)


def has_stored_version(status: dict[str, Any]) -> bool:
    """Whether the run of a status (JSON) is there and has stored its outputs."""
    version = (status.get("run") or {}).get("version")
    return version is not None and any(each.get("version") == version for each in status.get("versions") or ())


def asks_to_collect(given: str | None, status: dict[str, Any]) -> bool:
    """Whether the collect annotation asks for a retry of the run of a status (JSON), which has failed."""
    failed = status.get("phase") == Phase.FAILED and is_end(status)
    return failed and collect_again.requests_collect(given, status.get("run") or {})


def is_settled(body: dict[str, Any]) -> bool:
    """Whether there is nothing to do about a resource until it is changed: told from the JSON object alone, because
    an operator that starts sees thousands of them.
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
    """A Kubernetes Job, classified once."""

    name: str
    uid: str
    finished: bool
    succeeded: bool
    started_at: datetime
    reason: str = ""
    message: str = ""
    ready: bool = False  # its pod runs
    suspended: bool = False  # by a queue, such as Kueue
    terminating: bool = False  # its pod was deleted and has not ended; no other one runs

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "JobView":
        """From the JSON object of the API server."""
        status = body.get("status") or {}
        conditions = status.get("conditions") or []
        true = {c["type"]: c for c in conditions if c["status"] == "True"}
        ends = {name: c for name, c in true.items() if name in ("Complete", "Failed")}
        end = ends.get("Failed") or ends.get("Complete") or true.get("FailureTarget") or {}
        return cls(
            name=body["metadata"]["name"],
            uid=body["metadata"]["uid"],
            started_at=body["metadata"]["creationTimestamp"],
            finished=bool(ends),
            succeeded="Complete" in ends,
            reason=end.get("reason", "")[:_MAX_TEXT],
            message=end.get("message", "")[:_MAX_TEXT],
            ready=bool(status.get("ready")),
            suspended=(body.get("spec") or {}).get("suspend") is True,
            terminating=not ends and bool(status.get("terminating")) and not status.get("active"),
        )


class PodTrouble(Value):
    """Why a Job that has not ended has no running pod."""

    refused: bool  # the Job controller may not create it
    words: str


class LoraView(Value):
    """A LoraTraining that an ImageGeneration draws with."""

    name: str
    phase: Phase | None = None  # None: there is none, or it has not started
    model_key: str | None = None  # of its newest version
    message: str = ""  # of its status
    trainings: tuple[Purchase, ...] = ()  # collected ones under its name


class BucketFile(Value):
    """A file that the bucket has."""

    size_bytes: int
    sha256: str


def is_stored(outputs: VersionStatus, stored: Mapping[str, BucketFile]) -> bool:
    """Whether all files of a finished version are in the bucket (`stored`, by key) with their sizes and SHA-256."""
    return bool(outputs.files) and all(_is_same_file(each, stored.get(each.key)) for each in outputs.files)


def _is_same_file(file: OutputFile, found: BucketFile | None) -> bool:
    return found is not None and found.size_bytes == file.size_bytes and file.sha256 in (None, found.sha256)


class OpenRequest(Value):
    """A paid attempt that no run waits for, with what the provider says of it, where it was asked."""

    key: PurchaseKey
    purchase: Purchase
    found_request: str | None = None  # of one whose reply was lost
    view: RequestView | None = None  # of one that the provider has


class WantedPurchase(Value):
    """Which purchase of an image is asked for, by the trainings of its LoRAs."""

    identity: str | None = None  # in the buying key; None: the key of older releases, which has the names alone
    scope: str | None = None  # of the key under which it was bought; None: that of the resource
    waits: bool = False  # it is not known: a LoRA is not there yet, and what was bought may be of another training


class Observation(Value):
    """Everything around one resource, read just now; what was not needed was not read."""

    job: JobView | None = None
    unrecorded_job: bool = False  # the status names a Job that the operator has not recorded: it is replaced
    outcome: Outcome | None = None
    outcome_problem: str = ""
    stored: dict[str, BucketFile] = Field(default_factory=dict)  # of the files that an outcome names, by name
    outputs_stored: bool = False  # whether all files of a collected purchase are there as they were stored
    purchase: Purchase | None = None
    superseded: bool = False  # that purchase is of a resource that is gone; the files of the next attempt are stored
    earlier: tuple[Purchase, ...] = ()  # paid attempts of this run before that purchase
    other_runs: tuple[Purchase, ...] = ()  # purchases of the resource's other runs
    open_requests: tuple[OpenRequest, ...] = ()  # earlier attempts, and the last one of a run that has ended
    same_lora_name: str | None = None  # an older LoraTraining that has the loraName too
    price: PriceLookup = PriceLookup()  # by the provider's word
    response_kept: bool = False  # of a collected purchase whose files are gone: whether its response is there
    found_request: str | None = None  # of a purchase whose reply was lost
    named: Verified | None = None  # the request that a person names
    history_complete: bool = True  # whether all of the provider's history could be searched for it
    request: RequestView | None = None
    provider_problem: str = ""
    access_refused: bool = False  # the problem is the operator's key, or its account
    provider_configured: bool = True
    trouble: PodTrouble | None = None
    cause: str = ""  # of the end of a Job that left no outcome
    node_gone: bool = False  # that end is the end of its node, which may not have ended the pod
    lost_in: float | None = None  # seconds until a pod that was deleted, and that its node has not ended, is lost
    log: str = ""  # of a Job that ended without an outcome: the last lines that its pod said
    loras: tuple[LoraView, ...] = ()
    wanted: WantedPurchase | None = None  # None: the run goes on with its purchase, or draws with no LoRA of ours
    progress: Progress | None = None
    seconds_per_unit: float | None = None  # of the provider's last requests of this model
