"""Provider clients against a server on loopback: exactly one POST, and the right error about the payment."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from contentgen_contract.characters import plain_text
from contentgen_contract.texts import foreign_text
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import (
    AccessRefused,
    Blocked,
    Busy,
    KeyRefused,
    MaybeAccepted,
    Provider,
    ProviderError,
    Refused,
    Unavailable,
)
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.refusals import error_text, retry_after
from contentgen_operator.state.provider_requests import (
    UNKNOWN,
    Call,
    Found,
    RequestState,
    Search,
    StoredObject,
    names_key,
    same_input,
)

# The SDK uses deprecated names of pydantic.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")

TRAINER = "fal-ai/flux-lora-fast-training"
ZIP = "datasets/u/j/dataset.zip"
DROP, HANG = "drop", "hang"
DEEP_MARK, DEEP = b'"deep"', b"[" * 100_000 + b"]" * 100_000


class Server:
    """HTTP server with a reply for each path: (status, body), `DROP`, `HANG`, or a function of the path."""

    def __init__(self) -> None:
        self.replies: dict[str, Any] = {}
        self.seen: list[tuple[str, str, dict[str, str], Any]] = []
        self.closing = threading.Event()
        self.connections: list[tuple[str, int]] = []
        """Method of each request with the client's port, which identifies the connection."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are sent in separate segments

            def _answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                raw = self.rfile.read(length)
                headers = {k.lower(): v for k, v in self.headers.items()}
                outer.connections.append((self.command, self.client_address[1]))
                outer.seen.append((self.command, self.path, headers, json.loads(raw) if raw else None))
                reply = outer.replies.get(self.path.split("?")[0], (404, {"detail": "not here"}))
                reply = reply(self.path) if callable(reply) else reply
                if reply == HANG:
                    outer.closing.wait(600)
                if reply in (DROP, HANG):
                    self.close_connection = True
                    return
                status, body, *more = reply
                content = body.encode() if isinstance(body, str) else json.dumps(body).encode().replace(DEEP_MARK, DEEP)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                for name, value in (more[0] if more else {}).items():
                    self.send_header(name, value)
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
def patience(request: pytest.FixtureRequest) -> float:
    """Seconds until a read times out; short in tests that wait for the timeout."""
    given = request.node.callspec.params.values() if hasattr(request.node, "callspec") else ()
    return 0.5 if HANG in given else 60


@pytest.fixture
async def fal(server: Server, key: KeyFile, patience: float) -> Any:
    made = Fal(key, server.url, server.url, timeout=httpx.Timeout(60, read=patience))
    yield made
    await made.close()


@pytest.fixture
def assemblyai(server: Server, key: KeyFile, patience: float) -> AssemblyAI:
    return AssemblyAI(key, server.url, timeout=patience)


TRAINING = Call(
    provider="fal",
    model=TRAINER,
    arguments={"images_data_url": f"https://s3/{ZIP}?sig", "steps": 5},
    correlation_key=ZIP,
)
TRANSCRIPT = Call(
    provider="assemblyai",
    model="assemblyai/universal",
    arguments={
        "audio_url": "https://s3/a.flac?sig",
        "speaker_labels": True,
        "language_detection": True,
        "speech_models": ["universal-3-5-pro", "universal-2"],
    },
    correlation_key="a.flac",
)
SENT = datetime(2024, 11, 22, 12, tzinfo=UTC)


async def nothing() -> None:
    """Callback before the request that does nothing."""


def search_for(call: Call, name: str, key: str, **more: Any) -> Search:
    """Search for a call with this file in place of its signed URL."""
    arguments = call.arguments | {name: StoredObject(key=key)}
    between = {"sent_after": SENT, "sent_before": SENT + timedelta(minutes=1)}
    return Search(call=call.model_copy(update={"arguments": arguments}), **(between | more))


LOST_TRAINING = search_for(TRAINING, "images_data_url", ZIP)
LOST_TRANSCRIPT = search_for(TRANSCRIPT, "audio_url", "a.flac")

