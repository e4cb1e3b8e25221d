"""Run document as frozen values: inputs of a resource's current run, and the highest numbers in use. Pure.

The document (`stores/run_documents.py`) is written before the run's status, Job or purchase; the status is its
projection. Numbers in the document only grow.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.resources.status import (
    MAX_VERSIONS,
    ApprovalStatus,
    Instant,
    ResourceStatus,
    RunStatus,
    SameRequest,
    VersionStatus,
)

MAX_RUNS = 1_000_000  # upper bound of run numbers accepted from a status


class FrozenRun(Value):
    """Fields of a run that are set once or only increase. The other fields of `RunStatus` are observed."""

    number: int
    version: int
    run_hash: str
    rerun: str | None = None
    generation: int
    spec: dict[str, Any]
    started_at: Instant
    lora_identity: str | None = None
    same_as: SameRequest | None = None
    facts: dict[str, Any] | None = None
    approval: ApprovalStatus | None = None
    paid_attempt: int = 1
    purchase_id: str | None = None
    provider_account: str | None = None

    @classmethod
    def of(cls, run: RunStatus) -> "FrozenRun":
        """The frozen fields of a status's run."""
        return cls.model_validate({name: getattr(run, name) for name in cls.model_fields})


class UnrecordedRun(Value):
    """Run or purchase that a status names and MongoDB lacks: MongoDB was restored, or the status is forged."""

    number: int
    version: int
    paid_attempt: int = 1
    purchase_id: str | None = None
    request_id: str | None = None
    over: bool = False  # whether the run had ended by the status
    purchases: tuple[str, ...] = ()  # ids of named purchases that the ledger lacks
    purchases_only: bool = False  # MongoDB has the run


class RunDocument(Value):
    """Runs of one resource."""

    uid: str
    namespace: str
    kind: Kind
    name: str
    revision: int = 0  # number of writes; 0: not stored yet
    number: int = 0  # highest run number in use
    version: int = 0  # highest version number in use
    run: FrozenRun | None = None  # the run in progress, or the last one
    versions: tuple[VersionStatus, ...] = Field((), max_length=MAX_VERSIONS)
    unrecorded: UnrecordedRun | None = None  # blocks payments until a person allows them
    given_up: tuple[str, ...] = ()  # ids of lost purchases in spite of which a person has allowed payments
    expired_at: Instant | None = None  # when the operator deleted the resource after its ttlSecondsAfterFinished
    predecessor: FrozenRun | None = Field(None, exclude=True)  # of the expired resource of this name; not stored

    @property
    def token(self) -> str | None:
        """Token by which a person allows payments despite an unrecorded run; unique to it. None: there is none."""
        if self.unrecorded is None:
            return None
        return hashlib.sha256(f"{self.uid}/{self.unrecorded.model_dump_json()}".encode()).hexdigest()[:8]

    def begun(self, run: RunStatus | None) -> "RunDocument":
        """The document with this run as the current one and its numbers in use."""
        if run is None:
            return self
        number, version = max(self.number, run.number), max(self.version, run.version)
        return self.model_copy(update={"run": FrozenRun.of(run), "number": number, "version": version})

    def without_run(self) -> "RunDocument":
        """The document without a current run, so that the next run is new."""
        return self.model_copy(update={"run": None})

    @property
    def has_unrecorded_end(self) -> bool:
        """True if the current run is one that MongoDB lacked and that its status called ended."""
        unrecorded, run = self.unrecorded, self.run
        return unrecorded is not None and unrecorded.over and run is not None and run.number == unrecorded.number

    def with_unrecorded_run(self, run: RunStatus, *, over: bool) -> "RunDocument":
        """The document with the numbers of a run that MongoDB lacks in use, and payments blocked."""
        run, last = with_bounded_numbers(run), self.unrecorded or UnrecordedRun(number=0, version=0)
        unrecorded = UnrecordedRun(
            number=max(run.number, last.number),
            version=max(run.version, last.version),
            paid_attempt=max(run.paid_attempt, last.paid_attempt),
            purchase_id=run.purchase_id or last.purchase_id,
            request_id=run.request_id or last.request_id,
            over=over,
        )
        number, version = max(self.number, run.number), max(self.version, run.version)
        return self.model_copy(update={"unrecorded": unrecorded, "number": number, "version": version})

    def with_unrecorded_purchases(self, lost: Iterable[str]) -> "RunDocument":
        """The document with payments blocked while the ledger lacks purchases: by a value of their own, or with an
        unrecorded run.
        """
        purchases, unrecorded = tuple(sorted(lost)), self.unrecorded
        if unrecorded is not None and not unrecorded.purchases_only:
            return self.model_copy(update={"unrecorded": unrecorded.model_copy(update={"purchases": purchases})})
        own = UnrecordedRun(number=self.number, version=self.version, purchases=purchases, purchases_only=True)
        return self.model_copy(update={"unrecorded": own if purchases else None})


def next_document(document: RunDocument, status: ResourceStatus, *, allowed: bool) -> RunDocument:
    """The document of which a planned status is the projection. `allowed`: a person has allowed payments."""
    changes: dict[str, object] = {"versions": status.versions, "expired_at": None}  # it was not deleted after all
    if allowed and document.unrecorded is not None:
        lost = {*document.given_up, *document.unrecorded.purchases}
        changes |= {"unrecorded": None, "given_up": tuple(sorted(lost))}
    return document.begun(status.run).model_copy(update=changes)


