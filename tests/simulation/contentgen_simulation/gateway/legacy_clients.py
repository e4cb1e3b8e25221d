"""Documented client calls of the legacy API: each line verbatim, and the expected response.

A line is a curl command, or a method and a path. `filled` inserts ids; the caller replaces the host.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = "http://localhost:5000"
LINES = (
    # GET /api/jobs…
    "curl http://localhost:5000/api/jobs/{jobId}",
    'curl "http://localhost:5000/api/jobs/{jobId}"',
    'curl "http://localhost:5000/api/jobs?userId=user123"',
    'curl "http://localhost:5000/api/jobs?userId=user123&type=lora-training"',
    'curl "http://localhost:5000/api/jobs?userId=user123&status=completed"',
    "GET /api/jobs/{jobId}",
    "GET /api/jobs/{loraJobId}",
    "GET /api/jobs?userId=user123",
    "GET /api/jobs?userId=user123&type=lora-training",
    "GET /api/jobs?userId=user123&type=image-generation",
    "GET /api/jobs?userId=user123&type=transcription",
    "GET /api/jobs?userId=user123&status=completed",
    "GET /api/jobs?userId=user123&from=2025-01-01&to=2025-12-31",
    "GET /api/jobs?userId=user123&sort=createdAt&order=desc",
    # of LoRAs
    "curl http://localhost:5000/api/lora/status/56147763-863e-4038-9732-7fa106fd7951 | jq .",
    "GET /api/lora/status/:jobId",
    "GET /api/lora/list?userId=user123",
    "GET /api/lora/:jobId",
    # assets
    'curl "http://localhost:5000/api/assets/loras?userId=user123"',
    'curl "http://localhost:5000/api/assets/images?userId=user123"',
    'curl "http://localhost:5000/api/assets/transcripts?userId=user123"',
    'curl "http://localhost:5000/api/assets/search?userId=user123&q=avatar"',
    'curl "http://localhost:5000/api/assets/stats?userId=user123"',
    "GET /api/assets/loras?userId=user123",
    "GET /api/assets/images?userId=user123",
    "GET /api/assets/images?userId=user123&model=flux-pro",
    "GET /api/assets/transcripts?userId=user123",
    "GET /api/assets/search?userId=user123&q=avatar",
    "GET /api/assets/search?tags=avatar,headshot",
    "GET /api/assets/stats?userId=user123",
    "GET /api/loras?userId=user123",
    "GET /api/images?userId=user123",
    "GET /api/transcripts?userId=user123",
    "GET /api/assets/{jobId}/download",
    "GET /api/assets/{jobId}/download?expires=3600",
    "GET /api/assets/{transcriptJobId}/download?file=transcript.txt&expires=3600",
    "GET /api/assets/{jobId}/stats",
    "GET /api/search/transcripts?userId=user123&q=wildfires",
    "GET /api/collections?userId=user123",
    # others
    "GET /health",
)
"""Read requests with a JSON response. The documentation's placeholder `X` for the user is user123."""

FILE_LINE = "GET /api/assets/{transcriptJobId}/download/transcript.txt"
DELETE_LINE = "DELETE /api/jobs/{jobId}"

TRAIN = {
    "userId": "user123",
    "loraName": "jesse_avatar",
    "metadata": {
        "tags": ["avatar", "headshot", "professional"],
        "description": "Jesse professional headshot avatar",
        "isPublic": False,
    },
}
"""Body of `POST /api/lora/train` without `videoUrl`."""


def generate(path: str) -> dict[str, Any]:
    """Body of `POST /api/images/generate` with a LoRA's URL."""
    inputs = {"prompt": "Professional headshot of jf in a suit", "loras": [{"path": path, "scale": 0.8}]}
    return {"model": "flux-lora", "inputs": inputs, "userId": "user123"}


def collection(lora: str, *pictures: str) -> dict[str, Any]:
    """Body of `POST /api/collections`."""
    assets = [{"type": "lora-training", "jobId": lora}]
    assets += [{"type": "image-generation", "jobId": picture} for picture in pictures]
    about = {"name": "SEO Workshop Campaign", "description": "All assets for Dec 2025 workshop"}
    return {"userId": "user123"} | about | {"assets": assets}


@dataclass(frozen=True)
class Ids:
    """Ids of one job per kind."""

    lora: str
    pictures: str
    transcript: str

    def filled(self, line: str) -> str:
        """Line with these ids inserted."""
        of_lora = "/api/lora/" in line
        ids = {
            "{jobId}": self.pictures,
            ":jobId": self.lora if of_lora else self.pictures,
            "{loraJobId}": self.lora,
            "{transcriptJobId}": self.transcript,
            "56147763-863e-4038-9732-7fa106fd7951": self.lora,
        }
        for name, job_id in ids.items():
            line = line.replace(name, job_id)
        return line


def path_of(line: str) -> str:
    """Path of a line's request."""
    found = re.search(r"/(api/|health)[^\s\"]*", line.removeprefix("curl").replace(HOST, ""))
    assert found is not None, line
    return found.group()


