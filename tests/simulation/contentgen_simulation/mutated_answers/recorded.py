"""Recorded answers of both providers, as documented, with more side fields than anything here reads."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

SENT = datetime(2026, 11, 21, tzinfo=UTC)
AT = "2026-11-21T00:00:01+00:00"
TRAINER, PICTURES, TRANSCRIBER = "fal-ai/flux-lora-fast-training", "fal-ai/flux-lora", "assemblyai/universal"
REQUEST = "019f7096-8a4e-7c11-8d7e-0c5d3a1f2b3c"
ZIP, SOUND = "datasets/u/j/dataset.zip", "audio/u/j/audio.flac"
SECRET = "S3CRET"
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    TRAINER: {"images_data_url": f"https://s3.example/b/{ZIP}?X-Amz-Signature={SECRET}", "steps": 1000},
    PICTURES: {"prompt": "a cat", "seed": 7, "loras": [{"path": "https://h/a.safetensors", "scale": 1}]},
    TRANSCRIBER: {"audio_url": f"https://s3.example/b/{SOUND}?X-Amz-Signature={SECRET}", "speaker_labels": True},
}
_QUEUE = f"https://queue.fal.run/fal-ai/flux-lora/requests/{REQUEST}"
_URLS = {"response_url": _QUEUE, "status_url": f"{_QUEUE}/status", "cancel_url": f"{_QUEUE}/cancel"}
_LOG = {"message": "step 1", "level": "INFO", "source": "USER", "timestamp": AT}
_FILE = {"url": "https://v3.fal.media/files/a/b.bin", "content_type": "a/b", "file_name": "b.bin", "file_size": 4096}
_PICTURE = {"url": "https://v3.fal.media/files/a/1.png", "width": 1024, "height": 768, "content_type": "image/png"}
_INVALID = {
    "loc": ["body", "loras", 0, "scale"],
    "msg": f"cannot use https://civitai.com/api/download/models/1?type=Model&token={SECRET}",
    "type": "less_than_equal",
    "ctx": {"le": 4},
    "url": "https://docs.fal.ai/errors#less_than_equal",
    "input": 5,
}
_WORD = {"text": "hi", "start": 1, "end": 2, "confidence": 0.9, "speaker": "A"}
_FAL_HEADERS = {"content-type": "application/json", "x-fal-request-id": REQUEST, "server": "uvicorn"}


@dataclass(frozen=True)
class Recorded:
    """One answer. `needed` are paths (and their parts) without which it cannot be understood."""

    provider: str
    model: str
    status: int
    body: Any
    needed: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


def _fal(status: int, body: Any, *needed: str, model: str = PICTURES, **headers: str) -> Recorded:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Recorded("fal", model, status, body, needed, _FAL_HEADERS | given)


def _assemblyai(status: int, body: Any, *needed: str) -> Recorded:
    return Recorded("assemblyai", TRANSCRIBER, status, body, needed, {"content-type": "application/json"})


def listed(model: str, output: Any, code: int = 200) -> dict[str, Any]:
    """Entry of fal's history."""
    return {
        "request_id": REQUEST,
        "endpoint_id": model,
        "started_at": AT,
        "sent_at": AT,
        "ended_at": AT,
        "status_code": code,
        "duration": 3.5,
        "json_input": dict(ARGUMENTS[model]),
        "json_output": output,
    }


IMAGES = {
    "images": [_PICTURE, _PICTURE | {"url": "https://v3.fal.media/files/a/2.png"}],
    "timings": {"inference": 1.5},
    "seed": 7,
    "has_nsfw_concepts": [False, False],
    "prompt": "a cat",
}
LORA = {"diffusers_lora_file": _FILE, "config_file": _FILE, "debug_preprocessed_output": None}
_ITEM = {"id": REQUEST, "resource_url": f"/v2/transcript/{REQUEST}", "status": "completed", "created": AT}
_TRANSCRIPT = {
    "id": REQUEST,
    "audio_url": f"https://s3.example/b/{SOUND}?X-Amz-Signature={SECRET}",
    "status": "queued",
    "language_code": None,
    "speaker_labels": True,
    "text": None,
    "words": None,
    "audio_duration": None,
    "speech_model_used": None,
    "error": None,
}
_DONE = _TRANSCRIPT | {
    "status": "completed",
    "language_code": "en_us",
    "text": "hi",
    "words": [_WORD],
    "utterances": [_WORD | {"words": [_WORD]}],
    "audio_duration": 61,
    "speech_model_used": "universal-2",
}
_INPUT = tuple(f"items.0.{name}" for name in ("request_id", "sent_at", "json_input"))
_SUBMITTED = {"status": "IN_QUEUE", "request_id": REQUEST, "queue_position": 3, **_URLS}
_METRICS = {"metrics": {"inference_time": 3.5}}
_EVENT = {
    "request_id": REQUEST,
    "endpoint_id": PICTURES,
    "timestamp": AT,
    "output_units": 2,
    "unit_price": 0.02,
    "percent_discount": 0,
    "cost_subtotal": 0.04,
    "cost_discount": 0,
    "cost_total": 0.04,
    "cost_estimate_nano_usd": 40_000_000,
}
_PRICE = {"endpoint_id": PICTURES, "unit_price": 0.02, "unit": "megapixels", "currency": "USD"}
_PAGE = {"next_cursor": None, "has_more": False}