def with_bounded_numbers(run: RunStatus) -> RunStatus:
    """The run of a status with its numbers limited to 1…MAX_RUNS."""
    numbers = {name: min(max(getattr(run, name), 1), MAX_RUNS) for name in ("number", "version", "paid_attempt")}
    return run.model_copy(update=numbers)


def projected_run(frozen: FrozenRun, observed: RunStatus | None) -> RunStatus:
    """The document's run, with the observed fields of the status if it is of the same run."""
    values = {name: getattr(frozen, name) for name in FrozenRun.model_fields}
    if observed is None or observed.number != frozen.number:
        return RunStatus.model_validate(values)
    for name in ("spec", "facts"):
        if _canonical(values[name]) == _canonical(getattr(observed, name)):
            values[name] = getattr(observed, name)  # as the API server writes it
    if observed.paid_attempt != frozen.paid_attempt:
        values |= {"sent_at": None, "request_id": None, "submitted_at": None}
    elif frozen.purchase_id is None:  # evidence of a purchase that the ledger may have lost
        values["purchase_id"] = observed.purchase_id
    return observed.model_copy(update=values)


def projected(document: RunDocument, status: ResourceStatus, more: tuple[VersionStatus, ...] = ()) -> ResourceStatus:
    """The status with the document's run and versions; all other fields are reset if it is of another run.

    `more` are finished versions that the status has and the document lacks.
    """
    run = projected_run(document.run, status.run) if document.run is not None else None
    versions = _merged_versions(document.versions, status.versions, more)
    same = (status.run and status.run.number) == (run and run.number)
    kept = status if same else ResourceStatus(job_id=status.job_id, conditions=status.conditions)
    return kept.model_copy(update={"run": run, "versions": versions})


class NamedPurchases(NamedTuple):
    """Ids of purchases that the ledger must know; it must have the `paid` ones as more than planned or refused."""

    known: frozenset[str]
    paid: frozenset[str]


def named_purchases(
    document: RunDocument, status: ResourceStatus, operator_class: str, *, over: bool
) -> NamedPurchases:
    """Purchases of the class's finished versions, and of the run if it is over: one that goes on is compared by itself.

    Another class may have another ledger, also after the resource has moved to this one.
    """
    run = status.run if over else None
    finished = (*document.versions, *status.versions)
    versions = {purchase.purchase_id for purchase in finished if purchase.operator_class == operator_class}
    last = {run.purchase_id} if run is not None else set()
    paid = versions | (last if run is not None and run.request_id else set())
    unrecorded = document.unrecorded.purchases if document.unrecorded is not None else ()
    paid |= {*unrecorded}  # the status may name them no more
    given_up = {None, *document.given_up}
    return NamedPurchases(
        known=frozenset(purchase_id for purchase_id in (paid | last) - given_up if purchase_id),
        paid=frozenset(purchase_id for purchase_id in paid - given_up if purchase_id),
    )


def unknown_versions(document: RunDocument, status: ResourceStatus) -> tuple[VersionStatus, ...]:
    """Versions of a status whose numbers the document has in use but not finished: MongoDB was restored
    since.
    """
    known = {version.version for version in document.versions}
    oldest = min(known, default=1) if len(known) >= MAX_VERSIONS else 1  # older versions were dropped
    used = range(oldest, document.version + 1)
    return tuple(version for version in status.versions if version.version in used and version.version not in known)


def _merged_versions(
    kept: tuple[VersionStatus, ...], observed: tuple[VersionStatus, ...], more: tuple[VersionStatus, ...]
) -> tuple[VersionStatus, ...]:
    merged = {version.version: version for version in (*more, *kept)}
    same = {version.version: _canonical(version.model_dump()) for version in observed}
    if len(observed) == len(merged) and same == {n: _canonical(version.model_dump()) for n, version in merged.items()}:
        return observed  # keeps the API server's order, by time of completion
    return tuple(merged[number] for number in sorted(merged))[-MAX_VERSIONS:]


def document_digest(document: RunDocument) -> str:
    """Digest of the document's run and versions; equal to the digest of a status that is its projection."""
    run = document.run
    return _digest(
        run.model_dump(mode="json", by_alias=True) if run is not None else {},
        [version.model_dump(mode="json", by_alias=True, exclude_none=True) for version in document.versions],
    )


def status_digest(status: dict[str, Any]) -> str:
    """Digest of the run and versions of a status (JSON), which may have any content."""
    return _digest(status.get("run") or {}, status.get("versions") or ())


def _canonical(value: Any) -> Any:
    """JSON without nulls in objects, and with whole floats as integers: the API server may change either."""
    match value:
        case dict():
            return {str(name): _canonical(member) for name, member in value.items() if member is not None}
        case list() | tuple():
            return [_canonical(element) for element in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _digest(run: dict[str, Any], versions: Sequence[Any]) -> str:
    frozen = {name: run[name] for name in _ALIASES if run.get(name) is not None}
    text = json.dumps(_canonical([frozen, list(versions)]), sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


_ALIASES = tuple(field.alias or name for name, field in FrozenRun.model_fields.items())