VERDICTS: list[tuple[str, Any, type[ProviderError]]] = [
    ("reply dropped", DROP, MaybeAccepted),
    ("409", (409, {"detail": "conflict", "error": "conflict"}), MaybeAccepted),
    ("425", (425, {"detail": "too early", "error": "too early"}), Busy),
    ("499", (499, "nginx"), MaybeAccepted),
    ("403 of a firewall", (403, "<html>Access denied to your account</html>"), Blocked),
    ("403 of a gateway", (403, {"message": "Forbidden"}), Blocked),
    ("403 of the account", (403, {"detail": "User is locked. Reason: Exhausted balance."}), KeyRefused),
    ("403 of a prompt", (403, {"detail": [{"loc": ["body", "prompt"], "type": "x"}]}), Refused),
    ("200 with an empty id", (200, {"id": "", "request_id": ""}), MaybeAccepted),
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
        await fal.submit(TRAINING, nothing)
    assert type(caught.value) is verdict
    assert server.posts() == 1


@pytest.mark.parametrize(("reply", "verdict"), [v[1:] for v in VERDICTS], ids=[v[0] for v in VERDICTS])
async def test_assemblyai_posts_once_and_judges(
    assemblyai: AssemblyAI, server: Server, reply: Any, verdict: type[ProviderError]
) -> None:
    server.replies["/v2/transcript"] = reply
    with pytest.raises(ProviderError) as caught:
        await assemblyai.submit(TRANSCRIPT, nothing)
    assert type(caught.value) is verdict
    assert server.posts() == 1


@pytest.mark.parametrize("code", [429, 503])
async def test_the_time_that_a_provider_asks_to_wait_is_read(
    fal: Fal, assemblyai: AssemblyAI, server: Server, code: int
) -> None:
    answer = (code, {"detail": "slow down", "error": "slow down"}, {"Retry-After": "120"})
    server.replies[f"/{TRAINER}"] = server.replies["/v2/transcript"] = answer
    for post in (fal.submit(TRAINING, nothing), assemblyai.submit(TRANSCRIPT, nothing)):
        with pytest.raises(ProviderError) as caught:
            await post
        assert caught.value.retry_after == 120


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("120", 120), (" 7 ", 7), ("0", None), ("-5", None), ("", None), ("soon", None), ("1e9", None), ("٣", None),
        ("9" * 400, 86400), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("nan", None),
    ],
)  # fmt: skip
def test_a_retry_after_may_have_any_content(given: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": given}) == seconds


def test_a_retry_after_may_be_a_date() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    found = retry_after({"retry-after": date})
    assert found is not None
    assert 200 < found <= 300
    assert retry_after({}) is None


async def test_model_unknown_to_fal_is_named_with_the_known_ones(fal: Fal, server: Server) -> None:
    with pytest.raises(Refused) as caught:
        await fal.submit(TRAINING.model_copy(update={"model": "sdxl"}), nothing)
    assert str(caught.value).startswith("there is no model 'sdxl'; the short names are ")
    assert "flux-schnell" in str(caught.value)
    with pytest.raises(Refused, match=r"did you mean fal-ai/flux/schnell\?$"):
        await fal.submit(TRAINING.model_copy(update={"model": "fal-ai/flux/schnel"}), nothing)


async def test_a_paid_post_is_sent_on_a_connection_of_its_own(fal: Fal, assemblyai: AssemblyAI, server: Server) -> None:
    """The server may close a reused connection during the POST, and the request's acceptance is unknown then."""
    server.replies[f"/{TRAINER}"] = (200, {"request_id": "r1"})
    server.replies[f"/{TRAINER.rpartition('/')[0]}/requests/r1/status"] = (200, {"status": "IN_PROGRESS", "logs": []})
    server.replies[f"/{TRAINER}/requests/r1/status"] = (200, {"status": "IN_PROGRESS", "logs": []})
    server.replies["/v2/transcript"] = (200, {"id": "t1", "status": "queued", "audio_url": "https://s3/a.flac"})
    server.replies["/v2/transcript/t1"] = (200, {"id": "t1", "status": "processing"})
    for _ in range(2):
        await fal.poll(TRAINER, "r1")
        await fal.submit(TRAINING, nothing)
        await assemblyai.poll("", "t1")
        await assemblyai.submit(TRANSCRIPT, nothing)
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
        await fal.submit(TRAINING, nothing)
    await fal.close()
    with pytest.raises(Busy):
        await AssemblyAI(key, gone.url).submit(TRANSCRIPT, nothing)


async def test_fal_accepts(fal: Fal, server: Server) -> None:
    server.replies[f"/{TRAINER}"] = (200, {"request_id": "r1"})
    assert await fal.submit(TRAINING, nothing) == "r1"
    (_, _, headers, body) = server.seen[0]
    assert (headers["authorization"], headers["x-fal-no-retry"]) == ("Key k3y", "1")
    assert body == TRAINING.arguments


@pytest.mark.parametrize("cookie", ["\xff\xfe", "a=\xff", "session=1"], ids=ascii)
async def test_no_cookie_is_kept(fal: Fal, assemblyai: AssemblyAI, server: Server, cookie: str) -> None:
    """One that cannot be sent back stopped every later request."""
    odd = {"Set-Cookie": cookie}
    server.replies |= {f"/{TRAINER}": (200, {"request_id": "r1"}, odd), "/v2/transcript": (200, {"id": "t1"}, odd)}
    server.replies |= {f"{ROOT}/status": (202, {"status": "IN_QUEUE"}, odd)}
    server.replies |= {"/v2/transcript/t1": (200, {"status": "queued"}, odd)}
    for _ in range(2):
        assert await fal.submit(TRAINING, nothing) == "r1"
        assert await assemblyai.submit(TRANSCRIPT, nothing) == "t1"
        assert (await fal.poll(TRAINER, "r1")).state is (await assemblyai.poll("", "t1")).state is RequestState.QUEUED
    assert not any("cookie" in headers for _, _, headers, _ in server.seen)


async def test_assemblyai_accepts(assemblyai: AssemblyAI, server: Server) -> None:
    server.replies["/v2/transcript"] = (200, {"id": "t1", "status": "queued", "audio_url": "https://s3/a.flac"})
    assert await assemblyai.submit(TRANSCRIPT, nothing) == "t1"
    (_, _, headers, body) = server.seen[0]
    assert headers["authorization"] == "k3y"
    assert (body["audio_url"], body["speaker_labels"], body["language_detection"]) == (
        "https://s3/a.flac?sig",
        True,
        True,
    )
    assert body["speech_models"] == ["universal-3-5-pro", "universal-2"]


async def test_arguments_that_the_sdk_refuses_are_refused(assemblyai: AssemblyAI, server: Server) -> None:
    with pytest.raises(Refused):
        await assemblyai.submit(TRANSCRIPT.model_copy(update={"arguments": {"audio_url": ["no text"]}}), nothing)
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
        ((200, {"status": "COMPLETED", "error": {"message": "boom"}}), (500, "boom"), RequestState.FAILED),
        # The result tells whether the request has failed.
        *(
            ((200, {"status": "COMPLETED", "error": each}), (200, {"images": []}), RequestState.SUCCEEDED)
            for each in ("", " ", None, False, 0, [], {}, "odd", ["odd"])
        ),
        # A status needs only `status`.
        *(
            ((202, {"status": "IN_QUEUE", "queue_position": each}), None, RequestState.QUEUED)
            for each in (None, "3", -1, 10**30, 1.5, [3], True)
        ),
        ((202, {"status": "IN_QUEUE"}), None, RequestState.QUEUED),
        ((202, {"status": "IN_PROGRESS"}), None, RequestState.RUNNING),
        ((202, {"status": "in_progress ", "logs": "\ud800"}), None, RequestState.RUNNING),
        ((200, {"status": "COMPLETED"}), (200, {"images": []}), RequestState.SUCCEEDED),
        ((200, {"status": "COMPLETED", "metrics": 7, "logs": 7}), (203, {"images": []}), RequestState.SUCCEEDED),
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


GONE: list[tuple[int, Any]] = [(code, {"detail": "expired"}) for code in (302, 307, 404, 410)]
GONE += [(code, "<html>blocked by a proxy</html>") for code in (400, 404, 405, 407, 421, 451)]


@pytest.mark.parametrize("result", GONE, ids=str)
async def test_a_result_that_is_gone_is_taken_from_the_history(fal: Fal, server: Server, result: Any) -> None:
    """A failure would cause a second payment for a delivered result."""
    server.replies |= {f"{ROOT}/status": (200, {"status": "COMPLETED", "logs": None}), ROOT: result}
    output = {"images": [{"url": "https://fal.media/a.png"}]}
    server.replies[HISTORY] = (200, {"items": [entry("r1") | {"status_code": 200, "json_output": output}]})
    view = await fal.poll(TRAINER, "r1")
    assert view.state is RequestState.SUCCEEDED
    assert view.result
    assert json.loads(view.result.read()) == output
    asked = parse_qs(urlsplit(server.seen[-1][1]).query)
    assert asked == {"endpoint_id": [TRAINER], "request_id": ["r1"], "expand": ["payloads"], "limit": ["1"]}


LEFT = [
    ("nothing", [], RequestState.GONE, None),
    ("no output", [{"status_code": 200, "json_output": None}], RequestState.GONE, None),
    (
        "another request",
        [{"request_id": "r2", "status_code": 200, "json_output": {"images": []}}],
        RequestState.GONE,
        None,
    ),
    ("a failure", [{"status_code": 422, "json_output": {"detail": "bad zip"}}], RequestState.FAILED, None),
    # fal bills no server error
    ("a failure of texts", [{"status_code": 500, "json_output": "oops"}], RequestState.FAILED, 0),
]


@pytest.mark.parametrize(("items", "state", "units"), [each[1:] for each in LEFT], ids=[each[0] for each in LEFT])
@pytest.mark.parametrize("known", [True, False], ids=["completed", "unknown"])
async def test_a_result_that_the_history_lacks_is_gone_and_not_failed(
    fal: Fal, server: Server, *, items: list[Any], state: RequestState, units: float | None, known: bool
) -> None:
    completed, unknown = (200, {"status": "COMPLETED", "logs": None}), (404, {"status": "NOT_FOUND"})
    server.replies |= {f"{ROOT}/status": completed if known else unknown, ROOT: (404, {"detail": "expired"})}
    server.replies[HISTORY] = (200, {"items": [entry("r1") | item for item in items]})
    view = await fal.poll(TRAINER, "r1")
    expected = RequestState.UNKNOWN if state is RequestState.GONE and not known else state
    assert (view.state, view.result, view.billable_units) == (expected, None, units)


async def test_while_the_history_cannot_be_read_a_result_is_not_gone(fal: Fal, server: Server) -> None:
    server.replies |= {f"{ROOT}/status": (200, {"status": "COMPLETED", "logs": None}), ROOT: (410, {})}
    server.replies[HISTORY] = (500, "oops")
    with pytest.raises(Unavailable, match="history"):
        await fal.poll(TRAINER, "r1")


@pytest.mark.parametrize("reply", [(404, "<html>nginx</html>"), (404, {"detail": "Application not found"})], ids=str)
async def test_a_404_that_is_not_fals_own_tells_nothing(fal: Fal, server: Server, reply: Any) -> None:
    server.replies |= {f"{ROOT}/status": reply, HISTORY: (200, {"items": []})}
    with pytest.raises(Unavailable):
        await fal.poll(TRAINER, "r1")


LOCKED = (
    403,
    {"detail": "User is locked. Reason: Exhausted balance. Top up your balance."},
)


@pytest.mark.parametrize("error", [None, "boom"])
@pytest.mark.parametrize("path", [f"{ROOT}/status", ROOT], ids=["status", "result"])
async def test_a_locked_account_fails_no_request(fal: Fal, server: Server, path: str, error: str | None) -> None:
    completed = (200, {"status": "COMPLETED", "logs": None, "error": error})
    server.replies |= {f"{ROOT}/status": completed, ROOT: (200, {})} | {path: LOCKED}
    with pytest.raises(AccessRefused):
        await fal.poll(TRAINER, "r1")


@pytest.mark.parametrize("status", [DROP, HANG, (500, "oops"), (429, "slow"), (401, "no"), (200, "not JSON")])
async def test_unreadable_status_is_unavailable_after_one_try(fal: Fal, server: Server, status: Any) -> None:
    server.replies[f"{ROOT}/status"] = status
    with pytest.raises(Unavailable) as caught:
        await fal.poll(TRAINER, "r1")
    assert isinstance(caught.value, AccessRefused) is (status[0] == 401)
    assert len(server.seen) == 1


@pytest.mark.parametrize("result", [DROP, (500, "oops"), (429, "slow"), (401, "no"), (200, "not JSON"), (200, "[]")])
async def test_a_result_that_cannot_be_read_is_no_failure(fal: Fal, server: Server, result: Any) -> None:
    """A failure would cause another paid attempt."""
    server.replies |= {f"{ROOT}/status": (200, {"status": "COMPLETED", "logs": None}), ROOT: result}
    with pytest.raises(Unavailable) as caught:
        await fal.poll(TRAINER, "r1")
    assert isinstance(caught.value, AccessRefused) is (result[0] == 401)


async def test_without_a_key_nothing_is_sent_and_nothing_is_lost(
    fal: Fal, assemblyai: AssemblyAI, server: Server, tmp_path: Path
) -> None:
    """The API key existed when the purchase was decided."""
    (tmp_path / "key").unlink()
    for name, submitted in (
        ("fal", fal.submit(TRAINING, nothing)),
        ("assemblyai", assemblyai.submit(TRANSCRIPT, nothing)),
    ):
        with pytest.raises(KeyRefused, match=rf"there is no key for {name}.*put a valid {name}-key.*nothing was paid"):
            await submitted
    for name, read in (
        ("fal", fal.poll(TRAINER, "r1")),
        ("fal", fal.cancel(TRAINER, "r1")),
        ("fal", fal.find(LOST_TRAINING)),
        ("assemblyai", assemblyai.poll("", "t1")),
        ("assemblyai", assemblyai.find(LOST_TRANSCRIPT)),
    ):
        with pytest.raises(AccessRefused, match=rf"there is no key for {name}.*are fetched later"):
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
        (fal.find(LOST_TRAINING), "fal-key"),
        (assemblyai.poll("", "t1"), "assemblyai-key"),
        (assemblyai.find(LOST_TRANSCRIPT), "assemblyai-key"),
    ):
        with pytest.raises(AccessRefused, match=rf"answered {code}.*put a valid {key} .*are fetched later"):
            await read


