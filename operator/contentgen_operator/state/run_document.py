"""Run document as frozen values: what a resource's run was begun with, and which numbers are used. Pure.

The document (`run_documents.py`) is written before the status that tells of it, and before any Job or purchase of it;
the status is its projection. Numbers in the document only grow.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.resources.status import MAX_VERSIONS, Instant, ResourceStatus, RunStatus, VersionStatus

MAX_RUNS = 1_000_000  # numbers above it in a status are not believed: a resource would not live to have them


class FrozenRun(Value):
    """The parts of a run that are decided once, or only go forward. The rest of `RunStatus` is observed."""

    number: int
    version: int
    run_hash: str
    rerun: str | None = None
    generation: int
    spec: dict[str, Any]
    started_at: Instant
    lora_identity: str | None = None
    facts: dict[str, Any] | None = None
    paid_attempt: int = 1
    purchase_id: str | None = None

    @classmethod
    def of(cls, run: RunStatus) -> "FrozenRun":
        """The frozen part of a run in a status."""
        return cls.model_validate({name: getattr(run, name) for name in cls.model_fields})


class UnrecordedRun(Value):
    """Run or purchase that a status named and MongoDB lacks: MongoDB is of a backup, or the status is forged."""

    number: int
    version: int
    paid_attempt: int = 1
    purchase_id: str | None = None
    request_id: str | None = None
    over: bool = False  # whether the run had ended by that status


class RunDocument(Value):
    """The runs of one resource."""

    uid: str
    namespace: str
    kind: Kind
    name: str
    revision: int = 0  # counts the writes; 0: not stored yet
    number: int = 0  # the highest run number that is used
    version: int = 0  # the highest version number that is used
    run: FrozenRun | None = None  # the run under way, or the last one
    versions: tuple[VersionStatus, ...] = Field((), max_length=MAX_VERSIONS)
    claim: UnrecordedRun | None = None  # nothing is paid until a person allows it

    @property
    def token(self) -> str | None:
        """The word by which a person allows payments in spite of the claim; another claim has another one."""
        if self.claim is None:
            return None
        return hashlib.sha256(f"{self.uid}/{self.claim.model_dump_json()}".encode()).hexdigest()[:8]

    def begun(self, run: RunStatus | None) -> "RunDocument":
        """The document with this run as the current one, and its numbers as used."""
        if run is None:
            return self
        number, version = max(self.number, run.number), max(self.version, run.version)
        return self.model_copy(update={"run": FrozenRun.of(run), "number": number, "version": version})

    def without_run(self) -> "RunDocument":
        """The document in which a new run is the next one."""
        return self.model_copy(update={"run": None})

    @property
    def claims_an_end(self) -> bool:
        """Whether the current run is one that MongoDB lacks, and that was over by its status."""
        claim, run = self.claim, self.run
        return claim is not None and claim.over and run is not None and run.number == claim.number

    def claimed(self, run: RunStatus, *, over: bool) -> "RunDocument":
        """The document with the numbers of a run that MongoDB lacks as used, and payments held back."""
        run, last = with_bounded_numbers(run), self.claim or UnrecordedRun(number=0, version=0)
        claim = UnrecordedRun(
            number=max(run.number, last.number),
            version=max(run.version, last.version),
            paid_attempt=max(run.paid_attempt, last.paid_attempt),
            purchase_id=run.purchase_id or last.purchase_id,
            request_id=run.request_id or last.request_id,
            over=over,
        )
        number, version = max(self.number, run.number), max(self.version, run.version)
        return self.model_copy(update={"claim": claim, "number": number, "version": version})


def next_document(document: RunDocument, status: ResourceStatus, *, allowed: bool) -> RunDocument:
    """The document that a planned status is the projection of. `allowed`: a person has allowed payments."""
    changes: dict[str, object] = {"versions": status.versions}
    if allowed:
        changes["claim"] = None
    return document.begun(status.run).model_copy(update=changes)


def with_bounded_numbers(run: RunStatus) -> RunStatus:
    """The run of a status with numbers that can be counted on from."""
    numbers = {name: min(max(getattr(run, name), 1), MAX_RUNS) for name in ("number", "version", "paid_attempt")}
    return run.model_copy(update=numbers)


def projected_run(frozen: FrozenRun, told: RunStatus | None) -> RunStatus:
    """The document's run, with what the status observed of this very run."""
    values = {name: getattr(frozen, name) for name in FrozenRun.model_fields}
    if told is None or told.number != frozen.number:
        return RunStatus.model_validate(values)
    for name in ("spec", "facts"):
        if _canonical(values[name]) == _canonical(getattr(told, name)):
            values[name] = getattr(told, name)  # as the API server writes it
    if told.paid_attempt != frozen.paid_attempt:
        values |= {"sent_at": None, "request_id": None, "submitted_at": None}
    elif frozen.purchase_id is None:  # a witness of its own where the ledger has lost the purchase
        values["purchase_id"] = told.purchase_id
    return told.model_copy(update=values)


def projected(document: RunDocument, told: ResourceStatus, more: tuple[VersionStatus, ...] = ()) -> ResourceStatus:
    """The status with the document's run and versions; where it speaks of another run it starts anew.

    `more` are finished versions that the status has and the document lacks.
    """
    run = projected_run(document.run, told.run) if document.run is not None else None
    versions = _merged_versions(document.versions, told.versions, more)
    same = (told.run and told.run.number) == (run and run.number)
    kept = told if same else ResourceStatus(job_id=told.job_id, conditions=told.conditions)
    return kept.model_copy(update={"run": run, "versions": versions})


def unknown_versions(document: RunDocument, told: ResourceStatus) -> tuple[VersionStatus, ...]:
    """Versions of a status that the document has as used, and not as finished: of an older release, or a newer
    MongoDB.
    """
    known = {each.version for each in document.versions}
    oldest = min(known, default=1) if len(known) >= MAX_VERSIONS else 1  # what is older was dropped
    used = range(oldest, document.version + 1)
    return tuple(each for each in told.versions if each.version in used and each.version not in known)


def _merged_versions(
    kept: tuple[VersionStatus, ...], told: tuple[VersionStatus, ...], more: tuple[VersionStatus, ...]
) -> tuple[VersionStatus, ...]:
    merged = {each.version: each for each in (*more, *kept)}
    same = {each.version: _canonical(each.model_dump()) for each in told}
    if len(told) == len(merged) and same == {n: _canonical(each.model_dump()) for n, each in merged.items()}:
        return told  # in the order in which they were finished, as the API server writes them
    return tuple(merged[number] for number in sorted(merged))[-MAX_VERSIONS:]


def document_digest(document: RunDocument) -> str:
    """What a status that is the document's projection has the same of, as `digest_of_status` gives it."""
    run = document.run
    return _digest(
        run.model_dump(mode="json", by_alias=True) if run is not None else {},
        [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in document.versions],
    )


def status_digest(status: dict[str, Any]) -> str:
    """The same of a status (JSON), which may have any content."""
    return _digest(status.get("run") or {}, status.get("versions") or ())


def _canonical(value: Any) -> Any:
    """JSON without nulls in objects and with whole numbers as integers: the API server may change either."""
    match value:
        case dict():
            return {str(name): _canonical(each) for name, each in value.items() if each is not None}
        case list() | tuple():
            return [_canonical(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _digest(run: dict[str, Any], versions: Sequence[Any]) -> str:
    frozen = {name: run[name] for name in _ALIASES if run.get(name) is not None}
    text = json.dumps(_canonical([frozen, list(versions)]), sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:32]


_ALIASES = tuple(each.alias or name for name, each in FrozenRun.model_fields.items())
