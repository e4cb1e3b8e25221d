"""Assets as the seeds' lists show them, from records. Pure: addresses are made fetchable by the caller's `sign`."""

from collections.abc import Callable
from datetime import datetime

from pydantic import Field

from contentgen_gateway.schemas.bodies import Body, Incomplete
from contentgen_gateway.stores.outputs import picture_name, versions_of
from contentgen_gateway.stores.records import Record

SignAddress = Callable[[object], str | None]
"""An address of a record as one that can be fetched; None where there is none to give."""


class LatestVersion(Body):
    """Of a LoRA."""

    model_url: str | None
    created_at: datetime | None


class Lora(Body):
    """A trained LoRA."""

    lora_id: str
    name: str | None
    trigger: str | None
    versions: int = Field(description="How many there are.")
    latest_version: LatestVersion
    thumbnail_url: str | None = Field(description="Its contact sheet.")
    tags: list[str]


class LoraList(Body):
    """A page of LoRAs."""

    total: int
    loras: list[Lora]
    next_cursor: str | None = None
    incomplete: Incomplete = False


class Picture(Body):
    """One generated picture."""

    image_id: str
    job_id: str
    version: int
    file: str = Field(description="What `/api/assets/{jobId}/download?file=` takes.")
    model: str | None
    prompt: str | None
    image_url: str | None
    thumbnail_url: str | None = Field(description="256 pixels at most.")
    width: int | None
    height: int | None
    created_at: datetime | None


class PictureList(Body):
    """A page of pictures: all of as many jobs as `limit` says."""

    total: int = Field(description="How many pictures there are on all pages.")
    images: list[Picture]
    next_cursor: str | None = None
    incomplete: Incomplete = False


class Transcript(Body):
    """The newest transcript of a recording."""

    transcript_id: str
    file_name: str | None
    duration: float | None = Field(description="Seconds.")
    word_count: int | None
    transcript_url: str | None
    text_url: str | None
    speakers: int | None
    created_at: datetime | None


class TranscriptList(Body):
    """A page of transcripts."""

    total: int
    transcripts: list[Transcript]
    next_cursor: str | None = None
    incomplete: Incomplete = False


def lora(record: Record, sign: SignAddress) -> Lora:
    """A LoRA with its newest version."""
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
    """All pictures of all versions, those of the newest first. The seeds' records have no thumbnails."""
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
    """A transcript in its newest version."""
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