@pytest.mark.parametrize(
    ("document", "state"),
    [
        ({"status": "queued"}, RequestState.QUEUED),
        ({"status": "processing"}, RequestState.RUNNING),
        ({"status": "completed", "text": "hi", "new_field": 1}, RequestState.SUCCEEDED),
        ({"status": "error", "error": "no speech"}, RequestState.FAILED),
        (
            {"status": "error", "error": "language_detection cannot be performed on files with no spoken audio."},
            RequestState.SUCCEEDED,
        ),
    ],
)
async def test_assemblyai_polls(assemblyai: AssemblyAI, server: Server, document: Any, state: RequestState) -> None:
    server.replies["/v2/transcript/t1"] = (200, document)
    view = await assemblyai.poll("", "t1")
    assert view.state is state
    assert (view.result is not None) is (state is RequestState.SUCCEEDED)
    assert view.result is None or json.loads(view.result.read()) == document
    assert len(server.seen) == 1


async def test_a_transcript_of_another_account_is_unknown(assemblyai: AssemblyAI, server: Server) -> None:
    server.replies["/v2/transcript/t1"] = (400, {"error": "Transcript lookup error, transcript id not found"})
    assert await assemblyai.poll("", "t1") == UNKNOWN


@pytest.mark.parametrize("reply", [DROP, (500, "oops"), (404, "oops"), (401, "{}"), (200, "not JSON"), (200, "[]")])
async def test_a_transcript_that_cannot_be_read_is_unavailable(
    assemblyai: AssemblyAI, server: Server, reply: Any
) -> None:
    server.replies |= {"/v2/transcript/t1": reply, "/v2/transcript": reply}
    for read in (assemblyai.poll("", "t1"), assemblyai.find(LOST_TRANSCRIPT)):
        with pytest.raises(Unavailable) as caught:
            await read
        assert isinstance(caught.value, AccessRefused) is (reply[0] == 401)
    assert len(server.seen) == 2