_OF_MADE = ("versions", "completedAt")  # fields of completed jobs only
_TIME = "2025-11-27T20:50:09Z"
_URL = "https://s3/model.safetensors"
_JOB: dict[str, Any] = {
    "jobId": "abc-123", "userId": "user-456", "type": "lora-training", "config": {}, "versions": [],
    "status": "completed", "progress": 100, "createdAt": _TIME, "completedAt": _TIME,
}  # fmt: skip
_PICTURES_JOB = _JOB | {
    "versions": [
        {"version": 1, "images": [{"url": _URL, "s3Key": "k", "width": 1, "height": 1, "sizeBytes": 1}]},
    ]
}
_LORA_JOB = _JOB | {
    "sourceVideo": {"url": _URL, "filename": "video.mp4"},
    "versions": [{"version": 1, "modelUrl": _URL, "s3Key": "k", "sizeBytes": 125000000, "createdAt": _TIME}],
}
_TRANSCRIPT_JOB = _JOB | {
    "versions": [{"version": 1, "transcriptUrl": _URL, "textUrl": _URL, "wordCount": 861, "duration": 282}]
}
_LORA = {
    "loraId": "job-id-1", "name": "jesse_avatar", "trigger": "jf", "versions": 3,
    "latestVersion": {"modelUrl": _URL, "createdAt": _TIME}, "thumbnailUrl": _URL, "tags": ["avatar"],
}  # fmt: skip
_IMAGE = {
    "imageId": "i", "model": "flux-pro", "prompt": "p", "imageUrl": _URL, "thumbnailUrl": _URL, "width": 1024,
    "height": 1024, "createdAt": _TIME,
}  # fmt: skip
_TRANSCRIPT = {
    "transcriptId": "t", "fileName": "podcast-ep-01.mp3", "duration": 3600, "wordCount": 5000, "transcriptUrl": _URL,
    "textUrl": _URL, "speakers": 2, "createdAt": _TIME,
}  # fmt: skip
_LORAS = {"total": 5, "loras": [_LORA]}
_IMAGES = {"total": 5, "images": [_IMAGE]}
_TRANSCRIPTS = {"total": 5, "transcripts": [_TRANSCRIPT]}
SHAPES: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"/api/jobs\?.*type=lora-training", {"total": 1, "jobs": [_LORA_JOB]}),
    (r"/api/jobs\?.*type=image-generation", {"total": 1, "jobs": [_PICTURES_JOB]}),
    (r"/api/jobs\?.*type=transcription", {"total": 1, "jobs": [_TRANSCRIPT_JOB]}),
    (r"/api/jobs\?.*to=2025-12-31", {"total": 1, "jobs": []}),
    (r"/api/jobs\?", {"total": 1, "jobs": [_JOB]}),
    (r"/api/jobs/|/api/lora/(?!list|status)", _JOB),
    (r"/api/lora/status/", {"status": "processing", "progress": 20, "startedAt": _TIME}),
    (r"/api/lora/list", {"jobs": [_LORA_JOB]}),
    (r"/api/(assets/)?loras", _LORAS),
    (r"/api/(assets/)?images.*model=flux-pro", {"total": 0, "images": []}),
    (r"/api/(assets/)?images", _IMAGES),
    (r"/api/(assets/)?transcripts", _TRANSCRIPTS),
    (r"/api/assets/search", {"jobs": [_JOB]}),
    (
        r"/api/assets/stats",
        {
            "totalJobs": 25,
            "byType": {"lora-training": 5, "image-generation": 15, "transcription": 5},
            "totalStorageGB": "2.5",
            "estimatedMonthlyCost": "0.06",
        },
    ),
    (r"/api/assets/[^/]+/download", {"url": _URL, "expiresAt": _TIME}),
    (r"/api/assets/[^/]+/stats", {"downloads": 15, "lastAccessed": None, "storageCost": 0.03, "usedInJobs": []}),
    (r"/api/search/transcripts", {"transcripts": []}),
    (r"/api/collections", {"collections": []}),
    (r"/health", {"status": "ok"}),
)
"""Expected responses by path: the legacy API's fields, each with a value of its type. More fields are allowed."""


def assert_as_promised(path: str, given: Any) -> None:
    """Raises AssertionError if a field of the documented response is missing or has another type."""
    shape = next((shape for pattern, shape in SHAPES if re.match(pattern, path)), None)
    assert shape is not None, f"{path}: the seeds' shape of it is not known here"
    _alike(shape, given, path)


def _alike(expected: Any, given: Any, where: str) -> None:
    match expected:
        case dict():
            assert isinstance(given, Mapping), f"{where}: {given!r}"
            made = given.get("status", "completed") == "completed"
            for name, member in expected.items():
                if name in _OF_MADE and not made:
                    continue
                assert name in given, f"{where}.{name} is missing: {given}"
                _alike(member, given[name], f"{where}.{name}")
        case [one]:
            assert isinstance(given, list), f"{where}: {given!r}"
            assert given, f"{where} is empty"
            for number, each in enumerate(given):
                _alike(one, each, f"{where}.{number}")
        case []:
            assert isinstance(given, list), f"{where}: {given!r}"
        case None:
            pass
        case int() | float():
            assert isinstance(given, int | float), f"{where}: {given!r} is no number"
        case str():
            assert isinstance(given, str), f"{where}: {given!r} is no text"
            assert expected not in (_TIME,) or re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d", given), f"{where}: {given!r}"
            assert expected != _URL or re.match(r"(https?|s3)://", given), f"{where}: {given!r} is no address"
