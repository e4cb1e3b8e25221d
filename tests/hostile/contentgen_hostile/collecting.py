"""The worker's collect stages around one answer of a provider: a file host on loopback, and a store in memory.

`run` fetches over HTTP and decodes in confined children. `run_fast` has neither, for many answers.
"""

import io
import json
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records.keys import is_output
from contentgen_contract.worker.orders import Download, Limits, Outcome, WorkOrder
from contentgen_worker.collect import images, lora, safetensors
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.fetch import DownloadLimits, Fetched, Fetcher
from contentgen_worker.errors import Unreachable
from contentgen_worker.media.decode import stills
from contentgen_worker.progress import Steps
from contentgen_worker.retry import SOURCE, STORE
from contentgen_worker.run import _run_stage, _stage_function
from contentgen_worker.stage_context import StageContext

SPECS: dict[Kind, dict[str, Any]] = {
    Kind.IMAGE_GENERATION: {"prompt": "a cat", "image": {"count": 3}},
    Kind.LORA_TRAINING: {"loraName": "jesse", "triggerWord": "jf", "source": {"url": "https://example.com/talk.mp4"}},
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/talk.mp3"}},
}
Reply = tuple[int, dict[str, str], bytes]  # status, headers, body
_ANSWER, _EARLIER = "answer.json", "earlier.json"


@dataclass
class MemoryStore:
    """Stands for the presigned uploads: takes every output."""

    kept: dict[str, bytes] = field(default_factory=dict)

    def store(self, outputs: Any, _fraction: object, make_rest: Callable[[], Any] = tuple) -> Any:
        """The worker's `Uploader.store`."""
        made = [*outputs, *make_rest()]
        for each in made:
            body = each.body()
            self.kept[each.name] = body if isinstance(body, bytes) else b"".join(body)
        return tuple(each.stored for each in made)


class Host:
    """File host on loopback; a path without a reply is a 404."""

    def __init__(self) -> None:
        self.replies: dict[str, Reply | list[Reply]] = {}  # by path; a list: one after the other
        self.ranges: list[str] = []  # of the requests
        outer = self

        class FileHandler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                outer.ranges.append(self.headers.get("Range", ""))
                status, headers, body = outer.reply(self.path.partition("?")[0].lstrip("/"))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                try:
                    self.wfile.write(body)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), FileHandler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def reply(self, name: str) -> Reply:
        """The next reply for a path."""
        given = self.replies.get(name, (404, {}, b"not here"))
        if isinstance(given, list):
            return given.pop(0) if len(given) > 1 else given[0]
        return given

    def url(self, name: str) -> str:
        """Address of a path."""
        return f"http://{self.address}/{name}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class MemoryFetcher:
    """Stands for the worker's Fetcher: files by URL, without a network; an unknown URL is a 404."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files

    def fetch(self, download: Download, to: Path, _bounds: DownloadLimits, _on_progress: object = None) -> Fetched:
        """The worker's `Fetcher.fetch`."""
        content = self._files.get(download.url)
        if content is None:
            raise Unreachable(f"{download.url[:80]}: HTTP 404, expected 200", permanent=True)
        to.write_bytes(content)
        return Fetched(to, len(content), "0" * 64)


@dataclass(frozen=True)
class Collected:
    """Outcome of a collect stage, and its stored files by name."""

    outcome: Outcome
    stored: dict[str, bytes]

    @property
    def facts(self) -> dict[str, Any]:
        """Facts of the outcome as JSON."""
        return self.outcome.facts.model_dump(mode="json", by_alias=True) if self.outcome.facts else {}