# Search for a lost request

HISTORY = "/v1/models/requests/by-endpoint"


def entry(name: str, seconds: float = 1, **given: Any) -> dict[str, Any]:
    """Entry of fal's history, by default of the lost training."""
    shown = {"images_data_url": f"https://s3.example/bucket/{ZIP}?X-Amz-Signature=1", "steps": 5} | given
    sent = (SENT + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {"request_id": name, "endpoint_id": TRAINER, "sent_at": sent, "started_at": sent, "json_input": shown}


def made(name: str, seconds: float = 1, url: str = "https://s3/a.flac?X-Amz-Signature=1") -> dict[str, Any]:
    """Item of AssemblyAI's list."""
    at = (SENT + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return {"id": name, "resource_url": f"/{name}", "status": "completed", "created": at, "audio_url": url}


def transcripts(items: list[dict[str, Any]], older: str | None = None) -> dict[str, Any]:
    url = f"https://assemblyai.example/v2/transcript?limit=200&before_id={older}" if older else None
    return {"page_details": {"limit": 200, "prev_url": url}, "transcripts": items}


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


@pytest.mark.parametrize("status", [None, 7, ["COMPLETED"], {}, "", "FAILED", "\ud800\x1b[31m"], ids=ascii)
async def test_an_unknown_status_is_named_and_asked_for_again(
    fal: Fal, assemblyai: AssemblyAI, server: Server, status: Any
) -> None:
    server.replies |= {f"{ROOT}/status": (200, {"status": status}), "/v2/transcript/t1": (200, {"status": status})}
    named = (
        "missing" if status is None else foreign_text(status) if isinstance(status, str) and status else ascii(status)
    )
    with pytest.raises(Unavailable) as caught:
        await fal.poll(TRAINER, "r1")
    view = await assemblyai.poll("", "t1")
    assert view.state is RequestState.RUNNING
    assert named in str(caught.value)
    assert named in view.message or not status
    for text in (str(caught.value), view.message):
        assert text == plain_text(text)
        text.encode()


@pytest.mark.parametrize(
    "items",
    [
        [None],
        [[]],
        ["r0"],
        [{}],
        [{"request_id": ["r0"], "sent_at": 7}],
        [{"request_id": None, "id": {}, "created": []}],
    ],
    ids=str,
)
async def test_bad_item_of_a_history_hides_no_other(
    fal: Fal, assemblyai: AssemblyAI, server: Server, items: list[Any]
) -> None:
    server.replies[HISTORY] = (200, {"items": [*items, entry("mine")]})
    server.replies["/v2/transcript"] = (200, transcripts([*items, made("mine")]))
    server.replies["/v2/transcript/mine"] = (200, {"audio_url": "https://s3/a.flac"})
    for found in (await fal.find(LOST_TRAINING), await assemblyai.find(LOST_TRANSCRIPT)):
        assert found.request_id == "mine"
    server.replies[HISTORY] = (200, {"items": items})
    server.replies["/v2/transcript"] = (200, transcripts(items))
    for found in (await fal.find(LOST_TRAINING), await assemblyai.find(LOST_TRANSCRIPT)):
        assert (found.request_id, found.complete) == (None, False), "it may be the one"


@pytest.mark.parametrize("details", [None, [], 7, {}, {"prev_url": 7}, {"prev_url": "https://[x"}], ids=str)
async def test_a_list_whose_next_page_is_not_told_is_read_in_part(
    assemblyai: AssemblyAI, server: Server, details: Any
) -> None:
    server.replies["/v2/transcript"] = (200, transcripts([made("mine")]) | {"page_details": details})
    server.replies["/v2/transcript/mine"] = (200, {"audio_url": "https://s3/a.flac"})
    assert (await assemblyai.find(LOST_TRANSCRIPT)).request_id == "mine"
    search = LOST_TRANSCRIPT.model_copy(update={"taken": frozenset({"mine"})})
    assert await assemblyai.find(search) == Found(request_id=None, complete=False)


@pytest.mark.parametrize("reply", [{"id": "t1"}, {"id": "t1", "status": 7, "audio_url": None}], ids=str)
async def test_an_accepted_transcript_needs_only_its_id(assemblyai: AssemblyAI, server: Server, reply: Any) -> None:
    server.replies["/v2/transcript"] = (200, reply)
    assert await assemblyai.submit(TRANSCRIPT, nothing) == "t1"


async def test_a_negative_balance_waits_for_the_account(assemblyai: AssemblyAI, server: Server) -> None:
    said = "Your current account balance is negative. Please top up to continue using the API."
    server.replies["/v2/transcript"] = (400, {"error": said})
    with pytest.raises(KeyRefused, match="balance is negative"):
        await assemblyai.submit(TRANSCRIPT, nothing)


def test_error_texts_are_bounded() -> None:
    for body in ("x" * 10_000, json.dumps({"detail": "x" * 10_000}), json.dumps({"detail": [{"msg": "x" * 10_000}]})):
        assert len(error_text(httpx.Response(400, text=body))) <= 600


# Models and ids never change the requested host and path.

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
        await fal.submit(Call(provider="fal", model=model, arguments={}, correlation_key=""), nothing)
    for look in (fal.poll, fal.cancel):
        with pytest.raises(Unavailable):
            await look(model, "r1")
    assert server.seen == []


@pytest.mark.parametrize("request_id", FOREIGN_IDS)
async def test_an_id_that_is_none_is_not_asked_for(
    fal: Fal, assemblyai: AssemblyAI, server: Server, request_id: str
) -> None:
    for look in (fal.poll, fal.cancel, assemblyai.poll):
        with pytest.raises(Unavailable, match="is not a request id"):
            await look(TRAINER, request_id)
    assert server.seen == []


@pytest.mark.parametrize("request_id", FOREIGN_IDS)
async def test_an_id_that_is_none_is_not_taken_from_an_answer(
    fal: Fal, assemblyai: AssemblyAI, server: Server, request_id: str
) -> None:
    """The request may be paid, so the history is searched for it."""
    server.replies[f"/{TRAINER}"] = (200, {"request_id": request_id})
    with pytest.raises(MaybeAccepted):
        await fal.submit(Call(provider="fal", model=TRAINER, arguments={}, correlation_key=""), nothing)
    item = entry(request_id)
    server.replies[HISTORY] = (200, {"items": [item, entry("r1")]})
    assert (await fal.find(LOST_TRAINING)).request_id == "r1"
    server.replies["/v2/transcript/t1"] = (200, {"audio_url": "https://s3/a.flac"})
    server.replies["/v2/transcript"] = (200, transcripts([made(request_id), made("t1")]))
    assert (await assemblyai.find(LOST_TRANSCRIPT)).request_id == "t1"


class History:
    """fal's history, newest first, in pages, with support for `start`, `end` and `expand`."""

    def __init__(self, server: Server, entries: list[dict[str, Any]], page: int = 100) -> None:
        self.asked: list[dict[str, list[str]]] = []
        self._entries = sorted(entries, key=lambda each: each["sent_at"], reverse=True)
        self._page = page
        server.replies[HISTORY] = self.answer

    def answer(self, path: str) -> tuple[int, Any]:
        asked = parse_qs(urlsplit(path).query)
        self.asked.append(asked)
        first = int(asked.get("cursor", ["0"])[0])
        size = min(int(asked["limit"][0]), self._page)
        start, end = asked.get("start", [""])[0], asked.get("end", ["3"])[0]
        fitting = [entry for entry in self._entries if start <= entry["sent_at"] < end]
        if "request_id" in asked:
            fitting = [entry for entry in self._entries if entry["request_id"] == asked["request_id"][0]]
        items = fitting[first : first + size]
        if "expand" not in asked:
            items = [{name: value for name, value in each.items() if name != "json_input"} for each in items]
        more = first + size < len(fitting)
        return 200, {"items": items, "has_more": more, "next_cursor": str(first + size) if more else None}


async def test_fal_pages_through_its_history_from_before_the_request(fal: Fal, server: Server) -> None:
    """A busy account has more than a page of requests, and an outage may last longer than the default day."""
    others = [entry(f"other-{n}", n / 10, steps=n + 6) for n in range(500)]
    history = History(server, [*others, entry("mine", 0.5)])
    assert (await fal.find(LOST_TRAINING)).request_id == "mine"
    assert {each["start"][0] for each in history.asked} == {"2024-11-22T11:58:00.000Z"}
    assert len(history.asked) == 6


async def test_fal_finds_by_the_time_and_by_the_whole_input(fal: Fal, server: Server) -> None:
    near = [
        entry("too-old", -121),
        entry("too-new", 61),
        entry("other-steps", steps=6),
        entry("steps-as-text", steps="5"),
        entry("more", seed=1),
        entry("other-file", images_data_url="https://s3/bucket/datasets/u/other/dataset.zip?sig"),
        entry("no-time") | {"sent_at": "yesterday"},
        {**entry("less"), "json_input": {"images_data_url": f"https://s3/{ZIP}"}},
        {**entry("other-shape"), "json_input": [1]},
    ]
    server.replies[HISTORY] = (200, {"items": near})  # regardless of the parameters
    assert (await fal.find(LOST_TRAINING)).request_id is None
    History(server, [*near, entry("mine", images_data_url=f"http://elsewhere:9000/b/{ZIP}?sig=2")])
    assert (await fal.find(LOST_TRAINING)).request_id == "mine"


async def test_two_lost_requests_with_the_same_input_take_one_each(fal: Fal, server: Server) -> None:
    History(server, [entry("first", 0.2), entry("second", 20.2)])
    later = LOST_TRAINING.model_copy(update={"sent_after": SENT + timedelta(seconds=20)})
    assert (await fal.find(later)).request_id == "second"
    assert (await fal.find(LOST_TRAINING)).request_id == "first"
    for taken, left in (("first", "second"), ("second", "first")):
        search = LOST_TRAINING.model_copy(update={"taken": frozenset({taken})})
        assert (await fal.find(search)).request_id == left
    assert (await fal.find(search.model_copy(update={"taken": frozenset({"first", "second"})}))) == Found(
        request_id=None, complete=True
    )


@pytest.mark.parametrize("shown", [{}, {"json_input": None}, {"json_input": {}}], ids=str)
async def test_request_without_a_shown_input_is_undecided(fal: Fal, server: Server, shown: dict[str, Any]) -> None:
    bare = {name: value for name, value in entry("bare").items() if name != "json_input"} | shown
    History(server, [bare])
    assert await fal.find(LOST_TRAINING) == Found(request_id=None, complete=False)
    History(server, [bare | {"sent_at": "2024-11-21T00:00:00Z"}])
    assert await fal.find(LOST_TRAINING) == Found(request_id=None, complete=True)
    History(server, [bare, entry("mine", 2)])
    assert (await fal.find(LOST_TRAINING)).request_id == "mine"


@pytest.mark.parametrize("large", ["x" * 100_000, "deep"], ids=["large", "deep"])
async def test_large_inputs_of_others_do_not_hide_a_request(fal: Fal, server: Server, large: str) -> None:
    """Other users of the account may send pictures inside requests, so only candidates' inputs are read."""
    flood = [entry(f"other-{n}", 600 + n, data=large) for n in range(250)]
    History(server, [*flood, entry("beside", 3, data="x" * 5_000_000 if large != "deep" else "deep"), entry("mine", 9)])
    found = await fal.find(LOST_TRAINING)
    assert (found.request_id, found.complete) == ("mine", False)


async def test_an_endless_history_is_left_after_some_pages(fal: Fal, server: Server) -> None:
    asked = []

    def endless(path: str) -> tuple[int, Any]:
        asked.append(path)
        return 200, {"items": [entry(f"r{len(asked)}", steps=1)], "has_more": True, "next_cursor": f"c{len(asked)}"}

    server.replies[HISTORY] = endless
    assert await fal.find(LOST_TRAINING) == Found(request_id=None, complete=False)
    assert len(asked) <= 200
    server.replies[HISTORY] = lambda _: (200, {"items": [], "has_more": True, "next_cursor": "same"})
    seen = len(server.seen)
    assert not (await fal.find(LOST_TRAINING)).complete
    assert len(server.seen) - seen <= 4, "a cursor that leads nowhere"


async def test_in_a_long_history_the_time_of_the_request_is_read_first(fal: Fal, server: Server) -> None:
    later = [entry(f"later-{n}", 7200 + n, steps=1) for n in range(300)]
    history = History(server, [*later, entry("mine", 1)], page=1)
    assert (await fal.find(LOST_TRAINING)).request_id == "mine"
    assert len(history.asked) == 1


def test_inputs_are_compared_as_json() -> None:
    assert same_input({"a": [1, {"b": StoredObject(key="k/f")}]}, {"a": [1.0, {"b": "https://s3/bucket/k/f?X=1"}]})
    assert same_input({"a": StoredObject(key="k/f g")}, {"a": "https://s3/bucket/k/f%20g"})
    for asked, shown in (
        (1, True),
        (True, 1),
        (None, 0),
        ("1", 1),
        ([1], [1, 2]),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}),
        (StoredObject(key="k"), None),
        ("https://s3/k?a", "https://s3/k?b"),
        ({}, []),
    ):
        assert not same_input(asked, shown), (asked, shown)


