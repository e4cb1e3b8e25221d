"""View models of jobs for the templates. Pure."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contentgen_contract.advice.job_state import JobState, State, state_of_record
from contentgen_contract.advice.remedies import REASONS, Explanation
from contentgen_contract.names import Kind
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.stores.records import Record

LABELS = {
    Kind.LORA_TRAINING: "LoRA training",
    Kind.IMAGE_GENERATION: "Pictures",
    Kind.TRANSCRIPTION: "Transcript",
}
ICONS = {Kind.LORA_TRAINING: "layers", Kind.IMAGE_GENERATION: "images", Kind.TRANSCRIPTION: "audio-lines"}
PATHS = {Kind.LORA_TRAINING: "loras", Kind.IMAGE_GENERATION: "pictures", Kind.TRANSCRIPTION: "transcripts"}
_EXPLANATIONS = {reason.value: each_reason for reason, each_reason in REASONS.items()}


@dataclass(frozen=True, slots=True)
class Card:
    """Summary of a job, for lists and headers of pages."""

    job_id: str
    kind: Kind
    title: str
    state: JobState  # of the record: without the actions on runs
    made: bool  # at least one version is finished
    reason: str
    error: str
    explanation: Explanation | None
    user: str
    namespace: str
    name: str
    tags: tuple[str, ...]
    description: str
    cost: Mapping[str, Any]
    created: datetime | None
    started: datetime | None
    completed: datetime | None
    updated: datetime | None
    stage: str
    thumbnail: str  # unsigned address; empty if there is none

    @property
    def label(self) -> str:
        """Name of the kind."""
        return LABELS[self.kind]

    @property
    def icon(self) -> str:
        """Name of the kind's icon."""
        return ICONS[self.kind]

    @property
    def reference(self) -> str:
        """Short kind and name, for commands: `lora/avatar`."""
        return f"{self.kind.short_name}/{self.name}"

    @property
    def advice(self) -> str:
        """Remedies of the reason, in sentences; empty without one. Those that apply are known of the resource alone."""
        return self.explanation.advice.replace("NAME", self.reference) if self.explanation else ""

    @property
    def path(self) -> str:
        """Path of the job's page."""
        return f"/jobs/{self.job_id}"

    @property
    def asset_path(self) -> str:
        """Path of the asset's page; of the job's page before a version is finished."""
        return f"/{PATHS[self.kind]}/{self.job_id}" if self.made else self.path

    @property
    def failed(self) -> bool:
        """True if the last run has failed."""
        return self.state.state is State.FAILED

    @property
    def spent(self) -> str:
        """Cost or estimate, formatted; empty if unknown."""
        return self.state.cost

    @property
    def total(self) -> float | None:
        """Known cost of all runs; None if it is that of the last run, or unknown."""
        total, last = (_number(self.cost.get(name)) for name in ("total", "actual"))
        return total if total is not None and total != (last or 0) else None

    @property
    def seconds(self) -> float | None:
        """Duration of the run; None until it ends."""
        return (self.completed - self.started).total_seconds() if self.started and self.completed else None


def card(record: Record) -> Card:
    """Summary of a record; missing fields become empty."""
    kind = KINDS.get(str(record.get("type")), Kind.LORA_TRAINING)
    config, metadata = _mapping(record.get("config")), _mapping(record.get("metadata"))
    reason = str(record.get("reason") or "")
    return Card(
        job_id=str(record["jobId"]),
        kind=kind,
        title=_title(kind, record, config),
        state=state_of_record(record),
        made=bool(record.get("versions")),
        reason=reason,
        error=str(record.get("error") or ""),
        explanation=explanation(reason),
        user=str(record.get("userId") or ""),
        namespace=str(record.get("namespace") or ""),
        name=str(record.get("name") or ""),
        tags=tuple(str(tag) for tag in metadata.get("tags") or ()),
        description=str(metadata.get("description") or ""),
        cost=_mapping(record.get("cost")),
        created=record.get("createdAt"),
        started=record.get("startedAt"),
        completed=record.get("completedAt"),
        updated=record.get("updatedAt"),
        stage=str(record.get("stage") or ""),
        thumbnail=_thumbnail(kind, record),
    )


def _number(given: object) -> float | None:
    try:
        found = float(str(given))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _mapping(given: object) -> Mapping[str, Any]:
    return given if isinstance(given, Mapping) else {}


def _title(kind: Kind, record: Record, config: Mapping[str, Any]) -> str:
    source = _mapping(record.get("sourceVideo"))
    of_kind = {
        Kind.LORA_TRAINING: config.get("loraName"),
        Kind.IMAGE_GENERATION: config.get("prompt"),
        Kind.TRANSCRIPTION: source.get("filename"),
    }
    return str(of_kind[kind] or record.get("name") or record["jobId"])


def newest(record: Record) -> Mapping[str, Any]:
    """Newest version; empty without versions."""
    versions = [_mapping(version) for version in record.get("versions") or ()]
    return max(versions, key=lambda each: int(each.get("version") or 0), default={})


def _thumbnail(kind: Kind, record: Record) -> str:
    version = newest(record)
    if kind is Kind.IMAGE_GENERATION:
        first = _mapping(next(iter(version.get("images") or ()), None))
        return str(first.get("thumbnailUrl") or first.get("url") or "")
    return str(version.get("previewUrl") or "")


def explanation(reason: str) -> Explanation | None:
    """Meaning and advice of a reason, as in docs/reference/reasons.md; None if unknown."""
    return _EXPLANATIONS.get(reason)


def digest_of(*shown: object) -> str:
    """Digest of frozen values that a page shows, which tells whether it has changed."""
    return hashlib.sha256(repr(shown).encode()).hexdigest()[:16]


def minute(now: datetime) -> datetime:
    """Minute of a time: relative times are shown to the minute."""
    return now.replace(second=0, microsecond=0)


def parsed_time(text: object) -> datetime | None:
    """Time of an RFC 3339 text; None for any other value."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
