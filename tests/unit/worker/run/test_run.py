"""Both stages from work order to outcome, against a worker API, a store and hosts on real sockets (loopback only)."""

import base64
import hashlib
import io
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from PIL import Image

from contentgen_contract.names import Kind, Reason, Stage, Step
from contentgen_contract.records.keys import is_output
from contentgen_contract.worker.log import human_bytes
from contentgen_contract.worker.orders import (
    AudioFacts,
    DatasetFacts,
    Download,
    ImageFacts,
    LoraFacts,
    Outcome,
    Progress,
    TranscriptFacts,
    UploadRequest,
)
from contentgen_simulation.facts import load
from contentgen_worker import log
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.fetch import DownloadLimits, Fetcher
from contentgen_worker.errors import OwnFileMissing, Retryable, Unreachable, WorkerApiRefused
from contentgen_worker.retry import SOURCE
from contentgen_worker.run import run
from contentgen_worker.settings import Settings
from contentgen_worker.worker_api import WorkerApiClient

TOKEN = "pod-token"
SIGNED = "X-Amz-Signature=0123456789abcdef"
LORA_SPEC = {
    "loraName": "jesse_avatar",
    "triggerWord": "jf",
    "source": {"url": "https://example.com/talk.mp4"},
    "dataset": {"minImages": 4, "maxImages": 100, "framesPerScene": 2, "resolution": 256},
}
IMAGE_SPEC = {"prompt": "a headshot of jf"}
TRANSCRIPT_SPEC = {"source": {"url": "https://example.com/talk.mp3"}}
Answer = Callable[[BaseHTTPRequestHandler], None]
Ran = tuple[str, Outcome]  # what the program wrote to stderr, and what it left

# --- the world around a worker -------------------------------------------------------------------------------------


class Server:
    """An HTTP(S) server on loopback whose handler is a function."""

    def __init__(self, handle: Answer, context: ssl.SSLContext | None = None) -> None:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # head and body are sent one after the other

            def log_message(self, *_: object) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                try:
                    handle(self)
                except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                    self.close_connection = True

            do_PUT = do_POST = do_GET  # noqa: N815 - http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def reply(handler: BaseHTTPRequestHandler, code: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def read(handler: BaseHTTPRequestHandler) -> bytes:
    return handler.rfile.read(int(handler.headers.get("Content-Length", 0)))


class World:
    """Worker API (HTTPS), store and source hosts (HTTP) on loopback, with contents in memory."""

    def __init__(self, certificate: tuple[Path, str], folder: Path, clock: "Clock") -> None:
        self.clock = clock
        self.ca = certificate[1]
        self.folder = folder
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate[0])
        self.files: dict[str, bytes] = {}  # what GET serves
        self.pages: dict[str, Answer] = {}  # what GET does instead
        self.stored: dict[str, tuple[bytes, str]] = {}
        self.order: dict[str, Any] = {}
        self.progress: list[Progress] = []
        self.worker_api_codes: list[int] = []  # answers before the worker API works
        self.worker_api_headers: dict[str, str] = {}  # of those
        self.progress_codes: list[int] = []
        self.put_codes: list[int] = []
        self.requests: list[str] = []
        self.woken = 0
        self.progress_hangs = False
        self.gave_up = 0  # hanging requests that nobody ended within a minute
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.worker_api = Server(self._worker_api, context)
        self.web = Server(self._web)
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "scratch").mkdir()

    def close(self) -> None:
        self.closing.set()
        self.worker_api.close()
        self.web.close()

    def url(self, name: str, *, signed: bool = False) -> str:
        return f"http://{self.web.host}/{name}" + (f"?{SIGNED}" if signed else "")

    def serve(self, name: str, content: bytes) -> str:
        self.files[name] = content
        return self.url(name)

    def settings(self) -> Settings:
        return Settings(
            worker_api_url=f"https://localhost:{self.worker_api.host.rpartition(':')[2]}",
            worker_api_ca=self.ca,
            token_file=self.folder / "token",
            scratch=self.folder / "scratch",
        )

    def ordered(self, kind: Kind, stage: Stage, spec: dict[str, Any], **more: Any) -> None:
        self.order = {
            "jobId": "abc-123", "kind": kind, "stage": stage, "version": 1, "attempt": 1, "userId": "user-1",
            "spec": spec, "allowedHosts": [self.web.host], "outcomeUrl": self.url("outcome.json", signed=True), **more,
        }  # fmt: skip

    def run(self) -> Outcome:
        outcome = run(self.order["stage"], self.settings(), self.clock.monotonic)
        left, content_type = self.stored["outcome.json"]
        assert Outcome.model_validate_json(left) == outcome
        assert content_type == "application/json"
        assert self.woken == 1
        assert list((self.folder / "scratch").iterdir()) == []
        assert SIGNED not in outcome.message
        kind, stage = Kind(self.order["kind"]), Stage(self.order["stage"])
        for file in outcome.files:
            content = self.stored[file.name][0]
            assert is_output(kind, stage, file.name)
            assert (len(content), hashlib.sha256(content).hexdigest()) == (file.size_bytes, file.sha256)
        return outcome

    def _worker_api(self, handler: BaseHTTPRequestHandler) -> None:
        body = read(handler)
        self.requests.append(f"{handler.command} {handler.path}")
        if handler.path == "/v1/progress":
            self.gave_up += self.progress_hangs and not self.closing.wait(60)
            if self.progress_codes:
                return reply(handler, self.progress_codes.pop(0), b"", **self.worker_api_headers)
            self.progress.append(Progress.model_validate_json(body))
            return reply(handler, 204)
        if self.worker_api_codes:
            return reply(handler, self.worker_api_codes.pop(0), b"not now", **self.worker_api_headers)
        if handler.headers["Authorization"] != f"Bearer {(self.folder / 'token').read_text().strip()}":
            return reply(handler, 401)
        if handler.path == "/v1/order":
            return reply(handler, 200, json.dumps(self.order).encode())
        if handler.path == "/v1/uploads":
            return reply(handler, 200, self._grants(UploadRequest.model_validate_json(body)))
        self.woken += handler.path == "/v1/outcome"
        return reply(handler, 204)

    def _grants(self, request: UploadRequest) -> bytes:
        grants = [
            {
                "name": offer.name,
                "url": self.url(offer.name, signed=True),
                "headers": {
                    "content-type": offer.content_type,
                    "x-amz-checksum-sha256": base64.b64encode(bytes.fromhex(offer.sha256)).decode(),
                    "content-length": str(offer.size_bytes),
                },
                "expiresSeconds": 600,
            }
            for offer in request.files
        ]
        return json.dumps({"grants": grants}).encode()

    def _web(self, handler: BaseHTTPRequestHandler) -> None:
        name = handler.path.partition("?")[0].lstrip("/")
        if handler.command == "PUT":
            return self._put(handler, name, read(handler))
        assert handler.headers["Host"] == self.web.host
        if name in self.pages:
            return self.pages[name](handler)
        if name not in self.files:
            return reply(handler, 404)
        return reply(handler, 200, self.files[name])

    def _put(self, handler: BaseHTTPRequestHandler, name: str, body: bytes) -> None:
        with self.lock:
            code = self.put_codes.pop(0) if self.put_codes else 200
        checksum = handler.headers.get("x-amz-checksum-sha256")
        if checksum is not None and base64.b64decode(checksum) != hashlib.sha256(body).digest():
            code = 400
        if code == 200:
            assert SIGNED in handler.path
            assert handler.headers.get("Transfer-Encoding") is None
            self.stored[name] = (body, handler.headers["Content-Type"])
        reply(handler, code)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Key and certificate of the worker API in one PEM, and the CA's PEM (the same certificate)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "worker-api")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "worker_api.pem"
    path.write_bytes(secret + pem)
    return path, pem.decode()


