"""Limits of providers' replies: size, and memory in the operator."""

import codecs
import contextlib
import gzip
import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from contentgen_operator.providers import answers
from contentgen_operator.providers.answers import AnswerFile, TooManyAnswers
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import Blocked, MaybeAccepted, Refused, Unavailable
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.state.provider_requests import TOO_LARGE, Call, RequestState, Search

pytestmark = [
    pytest.mark.usefixtures("bounded"),
    pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20"),  # the SDK uses pydantic's older names
]
MIB = 1 << 20
NOW = datetime(2026, 11, 22, tzinfo=UTC)
MODEL = "fal-ai/flux-lora"
STATUS, RESULT, TRANSCRIPT = f"/{MODEL}/requests/r1/status", f"/{MODEL}/requests/r1", "/v2/transcript/t1"
HISTORY = "/v1/models/requests/by-endpoint"
COMPLETED = b'{"status": "COMPLETED", "logs": null}'
WORD = {"text": "word", "start": 1, "end": 2, "confidence": 0.9, "speaker": "A"}


def transcript(size: int, status: str = "completed") -> bytes:
    """About as many bytes; its status comes after all its words, and other objects have one as well."""
    words = b",".join([json.dumps(WORD).encode()] * (size // 80))
    labels = rb'"content_safety_labels": {"status": "success", "said": "\"status\": \"error\""}'
    return b'{"id": "t1", ' + labels + b', "words": [' + words + b'], "status": "' + status.encode() + b'"}'


class Server:
    """Answers GET and POST by path, and keeps the size of each PUT."""

    def __init__(self) -> None:
        self.replies: dict[str, bytes] = {}
        self.reply = b"{}"  # to all other paths
        self.code = 200
        self.codes: dict[str, int] = {}  # by path
        self.headers: dict[str, str] = {}
        self.stored: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))  # unread, it would reset the connection
                content = outer.replies.get(self.path.split("?")[0], outer.reply)
                self.send_response(outer.codes.get(self.path.split("?")[0], outer.code))
                for name, value in ({"Content-Length": str(len(content))} | outer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            do_POST = do_GET  # noqa: N815 - http.server's names

            def do_PUT(self) -> None:
                left = size = int(self.headers["Content-Length"])
                while left:
                    left -= len(self.rfile.read(min(left, MIB)))
                outer.stored.append(size)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
async def fal(server: Server, key: KeyFile) -> Any:
    made = Fal(key, server.url, server.url)
    yield made
    await made.close()


PROGRAM = """
import asyncio, os, resource, sys, threading
from contentgen_contract.records.ownership import Owner
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.stores.s3 import Storage

url, key, more = sys.argv[1], KeyFile(sys.argv[2]), int(sys.argv[3])
os.environ |= {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_MAX_ATTEMPTS": "1"}

async def main():
    storage = Storage(bucket="b", region="eu-central-1", endpoint=url, public_endpoint=None)
    fal, assemblyai = Fal(key, url, url), AssemblyAI(key, url)
    threading.stack_size(1 << 20)
    used = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + more, used + more))
    views = await asyncio.gather(*(assemblyai.poll("", "t1") for _ in range(4)), fal.poll("fal-ai/flux-lora", "r1"))
    owner = Owner(folders=frozenset({"runs/"}))
    answers = [StoredAnswer(owner=owner, key=f"runs/k{n}", answer=view.result) for n, view in enumerate(views)]
    await asyncio.gather(*map(storage.put_answer, answers))
    print([view.state.value for view in views])

asyncio.run(main())
"""


def test_results_do_not_cost_memory_by_their_size(server: Server, tmp_path: Path, key: KeyFile) -> None:
    """Four transcripts of 21 MiB and 18 MiB of empty pictures at once, in 64 MiB beyond what an idle operator has."""
    server.replies |= {
        TRANSCRIPT: transcript(21 * MIB),
        STATUS: COMPLETED,
        RESULT: b'{"images": [' + b"{}," * (6 * MIB - 10) + b"{}]}",
    }
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, server.url, str(tmp_path / "key"), str(64 * MIB)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, str(["succeeded"] * 5)), done.stderr[-2000:]
    sizes = [len(server.replies[TRANSCRIPT])] * 4 + [len(server.replies[RESULT])]
    assert sorted(server.stored) == sorted(sizes)


