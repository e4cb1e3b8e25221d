"""AssemblyAI's transcription API, compatible with its SDK 1.8.2."""

import tempfile
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from contentgen_sandbox.assemblyai import speech_models, transcript
from contentgen_sandbox.facts import files
from contentgen_sandbox.facts.json_schema import SchemaValidator
from contentgen_sandbox.faults import status_fault
from contentgen_sandbox.fetch import SandboxFetchError, fetch
from contentgen_sandbox.jobs import JobProgress, ModelError, SandboxJob
from contentgen_sandbox.ledger import SandboxLedger
from contentgen_sandbox.media import receive_file, uploads_folder
from contentgen_sandbox.sandbox import SandboxPurchase, account_of, new_id, of, read_object, secret_of, url_marker
from contentgen_sandbox.settings import SandboxSettings

router = APIRouter(prefix="/assemblyai/v2")
MODEL = "best"
STATUS = {"queued": "queued", "running": "processing"}
_FACTS = files.read("assemblyai/transcript.json")
_PARAMETERS = SchemaValidator(_FACTS["$defs"]["TranscriptParams"], _FACTS["$defs"])
_FIELDS = frozenset(_FACTS["$defs"]["Transcript"]["properties"])
SPEECH_MODELS: tuple[str, ...] = tuple(_FACTS["$defs"]["SpeechModel"]["enum"])
"""Accepted speech models. A request falls back to the next model of its list if the first has not its language."""
_ALWAYS = {
    "speech_model": None,
    "language_model": "assemblyai_default",
    "acoustic_model": "assemblyai_default",
    "webhook_auth": False,
    "webhook_status_code": None,
    "auto_highlights": False,
    "redact_pii": False,
    "summarization": False,
    "language_confidence": None,
    "language_confidence_threshold": None,
    "speech_model_used": None,
    "text": None,
    "words": None,
    "utterances": None,
    "confidence": None,
    "audio_duration": None,
}
"""Fields of each transcript, whatever was asked for and whatever its state is."""
DELETED = "Deleted by user."


class RequestRefused(HTTPException):
    """Error response in AssemblyAI's format `{"error": …}`, rendered by app.py."""


def authorise(request: Request) -> str:
    """Account of the key, which is the whole header value. Raises RequestRefused 401 if it is missing or `wrong`."""
    key = request.headers.get("authorization", "").strip()
    if secret_of(key) in ("", "wrong"):
        raise RequestRefused(401, "Authentication error, API token missing/invalid")
    return account_of(key)


@router.post("/upload")
async def upload(request: Request) -> Response:
    authorise(request)
    sandbox, name = of(request), new_id()
    await receive_file(request, uploads_folder(sandbox), name, sandbox.settings.media_bytes)
    return JSONResponse({"upload_url": f"{request.base_url}uploads/{name}"})


@router.post("/transcript")
async def create(request: Request) -> Response:
    account = authorise(request)
    sandbox = of(request)
    if refused := await sandbox.refuse("assemblyai", MODEL):
        return refused
    arguments = await read_object(request)
    audio_url = (arguments or {}).get("audio_url")
    if arguments is None or not isinstance(audio_url, str) or not 0 < len(audio_url) <= 8192:
        raise RequestRefused(400, "'audio_url' is a required field.")
    _check(arguments)
    amount = Decimal(0)  # settled when the length is known
    purchase = SandboxPurchase("assemblyai", MODEL, arguments, "transcription", amount, url_marker(audio_url), account)
    return JSONResponse(_shape(await sandbox.accept(purchase, request)))


def _check(arguments: dict[str, Any]) -> None:
    """Raises RequestRefused 400 for parameters that the facts do not permit, such as unknown ones."""
    for name in _FACTS["rejected"]["parameters"]:
        if name in arguments:
            raise RequestRefused(400, f"'{name}' is no longer supported.")
    models = arguments.get("speech_models")
    for model in models if isinstance(models, list) else ():
        if isinstance(model, str) and speech_models.is_retired(model, _today()):
            raise RequestRefused(400, f'The "{model}" speech model(s) have been deprecated')
    if problems := _PARAMETERS.problems(arguments):
        first = problems[0]
        raise RequestRefused(400, f"Invalid parameter {'.'.join(map(str, first.loc))}: {first.message}")


