"""Steps with AssemblyAI: transcripts by model, language and parameter, the list, and refusals."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import Source, TranscriptionOptions, TranscriptionSpec
from contentgen_contract.texts import foreign_text
from contentgen_real.context import StepContext, StepFailed, fields
from contentgen_real.place import ASSEMBLYAI
from contentgen_real.steps.bucket import Bucket
from contentgen_real.steps.inputs import speech
from contentgen_real.steps.purchases import POLL_SECONDS, Bought, buy, call_of, ended, found_again

TRANSCRIPTS, PRESIGNED = "transcripts", "presigned-transcript"
_NOWHERE = Source(url="https://example.com/input")  # replaced by the URL of the uploaded recording
_BAD_KEY = "wrong"
_UNKNOWN = "00000000-0000-4000-8000-000000000000"
_ENDED = ("completed", "error")
_REFUSED = 400


async def transcripts(context: StepContext) -> None:
    """One recording: by the account's default model, in two languages, and with parameters that are refused."""
    await _refusals(context)
    url = await _upload(context)
    bought = await _buy(context, TRANSCRIPTS, url)
    await ended(context, context.assemblyai, bought)
    models = list(bought.call.arguments["speech_models"])
    await _note_model(context, f"speech_models {models}", bought.request_id, models)
    await found_again(context, context.assemblyai, bought.record)
    await _default_model(context, url)
    await _languages(context, url, models)
    await _not_accepted(context, url, {"speech_models": models, "no_such_parameter": True}, "an unknown parameter")
    await _not_accepted(context, url, {"speech_model": models[0]}, "speech_model")


async def _refusals(context: StepContext) -> None:
    wrong = await context.assemblyai_get("transcript", {"limit": 1}, _BAD_KEY)
    context.expect("AssemblyAI list with a wrong key", "status", 401, wrong.status_code)
    unknown = await context.assemblyai_get(f"transcript/{_UNKNOWN}", {})
    context.expect("AssemblyAI transcript of an unknown id", "status", _REFUSED, unknown.status_code)


async def _upload(context: StepContext) -> str:
    """URL of the recording, which AssemblyAI alone can read; an upload is free."""
    headers = {"authorization": context.place.key(ASSEMBLYAI)}
    content = await asyncio.to_thread(speech)
    reply = await context.http.post(f"{context.place.assemblyai}/v2/upload", content=content, headers=headers)
    if not isinstance(url := fields(reply).get("upload_url"), str):
        raise StepFailed(f"the upload was answered with {reply.status_code}")
    return url


async def _buy(context: StepContext, step: str, url: str) -> Bought:
    options = TranscriptionOptions(language="en", speaker_labels=False)
    key, call = call_of(Kind.TRANSCRIPTION, TranscriptionSpec(source=_NOWHERE, options=options), url)
    return await buy(context, step, context.assemblyai, key, call)


async def _default_model(context: StepContext, url: str) -> None:
    """Without `speech_models`, either the account's default is used, or the request is refused."""
    reply = await context.assemblyai_post(TRANSCRIPTS, {"audio_url": url, "language_code": "en"})
    if reply.status_code == _REFUSED:
        context.note("without speech_models: 400")
        return
    await _note_model(context, "without speech_models", _id(reply), None)


async def _languages(context: StepContext, url: str, models: list[str]) -> None:
    for what, language in (("hu", {"language_code": "hu"}), ("detected", {"language_detection": True})):
        reply = await context.assemblyai_post(TRANSCRIPTS, {"audio_url": url, "speech_models": models, **language})
        await _note_model(context, f"language {what}", _id(reply), models)


async def _not_accepted(context: StepContext, url: str, more: Mapping[str, Any], what: str) -> None:
    reply = await context.assemblyai_post(TRANSCRIPTS, {"audio_url": url, "language_code": "en", **more})
    context.expect(f"AssemblyAI transcript with {what}", "status", _REFUSED, reply.status_code)


async def _note_model(context: StepContext, what: str, request_id: str, models: list[str] | None) -> None:
    """Print which model made a transcript; one that was not named in `models` is a difference."""

    async def look() -> Mapping[str, Any] | None:
        transcript = fields(await context.assemblyai_get(f"transcript/{request_id}", {}))
        return transcript if transcript.get("status") in _ENDED else None

    transcript = await context.until(f"the transcript {what}", look, POLL_SECONDS)
    used = foreign_text(str(transcript.get("speech_model_used")), 60)
    text = f"{transcript['status']}, by {used}, language {foreign_text(str(transcript.get('language_code')), 20)}"
    context.note(f"{what}: {text}")
    context.expect(f"AssemblyAI transcript, {what}", "$.status", "completed", str(transcript["status"]))
    if models is not None and transcript["status"] == "completed":
        where = f"AssemblyAI transcript, {what}"
        named = "one of the request" if used in models else used
        context.expect(where, "$.speech_model_used", "one of the request", named)


async def presigned(context: StepContext) -> None:
    """A transcript of a presigned URL, and the address by which the list shows it."""
    bucket = Bucket.of(context.place.environment)
    async with bucket.stored("speech.wav", await asyncio.to_thread(speech), "audio/wav") as url:
        bought = await _buy(context, PRESIGNED, url)
        await ended(context, context.assemblyai, bought)
        listed = fields(await context.assemblyai_get("transcript", {"limit": 20})).get("transcripts") or ()
        item: Mapping[str, Any] = next((item for item in listed if item.get("id") == bought.request_id), {})
        shown = urlsplit(str(item.get("audio_url", "")))
        context.note(f"the list shows the URL {'with' if shown.query else 'without'} its query")
        same = "the same" if shown.path == urlsplit(url).path else "another"
        context.expect("AssemblyAI list", "$.transcripts[0].audio_url path", "the same", same)
        await found_again(context, context.assemblyai, bought.record)


def _id(reply: httpx.Response) -> str:
    """Id of an accepted transcript. Raises StepFailed."""
    if not isinstance(request_id := fields(reply).get("id"), str):
        raise StepFailed(f"the request was answered with {reply.status_code}")
    return request_id
