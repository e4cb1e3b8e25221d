"""Tolerant parser of a resource's JSON object, for operator, gateway and plugin. Pure.

`ResourceBody.parse` never raises: a part of a wrong type counts as absent, and a phase or reason of a newer release is
kept as text. `strict_status` raises instead, for callers that pay or write based on the status.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from contentgen_contract.names import FINAL_PHASES, RERUN_ANNOTATION, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus


@dataclass(frozen=True, slots=True)
class ResourceMetadata:
    """A resource's metadata. Timestamps are RFC 3339 texts, as the API server writes them; None: absent."""

    uid: str | None
    name: str | None
    namespace: str | None
    resource_version: str | None
    generation: int  # 1 where absent
    creation_timestamp: str | None
    deletion_timestamp: str | None
    finalizers: tuple[str, ...]
    annotations: dict[str, str]
    labels: dict[str, str]

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """From `metadata` (JSON)."""
        generation = _number(given.get("generation"))
        finalizers = given.get("finalizers")
        return cls(
            uid=_text(given.get("uid")),
            name=_text(given.get("name")),
            namespace=_text(given.get("namespace")),
            resource_version=_text(given.get("resourceVersion")),
            generation=1 if generation is None else generation,
            creation_timestamp=_text(given.get("creationTimestamp")),
            deletion_timestamp=_text(given.get("deletionTimestamp")),
            finalizers=tuple(filter(_text, finalizers)) if isinstance(finalizers, list) else (),
            annotations={key: value for key, value in _object(given.get("annotations")).items() if _is_text(value)},
            labels={key: value for key, value in _object(given.get("labels")).items() if _is_text(value)},
        )


@dataclass(frozen=True, slots=True)
class ResourceRun:
    """`status.run`: the run under way, or the last one."""

    number: int  # 0 where absent
    version: int  # 0 where absent
    rerun: str | None
    billed: bool | None  # None: unknown
    spec: dict[str, Any]  # frozen at the start of the run
    facts: dict[str, Any]
    approval_amount: str | None  # that an approval of the run names; None: the run has not waited
    resubmit_token: str | None  # valid in the phase SubmissionUnknown only
    lapsed_verdicts: tuple[str, ...]  # digests of approvals and rejections that do not count

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """From `status.run` (JSON)."""
        billed, approval = given.get("billed"), _object(given.get("approval"))
        lapsed = approval.get("lapsed")
        return cls(
            number=_number(given.get("number")) or 0,
            version=_number(given.get("version")) or 0,
            rerun=_text(given.get("rerun")),
            billed=billed if isinstance(billed, bool) else None,
            spec=_object(given.get("spec")),
            facts=_object(given.get("facts")),
            approval_amount=_text(approval.get("amount")),
            resubmit_token=_text(given.get("resubmitToken")),
            lapsed_verdicts=tuple(filter(_text, lapsed)) if isinstance(lapsed, list) else (),
        )


@dataclass(frozen=True, slots=True)
class ResourceBody:
    """A resource as the API server returned it."""

    metadata: ResourceMetadata
    spec: dict[str, Any]
    status: dict[str, Any]  # JSON, for `advice.guidance.Facts`
    phase: str | None
    reason: str | None
    message: str
    run: ResourceRun | None  # None: no run has begun

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        """From the API server's JSON object."""
        status = _object(body.get("status"))
        run = _object(status.get("run"))
        return cls(
            metadata=ResourceMetadata.parse(_object(body.get("metadata"))),
            spec=_object(body.get("spec")),
            status=status,
            phase=_text(status.get("phase")),
            reason=_text(status.get("reason")),
            message=_text(status.get("message")) or "",
            run=ResourceRun.parse(run) if run else None,
        )

    @property
    def rerun(self) -> str | None:
        """Value of the annotation contentgen.dev/rerun."""
        return self.metadata.annotations.get(RERUN_ANNOTATION)

    @property
    def rerun_requested(self) -> bool:
        """True if another run is asked for by the annotation, or by the removal of spec.dryRun after an estimate, and
        has not begun. The removal of the annotation asks for nothing.
        """
        if self.run is None:
            return False
        estimated = self.phase == Phase.COMPLETED and self.reason == Reason.ESTIMATED
        return self.rerun not in (None, self.run.rerun) or (estimated and self.spec.get("dryRun") is None)

    @property
    def ended(self) -> bool:
        """True if the last run is over, also where another one is requested."""
        return self.phase in FINAL_PHASES


def strict_status(body: Mapping[str, Any]) -> ResourceStatus:
    """The typed status. Raises pydantic.ValidationError for a wrong type or an unknown phase."""
    return ResourceStatus.model_validate(body.get("status") or {})


def _is_text(given: object) -> bool:
    return isinstance(given, str)


def _text(given: object) -> str | None:
    return given if isinstance(given, str) else None


def _number(given: object) -> int | None:
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _object(given: object) -> dict[str, Any]:
    return given if isinstance(given, dict) else {}