async def test_assemblyai_finds_by_the_sound_the_time_and_the_options(assemblyai: AssemblyAI, server: Server) -> None:
    """Not by the speech models: the value may have changed since, and a retired one is replaced."""
    options: dict[str, Any] = {"speaker_labels": True, "language_detection": True, "audio_url": "https://s3/a.flac"}
    options |= {"speech_models": ["assemblyai-stt-3-7"]}
    server.replies |= {f"/v2/transcript/{name}": (200, options | {"id": name}) for name in ("new", "old", "far")}
    server.replies["/v2/transcript/other-options"] = (200, options | {"speaker_labels": False})
    items = [
        made("too-new", 61),
        made("new", 30, "http://s3:9000/bucket/a.flac?sig=2"),
        made("other-sound", 2, "https://s3/b.flac"),
        made("other-options", 2),
        made("old", 1),
        made("far", -100),
        made("too-old", -121),
    ]
    server.replies["/v2/transcript"] = (200, transcripts(items))
    assert await assemblyai.find(LOST_TRANSCRIPT) == Found(request_id="old", complete=True)
    search = LOST_TRANSCRIPT.model_copy(update={"taken": frozenset({"old"})})
    assert (await assemblyai.find(search)).request_id == "new"
    search = LOST_TRANSCRIPT.model_copy(update={"taken": frozenset({"old", "new", "far"})})
    assert await assemblyai.find(search) == Found(request_id=None, complete=True)