class Clock:
    """Fake clock of retries; time passes only in their pauses."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("tenacity", "tenacity.nap"):
        monkeypatch.setattr(f"{module}.time", made)
    return made


@pytest.fixture
def world(certificate: tuple[Path, str], tmp_path: Path, clock: Clock) -> Iterator[World]:
    with closing(World(certificate, tmp_path, clock)) as made:
        yield made


# --- media ---------------------------------------------------------------------------------------------------------


def scene(number: int, frame: int, size: tuple[int, int] = (320, 180)) -> np.ndarray:
    """A frame of a scene: coloured blocks that pan slowly."""
    random = np.random.default_rng(number)
    low = 20 + number % 6 * 24
    blocks = random.integers(low, low + 90, (12, 24, 3), dtype=np.uint8)
    wide = cv2.resize(blocks, (size[0] * 2, size[1]), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(wide[:, 4 * frame : 4 * frame + size[0]])


def video(path: Path, frames: list[np.ndarray], *, sound: bool = False, fps: int = 12) -> bytes:
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        # One thread: more of them encode a little differently, and other frames are the sharpest then.
        pictures = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "threads": "1"})
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        voice = container.add_stream("aac", rate=44100, layout="stereo") if sound else None
        for pixels in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(pictures.encode())
        if voice:
            tone = (np.sin(np.arange(44100 * len(frames) // fps) * 0.06) * 8000).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None, :], format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 44100, 0
            container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
    return path.read_bytes()


def shown(index: int) -> np.ndarray:
    """Frame of the talk: eight shots of 2 s: a still one, five that pan, a black one, and the first again."""
    shot, frame = divmod(index, 24)
    if shot == 6:
        return np.zeros((180, 320, 3), np.uint8)
    return scene(shot, frame) if 1 <= shot <= 5 else scene(0, 0)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Video with audio. With two pictures a shot, ten are of panning shots, two of them nearly the same; two are black,
    and three of the other four are duplicates."""
    frames = [shown(index) for index in range(8 * 24)]
    return video(tmp_path_factory.mktemp("media") / "talk.mp4", frames, sound=True)


@pytest.fixture(scope="module")
def silent(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return video(tmp_path_factory.mktemp("media") / "silent.mp4", [scene(1, index) for index in range(12)])


def prepare_lora(world: World, url: str, **dataset: Any) -> None:
    spec = {**LORA_SPEC, "dataset": {**LORA_SPEC["dataset"], **dataset}}  # type: ignore[dict-item]
    world.ordered(Kind.LORA_TRAINING, Stage.PREPARE, spec, source={"url": url})


def prepare_sound(world: World, url: str, **more: Any) -> None:
    world.ordered(Kind.TRANSCRIPTION, Stage.PREPARE, TRANSCRIPT_SPEC, source={"url": url}, **more)


# --- prepare -------------------------------------------------------------------------------------------------------


def test_prepare_makes_a_training_set(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk))
    outcome = world.run()

    assert outcome.reason is Reason.COMPLETED, outcome.message
    facts = outcome.facts
    assert isinstance(facts, DatasetFacts)
    assert facts.scenes == 8
    assert (facts.width, facts.height, facts.source_bytes) == (320, 180, len(talk))
    assert facts.source_sha256 == hashlib.sha256(talk).hexdigest()
    assert facts.duration_seconds == pytest.approx(16, abs=0.2)
    assert (facts.images, facts.rejected) == (10, {"TooDark": 2, "Duplicate": 4})
    names = {file.name for file in outcome.files}
    numbers = [f"{number:04}" for number in range(1, 11)]
    assert names == {"dataset.json", "dataset.zip", "preview.jpg", "rejected.jpg"} | {
        name for number in numbers for name in (f"images/{number}.jpg", f"captions/{number}.txt")
    }
    assert world.stored["captions/0001.txt"][0] == b"a photo of jf"
    first = Image.open(io.BytesIO(world.stored["images/0001.jpg"][0]))
    assert first.size == (256, 144)
    assert set(outcome.seconds) == {
        "Downloading", "DetectingScenes", "ExtractingFrames", "BuildingDataset", "UploadingDataset"
    }  # fmt: skip


def test_a_training_set_is_what_it_says(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk))
    world.run()

    index = json.loads(world.stored["dataset.json"][0])
    shots = [image["shot"] for image in index["images"]]
    assert [shots.count(shot) for shot in range(2, 7)] == [1, 2, 2, 2, 2]  # of shot 2, two would be nearly the same
    assert shots.count(1) + shots.count(8) == 1
    assert {frame["shot"] for frame in index["rejected"] if frame["reason"] == "TooDark"} == {7}
    for image in index["images"]:  # each picture is the frame that stood at its time
        found = np.asarray(Image.open(io.BytesIO(world.stored[image["file"]][0])), np.int16)
        truth = cv2.resize(shown(round(image["seconds"] * 12)), (256, 144), interpolation=cv2.INTER_AREA)
        assert np.abs(found - truth).mean() < 12