def run(
    host: Host,
    kind: Kind,
    answer: object,
    *,
    spec: Mapping[str, Any] | None = None,
    limits: Limits | None = None,
    earlier: Outcome | None = None,
) -> Collected:
    """Run the stage on an answer; HOST in its texts is the host's address. Raises what the stage raises."""
    host.replies[_ANSWER] = (200, {}, encoded(answer).replace(b"HOST", host.address.encode()))
    if earlier is not None:
        host.replies[_EARLIER] = (200, {}, earlier.model_dump_json(by_alias=True).encode())
    more: dict[str, Any] = {"earlier": Download(url=host.url(_EARLIER), trusted=True)} if earlier else {}
    more |= {"allowed_hosts": (host.address,)} | ({"limits": limits} if limits else {})
    order = _order(kind, host.url(_ANSWER), spec, **more)
    fetcher = Fetcher(AddressGuard([host.address]), source=SOURCE.scaled(0.001), store=STORE.scaled(0.001))
    return _collected(order, fetcher)


def run_fast(kind: Kind, answer: bytes, files: Mapping[str, bytes], spec: Mapping[str, Any] | None = None) -> Collected:
    """Run the stage on an answer without network, children and a contact sheet."""
    fetcher: Any = MemoryFetcher({**files, "memory:answer": answer})
    with _in_process():
        return _collected(_order(kind, "memory:answer", spec), fetcher)


def encoded(answer: object) -> bytes:
    """Bytes of an answer: as they are, or JSON."""
    return answer if isinstance(answer, bytes) else json.dumps(answer).encode()


def picture(mode: str = "RGB", form: str = "PNG", size: tuple[int, int] = (64, 48), **save: Any) -> bytes:
    """A file of one colour, red where the mode has colours."""
    colour = {"RGB": (200, 30, 40), "RGBA": (200, 30, 40, 255), "CMYK": (0, 200, 180, 30)}.get(mode, 100)
    return file_of(Image.new(mode, size, colour), form, **save)


def file_of(image: Image.Image, form: str, **save: Any) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, form, **save)
    return buffer.getvalue()


def weights_of(header: dict[str, Any], data: bytes) -> bytes:
    """A safetensors file."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def _order(kind: Kind, answer: str, spec: Mapping[str, Any] | None = None, **more: Any) -> WorkOrder:
    return WorkOrder(
        job_id="job-1",
        kind=kind,
        stage=Stage.COLLECT,
        version=1,
        attempt=1,
        user_id="u",
        spec=dict(spec or SPECS[kind]),
        result=Download(url=answer, trusted=True),
        outcome_url="http://unused",
        **more,
    )


def _collected(order: WorkOrder, fetcher: Fetcher) -> Collected:
    store: Any = MemoryStore()
    with tempfile.TemporaryDirectory() as scratch:
        context = StageContext(order, Path(scratch), fetcher, store, Steps(lambda _: None), Path("/none"))
        outcome = _run_stage(context, _stage_function(Stage.COLLECT, order.kind))
    again = Outcome.model_validate_json(outcome.model_dump_json(by_alias=True).encode())
    assert again == outcome, "the outcome changes on its way"
    assert {file.name for file in outcome.files} >= set(store.kept), "a stored file is not listed"
    assert all(is_output(order.kind, Stage.COLLECT, file.name) for file in outcome.files)
    return Collected(outcome, store.kept)


@contextmanager
def _in_process() -> Iterator[None]:
    """Decoders run in this process, and the contact sheet is blank."""

    def convert(conversion: stills.Conversion, *_: int) -> stills.Still:
        sent: list[Any] = []
        stills.send_still(sent.append, conversion)
        still: stills.Still = sent[0]
        return still

    def count_tensors(path: Path, _bounds: object) -> int:
        sent: list[Any] = []
        safetensors.send_tensor_count(sent.append, path)
        return int(sent[0])

    with ExitStack() as stack:
        for module in (images, lora):
            stack.enter_context(mock.patch.object(module, "fork_server"))
        stack.enter_context(mock.patch.object(images, "convert", convert))
        stack.enter_context(mock.patch.object(safetensors, "count_tensors", count_tensors))
        stack.enter_context(mock.patch.object(lora, "contact_sheet", return_value=Image.new("L", (8, 8))))
        yield