async def test_assemblyai_pages_through_its_list(assemblyai: AssemblyAI, server: Server) -> None:
    pages = {
        None: ([made("newer", 90)], "newer"),
        "newer": ([made("deleted", 3, "http://deleted_by_user")], "deleted"),
        "deleted": ([made("mine", 1)], "mine"),
        "mine": ([made("older", -500)], "older"),
    }

    def page(path: str) -> tuple[int, Any]:
        asked = parse_qs(urlsplit(path).query)
        assert asked["limit"] == ["200"]
        return 200, transcripts(*pages[asked.get("before_id", [None])[0]])

    server.replies["/v2/transcript"] = page
    server.replies["/v2/transcript/mine"] = (200, {"audio_url": "https://s3/a.flac", "speaker_labels": True})
    assert await assemblyai.find(LOST_TRANSCRIPT) == Found(request_id="mine", complete=False)


async def test_options_of_a_large_transcript_are_read_without_parsing(assemblyai: AssemblyAI, server: Server) -> None:
    words = [{"text": 'he said "speaker_labels": false', "start": 1}] * 40_000
    server.replies["/v2/transcript"] = (200, transcripts([made("other"), made("mine", 2)]))
    large = {"words": words, "audio_url": "https://s3/a.flac", "language_detection": True}
    server.replies["/v2/transcript/other"] = (200, large | {"speaker_labels": False})
    server.replies["/v2/transcript/mine"] = (200, large | {"speaker_labels": True})
    assert (await assemblyai.find(LOST_TRANSCRIPT)).request_id == "mine"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Is it sound? No: https://s3/a.flac?X-Amz-Signature=1&b=2 has none",
            "Is it sound? No: https://s3/a.flac has none",
        ),
        ("s3.example/a?X-Amz-Signature=1, sorry", "s3.example/a sorry"),
    ],
)
async def test_a_reason_is_told_after_its_question_mark(
    assemblyai: AssemblyAI, server: Server, said: str, shown: str
) -> None:
    server.replies["/v2/transcript"] = (400, {"error": said})
    with pytest.raises(Refused) as caught:
        await assemblyai.submit(TRANSCRIPT, nothing)
    assert str(caught.value).endswith(shown)