RECORDED: Mapping[str, Recorded] = {
    "fal submit": _fal(200, _SUBMITTED, "request_id"),
    "fal training submit": _fal(200, _SUBMITTED, "request_id", model=TRAINER),
    "fal submit 307": _fal(307, {"detail": "moved"}, location="https://queue.fal.run/elsewhere"),
    "fal submit 400": _fal(400, {"detail": "bad request", "error_type": "bad_request"}),
    "fal submit 401": _fal(401, {"detail": "Authentication is required to access this application."}),
    "fal submit 403": _fal(403, {"detail": "User is locked. Reason: Exhausted balance."}),
    "fal submit 403 of a prompt": _fal(403, {"detail": [_INVALID | {"type": "content_policy_violation"}]}),
    "fal submit 409": _fal(409, {"detail": "conflict"}),
    "fal submit 422": _fal(422, {"detail": [_INVALID, _INVALID | {"loc": ["body"]}]}),
    "fal submit 425": _fal(425, {"detail": "too early"}),
    "fal submit 429": _fal(429, {"detail": "too many", "error_type": "rate_limited"}, retry_after="7"),
    "fal submit 500": _fal(500, {"error": {"type": "server_error", "message": "oops", "request_id": REQUEST}}),
    "fal queued": _fal(202, {"status": "IN_QUEUE", "request_id": REQUEST, "queue_position": 3, **_URLS}, "status"),
    "fal running": _fal(202, {"status": "IN_PROGRESS", "request_id": REQUEST, "logs": [_LOG], **_URLS}, "status"),
    "fal completed": _fal(
        200,
        {"status": "COMPLETED", "request_id": REQUEST, "logs": [_LOG], "error": None, **_METRICS, **_URLS},
        "status",
    ),
    "fal failed": _fal(
        200,
        {
            "status": "COMPLETED",
            "logs": None,
            "error": "boom",
            "error_type": "runner_server_error",
            **_METRICS,
            **_URLS,
        },
        "status",
        "error",
    ),
    "fal images": _fal(200, IMAGES, x_fal_billable_units="2"),
    "fal lora": _fal(200, LORA, model=TRAINER, x_fal_billable_units="1000"),
    "fal result 422": _fal(422, {"detail": [_INVALID]}, x_fal_billable_units="0", x_fal_retryable="false"),
    "fal result 499": _fal(
        499, {"detail": "ended", "error_type": "client_cancelled"}, x_fal_error_type="client_cancelled"
    ),
    "fal result 500": _fal(500, {"detail": "oops", "error_type": "internal_error"}, x_fal_error_type="internal_error"),
    "fal unknown": _fal(404, {"status": "NOT_FOUND"}, "status"),
    "fal cancel": _fal(202, {"status": "CANCELLATION_REQUESTED"}),
    "fal history": _fal(200, {"items": [listed(PICTURES, IMAGES)], **_PAGE}, "items", *_INPUT),
    "fal training history": _fal(200, {"items": [listed(TRAINER, LORA)], **_PAGE}, "items", *_INPUT, model=TRAINER),
    "fal pricing": _fal(200, {"prices": [_PRICE], **_PAGE}),
    "fal bills": _fal(
        200, {"billing_events": [_EVENT, _EVENT | {"cost_total": None}], **_PAGE}, "billing_events", *_PAGE
    ),
    "assemblyai submit": _assemblyai(200, _TRANSCRIPT, "id"),
    "assemblyai submit 400": _assemblyai(400, {"error": f"cannot read https://h/a?sig={SECRET}"}),
    "assemblyai submit 401": _assemblyai(401, {"error": "Authentication error, API token missing/invalid"}),
    "assemblyai submit 403": _assemblyai(403, {"error": "Cannot access uploaded file"}),
    "assemblyai submit 500": _assemblyai(500, {"error": "Internal server error"}),
    "assemblyai queued": _assemblyai(200, _TRANSCRIPT, "status"),
    "assemblyai completed": _assemblyai(200, _DONE, "status"),
    "assemblyai error": _assemblyai(
        200, _TRANSCRIPT | {"status": "error", "error": f"no https://h/a?s={SECRET}"}, "status"
    ),
    "assemblyai list": _assemblyai(
        200,
        {
            "page_details": {"limit": 200, "result_count": 1, "prev_url": None, "next_url": None},
            "transcripts": [_ITEM | {"completed": AT, "audio_url": _TRANSCRIPT["audio_url"], "error": None}],
        },
        "transcripts",
        *(f"transcripts.0.{name}" for name in ("id", "created", "audio_url")),
    ),
}