def test_the_index_the_files_and_the_facts_tell_the_same(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk))
    facts = world.run().facts
    assert isinstance(facts, DatasetFacts)

    index = json.loads(world.stored["dataset.json"][0])
    assert [image["file"] for image in index["images"]] == sorted(n for n in world.stored if n.startswith("images/"))
    assert [(shot["number"], round(shot["start"])) for shot in index["shots"]] == [(n, 2 * n - 2) for n in range(1, 9)]
    assert (len(index["images"]), len(index["shots"])) == (facts.images, facts.scenes)
    assert Counter(frame["reason"] for frame in index["rejected"]) == facts.rejected
    with zipfile.ZipFile(io.BytesIO(world.stored["dataset.zip"][0])) as archive:
        assert archive.namelist() == [f"{n:04}.{kind}" for n in range(1, 11) for kind in ("jpg", "txt")]
        for number, image in enumerate(index["images"], 1):
            content = world.stored[image["file"]][0]
            assert Image.open(io.BytesIO(content)).size == (image["width"], image["height"])
            assert archive.read(f"{number:04}.jpg") == content
            said = (world.stored[f"captions/{number:04}.txt"][0], archive.read(f"{number:04}.txt"))
            assert said == (image["caption"].encode(),) * 2 == (b"a photo of jf",) * 2
    for frame in index["images"] + index["rejected"]:
        shot = index["shots"][frame["shot"] - 1]
        assert shot["start"] <= frame["seconds"] <= shot["end"]
    times = [image["seconds"] for image in index["images"]]
    assert times == sorted(times)
    for frame in index["rejected"]:  # each says what was measured, and what it should have been
        assert frame["figure"] < frame["limit"], frame
        assert (frame["reason"] == "Duplicate") == (frame.get("likeSeconds") in times)


def test_max_images_thins_evenly(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk), maxImages=4)
    facts = world.run().facts
    assert isinstance(facts, DatasetFacts)
    assert facts.images == 4
    assert facts.rejected.keys() == {"TooDark", "Duplicate", "OverMaximum"}
    index = json.loads(world.stored["dataset.json"][0])
    over = [frame for frame in index["rejected"] if frame["reason"] == "OverMaximum"]
    assert {(frame["figure"], frame["limit"]) for frame in over} == {(4 + len(over), 4)}
    times = [0.0, *(image["seconds"] for image in index["images"]), 16.0]
    assert max(np.diff(times)) < 6.5, "two of 16 s are black"
    assert len({image["shot"] for image in index["images"]}) == 4


@pytest.mark.parametrize(("speed", "remedy"), [("Exact", ""), ("Fast", r"set spec\.dataset\.speed to Exact, ")])
def test_too_few_frames_says_why(world: World, talk: bytes, speed: str, remedy: str) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk), minImages=50, speed=speed)
    outcome = world.run()
    assert outcome.reason is Reason.INSUFFICIENT_FRAMES
    assert outcome.files == ()
    assert list(world.stored) == ["outcome.json"]
    said = re.fullmatch(
        r"spec\.source\.url: (\d+) usable pictures(?: \((\d+) as a last resort: (.*)\))? of (\d+) taken, "
        r"spec\.dataset\.minImages is 50; "
        rf"left out: (.*)\. Give a longer or more varied video, {remedy}"
        r"raise spec\.dataset\.framesPerScene \(2\) or lower spec\.dataset\.minImages",
        outcome.message,
    )
    assert said, outcome.message
    counts = (re.findall(r"(\w+) (\d+)", found or "") for found in (said[3], said[5]))
    restored, left_out = ({reason: int(count) for reason, count in each_count} for each_count in counts)
    usable, taken = int(said[1]), int(said[4])
    assert usable < 50
    assert int(said[2] or 0) == sum(restored.values())
    assert bool(restored) is (speed == "Exact"), "none of the few that Fast takes is rejected but as a duplicate"
    assert "Duplicate" in left_out
    assert usable + sum(left_out.values()) == taken


def test_time_ranges_beyond_the_end_are_said_to_be(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk), timeRanges=[{"start": "20", "end": "30"}])
    outcome = world.run()
    assert outcome.reason is Reason.INSUFFICIENT_FRAMES
    assert "spec.dataset.timeRanges contain no frame; the video lasts 16.0 s" in outcome.message


@pytest.mark.parametrize("detector", ["content", "adaptive", "hash", "histogram", "threshold"])
def test_each_detector_runs(world: World, talk: bytes, detector: str) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk), sceneDetection={"detector": detector}, framesPerScene=8)
    outcome = world.run()
    assert outcome.reason is Reason.COMPLETED, outcome.message
    assert isinstance(outcome.facts, DatasetFacts)
    assert outcome.facts.scenes >= (2 if detector == "threshold" else 6)


def test_pyscenedetect_counts_the_videos_own_frames(world: World, tmp_path: Path) -> None:
    lengths = (24, 12, 24, 24, 24)  # at 12 a second; its shortest scene is 15 frames, so the second cut is none
    frames = [scene(number, index) for number, length in enumerate(lengths) for index in range(length)]
    url = world.serve("film.mp4", video(tmp_path / "film.mp4", frames))
    prepare_lora(world, url, sceneDetection={"detector": "hash"}, framesPerScene=8)
    outcome = world.run()
    assert isinstance(outcome.facts, DatasetFacts), outcome.message
    assert outcome.facts.scenes == 4


def test_prepare_takes_the_sound_only(world: World, talk: bytes) -> None:
    prepare_sound(world, world.serve("talk.mp4", talk))
    outcome = world.run()
    assert outcome.reason is Reason.COMPLETED, outcome.message
    assert isinstance(outcome.facts, AudioFacts)
    assert outcome.facts.duration_seconds == pytest.approx(16, abs=0.1)
    assert outcome.facts.source_sha256 == hashlib.sha256(talk).hexdigest()
    flac = world.stored["audio.flac"][0]
    samples = int.from_bytes(flac[18:26], "big") & (1 << 36) - 1  # STREAMINFO's length
    assert samples / 16000 == pytest.approx(outcome.facts.duration_seconds, abs=0.001)
    with av.open(io.BytesIO(flac)) as container:
        assert (container.streams.audio[0].rate, container.streams.audio[0].channels) == (16000, 1)


def test_captions_say_what_was_asked_for(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk), captions={"facts": ["Position", "Motion"]})
    assert world.run().reason is Reason.COMPLETED
    said = [content.decode() for name, (content, _) in sorted(world.stored.items()) if name.startswith("captions/")]
    assert said[0].startswith("a photo of jf, ")
    assert "beginning of the video" in said[0]
    assert "end of the video" in said[-1]
    entries = json.loads(world.stored["dataset.json"][0])["images"]
    assert [entry["caption"] for entry in entries] == said


