"""AssemblyAI's own SDK against the sandbox."""

import io
import math
import struct
import wave
from collections.abc import Iterator
from typing import Any

import assemblyai
import httpx
import pytest
from assemblyai import api
from assemblyai.types import TranscriptRequest

from contentgen_sandbox.testing import SandboxServer, sandbox_server

SECONDS = 30
MODELS = ["universal-3-5-pro", "universal-2"]
# The SDK itself calls pydantic 1 methods.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")


def recording(seconds: float = SECONDS) -> bytes:
    buffer, rate = io.BytesIO(), 8000
    samples = (int(8000 * math.sin(i / 9)) for i in range(int(rate * seconds)))
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def server(server: SandboxServer) -> SandboxServer:
    server.put_media("talk.wav", recording())
    return server


@pytest.fixture
def client(server: SandboxServer) -> Iterator[assemblyai.Client]:
    server.reset()
    settings = assemblyai.Settings(api_key="test", base_url=server.assemblyai_url, polling_interval=0.02)
    made = assemblyai.Client(settings=settings)
    yield made
    made.http_client.close()


def transcribe(client: assemblyai.Client, source: str, **options: Any) -> assemblyai.Transcript:
    config = assemblyai.TranscriptionConfig(**({"speech_models": MODELS} | options))
    return assemblyai.Transcriber(client=client, config=config).transcribe(source)


def test_end_to_end(server: SandboxServer, client: assemblyai.Client) -> None:
    done = transcribe(client, f"{server.url}/media/talk.wav", speaker_labels=True)
    assert done.status == assemblyai.TranscriptStatus.completed
    assert done.audio_duration == SECONDS
    assert done.words
    assert done.words[-1].end == SECONDS * 1000
    assert done.text == " ".join(word.text for word in done.words)
    assert {turn.speaker for turn in done.utterances or []} == {"A", "B"}
    assert done.export_subtitles_vtt().startswith("WEBVTT")
    assert " --> " in done.export_subtitles_srt(chars_per_caption=40)
    assert "".join(one.text for one in done.get_sentences()).count(".")
    assert done.get_paragraphs()[-1].end == SECONDS * 1000
    report = server.ledger()
    assert report["total_usd"] == "0.001917"
    assert report["entries"][0]["marker"] == "/media/talk.wav"


def test_an_uploaded_file(server: SandboxServer, client: assemblyai.Client) -> None:
    url = api.upload_file(client.http_client, recording(2))
    done = transcribe(client, url)
    assert (done.audio_duration, done.utterances) == (2, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.mp3", b"this is text, not sound", "does not appear to contain audio"),
        ("short.wav", recording(0.05), "too short"),
        ("list.m3u8", b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "does not appear"),
        (None, b"", "Download error"),
    ],
)
def test_unreadable_recording_is_an_error(
    server: SandboxServer, client: assemblyai.Client, name: str | None, content: bytes, message: str
) -> None:
    url = server.put_media(name, content) if name else f"{server.url}/media/missing.mp3"
    done = transcribe(client, url)
    assert done.status == assemblyai.TranscriptStatus.error
    assert message in (done.error or "")
    assert server.ledger()["total_usd"] == "0"


def test_the_list_and_deletion(server: SandboxServer, client: assemblyai.Client) -> None:
    made = [transcribe(client, f"{server.url}/media/talk.wav").id for _ in range(3)]
    newest = api.list_transcripts(client.http_client, assemblyai.ListTranscriptParameters(limit=2))
    assert [item.id for item in newest.transcripts] == [made[2], made[1]]
    older = assemblyai.ListTranscriptParameters(limit=1, before_id=newest.page_details.before_id_of_prev_url)
    assert [item.id for item in api.list_transcripts(client.http_client, older).transcripts] == [made[0]]
    newer = assemblyai.ListTranscriptParameters(after_id=made[1])
    assert [item.id for item in api.list_transcripts(client.http_client, newer).transcripts] == [made[2]]
    gone = api.delete_transcript(client.http_client, made[0] or "")
    assert (gone.text, gone.words) == ("Deleted by user.", None)


def test_a_wrong_key_and_an_unknown_id(server: SandboxServer, client: assemblyai.Client) -> None:
    url = f"{server.assemblyai_url}/v2/transcript"
    answer = httpx.post(url, json={"audio_url": "http://x"}, headers={"authorization": "wrong"})
    assert (answer.status_code, list(answer.json())) == (401, ["error"])
    with pytest.raises(assemblyai.TranscriptError, match="not found"):
        api.get_transcript(client.http_client, "unknown")
    with pytest.raises(assemblyai.TranscriptError, match="audio_url"):
        api.create_transcript(client.http_client, TranscriptRequest(audio_url="", speech_models=MODELS))
    assert server.ledger()["entries"] == []


