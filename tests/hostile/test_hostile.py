"""Each hostile file ends in a training set or audio, or in a clear reason, within its limits and without touching other
files.

Unless CONTENTGEN_HOSTILE=all (make test-hostile), a sample is chosen by hashes of the names. Rows:
build/test/hostile.json.
"""

import json
import logging
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest

from contentgen_contract.names import Kind, Reason
from contentgen_hostile import works
from contentgen_hostile.canary import WatchedAddresses, watched
from contentgen_hostile.corpus import GROUPS, HostileSample, corpus
from contentgen_hostile.judge import MEMORY, MOST_CPU, MOST_SECONDS, Judgement, judge
from contentgen_worker.errors import WorkerError
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.sandbox.isolation import spawn

ALL = os.environ.get("CONTENTGEN_HOSTILE") == "all"
EACH = 1 if ALL else 16
ROWS = Path(__file__).resolve().parents[2] / "build/test/hostile.json"
MIN_FILES = 300 if ALL else 30
KINDS = (Kind.LORA_TRAINING, Kind.TRANSCRIPTION)


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedAddresses]:
    with watched(tmp_path_factory.mktemp("canary")) as one:
        yield one


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    found: list[dict[str, Any]] = []
    yield found
    ROWS.parent.mkdir(parents=True, exist_ok=True)
    ROWS.write_text(json.dumps(found, indent=1))


def sampled(samples: Iterator[HostileSample]) -> list[HostileSample]:
    return [sample for sample in samples if zlib.crc32(sample.name.encode()) % EACH == 0]


def violations(sample: HostileSample, kind: Kind, found: Judgement, accesses: list[str]) -> Iterator[str]:
    """Violations of the requirements."""
    if found.reason not in (sample.lora if kind is Kind.LORA_TRAINING else sample.sound):
        yield f"ended {found.reason}"
    if found.reason is not Reason.COMPLETED and not found.message.startswith("spec.source.url: "):
        yield "no clear reason"
    if "decoding failed" in found.message:
        yield "an error that nobody expected"
    if found.seconds > MOST_SECONDS or found.cpu_seconds > MOST_CPU:
        yield "took too long"
    if found.peak_bytes > MEMORY:
        yield "took too much memory"
    if accesses:
        yield f"touched {accesses}"


@pytest.mark.parametrize("group", GROUPS)
def test_each_file_ends_well(group: str, canary: WatchedAddresses, rows: list[dict[str, Any]]) -> None:
    failures = []
    for sample in sampled(corpus(group, canary.canary)):
        for kind in KINDS:
            canary.forget_accesses()
            found = judge(sample.content, kind, coming=zlib.crc32(sample.name.encode()) // EACH % 2 == 1)
            faults = list(violations(sample, kind, found, canary.accesses()))
            row = {"file": sample.name, "bytes": len(sample.content), "kind": kind, "reason": found.reason}
            row |= {"message": found.message, "seconds": found.seconds, "cpuSeconds": found.cpu_seconds}
            rows.append(row | {"peakMB": found.peak_bytes >> 20, "wrong": faults})
            failures += [f"{sample.name} as {kind}: {', '.join(faults)}: {found.message}"] * bool(faults)
    assert not failures, "\n".join(failures)


def test_the_corpus_is_large_and_different(rows: list[dict[str, Any]]) -> None:
    assert len({row["file"] for row in rows}) >= MIN_FILES
    ended = {row["reason"] for row in rows}
    assert ended >= {Reason.COMPLETED, Reason.UNSUPPORTED_MEDIA, Reason.NO_VIDEO}
    completed = sum(row["reason"] is Reason.COMPLETED for row in rows)
    assert completed >= len(rows) // 6  # a guard that refuses everything would pass all other checks


def write_playlist(canary: WatchedAddresses, name: str, folder: Path) -> Path:
    sample = next(corpu for corpu in corpus("playlists", canary.canary) if corpu.name == f"playlists/{name}")
    path = folder / "list.m3u8"
    path.write_bytes(sample.content)
    canary.forget_accesses()
    return path


@pytest.mark.parametrize(("name", "rung"), [("hls-http", "/canary.ts"), ("concat-path", "the file")])
def test_the_canary_rings_where_nothing_guards(canary: WatchedAddresses, tmp_path: Path, name: str, rung: str) -> None:
    path = write_playlist(canary, name, tmp_path)
    options = {"protocol_whitelist": "file,http,tcp,crypto", "allowed_extensions": "ALL", "safe": "0"}
    with av.open(str(path), options=options) as container:
        next(container.decode(video=0))
    assert rung in canary.accesses()


@pytest.mark.parametrize("name", ["hls-http", "concat-path"])
def test_decoder_child_follows_no_playlist(
    canary: WatchedAddresses, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    path = write_playlist(canary, name, tmp_path)
    with (
        spawn(works.open_anything, path, limits=MediaLimits(10**7, 60).child_limits(path)) as child,
        pytest.raises(WorkerError),
    ):
        list(child.messages())
    assert canary.accesses() == []


def test_the_corpus_is_the_same_on_every_run(canary: WatchedAddresses) -> None:
    for group in ("sizes", "fuzzed"):
        first, second = ([(each.name, each.content) for each in sampled(corpus(group, canary.canary))] for _ in "12")
        assert first == second