def _today() -> date:
    return datetime.now(UTC).date()


def speech_model(wanted: dict[str, Any], settings: SandboxSettings) -> str:
    """Model of the request's list that has its language. Raises ModelError if none has."""
    language = str(wanted.get("language_code") or "en")
    models = wanted.get("speech_models") or speech_models.default_models(settings.assemblyai_default, _today())
    for model in models:
        if speech_models.has_language(model, language):
            return str(model)
    raise ModelError(f"the language {language!r} is supported by no model in 'speech_models'", kind="language")


@router.get("/transcript")
async def listed(
    request: Request,
    *,
    limit: Annotated[int, Query(ge=1, le=200)] = 10,
    status: str | None = None,
    created_on: date | None = None,
    before_id: str | None = None,
    after_id: str | None = None,
) -> Response:
    """Transcripts, newest first; `before_id` and `after_id` select older and newer ones."""
    account = authorise(request)
    found = [job for job in of(request).jobs.all("assemblyai", account) if job.listed]  # oldest first
    ids = [job.id for job in found]
    first = ids.index(after_id) + 1 if after_id in ids else 0
    last = ids.index(before_id) if before_id in ids else len(ids)
    fitting = [
        job
        for job in found[first:last]
        if status in (None, _status(job)) and created_on in (None, job.created_at.date())
    ]
    page = list(reversed(fitting[:limit] if after_id in ids else fitting[-limit:]))
    url = f"{request.base_url}assemblyai/v2/transcript?limit={limit}"
    details = {
        "limit": limit,
        "result_count": len(page),
        "current_url": str(request.url),
        "prev_url": f"{url}&before_id={page[-1].id}" if page else None,
        "next_url": f"{url}&after_id={page[0].id}" if page else None,
    }
    items = [_item(job, str(request.base_url)) for job in page]
    return JSONResponse({"page_details": details, "transcripts": items})


def _job(request: Request, transcript_id: str) -> SandboxJob:
    account = authorise(request)
    job = of(request).jobs.get(transcript_id)
    if job is None or (job.provider, job.account) != ("assemblyai", account):
        raise RequestRefused(400, "Transcript lookup error, transcript id not found")
    return job


@router.get("/transcript/{transcript_id}")
async def one(request: Request, transcript_id: str) -> Response:
    job = _job(request, transcript_id)
    faulty = await status_fault(of(request).faults, "assemblyai", MODEL)
    return faulty or JSONResponse(_shape(job))


@router.delete("/transcript/{transcript_id}")
async def delete(request: Request, transcript_id: str) -> Response:
    """Delete the text; the entry stays listed."""
    job = _job(request, transcript_id)
    if job.phase != "done":
        raise RequestRefused(400, "Only completed or failed transcripts can be deleted")
    gone = {"text": DELETED, "audio_duration": (job.output or {}).get("audio_duration")}
    named = {name for name in ("audio_url", "webhook_url") if name in job.input}
    cleared = of(request).jobs.change(job.id, input=dict.fromkeys(named, "http://deleted_by_user"), output=gone)
    return JSONResponse(_shape(cleared))


def _said(request: Request, transcript_id: str) -> dict[str, Any]:
    job = _job(request, transcript_id)
    if not job.output or not job.output.get("words"):
        raise RequestRefused(400, f"This transcript has a status of '{_status(job)}': it has no words to give.")
    return job.output


@router.get("/transcript/{transcript_id}/srt")
async def srt(
    request: Request, transcript_id: str, chars_per_caption: Annotated[int, Query(ge=10, le=1000)] = 128
) -> Response:
    words = _said(request, transcript_id)["words"]
    return PlainTextResponse(transcript.captions(words, "srt", chars_per_caption))


@router.get("/transcript/{transcript_id}/vtt")
async def vtt(
    request: Request, transcript_id: str, chars_per_caption: Annotated[int, Query(ge=10, le=1000)] = 128
) -> Response:
    words = _said(request, transcript_id)["words"]
    return PlainTextResponse(transcript.captions(words, "vtt", chars_per_caption), media_type="text/vtt")