@pytest.mark.parametrize(
    "given",
    [
        {"speech_models": []},
        {"speech_models": "universal-2"},
        {"speech_models": ["universal-9"]},
        {"speech_models": ["universal-3-pro"]},
        {"speech_models": MODELS, "speech_model": "best"},
    ],
)
def test_a_request_names_known_speech_models(
    server: SandboxServer, client: assemblyai.Client, given: dict[str, Any]
) -> None:
    url, headers = f"{server.assemblyai_url}/v2/transcript", {"authorization": "key"}
    answer = httpx.post(url, json={"audio_url": f"{server.url}/media/talk.wav"} | given, headers=headers)
    assert answer.status_code == 400
    assert "speech" in answer.json()["error"]
    assert server.ledger()["entries"] == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"word_boost": ["x"]}, "word_boost"),
        ({"subtitles": True}, "subtitles"),
        ({"language_code": "xx"}, "language_code"),
        ({"language_code": "en", "language_detection": True}, "Invalid parameter"),
        ({"speakers_expected": 2}, "speaker_labels"),
    ],
)
def test_unknown_and_wrong_parameters_are_refused(
    server: SandboxServer, client: assemblyai.Client, given: dict[str, Any], named: str
) -> None:
    url, headers = f"{server.assemblyai_url}/v2/transcript", {"authorization": "key"}
    body = {"audio_url": f"{server.url}/media/talk.wav", "speech_models": MODELS} | given
    answer = httpx.post(url, json=body, headers=headers)
    assert answer.status_code == 400
    assert named in answer.json()["error"]
    assert server.ledger()["entries"] == []


@pytest.mark.parametrize(("account", "used"), [("new", "assemblyai-stt-3-7"), ("universal-2", "universal-2")])
def test_account_decides_the_model_without_a_list(account: str, used: str) -> None:
    with sandbox_server(assemblyai_default=account) as server:
        source = server.put_media("talk.wav", recording(1))
        settings = assemblyai.Settings(api_key="test", base_url=server.assemblyai_url, polling_interval=0.02)
        made = assemblyai.Client(settings=settings)
        started = api.create_transcript(made.http_client, TranscriptRequest(audio_url=source))
        while (now := api.get_transcript(made.http_client, started.id or "")).status not in ("completed", "error"):
            pass
        made.http_client.close()
    assert now.speech_model_used == used


@pytest.mark.parametrize(
    ("models", "language", "used"),
    [
        (MODELS, "en", "universal-3-5-pro"),
        (MODELS, "hu", "universal-2"),
        (["assemblyai-stt-3-7", "universal-2"], "en", "assemblyai-stt-3-7"),
        (["universal-3-5-pro"], "hu", None),
    ],
)
def test_the_first_model_that_has_the_language(
    server: SandboxServer, client: assemblyai.Client, models: list[str], language: str, used: str | None
) -> None:
    done = transcribe(client, f"{server.url}/media/talk.wav", speech_models=models, language_code=language)
    assert (done.json_response or {}).get("speech_model_used") == used
    assert (done.status == assemblyai.TranscriptStatus.completed) == (used is not None)


def test_faults(server: SandboxServer, client: assemblyai.Client) -> None:
    request = TranscriptRequest(audio_url=f"{server.url}/media/talk.wav", speech_models=MODELS)
    server.arm({"fault": "reply_lost", "provider": "assemblyai"})
    with pytest.raises(httpx.RemoteProtocolError):
        api.create_transcript(client.http_client, request)
    (entry,) = server.ledger()["entries"]
    listed = api.list_transcripts(client.http_client, None).transcripts[0]
    assert (listed.id, listed.audio_url) == (entry["request_id"], request.audio_url)

    server.arm({"fault": "error_500"}, {"fault": "stuck"})
    with pytest.raises(assemblyai.TranscriptError, match="Internal server error"):
        api.create_transcript(client.http_client, request)
    stuck = api.create_transcript(client.http_client, request)
    now = api.get_transcript(client.http_client, stuck.id or "")
    assert now.status == assemblyai.TranscriptStatus.processing

    server.arm({"fault": "no_speech"})
    silent = transcribe(client, request.audio_url, language_detection=True)
    assert (silent.status, silent.error) == (
        assemblyai.TranscriptStatus.error,
        "language_detection cannot be performed on files with no spoken audio.",
    )

    server.arm({"fault": "model_error"})
    assert transcribe(client, request.audio_url).status == assemblyai.TranscriptStatus.error


def test_a_list_that_lags(server: SandboxServer, client: assemblyai.Client) -> None:
    server.arm({"fault": "history_late", "delay_s": 600})
    late = transcribe(client, f"{server.url}/media/talk.wav").id
    assert late not in [item.id for item in api.list_transcripts(client.http_client, None).transcripts]
    server.heal(late or "")
    assert late in [item.id for item in api.list_transcripts(client.http_client, None).transcripts]