async def test_a_result_beyond_the_limit_is_told_and_not_kept(
    server: Server, fal: Fal, key: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen_operator.providers.fal.ANSWER_BYTES", MIB)
    monkeypatch.setattr("contentgen_operator.providers.assemblyai.ANSWER_BYTES", MIB)
    server.replies |= {STATUS: COMPLETED, RESULT: b'{"images": []}' + b" " * MIB, TRANSCRIPT: transcript(2 * MIB)}
    assert await fal.poll(MODEL, "r1") == TOO_LARGE
    assert await AssemblyAI(key, server.url).poll("", "t1") == TOO_LARGE
    assert answers._buffered == 0


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("queued", RequestState.QUEUED),
        ("processing", RequestState.RUNNING),
        ("completed", RequestState.SUCCEEDED),
        ("error", RequestState.FAILED),
    ],
)
async def test_status_of_a_large_transcript_is_read_without_parsing(
    server: Server, key: KeyFile, status: str, state: RequestState
) -> None:
    server.replies[TRANSCRIPT] = transcript(2 * MIB, status)
    view = await AssemblyAI(key, server.url).poll("", "t1")
    assert view.state is state


async def at_once() -> None:
    """Before the request."""


CALLS = {
    "fal": Call(provider="fal", model=MODEL, arguments={"prompt": "x"}, correlation_key="m"),
    "assemblyai": Call(provider="assemblyai", model="m", arguments={"audio_url": "http://a"}, correlation_key="m"),
}


def submissions(fal: Fal, assemblyai: AssemblyAI) -> list[Coroutine[Any, Any, str]]:
    """A paid request to each provider."""
    return [fal.submit(CALLS["fal"], at_once), assemblyai.submit(CALLS["assemblyai"], at_once)]


async def test_other_replies_are_small(server: Server, fal: Fal, key: KeyFile) -> None:
    assemblyai = AssemblyAI(key, server.url)
    server.replies |= {STATUS: COMPLETED + b" " * MIB, f"/{MODEL}": b" " * 2 * MIB, "/v2/transcript": b" " * 5 * MIB}
    server.replies[HISTORY] = b" " * (5 * MIB)
    with pytest.raises(Unavailable, match="more than 1048576 bytes"):
        await fal.poll(MODEL, "r1")
    search = Search(
        call=Call(provider="fal", model=MODEL, arguments={}, correlation_key="m"), sent_after=NOW, sent_before=NOW
    )
    with pytest.raises(Unavailable, match="more than 4194304 bytes"):
        await fal.find(search)
    with pytest.raises(Unavailable, match="more than 4194304 bytes"):
        await assemblyai.find(search)
    with pytest.raises(MaybeAccepted, match="more than 1048576 bytes"):
        await fal.submit(search.call, at_once)
    call = Call(provider="assemblyai", model="m", arguments={"audio_url": "http://a"}, correlation_key="m")
    with pytest.raises(MaybeAccepted, match="more than 1048576 bytes"):
        await assemblyai.submit(call, at_once)


def deflated(content: bytes, bits: int = zlib.MAX_WBITS) -> bytes:
    """Compressed; negative `bits`: without zlib's header, 31: gzip."""
    made = zlib.compressobj(wbits=bits)
    return made.compress(content) + made.flush()


PLAIN = ("", " ", "identity", "Identity", "aws-chunked", "AWS-Chunked,", "UTF-8", "utf8, identity", "iso-8859-1", "foo")
CODED = [
    *((name, lambda content: content) for name in PLAIN),
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP, aws-chunked", gzip.compress),
    ("gzip", lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]) + b"trailing"),
    ("deflate", deflated),
    ("deflate", lambda content: deflated(content, -zlib.MAX_WBITS)),
    ("deflate, gzip", lambda content: gzip.compress(deflated(content))),
]
READ = pytest.mark.parametrize(("coding", "encoded"), CODED, ids=[f"{n}-{each[0]}" for n, each in enumerate(CODED)])


@READ
@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8], ids=["", "bom"])
async def test_replies_are_read_in_each_encoding(
    server: Server, fal: Fal, key: KeyFile, *, coding: str, encoded: Callable[[bytes], bytes], bom: bytes
) -> None:
    assemblyai = AssemblyAI(key, server.url)
    result, words = b'{"images": [' + b"{}," * 90_000 + b"{}]}", transcript(300_000)
    replies = {f"/{MODEL}": b'{"request_id": "r1"}', STATUS: COMPLETED, RESULT: result, TRANSCRIPT: words}
    replies["/v2/transcript"] = b'{"id": "t1"}'
    server.replies |= {path: encoded(bom + content) for path, content in replies.items()}
    server.headers["Content-Encoding"] = coding
    assert await fal.submit(CALLS["fal"], at_once) == "r1"
    assert await assemblyai.submit(CALLS["assemblyai"], at_once) == "t1"
    for view, content in ((await fal.poll(MODEL, "r1"), result), (await assemblyai.poll("", "t1"), words)):
        assert isinstance(view.result, AnswerFile)
        assert view.result.read() == bom + content, "it is kept as received"
        view.result.close()