# Callback before the request


class Counting:
    """Server that accepts connections, records the received bytes and never responds."""

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.accepted, self.closed = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> "Counting":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.set()
        while content := await reader.read(65536):
            self.arrived.append(content)
        writer.close()
        self.closed.set()


Payers = Callable[[str], list[tuple[Provider, Call]]]


@pytest.fixture
async def payers(key: KeyFile) -> AsyncIterator[Payers]:
    """Factory of each kind of provider, with a call."""
    opened: list[Fal] = []

    def made(url: str) -> list[tuple[Provider, Call]]:
        opened.append(Fal(key, url, url))
        return [(opened[-1], TRAINING), (AssemblyAI(key, url), TRANSCRIPT)]

    yield made
    for fal in opened:
        await fal.close()


PAYERS = pytest.mark.parametrize("payer", [0, 1], ids=["fal", "assemblyai"])


class Lost(Exception):
    """Raised when another process has the purchase."""


@PAYERS
@pytest.mark.parametrize("error", [Lost("taken"), httpx.ConnectError("mine"), RuntimeError("x")], ids=repr)
async def test_exception_before_the_request_stops_it(payers: Payers, payer: int, error: Exception) -> None:
    async with Counting() as server:
        provider, call = payers(server.url)[payer]

        async def stop() -> None:
            assert server.accepted.is_set() or await asyncio.wait_for(server.accepted.wait(), 60), "it is connected"
            raise error

        with pytest.raises(type(error)) as caught:
            await provider.submit(call, stop)
        assert caught.value is error
        await asyncio.wait_for(server.closed.wait(), 60)
        assert server.arrived == []