@router.get("/transcript/{transcript_id}/sentences")
async def sentences(request: Request, transcript_id: str) -> Response:
    return _passages(_said(request, transcript_id), transcript_id, "sentences")


@router.get("/transcript/{transcript_id}/paragraphs")
async def paragraphs(request: Request, transcript_id: str) -> Response:
    return _passages(_said(request, transcript_id), transcript_id, "paragraphs")


def _passages(said: dict[str, Any], transcript_id: str, name: str) -> Response:
    return JSONResponse(
        {
            name: said[name],
            "id": transcript_id,
            "confidence": said["confidence"],
            "audio_duration": said["audio_duration"],
        }
    )


def _status(job: SandboxJob) -> str:
    return "error" if job.failure else STATUS.get(job.phase, "completed")


def _item(job: SandboxJob, base_url: str) -> dict[str, Any]:
    return {
        "id": job.id,
        "resource_url": f"{base_url}assemblyai/v2/transcript/{job.id}",
        "status": _status(job),
        "created": _moment(job.created_at),
        "completed": _moment(job.ended_at) if job.ended_at else None,
        "audio_url": job.input["audio_url"],
        "error": job.failure.message if job.failure else None,
    }


def _moment(moment: datetime) -> str:
    """Time in UTC without a zone, as AssemblyAI has it in its list."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat()


def _shape(job: SandboxJob) -> dict[str, Any]:
    said = {key: value for key, value in (job.output or {}).items() if key not in ("sentences", "paragraphs")}
    echoed = {key: value for key, value in job.input.items() if key in _FIELDS}
    return {
        "id": job.id,
        "status": _status(job),
        "language_code": "en_us",
        **_ALWAYS,
        "webhook_auth": "webhook_auth_header_name" in job.input,
        **({"error": job.failure.message} if job.failure else {}),
        **{key: value for key, value in echoed.items() if value is not None},
        **said,
    }


def transcribe(
    job: SandboxJob, progress: JobProgress, settings: SandboxSettings, ledger: SandboxLedger
) -> dict[str, Any]:
    """Download the recording and generate a transcript of its length. Raises ModelError, Interrupted."""
    url = job.input["audio_url"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "recording")
        try:
            fetch(url, path, max_bytes=settings.download_bytes, max_seconds=settings.download_seconds)
            milliseconds = transcript.duration_ms(path)
        except SandboxFetchError as error:
            message = f"Download error, unable to download {url_marker(url)}: {error}"
            raise ModelError(message, kind="download_error") from error
        except transcript.NoSpeechError as error:
            raise ModelError(str(error), kind="no_audio") from error
    if "no_speech" in job.faults and job.input.get("language_detection") is True:
        raise ModelError("language_detection cannot be performed on files with no spoken audio.", kind="no_audio")
    model = speech_model(job.input, settings)
    progress.wait(settings.transcript_seconds)
    seconds = whole_seconds(milliseconds)
    ledger.settle(job.id, speech_models.price(seconds, model, job.input), f"transcription of {seconds} s")
    return _output(transcript.speak(milliseconds, str(url_marker(url))), milliseconds, model, job.input)


def whole_seconds(milliseconds: int) -> int:
    """Duration in whole seconds, as reported and billed."""
    return max(1, round(milliseconds / 1000))


def _output(
    words: tuple[transcript.ScriptWord, ...], milliseconds: int, model: str, wanted: dict[str, Any]
) -> dict[str, Any]:
    speakers = wanted.get("speaker_labels") is True

    def passages(by: str) -> list[dict[str, Any]]:
        return [transcript.passage(group, speakers) for group in transcript.groups(words, by)]

    paragraphs = [{name: value for name, value in part.items() if name != "speaker"} for part in passages("paragraph")]
    output = {
        "text": " ".join(word.text for word in words),
        "words": [word.json(speakers) for word in words],
        "utterances": passages("speaker") if speakers else None,
        "sentences": passages("sentence"),
        "paragraphs": paragraphs,
        "confidence": transcript.confidence(words),
        "audio_duration": whole_seconds(milliseconds),
        "speech_model_used": model,
    }
    if wanted.get("language_detection") is True:
        output |= {"language_code": "en", "language_confidence": 0.98}
    return output