@READ
async def test_the_text_of_a_refusal_is_read_in_each_encoding(
    server: Server, fal: Fal, key: KeyFile, coding: str, encoded: Callable[[bytes], bytes]
) -> None:
    server.code, server.headers["Content-Encoding"] = 422, coding
    server.reply = encoded(b'{"detail": "too many", "error": "too many"}')
    for submission in submissions(fal, AssemblyAI(key, server.url)):
        with pytest.raises(Refused, match=r"answered 422: too many$"):
            await submission


@pytest.mark.parametrize("odd", [b'"caf\xe9"', b'"\xed\xa0\x80"', b"9" * 5000, b"NaN"], ids=lambda odd: ascii(odd[:8]))
async def test_a_side_field_that_python_cannot_read_costs_nothing(
    server: Server, fal: Fal, key: KeyFile, odd: bytes
) -> None:
    """Invalid UTF-8, and an integer of more digits than Python reads."""
    assemblyai, found = AssemblyAI(key, server.url), b'{"request_id": "r1", "status_code": 200, "json_output": {"a": 1}'
    server.replies |= {f"/{MODEL}": b'{"request_id": "r1", "odd": ' + odd + b"}"}
    server.replies |= {"/v2/transcript": b'{"id": "t1", "odd": ' + odd + b"}"}
    assert await fal.submit(CALLS["fal"], at_once) == "r1"
    assert await assemblyai.submit(CALLS["assemblyai"], at_once) == "t1"
    server.replies |= {STATUS: b'{"status": "COMPLETED", "logs": ' + odd + b"}", RESULT: b'{"odd": ' + odd + b"}"}
    server.replies |= {TRANSCRIPT: b'{"status": "completed", "text": "", "audio_duration": 9, "odd": ' + odd + b"}"}
    views = [await fal.poll(MODEL, "r1"), await assemblyai.poll("", "t1")]
    server.replies |= {STATUS: b'{"status": "NOT_FOUND"}', HISTORY: b'{"items": [%s, "odd": %s}]}' % (found, odd)}
    server.codes[STATUS] = 404
    views.append(await fal.poll(MODEL, "r1"))
    assert [view.state for view in views] == [RequestState.SUCCEEDED] * 3
    assert views[1].billable_units == 9


BROKEN = [
    ("br", b"\x8b\x03\x80{}\x03"),
    ("zstd", b"{}"),
    ("gzip, br", b"{}"),
    ("gzip", b"{}"),
    ("deflate", b"\xff\xff"),
]
CUT = gzip.compress(b"{}", mtime=0)[:-9]
BROKEN += [("gzip", CUT), ("gzip, gzip, gzip", b"{}"), ("gzip", b"\x1f"), ("deflate", b"x")]


@pytest.mark.parametrize(("coding", "content"), BROKEN, ids=ascii)
async def test_undecodable_answer_is_named_and_requested_again(
    server: Server, fal: Fal, key: KeyFile, coding: str, content: bytes
) -> None:
    assemblyai = AssemblyAI(key, server.url)
    server.reply, server.headers["Content-Encoding"] = content, coding
    for read in (fal.poll(MODEL, "r1"), assemblyai.poll("", "t1")):
        with pytest.raises(Unavailable, match=f"compressed as {coding}|decompressed|cut off"):
            await read
    for submission in submissions(fal, assemblyai):
        with pytest.raises(MaybeAccepted, match=f"compressed as {coding}|decompressed|cut off"):
            await submission
    server.code = 422
    for submission in submissions(fal, assemblyai):
        with pytest.raises(Refused):  # the status alone tells it
            await submission