def test_captions_by_a_model_need_one(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk), captions={"engine": "Vision"})
    outcome = world.run()
    assert outcome.reason is Reason.INVALID_SPEC
    assert "spec.dataset.captions.engine is Vision, but the vision model in /opt/contentgen/vision" in outcome.message


def test_no_sound(world: World, silent: bytes) -> None:
    prepare_sound(world, world.serve("silent.mp4", silent))
    assert world.run().reason is Reason.NO_AUDIO


def test_no_pictures(world: World, talk: bytes) -> None:
    prepare_sound(world, world.serve("talk.mp4", talk))
    world.run()
    sound = world.stored["audio.flac"][0]
    world.woken = 0
    prepare_lora(world, world.serve("sound.flac", sound))
    assert world.run().reason is Reason.NO_VIDEO


def test_a_file_cut_off_is_no_media(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk[: len(talk) // 2]))  # its index is at its end
    outcome = world.run()
    assert outcome.reason is Reason.UNSUPPORTED_MEDIA
    assert "its index (moov) is missing" in outcome.message


@pytest.mark.parametrize(
    "content",
    [
        b"not a video, but a letter. " * 400,
        b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'></MPD>",
        b"RIFF\x24\x00\x00\x00AVI LIST" + bytes(400),
        b"\x89PNG\r\n\x1a\n" + bytes(400),
        bytes(5000),
    ],
    ids=["text", "hls", "concat", "dash", "avi", "png", "zeros"],
)
def test_files_that_are_no_recording(world: World, content: bytes) -> None:
    prepare_sound(world, world.serve("letter.mp4", content))
    assert world.run().reason is Reason.UNSUPPORTED_MEDIA


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"\n <!DOCTYPE html><html>Sign in</html>", "web page"),
        (b"<HTML><body>", "web page"),
        (b"these are words", "it is text"),
        (b"\0\1\2\3", "of no recording"),
    ],
)
def test_message_names_the_received_type(world: World, content: bytes, text: str) -> None:
    prepare_sound(world, world.serve("talk.mp4", content))
    outcome = world.run()
    assert outcome.reason is Reason.UNSUPPORTED_MEDIA
    assert outcome.message.startswith("spec.source.url: ")
    assert text in outcome.message
    assert "Sign in" not in outcome.message


def test_limits_of_media(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk))
    world.order["limits"] = {"pixels": 320 * 180 - 1}
    outcome = world.run()
    assert outcome.reason is Reason.SOURCE_TOO_LARGE
    assert "320x180" in outcome.message
    world.woken, world.order["limits"] = 0, {"durationSeconds": 10}
    outcome = world.run()
    assert outcome.reason is Reason.SOURCE_TOO_LARGE
    assert "16 s" in outcome.message


# --- sources that fail ---------------------------------------------------------------------------------------------


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(bytes(65536))


