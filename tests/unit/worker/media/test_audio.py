"""Extraction of sound: what is read, the timeline, loudness. tests/media has the recordings."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from contentgen_contract.resources.spec import TranscriptionOptions
from contentgen_recordings.sounds import beeps, decoded, noise, onsets, record
from contentgen_worker.errors import BeyondLimits, DecoderCrashed, Unsupported
from contentgen_worker.media.audio.extract import extract
from contentgen_worker.media.audio.loudness import LevelMeter, Loudness
from contentgen_worker.media.audio.one_pass import run
from contentgen_worker.media.audio.timeline import Timeline
from contentgen_worker.media.audio.tracks import AudioTrack, rank
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.chunks import correction
from contentgen_worker.media.decode.probe import probe
from contentgen_worker.prepare import transcription

BOUNDS = MediaLimits(pixels=10**7, seconds=600)
# --- time ----------------------------------------------------------------------------------------------------------


def test_the_timeline() -> None:
    timeline = Timeline(length=100)
    steps: list[tuple[float | None, float, float | None, str]] = [
        (0.0, 1.0, 0.0, "in time"),
        (1.05, 1.0, 0.0, "rounded"),
        (None, 1.0, 0.0, "no stamp"),
        (5.0, 1.0, 2.0, "a gap"),
        (5.5, 1.0, None, "had already"),
        (6.0, 1.0, 0.0, "goes on"),
        (2.0, 1.0, 0.0, "began anew"),
        (3.0, 1.0, 0.0, "goes on in the new clock"),
        (5.0, 1.0, 1.0, "a gap in the new clock"),
        (500.0, 1.0, 0.0, "beyond its length"),
        (501.0, 1.0, 0.0, "goes on in that one"),
    ]
    for start, length, expected, name in steps:
        assert timeline.place(start, length) == pytest.approx(expected), name
    assert (timeline.end, timeline.filled, timeline.jumps) == (pytest.approx(13), pytest.approx(3), 2)


@pytest.mark.parametrize(("start", "expected"), [(3599.0, 3599.0), (3601.0, 0.0)])
def test_the_longest_gap_that_is_filled(start: float, expected: float) -> None:
    assert Timeline(length=0).place(start, 1.0) == expected


# --- files ---------------------------------------------------------------------------------------------------------


def test_pictures_are_not_decoded(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", [beeps([1], 2)], layout="mono", pictures=2)
    content = path.read_bytes()
    header = content.index(b"\x00\x00\x01\xb6")  # of the first picture of MPEG-4
    path.write_bytes(content.replace(b"\x00\x00\x01\xb6", b"\xff\xff\xff\xff"))
    assert content.count(b"\x00\x00\x01\xb6") > 10, header
    file = io.BytesIO()
    extract(path, file, BOUNDS, lambda _: None)
    assert onsets(decoded(file.getvalue())) == pytest.approx([1], abs=0.03)


def test_pictures_are_not_read(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        film, voice = container.add_stream("mpeg4", rate=25), container.add_stream("aac", rate=16000, layout="mono")
        film.width, film.height, film.pix_fmt, film.bit_rate = 320, 180, "yuv420p", 8_000_000
        random = np.random.default_rng(0)
        for _ in range(50):
            noise = random.integers(0, 255, (180, 320, 3), dtype=np.uint8)
            container.mux(film.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(film.encode(None))
        sound = av.AudioFrame.from_ndarray(beeps([1], 2, 16000)[None].astype(np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(voice.encode(sound))
        container.mux(voice.encode(None))

    class Counting(io.FileIO):
        count = 0

        def read(self, size: int | None = -1) -> bytes:
            content = super().read(-1 if size is None else size) or b""
            self.count += len(content)
            return content

    with Counting(tmp_path / "a.mp4") as file, av.open(file) as container:
        file.count = 0
        run(container, io.BytesIO(), BOUNDS, lambda _: None, track=AudioTrack(1, "aac"))
        assert file.count < (tmp_path / "a.mp4").stat().st_size * 0.6


def test_a_stated_length_refuses_before_anything_is_decoded(tmp_path: Path) -> None:
    path = record(tmp_path / "a.flac", [noise(12)], codec="flac", layout="mono")
    progress: list[float] = []
    with pytest.raises(BeyondLimits, match="it lasts 12 s, the limit is 11 s"):
        extract(path, io.BytesIO(), replace(BOUNDS, seconds=11), progress.append)
    assert progress == []
    assert not probe(path, BOUNDS).estimated


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RF64\0\0\0\0WAVEdata\1\0\0\0", b"caff\0\1\0\0data"]
)
def test_no_header_to_correct(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb", buffering=0) as file:
        assert correction(file) is None


def test_a_crash_of_the_decoder_is_not_blamed_on_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object, **__: object) -> None:
        raise DecoderCrashed("the decoder crashed on it (SIGABRT)", advice="re-encode its video")

    monkeypatch.setattr(transcription, "spawn", crash)
    with pytest.raises(DecoderCrashed) as raised:
        transcription._extract(tmp_path / "a", tmp_path / "b" / "c", TranscriptionOptions(), BOUNDS, lambda _: None)
    assert str(raised.value) == (
        "its sound: the decoder crashed on it (SIGABRT); "
        "convert its sound, for example: ffmpeg -i FILE -c:v copy -c:a aac new.mp4"
    )


def test_a_track_that_we_do_not_read_is_passed_over() -> None:
    tracks = [AudioTrack(1, "dts", default=True, readable=False), AudioTrack(2, "aac")]
    assert rank(tracks, None, "auto")[0].number == 2
    with pytest.raises(Unsupported, match="'dts'"):
        rank(tracks, 1, "auto")


# --- loudness ------------------------------------------------------------------------------------------------------


def loudness(*parts: tuple[float, float]) -> Loudness:
    """Consecutive noise of these (seconds, dBFS)."""
    meter, random = LevelMeter(), np.random.default_rng(0)
    for seconds, level in parts:
        for second in np.split(random.normal(0, 32768 * 10 ** (level / 20), round(seconds) * 16000), round(seconds)):
            meter.add(np.clip(second, -32768, 32767).astype(np.int16), 16000)
    return meter.loudness(sum(seconds for seconds, _ in parts))


@pytest.mark.parametrize(
    ("parts", "audible"),
    [
        ([(60, -20)], 60),
        ([(20, -20), (40, -60), (20, -24), (40, -58)], 40),
        ([(10, -20), (290, -50)], 10),
        ([(30, -20), (30, -32)], 60),  # soft speech is speech
        ([(60, -75)], 0),
        ([(60, -96)], 0),
    ],
)
def test_audible_seconds(parts: list[tuple[float, float]], audible: float) -> None:
    assert loudness(*parts).audible == pytest.approx(audible, abs=1)


def test_a_bang_is_not_the_level() -> None:
    meter = LevelMeter()
    meter.add(np.r_[np.full(800, 30000, np.int16), np.zeros(16000 * 60, np.int16)], 16000)
    assert meter.loudness(60).level == -96


def test_recording_without_speech() -> None:
    assert LevelMeter().loudness(0) == Loudness(-96.0, 0.0, silent=True)