@pytest.mark.parametrize(("coding", "bits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
async def test_a_small_reply_does_not_become_a_large_one(
    server: Server, fal: Fal, key: KeyFile, monkeypatch: pytest.MonkeyPatch, *, coding: str, bits: int
) -> None:
    monkeypatch.setattr("contentgen_operator.providers.assemblyai.ANSWER_BYTES", MIB)
    server.reply, server.headers["Content-Encoding"] = deflated(b" " * 8 * MIB, bits), coding
    assert len(server.reply) < MIB
    with pytest.raises(Unavailable, match="more than 1048576 bytes"):
        await fal.poll(MODEL, "r1")
    assert await AssemblyAI(key, server.url).poll("", "t1") == TOO_LARGE
    server.code = 422
    for submission in submissions(fal, AssemblyAI(key, server.url)):
        with pytest.raises(Refused):
            await submission


@pytest.mark.parametrize("code", [403, 409, 422, 500])
async def test_an_error_whose_body_is_cut_off_is_judged_by_its_status(
    server: Server, fal: Fal, key: KeyFile, code: int
) -> None:
    server.code, server.reply, server.headers["Content-Length"] = code, b'{"detail": "to', "1000"
    kinds = {403: Blocked, 422: Refused}
    for submission in submissions(fal, AssemblyAI(key, server.url)):
        with pytest.raises(kinds.get(code, MaybeAccepted), match=f"answered {code}"):
            await submission


NESTED = b'{"status": "completed", "items": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
"""Python's JSON reader raises RecursionError for it."""


@pytest.mark.parametrize("code", [200, 400, 404, 500])
async def test_a_deeply_nested_reply_is_one_that_cannot_be_read(
    server: Server, fal: Fal, key: KeyFile, code: int
) -> None:
    """Before it is paid, at the payment and after it; `Refused` is a 4xx, whatever is in it."""
    server.code = code
    server.reply = NESTED
    assemblyai = AssemblyAI(key, server.url)
    at_fal = Call(provider="fal", model="fal-ai/flux-lora", arguments={"prompt": "x"}, correlation_key="m")
    at_assemblyai = Call(provider="assemblyai", model="m", arguments={"audio_url": "http://a"}, correlation_key="m")
    paid = Refused if 400 <= code < 500 else MaybeAccepted
    for submission in (fal.submit(at_fal, at_once), assemblyai.submit(at_assemblyai, at_once)):
        with pytest.raises(paid):
            await submission
    for provider, call in ((fal, at_fal), (assemblyai, at_assemblyai)):
        with pytest.raises(Unavailable):
            await provider.find(Search(call=call, sent_after=NOW, sent_before=NOW, taken=frozenset()))
    with contextlib.suppress(Unavailable):  # a result is opaque, so a nested one may be stored
        await assemblyai.poll("", "t1")
    with contextlib.suppress(Unavailable):
        await fal.poll(MODEL, "r1")
    with contextlib.suppress(Unavailable):
        await fal.cancel(MODEL, "r1")


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>", b'{"a": 1', b"{" + b"x" * 3 * MIB])
def test_answers_that_are_no_json_object(content: bytes) -> None:
    answer = AnswerFile()
    answer.write(content)
    with pytest.raises(ValueError, match="not a JSON object"):
        answer.checked()
    answer.close()


def test_results_that_wait_to_be_stored_do_not_fill_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_BUFFERED_BYTES", 3 * MIB)
    one, other = AnswerFile(), AnswerFile()
    one.write(bytes(2 * MIB))
    with pytest.raises(TooManyAnswers, match="wait to be stored"):
        other.write(bytes(2 * MIB))
    del one  # a plan that was not carried out
    other.write(bytes(2 * MIB))
    other.close()
    other.close()
    assert answers._buffered == 0


SIGNED = "https://s3.example/b/runs/k?X-Amz-Credential=id&X-Amz-Signature=abc"


@pytest.mark.parametrize("padding", ["", "x" * (2 << 20)], ids=["in memory", "in a file"])
def test_signatures_are_cut_and_nothing_else_is_changed(padding: str) -> None:
    plain = "https://s3.example/b/runs/k?page=2"
    document = {
        "padding": padding,
        "audio_url": SIGNED,
        "upper": SIGNED.upper(),
        "old": "https://s3.example/b/k?AWSAccessKeyId=id&Signature=s",
        "text": f'it said "{SIGNED}" and {SIGNED} then',
        "slash": SIGNED + "\\",
        "nested": [{"url": SIGNED, "other": SIGNED}],
        "images": [SIGNED, "x", SIGNED],
        "others": [SIGNED, "x"],
        "plain": plain,
        "words": "X-Amz-Signature= is no URL",
    }
    answer = AnswerFile.of(document)
    size = answer.size
    answer.cut_signatures(frozenset({"url", "images"}))
    assert len(answer.read()) == size
    cut = json.loads(answer.read())
    bare = SIGNED.partition("?")[0]
    assert cut["audio_url"] == cut["slash"] == cut["nested"][0]["other"] == bare
    assert cut["upper"] == bare.upper()
    assert cut["old"] == "https://s3.example/b/k"
    assert cut["text"].split() == ["it", "said", f'"{bare}', '"', "and", bare, "then"]
    assert cut["nested"][0]["url"] == SIGNED
    assert (cut["images"], cut["others"]) == ([SIGNED, "x", SIGNED], [bare, "x"])
    assert (cut["plain"], cut["words"], cut["padding"]) == (plain, document["words"], padding)