def broken_off(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(bytes(10))
    handler.close_connection = True


def redirect(to: str) -> Answer:
    return lambda handler: reply(handler, 302, Location=to)


@pytest.mark.parametrize(
    ("page", "reason", "text"),
    [
        (lambda handler: reply(handler, 404), Reason.SOURCE_UNREACHABLE, "HTTP 404"),
        (lambda handler: reply(handler, 403, b"Request has expired"), Reason.SOURCE_UNREACHABLE, "HTTP 403"),
        (lambda handler: reply(handler, 503), Reason.SOURCE_UNREACHABLE, "HTTP 503"),
        (redirect("/source"), Reason.SOURCE_UNREACHABLE, "redirects"),
        (redirect("http://127.0.0.1:9/"), Reason.SOURCE_NOT_ALLOWED, "127.0.0.0/8"),
        (redirect("http://169.254.169.254/latest"), Reason.SOURCE_NOT_ALLOWED, "169.254"),
        (redirect("file:///etc/passwd"), Reason.SOURCE_NOT_ALLOWED, "file"),
        (endless, Reason.SOURCE_TOO_LARGE, "1000000"),
        (broken_off, Reason.SOURCE_UNREACHABLE, "broke off after 10"),
        (lambda handler: reply(handler, 200, bytes(1_000_001)), Reason.SOURCE_TOO_LARGE, "1000001"),
        (lambda handler: reply(handler, 200), Reason.SOURCE_EMPTY, "0 bytes"),
    ],
)
def test_sources_that_fail(world: World, page: Answer, reason: Reason, text: str) -> None:
    world.pages["source"] = page
    prepare_sound(world, world.url("source", signed=True), limits={"downloadBytes": 1_000_000})
    outcome = world.run()
    assert (outcome.reason, outcome.files) == (reason, ())
    assert text in outcome.message


def test_a_host_that_is_back_soon_is_waited_for(world: World, talk: bytes) -> None:
    codes = [503, 500, 429]
    world.files["talk.mp4"] = talk
    world.pages["source"] = lambda handler: reply(handler, codes.pop()) if codes else reply(handler, 200, talk)
    prepare_sound(world, world.url("source"))
    assert world.run().reason is Reason.COMPLETED
    assert codes == []


@pytest.mark.parametrize("prepared", [prepare_lora, prepare_sound])
def test_a_recording_is_opened_before_it_is_all_here(world: World, talk: bytes, prepared: Callable[..., None]) -> None:
    open_media: list[bool] = []

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("ETag", '"talk"')
        handler.send_header("Content-Length", str(len(talk)))
        handler.end_headers()
        handler.wfile.write(talk[: len(talk) // 2])
        ends = time.monotonic() + 60
        while time.monotonic() < ends and all(report.step == "Downloading" for report in world.progress):
            time.sleep(0.02)
        open_media.append(time.monotonic() < ends)
        handler.wfile.write(talk[len(talk) // 2 :])

    world.pages["talk.mp4"] = half
    prepared(world, world.url("talk.mp4"))
    assert world.run().reason is Reason.COMPLETED
    assert open_media == [True]


def test_changed_recording_stores_nothing(world: World, talk: bytes) -> None:
    """The checksum is known with the last byte, long after the decoder began."""
    world.pages["talk.mp4"] = lambda handler: reply(handler, 200, talk, ETag='"talk"')
    prepare_lora(world, world.url("talk.mp4"))
    world.order["source"]["sha256"] = "0" * 64
    assert world.run().reason is Reason.SOURCE_CHECKSUM_MISMATCH
    assert list(world.stored) == ["outcome.json"]


def test_wrong_and_right_checksum(world: World, talk: bytes) -> None:
    url = world.serve("talk.mp4", talk)
    prepare_sound(world, url)
    world.order["source"] = {"url": url, "sha256": "0" * 64}
    outcome = world.run()
    assert outcome.reason is Reason.SOURCE_CHECKSUM_MISMATCH
    assert hashlib.sha256(talk).hexdigest() in outcome.message
    world.woken, world.order["source"] = 0, {"url": url, "sha256": hashlib.sha256(talk).hexdigest()}
    assert world.run().reason is Reason.COMPLETED


def test_an_address_that_nobody_allowed(world: World, talk: bytes) -> None:
    prepare_sound(world, world.serve("talk.mp4", talk))
    world.order["allowedHosts"] = [f"localhost:{world.web.host.rpartition(':')[2]}"]  # exact names only
    outcome = world.run()
    assert outcome.reason is Reason.SOURCE_NOT_ALLOWED
    world.woken, world.order["source"] = 0, {"url": world.url("talk.mp4"), "trusted": True}
    assert world.run().reason is Reason.COMPLETED  # the operator's own URL needs no permission


def test_our_own_store_being_away_is_no_verdict(world: World) -> None:
    world.pages["own"] = lambda handler: reply(handler, 503)
    prepare_sound(world, world.url("own"))
    world.order["source"]["trusted"] = True
    with pytest.raises(Retryable, match="store is unavailable"):
        run(Stage.PREPARE, world.settings(), world.clock.monotonic)
    assert world.stored == {}


# --- collect -------------------------------------------------------------------------------------------------------


def safetensors(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


WEIGHTS = safetensors({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}}, bytes(8))


def picture(kind: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(scene(3, 0, size)).save(buffer, kind)
    return buffer.getvalue()


def collect_lora(world: World, weights: bytes) -> None:
    answer = {
        "diffusers_lora_file": {"url": world.serve("lora", weights)},
        "config_file": {"url": world.serve("config", b'{"rank": 16}')},
    }
    previews = [{"url": world.serve(f"p{n}", picture("JPEG", (256, 144))), "trusted": True} for n in range(9)]
    result = {"url": world.serve("answer", json.dumps(answer).encode()), "trusted": True}
    dataset = {"url": world.serve("dataset", b'{"images": [{}, {}, {}]}'), "trusted": True}
    more = {"result": result, "dataset": dataset, "datasetPreviews": previews}
    world.ordered(Kind.LORA_TRAINING, Stage.COLLECT, LORA_SPEC, **more)


def test_collect_stores_a_lora(world: World) -> None:
    collect_lora(world, WEIGHTS)
    outcome = world.run()
    assert outcome.reason is Reason.COMPLETED, outcome.message
    assert outcome.facts == LoraFacts(size_bytes=len(WEIGHTS))
    assert world.stored["model.safetensors"][0] == WEIGHTS
    config = json.loads(world.stored["config.json"][0])
    expected = {"loraName": "jesse_avatar", "trigger": "jf", "frame_count": 3, "provider": {"rank": 16}, "version": 1}
    assert expected.items() <= config.items()
    assert Image.open(io.BytesIO(world.stored["preview.png"][0])).width > 800


@pytest.mark.parametrize(
    "weights",
    [
        b"<html>gone</html>",
        b"1234567",
        safetensors({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 9]}}, bytes(8)),
        safetensors({"a": {"dtype": "F16", "shape": [4]}}, bytes(8)),
        safetensors({"__metadata__": {}}, b""),
        (1 << 62).to_bytes(8, "little") + b"{}",
        WEIGHTS[:-1],
    ],
    ids=["html", "short", "outside", "no offsets", "empty", "huge header", "cut off"],
)
def test_weights_that_are_none(world: World, weights: bytes) -> None:
    collect_lora(world, weights)
    assert world.run().reason is Reason.RESULT_INVALID
    assert set(world.stored) == {"outcome.json"}


def test_a_dead_result_url(world: World) -> None:
    collect_lora(world, WEIGHTS)
    del world.files["lora"]
    outcome = world.run()
    assert outcome.reason is Reason.RESULT_UNREACHABLE
    assert "HTTP 404" in outcome.message
    assert outcome.passing is False


@pytest.mark.parametrize(
    ("code", "passing"),
    [(401, False), (403, False), (410, False), (408, True), (429, True), (500, True), (503, True)],
)
def test_whether_a_result_may_be_reached_later(world: World, code: int, passing: bool) -> None:
    collect_lora(world, WEIGHTS)
    world.pages["lora"] = lambda handler: reply(handler, code)
    outcome = world.run()
    assert (outcome.reason, outcome.passing) == (Reason.RESULT_UNREACHABLE, passing)


def test_a_result_that_breaks_off_may_be_whole_later(world: World) -> None:
    collect_lora(world, WEIGHTS)
    world.pages["lora"] = broken_off
    outcome = world.run()
    assert (outcome.reason, outcome.passing) == (Reason.RESULT_UNREACHABLE, True)


def test_a_result_url_into_the_cluster(world: World) -> None:
    collect_lora(world, WEIGHTS)
    world.order["allowedHosts"] = []
    outcome = world.run()
    assert (outcome.reason, outcome.passing) == (Reason.RESULT_UNREACHABLE, False)


def test_own_loss_is_not_the_providers_fault(world: World) -> None:
    collect_lora(world, WEIGHTS)
    del world.files["answer"]
    with pytest.raises(OwnFileMissing, match=r"answer\.json: .*HTTP 404"):
        run(Stage.COLLECT, world.settings(), world.clock.monotonic)
    assert world.stored == {}


def test_weights_are_kept_without_their_accessories(world: World) -> None:
    collect_lora(world, WEIGHTS)
    for name in ("dataset", "p0", "p8"):
        del world.files[name]
    assert world.run().reason is Reason.COMPLETED
    assert json.loads(world.stored["config.json"][0])["frame_count"] is None


def collect_images(world: World, contents: list[bytes], told: object = None, **image: Any) -> None:
    images = [{"url": world.serve(f"i{index}", content)} for index, content in enumerate(contents)]
    answer = {"images": images, "seed": 42, "has_nsfw_concepts": told}
    result = {"url": world.serve("answer", json.dumps(answer).encode()), "trusted": True}
    world.ordered(Kind.IMAGE_GENERATION, Stage.COLLECT, {**IMAGE_SPEC, "image": image}, result=result)


def test_collect_stores_pictures(world: World) -> None:
    png, jpeg = picture("PNG", (512, 256)), picture("JPEG", (64, 128))
    collect_images(world, [png, jpeg], count=2)
    outcome = world.run()
    assert isinstance(outcome.facts, ImageFacts)
    assert outcome.facts.seed == 42
    assert [(image.name, image.width, image.height) for image in outcome.facts.images] == [
        ("image_1.png", 512, 256), ("image_2.png", 64, 128)
    ]  # fmt: skip
    assert world.stored["image_1.png"][0] == png  # untouched
    assert Image.open(io.BytesIO(world.stored["image_2.png"][0])).format == "PNG"
    assert Image.open(io.BytesIO(world.stored["image_1_thumb.png"][0])).size == (512, 256)
    assert Image.open(io.BytesIO(world.stored["image_2_thumb.png"][0])).size == (64, 128)


@pytest.mark.parametrize(
    ("told", "unsafe"),
    [
        ([False, True, False], [False, True, False]),
        ([True], [True, None, None]),
        (None, [False] * 3),
        ("yes", [True] * 3),
        ([1, "true", {}], [True, True, None]),
        ([True] * 1000, [True] * 3),
    ],
)
def test_unsafe_and_black_pictures_are_told(world: World, told: object, unsafe: list[bool | None]) -> None:
    """Money 22: pictures blacked out by a safety checker were Completed like any other."""
    black = [Image.new("RGB", (64, 64), color) for color in ((0, 0, 0), (1, 0, 2), (0, 0, 90))]
    contents = []
    for each in black:
        buffer = io.BytesIO()
        each.save(buffer, "PNG")
        contents.append(buffer.getvalue())
    collect_images(world, contents, told, count=3)
    outcome = world.run()
    assert isinstance(outcome.facts, ImageFacts)
    assert [image.unsafe for image in outcome.facts.images] == unsafe
    assert [image.black for image in outcome.facts.images] == [True, True, False]


def test_jpeg_where_asked_for(world: World) -> None:
    collect_images(world, [picture("PNG", (512, 256))], format="jpeg")
    world.run()
    assert Image.open(io.BytesIO(world.stored["image_1.jpg"][0])).format == "JPEG"
    assert world.stored["image_1.jpg"][1] == "image/jpeg"


def never(*_: object, **__: object) -> None:
    raise AssertionError("a foreign picture is decoded in the process that holds the worker API's token")


def test_pictures_of_a_provider_are_decoded_in_a_confined_child(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    collect_images(world, [picture("PNG", (512, 256))], format="jpeg")
    for name in ("open", "Image.copy", "Image.save", "Image.thumbnail"):
        monkeypatch.setattr(f"PIL.Image.{name}", never)
    assert world.run().reason is Reason.COMPLETED


def test_files_of_a_training_are_read_in_a_confined_child(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.open", never)
    monkeypatch.setattr("simplejpeg.decode_jpeg", never)
    monkeypatch.setattr("contentgen_worker.collect.safetensors.check", never)
    collect_lora(world, WEIGHTS)
    assert world.run().reason is Reason.COMPLETED


def test_pictures_of_a_child_are_decoded_in_another(world: World, talk: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.Image.open", never)
    monkeypatch.setattr("simplejpeg.decode_jpeg", never)
    prepare_lora(world, world.serve("talk.mp4", talk))
    assert world.run().reason is Reason.COMPLETED


@pytest.mark.parametrize("content", [picture("PPM", (64, 64)), b"text", picture("PNG", (64, 64))[:-200]])
def test_pictures_that_are_none(world: World, content: bytes) -> None:
    collect_images(world, [content])
    assert world.run().reason is Reason.RESULT_INVALID


def test_a_picture_too_large(world: World) -> None:
    collect_images(world, [picture("PNG", (512, 256))])
    world.order["limits"] = {"picturePixels": 512 * 256 - 1}
    outcome = world.run()
    assert outcome.reason is Reason.RESULT_INVALID
    assert "512x256" in outcome.message


SPOKEN = "Hello there. Hi & <welcome> to the show that everybody here has been waiting for since the last one."
TRANSCRIPTS = load("assemblyai/transcript.json")
TRANSCRIPT = {
    "id": "t1",
    "status": "completed",
    "text": SPOKEN,
    "audio_duration": 12,
    "language_code": "en_us",
    "words": [
        {"text": word, "start": index * 400, "end": index * 400 + 350, "confidence": 0.9, "speaker": "AB"[index > 1]}
        for index, word in enumerate(SPOKEN.split(" "))
    ],
    "utterances": [{"speaker": "A", "text": "Hello there."}, {"speaker": "B", "text": "Hi & <welcome> to ..."}],
}


def collect_transcript(world: World, answer: object, **options: Any) -> None:
    result = {"url": world.serve("answer", json.dumps(answer).encode()), "trusted": True}
    world.ordered(Kind.TRANSCRIPTION, Stage.COLLECT, {**TRANSCRIPT_SPEC, "options": options}, result=result)


def test_collect_stores_a_transcript(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    outcome = world.run()
    assert outcome.facts == TranscriptFacts(word_count=19, duration_seconds=12, speakers=2, language="en_us")
    assert json.loads(world.stored["transcript.json"][0]) == TRANSCRIPT
    assert world.stored["transcript.txt"][0].startswith(b"Speaker A: Hello there.\n\nSpeaker B: Hi")
    srt = world.stored["transcript.srt"][0].decode()
    assert srt.startswith("1\n00:00:00,000 --> 00:00:00,716\nSpeaker A: Hello there.\n\n2\n00:00:00,800 --> ")
    vtt = world.stored["transcript.vtt"][0].decode()
    assert vtt.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.716\n<v Speaker A>Hello there.")
    assert "Hi &amp; &lt;welcome&gt;" in vtt


def test_transcript_is_stored_without_its_audio_signature(world: World) -> None:
    sound = "https://s3.example/assets/transcripts/a/b/audio.flac"
    query = "X-Amz-Credential=id&X-Amz-Signature=secret"
    collect_transcript(world, TRANSCRIPT | {"audio_url": f"{sound}?{query}", "id": "t2"})
    assert world.run().succeeded
    stored = world.stored["transcript.json"][0]
    assert json.loads(stored)["audio_url"] == sound
    assert b"X-Amz" not in stored


def test_an_outcome_repeats_no_signature(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "tail", lambda: "GET https://s3.example/a?X-Amz-Signature=secret: 403")
    collect_transcript(world, TRANSCRIPT)
    assert world.run().log == "GET https://s3.example/a: 403"


def test_only_the_formats_asked_for(world: World) -> None:
    collect_transcript(world, TRANSCRIPT, formats=["srt"])
    assert [file.name for file in world.run().files] == ["transcript.json", "transcript.txt", "transcript.srt"]


def test_a_recording_where_nobody_speaks(world: World) -> None:
    collect_transcript(world, {"status": "completed", "text": "", "words": [], "audio_duration": 3})
    outcome = world.run()
    assert outcome.facts == TranscriptFacts(word_count=0, duration_seconds=3, speakers=0)
    assert len(outcome.files) == 4


PUBLISHED = {
    name: answer | {"status": "completed"}
    for name, answer in TRANSCRIPTS.examples(TRANSCRIPTS.definitions["Transcript"])
    if name.startswith(("all", "text", "words", "utterances", "audio_duration", "language_code"))
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_transcripts_are_collected(world: World, name: str) -> None:
    collect_transcript(world, PUBLISHED[name])
    assert world.run().succeeded


@pytest.mark.parametrize("answer", [{"status": "error"}, {"text": "x"}, [], {"status": "completed", "words": "x"}])
def test_transcripts_that_are_none(world: World, answer: object) -> None:
    collect_transcript(world, answer)
    assert world.run().reason is Reason.RESULT_INVALID


# --- the worker API and the store -----------------------------------------------------------------------------------


def test_an_operator_that_restarts_is_waited_for(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    world.worker_api_codes = [503, 401, 425, 429, 500]
    assert world.run().reason is Reason.COMPLETED


@pytest.mark.parametrize(("header", "least", "most"), [("7", 21, 24), ("100000", 180, 190), ("soon", 0, 10)])
def test_the_pause_that_a_rate_limit_names_is_kept(
    world: World, clock: Clock, header: str, least: float, most: float
) -> None:
    collect_transcript(world, TRANSCRIPT)
    world.worker_api_codes, world.worker_api_headers = [429, 429, 429], {"Retry_After": header}
    started = clock.now
    assert world.run().reason is Reason.COMPLETED
    assert least <= clock.now - started <= most


def test_progress_is_silent_while_the_rate_is_limited(world: World, clock: Clock) -> None:
    world.progress_codes, world.worker_api_headers = [429], {"Retry_After": "7"}
    settings = world.settings()
    progress = Progress(step=Step.STORING, fraction=0.5)
    with WorkerApiClient(
        settings.worker_api_url, settings.worker_api_ca, settings.token_file, clock=clock.monotonic
    ) as worker_api:
        for _ in range(3):
            with pytest.raises(Retryable, match=r"429|limited our rate"):
                worker_api.report(progress)
        assert world.requests == ["POST /v1/progress"]
        clock.now += 7
        worker_api.report(progress)
    assert world.progress == [progress]


def test_a_worker_api_that_refuses(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    (world.folder / "token").write_text("another's")
    settings = world.settings()
    (world.folder / "token").write_text(TOKEN)
    (world.folder / "old").write_text("old")
    with pytest.raises(WorkerApiRefused):
        run(Stage.COLLECT, settings.model_copy(update={"token_file": world.folder / "old"}), world.clock.monotonic)
    assert world.requests.count("GET /v1/order") > 2


def test_a_worker_api_with_another_certificate(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    settings = world.settings().model_copy(update={"worker_api_ca": ""})
    with pytest.raises(Retryable, match="CERTIFICATE_VERIFY_FAILED"):
        run(Stage.COLLECT, settings, world.clock.monotonic)
    assert world.requests == []


def test_the_token_is_read_anew_for_each_request(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    answer = world.files.pop("answer")

    def rotate(handler: BaseHTTPRequestHandler) -> None:
        (world.folder / "token").write_text("the next token")
        reply(handler, 200, answer)

    world.pages["answer"] = rotate
    assert world.run().reason is Reason.COMPLETED


def test_an_order_for_the_other_stage(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    with pytest.raises(Retryable, match="collect"):
        run(Stage.PREPARE, world.settings(), world.clock.monotonic)


def test_the_certificate_is_checked_for_the_name_not_the_address(
    certificate: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate[0])
    server = Server(lambda handler: reply(handler, 200, b"hi"), context)
    (tmp_path / "ca.pem").write_text(certificate[1])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    port = server.host.rpartition(":")[2]
    guard = AddressGuard([f"localhost:{port}", f"files.example:{port}"], resolve=lambda *_: ["127.0.0.1"])
    fetcher = Fetcher(guard, source=SOURCE)
    try:
        url = f"https://localhost:{port}/"
        assert fetcher.fetch(Download(url=url), tmp_path / "f", DownloadLimits(100, 10)).size_bytes == 2
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            fetcher.fetch(Download(url=f"https://files.example:{port}/"), tmp_path / "f", DownloadLimits(100, 10))
    finally:
        server.close()


def test_expired_grants_are_asked_for_again(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    world.put_codes = [403, 503]
    assert world.run().reason is Reason.COMPLETED
    assert world.requests.count("POST /v1/uploads") == 2


def test_an_expired_outcome_url_is_asked_for_again(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    world.put_codes = [200, 200, 200, 200, 403]  # its files, its outcome
    assert world.run().reason is Reason.COMPLETED
    assert world.requests.count("GET /v1/order") == 2


def test_a_store_that_refuses_every_url_for_the_outcome_is_said(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    world.put_codes = [200] * 4 + [403] * 4
    with pytest.raises(Retryable, match="403 to 4 signed URLs; check its clock and keys, and kms:GenerateDataKey"):
        world.run()


def test_absent_worker_api_is_awaited_until_near_the_deadline(world: World, clock: Clock) -> None:
    """Each failed attempt is one of three."""
    collect_transcript(world, TRANSCRIPT)
    world.worker_api_codes = [503] * 50
    with pytest.raises(Retryable, match="503"):
        run(Stage.COLLECT, world.settings(), world.clock.monotonic)
    with_deadline = world.settings().model_copy(update={"deadline_seconds": 1200})
    world.worker_api_codes = [503] * 50
    assert run(Stage.COLLECT, with_deadline, world.clock.monotonic).reason is Reason.COMPLETED
    world.worker_api_codes = [503] * 100
    started = clock.now
    with pytest.raises(Retryable, match="503"):
        run(Stage.COLLECT, with_deadline, world.clock.monotonic)
    assert 600 < clock.now - started < 1200


def test_progress_costs_nothing(world: World, talk: bytes) -> None:
    prepare_sound(world, world.serve("talk.mp4", talk))
    world.progress_hangs = True
    assert world.run().reason is Reason.COMPLETED
    assert world.gave_up == 0


def test_progress_is_told(world: World, talk: bytes) -> None:
    prepare_lora(world, world.serve("talk.mp4", talk))
    world.run()
    assert world.progress
    assert world.progress[0].step == "Downloading"


def _fails_until_told(world: World, then: bytes) -> Answer:
    """Answer 503 at first; the next one when the progress says so."""
    asked = list[bool]()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if not asked:
            asked.append(True)
            return reply(handler, 503)
        ends = time.monotonic() + 20
        while time.monotonic() < ends and not any(report.message for report in world.progress):
            time.sleep(0.02)
        return reply(handler, 200, then)

    return answer


def test_the_cause_of_a_retry_is_told_while_it_lasts(world: World) -> None:
    collect_transcript(world, TRANSCRIPT)
    world.pages["answer"] = _fails_until_told(world, world.files.pop("answer"))
    assert world.run().reason is Reason.COMPLETED
    (told,) = {report.message for report in world.progress if report.message}
    host = f"http://{world.web.host}"
    assert told.startswith(f"a request to the object store failed and is tried again: {host}/...: HTTP 503"), told
    assert SIGNED not in str(world.progress)
    assert {report.step for report in world.progress} == {Step.STORING}


def test_the_cause_of_a_download_that_is_repeated_is_told(world: World, talk: bytes) -> None:
    prepare_sound(world, world.url("talk.mp4", signed=True))
    world.pages["talk.mp4"] = _fails_until_told(world, talk)
    assert world.run().reason is Reason.COMPLETED
    told = {report.message for report in world.progress if report.message}
    assert all(each.startswith("a download failed and is tried again: http://") for each in told), told
    assert told
    assert SIGNED not in str(world.progress)


def test_more_files_than_one_call_takes(world: World, silent: bytes, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    frames = [cv2.resize(random.integers(0, 255, (9, 16, 3), dtype=np.uint8), (64, 36)) for _ in range(150)]
    url = world.serve("noise.mp4", video(tmp_path / "noise.mp4", frames))
    detection = {"sceneDetection": {"detector": "hash"}}
    prepare_lora(world, url, framesPerScene=10, maxImages=1000, minImages=4, **detection)
    outcome = world.run()
    assert outcome.reason is Reason.COMPLETED, outcome.message
    pictures = len(outcome.files) - 2  # the zip and the sheet come after them
    assert world.requests.count("POST /v1/uploads") == -(-pictures // 256) + 1


# --- the program ---------------------------------------------------------------------------------------------------


def program(world: World, stage: str, **more: str) -> subprocess.CompletedProcess[str]:
    settings = world.settings()
    environment = {
        **os.environ,
        "CONTENTGEN_WORKER_API_URL": settings.worker_api_url,
        "CONTENTGEN_WORKER_API_CA": settings.worker_api_ca,
        "CONTENTGEN_TOKEN_FILE": str(settings.token_file),
        "CONTENTGEN_SCRATCH": str(settings.scratch),
        "CONTENTGEN_PATIENCE_SCALE": "0.0001",
        **more,
    }
    command = [sys.executable, "-m", "contentgen_worker", stage]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def collected(certificate: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run of the program that stored a transcript."""
    with closing(World(certificate, tmp_path_factory.mktemp("collected"), Clock())) as world:
        collect_transcript(world, TRANSCRIPT)
        return ran(world, "collect")


@pytest.fixture(scope="module")
def nowhere(certificate: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run of the program whose source does not exist."""
    with closing(World(certificate, tmp_path_factory.mktemp("nowhere"), Clock())) as world:
        prepare_sound(world, world.url("nowhere", signed=True))
        return ran(world, "prepare")


def ran(world: World, stage: str) -> Ran:
    done = program(world, stage)
    assert done.returncode == 0, done.stderr
    return done.stderr, Outcome.model_validate_json(world.stored["outcome.json"][0])


def test_the_program_ends_well_and_logs_json(collected: Ran) -> None:
    said, _ = collected
    lines = [json.loads(line) for line in said.splitlines()]
    assert {line["jobId"] for line in lines} == {"abc-123"}
    assert [line["event"] for line in lines] == ["order", "step", "outcome"]
    assert SIGNED not in said


def test_the_log_outlives_the_pod_in_the_outcome(collected: Ran) -> None:
    _, outcome = collected
    order, step, end = outcome.log.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d order: version 1, attempt 1", order)
    size = human_bytes(sum(file.size_bytes for file in outcome.files))
    assert re.search(rf" Storing: words \d+, files 4, {re.escape(size)}, \d+\.\d s$", step), step
    assert end.endswith(f" outcome: reason Completed, files 4, {size}"), end


def test_a_verdicts_log_says_what_was_tried_and_no_signature(nowhere: Ran) -> None:
    _, outcome = nowhere
    assert f"reason SourceUnreachable, {outcome.message}" in outcome.log
    assert " Downloading: " in outcome.log
    assert SIGNED not in outcome.log


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({"CONTENTGEN_WORKER_API_URL": "https://127.0.0.1:9"}, 1, "is the operator up"),
        ({"CONTENTGEN_TOKEN_FILE": "/nowhere/token"}, 3, "/nowhere/token"),
        ({"CONTENTGEN_PATIENCE_SCALE": "much"}, 1, "CONTENTGEN_PATIENCE_SCALE"),
    ],
)
def test_the_program_fails_with_one_clear_line(world: World, more: dict[str, str], code: int, text: str) -> None:
    done = program(world, "collect", **more)
    last = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, last["event"], last["exit"]) == (code, "no outcome", code)
    assert text in last["error"]
    assert "Traceback" not in done.stderr


def test_a_verdict_is_work_done(nowhere: Ran) -> None:
    said, outcome = nowhere
    assert outcome.reason is Reason.SOURCE_UNREACHABLE
    assert SIGNED not in said


def test_a_stage_loads_only_what_it_needs() -> None:
    code = (
        "import sys; import contentgen_worker.command_line, contentgen_worker.collect.transcription;"
        "print(sorted({'cv2', 'av', 'scenedetect', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_worker_knows_nobody_but_the_contract() -> None:
    import contentgen_worker  # noqa: PLC0415

    for path in Path(str(contentgen_worker.__file__)).parent.rglob("*.py"):
        text = path.read_text()
        assert "contentgen_operator" not in text, path
        assert "contentgen_sandbox" not in text, path
