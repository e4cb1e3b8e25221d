"""The documents of the old service, field by field: what the seeds show, and nothing else."""

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field

from contentgen_contract.resources.spec import Metadata
from contentgen_gateway.schemas.bodies import Body, JobType, Name, UserId

_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # a half of a character is no text to MongoDB
_MAX_DEPTH, _MAX_LENGTH = 5, 4096


def _time(given: object) -> object:
    """Times without a zone are in UTC, as MongoDB has them; an export has them as `{"$date": …}`."""
    if isinstance(given, dict) and given.keys() == {"$date"}:
        return given["$date"]
    if isinstance(given, datetime) and given.tzinfo is None:
        return given.replace(tzinfo=UTC)
    return given


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    _require_plain(given, 0)
    return given


def _require_plain(given: object, depth: int) -> None:
    """Raises ValueError for what MongoDB could take for something else, or not take at all."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"must not be nested more than {_MAX_DEPTH} deep")
    match given:
        case dict():
            for name, inner in given.items():
                if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
                    raise ValueError(f"{name!r} is no field's name: letters, digits and _ are expected")
                _require_plain(inner, depth + 1)
        case list():
            for inner in given:
                _require_plain(inner, depth + 1)
        case _ if not _scalar(given):
            raise ValueError(f"expected texts of up to {_MAX_LENGTH} characters, 64-bit numbers, true, false, null")


def _scalar(given: object) -> bool:
    if isinstance(given, str):
        return len(given) <= _MAX_LENGTH and not _UNSTORABLE.search(given)
    if isinstance(given, int):
        return abs(given) < 2**63
    return given is None or (isinstance(given, float) and math.isfinite(given))


Time = Annotated[AwareDatetime, BeforeValidator(_time)]
Plain = Annotated[dict[str, Any], AfterValidator(_plain)]
Bytes = Annotated[int, Field(ge=0, le=2**50)]
Text = Annotated[str, Field(max_length=_MAX_LENGTH)]
Address = Annotated[str, Field(max_length=2048)]


class _Strict(Body):
    model_config = ConfigDict(extra="forbid", validate_by_name=False)


class LegacySource(_Strict):
    """What was worked on."""

    url: Address
    filename: Text | None = None
    size_bytes: Bytes | None = None


class LegacyPicture(_Strict):
    """One picture."""

    url: Address
    s3_key: Address | None = None
    thumbnail_url: Address | None = None
    width: int | None = Field(None, ge=1, le=65536)
    height: int | None = Field(None, ge=1, le=65536)
    size_bytes: Bytes | None = None


class LegacyVersion(_Strict):
    """One version of the outputs."""

    version: int = Field(1, ge=1, le=9999)
    created_at: Time | None = None
    model_url: Address | None = None
    s3_key: Address | None = None
    size_bytes: Bytes | None = None
    preview_url: Address | None = None
    config: Plain | None = None
    images: list[LegacyPicture] = Field(default_factory=list, max_length=64)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    transcript_url: Address | None = None
    text_url: Address | None = None
    word_count: int | None = Field(None, ge=0, lt=2**63)
    duration: float | None = Field(None, ge=0, allow_inf_nan=False)
    speakers: int | None = Field(None, ge=0, lt=2**63)
    language: Annotated[str, Field(max_length=16)] | None = None


class LegacyDocument(_Strict):
    """A document of the old service; what mongoose adds is let be."""

    id: Any = Field(None, alias="_id")
    revision: Any = Field(None, alias="__v")
    job_id: Name
    user_id: UserId
    type: JobType
    source_video: LegacySource | None = None
    config: Plain = Field(default_factory=dict)
    metadata: Metadata = Field(default_factory=Metadata)
    versions: list[LegacyVersion] = Field(default_factory=list, max_length=50)
    status: Literal["queued", "processing", "completed", "failed", "cancelled"]
    progress: int = Field(0, ge=0, le=100)
    error: Text | None = None
    created_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    updated_at: Time | None = None
