"""Records of the load test: jobs of all kinds of 200 users, in the operator's format."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.record import search_terms, version_totals

RECORDS = 20_000
USERS = 200
NAMESPACES = 20
PICTURES = 4
WORDS = ("lighthouse", "avatar", "headshot", "podcast", "wildfires", "campaign", "workshop", "suit", "dusk", "episode")
ADDRESSES = "http://s3.test/assets"  # of the simulation's bucket
_START = datetime(2026, 1, 1, tzinfo=UTC)
_COST = {"amount": "0.42", "currency": "USD", "billed": True}
_FILES: dict[Kind, tuple[str, ...]] = {
    Kind.LORA_TRAINING: ("model.safetensors", "config.json", "preview.png"),
    Kind.IMAGE_GENERATION: tuple(f"image_{n}{end}.png" for n in range(1, PICTURES + 1) for end in ("", "_thumb")),
    Kind.TRANSCRIPTION: ("transcript.json", "transcript.txt", "transcript.srt", "transcript.vtt"),
}
Document = dict[str, Any]


def user_of(number: int) -> str:
    """Name of a user."""
    return f"user-{number % USERS}"


def namespace_of(number: int) -> str:
    """Namespace of a user; ten users share one."""
    return f"team-{number % NAMESPACES}"


def job_of(number: int) -> str:
    """Id of a record."""
    return f"10000000-0000-4000-8000-{number:012}"


def records(count: int) -> Iterator[Document]:
    """Deterministic records; each has one version with unsigned URLs of the bucket."""
    rng = random.Random(1)  # noqa: S311 - the same each time
    for number in range(count):
        kind = tuple(Kind)[number % 3]
        words = rng.sample(WORDS, 3)
        made = _START + timedelta(minutes=number)
        versions = [_version(kind, number, " ".join(words), made)]
        document: Document = {
            "jobId": job_of(number), "userId": user_of(number), "type": kind.record_type,
            "namespace": namespace_of(number), "name": f"{words[0]}-{number}", "config": _config(kind, words),
            "metadata": {"tags": words[:2], "description": " ".join(words), "isPublic": False},
            "versions": versions, "status": "completed", "phase": "Completed", "progress": 100, "reason": "Completed",
            "error": None, "cost": _COST, "createdAt": made, "startedAt": made,
            "completedAt": made + timedelta(minutes=9), "stage": None, "message": "done",
            "estimatedCompletionTime": None,
        } | ({} if kind is Kind.IMAGE_GENERATION else {"sourceVideo": _source(words)})  # fmt: skip
        yield document | version_totals(versions) | {"terms": search_terms(document)}


def _config(kind: Kind, words: list[str]) -> Document:
    match kind:
        case Kind.LORA_TRAINING:
            return {"loraName": words[0], "trigger": "jf", "training": {"steps": 1000}}
        case Kind.IMAGE_GENERATION:
            return {"model": "flux-pro", "prompt": " ".join(words), "imageSize": "square_hd", "numImages": PICTURES}
        case Kind.TRANSCRIPTION:
            return {"language": "en", "speakerLabels": True}


def _source(words: list[str]) -> Document:
    return {"url": f"s3://recordings/{words[1]}.mp4", "filename": f"{words[1]}.mp4", "sizeBytes": 150_000_000}


def _version(kind: Kind, number: int, prompt: str, made: datetime) -> Document:
    folder = keys.prefix(kind, Stage.COLLECT, user_of(number), job_of(number), 1)
    files = [{"name": file, "sizeBytes": 2_500_000} for file in _FILES[kind]]
    common = {"version": 1, "createdAt": made, "files": files, "bytes": 9_000_000, "loras": [], "cost": _COST}
    at = f"{ADDRESSES}/{folder}"
    match kind:
        case Kind.LORA_TRAINING:
            config = {"trigger": "jf", "steps": 1000, "learning_rate": 0.0004, "frame_count": 140}
            return common | {
                "modelUrl": f"{at}model.safetensors", "s3Key": f"{folder}model.safetensors", "sizeBytes": 125_000_000,
                "previewUrl": f"{at}preview.png", "config": config,
            }  # fmt: skip
        case Kind.IMAGE_GENERATION:
            images = [
                {
                    "url": f"{at}image_{n}.png", "s3Key": f"{folder}image_{n}.png",
                    "thumbnailUrl": f"{at}image_{n}_thumb.png", "width": 1024, "height": 1024, "sizeBytes": 2_500_000,
                }
                for n in range(1, PICTURES + 1)
            ]  # fmt: skip
            return common | {"images": images, "seed": number, "model": "flux-pro", "prompt": prompt}
        case Kind.TRANSCRIPTION:
            ends = {"transcriptUrl": "json", "textUrl": "txt", "srtUrl": "srt", "vttUrl": "vtt"}
            addresses = {name: f"{at}transcript.{end}" for name, end in ends.items()}
            said = {"wordCount": 861, "duration": 282.0, "speakers": 2, "language": "en", "audibleDuration": 270.5}
            return common | addresses | said