@PAYERS
async def test_before_send_is_awaited_once_before_the_first_byte(payers: Payers, payer: int, server: Server) -> None:
    server.replies[f"/{TRAINER}"] = (200, {"request_id": "r1"})
    server.replies["/v2/transcript"] = (200, {"id": "r1", "status": "queued", "audio_url": "https://s3/a.flac"})
    before = []

    async def note() -> None:
        before.append(len(server.seen))

    provider, call = payers(server.url)[payer]
    assert await provider.submit(call, note) == "r1"
    assert (before, server.posts()) == ([0], 1)


@PAYERS
async def test_payment_cancelled_before_the_request_sends_nothing(payers: Payers, payer: int) -> None:
    async with Counting() as server:
        provider, call = payers(server.url)[payer]
        reached = asyncio.Event()

        async def wait() -> None:
            reached.set()
            await asyncio.Event().wait()

        paying = asyncio.create_task(provider.submit(call, wait))
        await asyncio.wait_for(reached.wait(), 60)
        paying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await paying
        await asyncio.wait_for(server.closed.wait(), 60)
        assert server.arrived == []


@PAYERS
async def test_without_a_connection_it_is_not_awaited(payers: Payers, payer: int) -> None:
    gone = Server()
    gone.close()

    async def fail() -> None:
        raise AssertionError("not connected")

    provider, call = payers(gone.url)[payer]
    with pytest.raises(Busy):
        await provider.submit(call, fail)


@PAYERS
@pytest.mark.parametrize("content", ["k\n3y", "k\u00e9y", "k\x003y"], ids=ascii)
async def test_key_invalid_in_a_header_stops_before_the_connection(
    tmp_path: Path, payers: Payers, payer: int, content: str, server: Server
) -> None:
    (tmp_path / "key").write_text(content)

    async def fail() -> None:
        raise AssertionError("it cannot be sent")

    provider, call = payers(server.url)[payer]
    with pytest.raises(KeyRefused, match="characters other than printable ASCII"):
        await provider.submit(call, fail)
    assert server.connections == []


@pytest.mark.parametrize("value", [float("nan"), "\ud800"], ids=ascii)
async def test_a_request_that_is_no_json_is_refused(fal: Fal, server: Server, value: Any) -> None:
    with pytest.raises(Refused, match="JSON"):
        await fal.submit(TRAINING.model_copy(update={"arguments": {"x": value}}), nothing)
    assert server.connections == []


@pytest.mark.parametrize(
    ("purchase", "tag"), [("0199-ab", "contentgen-purchase=0199-ab"), ("", None), ("a,b=c", None), ("a\nb: c", None)]
)
async def test_fal_is_told_the_purchase(fal: Fal, server: Server, purchase: str, tag: str | None) -> None:
    server.replies[f"/{TRAINER}"] = (200, {"request_id": "r1"})
    await fal.submit(TRAINING.model_copy(update={"purchase_id": purchase}), nothing)
    assert server.seen[0][2].get("x-fal-tags") == tag


# Request that a person names


@pytest.mark.parametrize(
    ("named", "same", "why"),
    [
        ("mine", True, ""),
        ("other-steps", False, "its input differs"),
        ("too-old", False, "it was sent at 2024-11-22 11:57"),
        ("too-new", False, "but this purchase's request was sent at another time"),
        ("bare", None, "shows neither its input nor when it was sent"),
        ("nobody", None, "does not show it, or not yet"),
    ],
)
async def test_fal_verifies_a_named_request_by_input_and_time(
    named: str, same: bool | None, why: str, fal: Fal, server: Server
) -> None:
    bare = entry("bare") | {"json_input": None}
    others = [entry("other-steps", steps=6), entry("too-old", -121), entry("too-new", 61), bare]
    History(server, [*others, entry("mine", 30, images_data_url=f"http://elsewhere:9000/b/{ZIP}?sig=2")])
    verdict = await fal.verify(LOST_TRAINING, named)
    assert verdict.same is same
    assert why in verdict.text


async def test_assemblyai_verifies_a_named_request_by_audio_and_time(assemblyai: AssemblyAI, server: Server) -> None:
    options = {"speaker_labels": True, "language_detection": True, "audio_url": "https://s3/a.flac"}
    server.replies["/v2/transcript/mine"] = (200, options)
    server.replies["/v2/transcript/other-options"] = (200, options | {"speaker_labels": False})
    items = [made("too-new", 61), made("mine", 30), made("other-options", 2), made("other-sound", 2, "https://s3/b")]
    server.replies["/v2/transcript"] = (200, transcripts([*items, made("too-old", -121)]))
    verdicts = {name: await assemblyai.verify(LOST_TRANSCRIPT, name) for name in ("mine", "other-options", "too-new")}
    assert [verdict.same for verdict in verdicts.values()] == [True, False, False]
    assert (await assemblyai.verify(LOST_TRANSCRIPT, "other-sound")).same is False
    server.replies["/v2/transcript"] = (200, transcripts([made("no-time") | {"created": "yesterday"}]))
    assert (await assemblyai.verify(LOST_TRANSCRIPT, "no-time")).same is None


@pytest.mark.parametrize("named", ["../../v1/keys", "a/b", "a?b", "", "x" * 129, "."])
async def test_a_name_that_is_no_id_is_not_asked_for(
    named: str, fal: Fal, assemblyai: AssemblyAI, server: Server
) -> None:
    for provider, search in ((fal, LOST_TRAINING), (assemblyai, LOST_TRANSCRIPT)):
        with pytest.raises(Unavailable, match="is not a request id"):
            await provider.verify(search, named)
    assert server.seen == []
