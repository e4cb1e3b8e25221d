"""The adapters against a server on loopback: one POST whatever happens, and the right verdict about the money."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import (
    AccessRefused,
    Busy,
    Call,
    KeyRefused,
    MaybeAccepted,
    ProviderError,
    Refused,
    RequestState,
    Unavailable,
    names_key,
)
from contentgen_operator.providers.fal import Fal, error_text, seed_marker
from contentgen_operator.providers.keyfile import KeyFile

# The SDK uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

TRAINER = "fal-ai/flux-lora-fast-training"
ZIP = "datasets/u/j/dataset.zip"
DROP, HANG = "drop", "hang"


class Server:
    """Answers each path with what is set for it: (status, body), or `DROP`, or `HANG`."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        self.closing = threading.Event()
        self.connections: list[tuple[str, int]] = []
        """The method of each request, and the client's port: one for each connection."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are sent one after the other

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                headers = {k.lower(): v for k, v in self.headers.items()}
                outer.connections.append((self.command, self.client_address[1]))
                outer.seen.append((self.command, self.path, headers, json.loads(raw) if raw else None))
                reply = outer.replies.get(self.path.split("?")[0], (404, {"detail": "not here"}))
                if reply == HANG:
                    outer.closing.wait(10)
                if reply in (DROP, HANG):
                    self.close_connection = True
                    return
                status, body = reply
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _answer  # noqa: N815 - http.server's names

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def posts(self) -> int:
        return sum(method == "POST" for method, *_ in self.seen)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def key(tmp_path: Path) -> KeyFile:
    (tmp_path / "key").write_text("k3y\n")
    return KeyFile(str(tmp_path / "key"))


@pytest.fixture
async def fal(server: Server, key: KeyFile) -> Any:
    made = Fal(key, server.url, server.url)
    yield made
    await made.close()


@pytest.fixture
def assemblyai(server: Server, key: KeyFile) -> AssemblyAI:
    return AssemblyAI(key, server.url)


TRAINING = Call(
    provider="fal", model=TRAINER, arguments={"images_data_url": f"https://s3/{ZIP}?sig", "steps": 5}, marker=ZIP
)
TRANSCRIPT = Call(
    provider="assemblyai",
    model="assemblyai/universal",
    arguments={"audio_url": "https://s3/a.flac?sig", "speaker_labels": True, "language_detection": True},
    marker="a.flac",
)

VERDICTS: list[tuple[str, Any, type[ProviderError]]] = [
    ("reply dropped", DROP, MaybeAccepted),
    ("429", (429, {"detail": "slow down", "error": "slow down"}), Busy),
    ("408", (408, {"detail": "", "error": ""}), MaybeAccepted),
    ("500", (500, {"detail": "oops", "error": "oops"}), MaybeAccepted),
    ("502 of nginx", (502, "<center>nginx</center>"), MaybeAccepted),
    ("503", (503, "nginx"), MaybeAccepted),
    ("malformed 200", (200, "not JSON"), MaybeAccepted),
    ("200 without an id", (200, {"id": None, "request_id": None}), MaybeAccepted),
    ("200 with a list", (200, "[]"), MaybeAccepted),
    ("401", (401, {"detail": "no such key", "error": "no such key"}), KeyRefused),
    ("422", (422, {"detail": [{"loc": ["body", "steps"], "msg": "too many"}], "error": "too many"}), Refused),
    ("422 of texts", (422, {"detail": ["too many"], "error": "too many"}), Refused),
    ("400 of text", (400, "bad"), Refused),
]


@pytest.mark.parametrize(("reply", "verdict"), [v[1:] for v in VERDICTS], ids=[v[0] for v in VERDICTS])
async def test_fal_posts_once_and_judges(fal: Fal, server: Server, reply: Any, verdict: type[ProviderError]) -> None:
    server.replies[f"/{TRAINER}"] = reply
    with pytest.raises(ProviderError) as caught:
        await fal.submit(TRAINING)
    assert type(caught.value) is verdict
    assert server.posts() == 1


@pytest.mark.parametrize(("reply", "verdict"), [v[1:] for v in VERDICTS], ids=[v[0] for v in VERDICTS])
async def test_assemblyai_posts_once_and_judges(
    assemblyai: AssemblyAI, server: Server, reply: Any, verdict: type[ProviderError]
) -> None:
    server.replies["/v2/transcript"] = reply
    with pytest.raises(ProviderError) as caught:
        await assemblyai.submit(TRANSCRIPT)
    assert type(caught.value) is verdict
    assert server.posts() == 1


async def test_a_reply_that_does_not_come_in_time_may_be_paid(key: KeyFile, server: Server) -> None:
    server.replies |= {f"/{TRAINER}": HANG, "/v2/transcript": HANG, "/v2/transcript/t1": HANG}
    fal = Fal(key, server.url, server.url, timeout=httpx.Timeout(10, read=0.3))
    assemblyai = AssemblyAI(key, server.url, timeout=1)
    with pytest.raises(MaybeAccepted):
        await fal.submit(TRAINING)
    await fal.close()
    with pytest.raises(MaybeAccepted):
        await assemblyai.submit(TRANSCRIPT)
    assert server.posts() == 2
    with pytest.raises(Unavailable):
        await assemblyai.poll("", "t1")


async def test_a_model_that_fal_does_not_have_is_named_with_those_that_there_are(fal: Fal, server: Server) -> None:
    with pytest.raises(Refused) as caught:
        await fal.submit(TRAINING.model_copy(update={"model": "sdxl"}))
    assert str(caught.value).startswith("there is no model 'sdxl'; the short names are ")
    assert "flux-schnell" in str(caught.value)
    with pytest.raises(Refused, match=r"did you mean fal-ai/flux/schnell\?$"):
        await fal.submit(TRAINING.model_copy(update={"model": "fal-ai/flux/schnel"}))


async def test_a_paid_post_is_sent_on_a_connection_of_its_own(fal: Fal, assemblyai: AssemblyAI, server: Server) -> None:
    """The other side may be closing one that was used before: then nobody can tell whether the request was taken."""
    server.replies[f"/{TRAINER}"] = (200, {"request_id": "r1"})
    server.replies[f"/{TRAINER.rpartition('/')[0]}/requests/r1/status"] = (200, {"status": "IN_PROGRESS", "logs": []})
    server.replies[f"/{TRAINER}/requests/r1/status"] = (200, {"status": "IN_PROGRESS", "logs": []})
    server.replies["/v2/transcript"] = (200, {"id": "t1", "status": "queued", "audio_url": "https://s3/a.flac"})
    server.replies["/v2/transcript/t1"] = (200, {"id": "t1", "status": "processing"})
    for _ in range(2):
        await fal.poll(TRAINER, "r1")
        await fal.submit(TRAINING)
        await assemblyai.poll("", "t1")
        await assemblyai.submit(TRANSCRIPT)
    posts = [port for method, port in server.connections if method == "POST"]
    others = {port for method, port in server.connections if method != "POST"}
    assert len(set(posts)) == len(posts) == 4
    assert others
    assert not others & set(posts)


async def test_never_connected_is_busy(key: KeyFile) -> None:
    gone = Server()
    gone.close()
    fal = Fal(key, gone.url, gone.url)
    with pytest.raises(Busy):
        await fal.submit(TRAINING)
    await fal.close()
    with pytest.raises(Busy):
        await AssemblyAI(key, gone.url).submit(TRANSCRIPT)


async def test_fal_accepts(fal: Fal, server: Server) -> None:
    server.replies[f"/{TRAINER}"] = (200, {"request_id": "r1"})
    assert await fal.submit(TRAINING) == "r1"
    (_, _, headers, body) = server.seen[0]
    assert (headers["authorization"], headers["x-fal-no-retry"]) == ("Key k3y", "1")
    assert body == TRAINING.arguments


async def test_assemblyai_accepts(assemblyai: AssemblyAI, server: Server) -> None:
    server.replies["/v2/transcript"] = (200, {"id": "t1", "status": "queued", "audio_url": "https://s3/a.flac"})
    assert await assemblyai.submit(TRANSCRIPT) == "t1"
    (_, _, headers, body) = server.seen[0]
    assert headers["authorization"] == "k3y"
    assert (body["audio_url"], body["speaker_labels"], body["language_detection"]) == (
        "https://s3/a.flac?sig",
        True,
        True,
    )


async def test_arguments_that_the_sdk_refuses_are_refused(assemblyai: AssemblyAI, server: Server) -> None:
    with pytest.raises(Refused):
        await assemblyai.submit(TRANSCRIPT.model_copy(update={"arguments": {"audio_url": ["no text"]}}))
    assert server.posts() == 0


ROOT = f"/{TRAINER}/requests/r1"


@pytest.mark.parametrize(
    ("status", "result", "state"),
    [
        ((202, {"status": "IN_QUEUE", "queue_position": 3}), None, RequestState.QUEUED),
        ((202, {"status": "IN_PROGRESS", "logs": None}), None, RequestState.RUNNING),
        ((200, {"status": "COMPLETED", "logs": None}), (200, {"images": []}), RequestState.SUCCEEDED),
        ((200, {"status": "COMPLETED", "logs": None}), (422, {"detail": "bad zip"}), RequestState.FAILED),
        ((200, {"status": "COMPLETED", "logs": None, "error": "boom"}), (500, {"detail": "boom"}), RequestState.FAILED),
        ((200, {"status": "COMPLETED", "logs": None}), (404, {"detail": "expired"}), RequestState.FAILED),
    ],
)
async def test_fal_polls(fal: Fal, server: Server, status: Any, result: Any, state: RequestState) -> None:
    server.replies |= {f"{ROOT}/status": status, ROOT: result}
    view = await fal.poll(TRAINER, "r1")
    assert view.state is state
    assert (view.result is not None) is (state is RequestState.SUCCEEDED)
    assert view.result is None or json.loads(view.result.read()) == {"images": []}
    assert server.posts() == 0
    assert len(server.seen) == 1 + (result is not None)


@pytest.mark.parametrize("status", [DROP, (500, "oops"), (429, "slow"), (401, "no"), (200, "not JSON")])
async def test_a_status_that_cannot_be_read_is_unavailable_after_one_try(fal: Fal, server: Server, status: Any) -> None:
    server.replies[f"{ROOT}/status"] = status
    with pytest.raises(Unavailable) as caught:
        await fal.poll(TRAINER, "r1")
    assert isinstance(caught.value, AccessRefused) is (status[0] == 401)
    assert len(server.seen) == 1


@pytest.mark.parametrize("result", [DROP, (500, "oops"), (429, "slow"), (401, "no"), (200, "not JSON"), (200, "[]")])
async def test_a_result_that_cannot_be_read_is_no_failure(fal: Fal, server: Server, result: Any) -> None:
    """A failure would be paid for anew."""
    server.replies |= {f"{ROOT}/status": (200, {"status": "COMPLETED", "logs": None}), ROOT: result}
    with pytest.raises(Unavailable) as caught:
        await fal.poll(TRAINER, "r1")
    assert isinstance(caught.value, AccessRefused) is (result[0] == 401)


async def test_without_a_key_nothing_is_sent_and_nothing_is_lost(
    fal: Fal, assemblyai: AssemblyAI, server: Server, tmp_path: Path
) -> None:
    """It was there when the purchase was decided."""
    (tmp_path / "key").unlink()
    for name, submitted in (("fal", fal.submit(TRAINING)), ("assemblyai", assemblyai.submit(TRANSCRIPT))):
        with pytest.raises(KeyRefused, match=rf"there is no key for {name}.*put a valid {name}-key.*nothing was paid"):
            await submitted
    for name, read in (
        ("fal", fal.poll(TRAINER, "r1")),
        ("fal", fal.cancel(TRAINER, "r1")),
        ("fal", fal.find(TRAINER, ZIP, frozenset())),
        ("assemblyai", assemblyai.poll("", "t1")),
        ("assemblyai", assemblyai.find("", "a.flac", frozenset())),
    ):
        with pytest.raises(AccessRefused, match=rf"there is no key for {name}.*is fetched then"):
            await read
    assert server.seen == []


@pytest.mark.parametrize("code", [401, 402, 403])
async def test_a_refused_key_is_told_with_what_to_do(
    fal: Fal, assemblyai: AssemblyAI, server: Server, code: int
) -> None:
    reply = (code, {"detail": "no", "error": "no"})
    paths = (f"{ROOT}/cancel", "/v1/models/requests/by-endpoint", "/v2/transcript/t1", "/v2/transcript")
    server.replies |= dict.fromkeys(paths, reply)
    for read, key in (
        (fal.cancel(TRAINER, "r1"), "fal-key"),
        (fal.find(TRAINER, ZIP, frozenset()), "fal-key"),
        (assemblyai.poll("", "t1"), "assemblyai-key"),
        (assemblyai.find("", "a.flac", frozenset()), "assemblyai-key"),
    ):
        with pytest.raises(AccessRefused, match=rf"answered {code}.*put a valid {key} .*is fetched then"):
            await read


@pytest.mark.parametrize(
    ("document", "state"),
    [
        ({"status": "queued"}, RequestState.QUEUED),
        ({"status": "processing"}, RequestState.RUNNING),
        ({"status": "completed", "text": "hi", "new_field": 1}, RequestState.SUCCEEDED),
        ({"status": "error", "error": "no speech"}, RequestState.FAILED),
    ],
)
async def test_assemblyai_polls(assemblyai: AssemblyAI, server: Server, document: Any, state: RequestState) -> None:
    server.replies["/v2/transcript/t1"] = (200, document)
    view = await assemblyai.poll("", "t1")
    assert view.state is state
    assert (view.result is not None) is (state is RequestState.SUCCEEDED)
    assert view.result is None or json.loads(view.result.read()) == document
    assert len(server.seen) == 1


@pytest.mark.parametrize("reply", [DROP, (500, "oops"), (401, "{}"), (200, "not JSON"), (200, "[]")])
async def test_a_transcript_that_cannot_be_read_is_unavailable(
    assemblyai: AssemblyAI, server: Server, reply: Any
) -> None:
    server.replies |= {"/v2/transcript/t1": reply, "/v2/transcript": reply}
    for read in (assemblyai.poll("", "t1"), assemblyai.find("", "a.flac", frozenset())):
        with pytest.raises(Unavailable) as caught:
            await read
        assert isinstance(caught.value, AccessRefused) is (reply[0] == 401)
    assert len(server.seen) == 2


async def test_fal_finds_by_the_input_file_and_by_the_seed(fal: Fal, server: Server) -> None:
    def item(name: str, **given: Any) -> dict[str, Any]:
        return {"request_id": name, "json_input": given}

    server.replies["/v1/models/requests/by-endpoint"] = (
        200,
        {
            "items": [
                item("other", images_data_url="https://s3/bucket/datasets/u/other/dataset.zip?sig"),
                item("new", images_data_url=f"http://s3:9000/bucket/{ZIP}?sig=2"),
                item("old", images_data_url=f"https://bucket.s3.amazonaws.com/{ZIP}?sig=1"),
                item("seeded", seed=7, prompt="a cat"),
                {"request_id": "bare"},
            ]
        },
    )
    assert await fal.find(TRAINER, ZIP, frozenset()) == "new"
    assert await fal.find(TRAINER, ZIP, frozenset({"new"})) == "old"
    assert await fal.find(TRAINER, ZIP, frozenset({"new", "old"})) is None
    assert await fal.find(TRAINER, seed_marker({"seed": 7, "prompt": "a cat"}), frozenset()) == "seeded"
    assert await fal.find(TRAINER, seed_marker({"seed": 8, "prompt": "a cat"}), frozenset()) is None


async def test_assemblyai_finds_by_the_sound_file(assemblyai: AssemblyAI, server: Server) -> None:
    def item(name: str, url: str) -> dict[str, Any]:
        return {
            "id": name,
            "resource_url": f"/{name}",
            "status": "completed",
            "created": "2026-11-21T00:00:00",
            "audio_url": url,
        }

    items = [
        item("new", "http://s3:9000/bucket/transcripts/u/j/audio.flac?sig=2"),
        item("old", "https://s3/transcripts/u/j/audio.flac"),
    ]
    page = {"limit": 100, "result_count": 2, "current_url": "", "prev_url": None, "next_url": None}
    server.replies["/v2/transcript"] = (200, {"page_details": page, "transcripts": items})
    assert await assemblyai.find("", "transcripts/u/j/audio.flac", frozenset()) == "new"
    assert await assemblyai.find("", "transcripts/u/j/audio.flac", frozenset({"new"})) == "old"
    assert await assemblyai.find("", "transcripts/u/k/audio.flac", frozenset()) is None


def test_a_key_is_named_by_whole_segments() -> None:
    assert names_key("https://s3/bucket/a/b.zip?x=/c", "a/b.zip")
    assert names_key("https://bucket.s3/a/b.zip", "a/b.zip")
    assert not names_key("https://s3/bucket/xa/b.zip", "a/b.zip")
    assert not names_key("https://s3/?path=/a/b.zip", "a/b.zip")
    assert not names_key("https://a/b.zip", "a/b.zip"), "a host is no path"
    assert not names_key("", "a/b.zip")


def test_a_key_may_be_missing_and_may_change(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = KeyFile(str(path))
    assert key.read() is None
    path.write_text("  \n")
    assert key.read() is None
    path.write_text("one\n")
    assert key.read() == "one"
    assert KeyFile(str(path / "below-a-file")).read() is None
    assert not AssemblyAI(KeyFile(str(tmp_path / "no")), "http://127.0.0.1").configured
    assert AssemblyAI(key, "http://127.0.0.1").configured


def test_error_texts_are_bounded() -> None:
    for body in ("x" * 10_000, json.dumps({"detail": "x" * 10_000}), json.dumps({"detail": [{"msg": "x" * 10_000}]})):
        assert len(error_text(httpx.Response(400, text=body))) <= 600


# Models and ids never change which address is asked.

FOREIGN_MODELS = [
    "../../x?y#z",
    "a/../b",
    "a/..",
    "a//b",
    "/a/b",
    "a/b?x=1",
    "a/b#",
    "a/%2e%2e",
    "A/b",
    "a/b\n",
    "a",
    "",
]
FOREIGN_IDS = ["../r2", "r/1", "..", ".", "", "r?x=1", "r#", "r%2f", "r\n", " r", "r" * 129, "\u0661"]


@pytest.mark.parametrize("model", [*FOREIGN_MODELS, "workflows/x"])
async def test_a_model_that_is_no_path_is_refused_before_it_is_paid(fal: Fal, server: Server, model: str) -> None:
    with pytest.raises(Refused, match="there is no model"):
        await fal.submit(Call(provider="fal", model=model, arguments={}, marker=""))
    for look in (fal.poll, fal.cancel):
        with pytest.raises(Unavailable):
            await look(model, "r1")
    assert server.seen == []


@pytest.mark.parametrize("request_id", FOREIGN_IDS)
async def test_an_id_that_is_none_is_not_asked_for(
    fal: Fal, assemblyai: AssemblyAI, server: Server, request_id: str
) -> None:
    for look in (fal.poll, fal.cancel, assemblyai.poll):
        with pytest.raises(Unavailable, match="is no id of a request"):
            await look(TRAINER, request_id)
    assert server.seen == []


@pytest.mark.parametrize("request_id", FOREIGN_IDS)
async def test_an_id_that_is_none_is_not_taken_from_an_answer(
    fal: Fal, assemblyai: AssemblyAI, server: Server, request_id: str
) -> None:
    """What was sent may be paid; the history is looked through for it."""
    server.replies[f"/{TRAINER}"] = (200, {"request_id": request_id})
    with pytest.raises(MaybeAccepted):
        await fal.submit(Call(provider="fal", model=TRAINER, arguments={}, marker=""))
    item = {"request_id": request_id, "json_input": {"images_data_url": f"https://s3/b/{ZIP}"}}
    good = item | {"request_id": "r1"}
    server.replies["/v1/models/requests/by-endpoint"] = (200, {"items": [item, good]})
    assert await fal.find(TRAINER, ZIP, frozenset()) == "r1"
