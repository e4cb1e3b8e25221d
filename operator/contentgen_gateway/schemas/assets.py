"""Assets in the shapes of the legacy API, from records. Pure: a function given by the caller signs addresses."""

from collections.abc import Callable
from datetime import datetime

from pydantic import Field

from contentgen_gateway.schemas.bodies import Body, Incomplete
from contentgen_gateway.stores.outputs import picture_name, versions_of
from contentgen_gateway.stores.records import Record

SignAddress = Callable[[object], str | None]
"""Returns a URL that can be fetched for an address of a record; None if there is none."""


class LatestVersion(Body):
    """Newest version of a LoRA."""

    model_url: str | None
    created_at: datetime | None


class Lora(Body):
    """Trained LoRA."""

    lora_id: str
    name: str | None
    trigger: str | None
    versions: int = Field(description="Number of versions.")
    latest_version: LatestVersion
    thumbnail_url: str | None = Field(description="Contact sheet of the training set.")
    tags: list[str]


class LoraList(Body):
    """Page of LoRAs."""

    total: int
    loras: list[Lora]
    next_cursor: str | None = None
    incomplete: Incomplete = False


class Picture(Body):
    """Generated picture."""

    image_id: str
    job_id: str
    version: int
    file: str = Field(description="Value of `file` in `/api/assets/{jobId}/download?file=`.")
    model: str | None
    prompt: str | None
    image_url: str | None
    thumbnail_url: str | None = Field(description="256 pixels on the shorter side, at most 768 on the other.")
    width: int | None
    height: int | None
    created_at: datetime | None


class PictureList(Body):
    """Page of pictures: all pictures of `limit` jobs."""

    total: int = Field(description="Pictures on all pages.")
    images: list[Picture]
    next_cursor: str | None = None
    incomplete: Incomplete = False


class Transcript(Body):
    """Newest transcript of a recording."""

    transcript_id: str
    file_name: str | None
    duration: float | None = Field(description="Seconds.")
    word_count: int | None
    transcript_url: str | None
    text_url: str | None
    speakers: int | None
    created_at: datetime | None


class TranscriptList(Body):
    """Page of transcripts."""

    total: int
    transcripts: list[Transcript]
    next_cursor: str | None = None
    incomplete: Incomplete = False


def lora(record: Record, sign: SignAddress) -> Lora:
    """LoRA with its newest version, from its record."""
    made, config = versions_of(record), record.get("config") or {}
    newest = made[0] if made else {}
    return Lora(
        lora_id=record["jobId"],
        name=config.get("loraName") or record.get("name"),
        trigger=config.get("trigger"),
        versions=len(made),
        latest_version=LatestVersion(model_url=sign(newest.get("modelUrl")), created_at=newest.get("createdAt")),
        thumbnail_url=sign(newest.get("previewUrl")),
        tags=(record.get("metadata") or {}).get("tags") or [],
    )


def pictures(record: Record, sign: SignAddress) -> list[Picture]:
    """Pictures of all versions, newest version first. Legacy records have no thumbnails: the picture is used."""
    config = record.get("config") or {}
    return [
        Picture(
            image_id=f"{record['jobId']}-v{version.get('version') or 1}-{number}",
            job_id=record["jobId"],
            version=version.get("version") or 1,
            file=picture_name(image),
            model=version.get("model") or config.get("model"),
            prompt=version.get("prompt") or config.get("prompt"),
            image_url=sign(image.get("url")),
            thumbnail_url=sign(image.get("thumbnailUrl") or image.get("url")),
            width=image.get("width"),
            height=image.get("height"),
            created_at=version.get("createdAt") or record.get("createdAt"),
        )
        for version in versions_of(record)
        for number, image in enumerate(version.get("images") or (), 1)
    ]


def transcript(record: Record, sign: SignAddress) -> Transcript:
    """Transcript in its newest version, from its record."""
    newest = next(iter(versions_of(record)), {})
    return Transcript(
        transcript_id=record["jobId"],
        file_name=(record.get("sourceVideo") or {}).get("filename"),
        duration=newest.get("duration"),
        word_count=newest.get("wordCount"),
        transcript_url=sign(newest.get("transcriptUrl")),
        text_url=sign(newest.get("textUrl")),
        speakers=newest.get("speakers"),
        created_at=newest.get("createdAt") or record.get("createdAt"),
    )
