"""Audio extraction: track, timing, formats, and the notes for users. Files are made here."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from contentgen_worker.errors import BeyondLimits, NoAudioTrack, Unsupported
from contentgen_worker.media.audio.extract import ExtractedAudio, extract
from contentgen_worker.media.audio.loudness import LevelMeter, Loudness
from contentgen_worker.media.audio.one_pass import run
from contentgen_worker.media.audio.timeline import Timeline
from contentgen_worker.media.audio.tracks import AudioTrack, rank
from contentgen_worker.media.decode.bounds import MediaLimits

BOUNDS = MediaLimits(pixels=10**7, seconds=600)
BEEP = 0.2  # seconds


def beeps(at: Sequence[float], seconds: float, rate: int = 44100, pitch: int = 800) -> np.ndarray:
    """Quiet noise with beeps at these seconds; -1 to 1."""
    time = np.arange(round(seconds * rate)) / rate
    loud = sum(((time >= start) & (time < start + BEEP)).astype(float) for start in at)
    return np.asarray(np.sin(2 * np.pi * pitch * time) * 0.5 * loud + np.sin(time * 700) * 1e-3)


Piece = tuple[float, np.ndarray]  # where it begins on the file's clock, and its samples


def record(
    path: Path,
    *tracks: Sequence[Piece],
    codec: str = "pcm_s16le",
    layout: str = "mono",
    rate: int = 44100,
    languages: Sequence[str] = (),
    dispositions: Sequence[Disposition] = (),
    pictures: float = 0,
) -> Path:
    """Recording with these audio tracks, and video of this many seconds."""
    with av.open(str(path), "w") as container:
        film = container.add_stream("mpeg4", rate=10) if pictures else None
        voices = [container.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        for voice, language in zip(voices, languages, strict=False):
            voice.metadata["language"] = language
        for voice, disposition in zip(voices, dispositions, strict=False):
            voice.disposition = disposition
        if film:
            film.width, film.height, film.pix_fmt = 64, 36, "yuv420p"
            for index in range(round(pictures * 10)):
                frame = av.VideoFrame.from_ndarray(np.full((36, 64, 3), index, np.uint8), format="rgb24")
                container.mux(film.encode(frame))
            container.mux(film.encode(None))
        for voice, pieces in zip(voices, tracks, strict=True):
            for start, samples in pieces:
                for offset in range(0, len(samples), 4096):
                    part = samples[offset : offset + 4096]
                    channels = voice.codec_context.layout.nb_channels
                    frame = av.AudioFrame.from_ndarray(
                        np.tile(part.astype(np.float32), (channels, 1)), format="fltp", layout=layout
                    )
                    frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                    frame.pts = round(start * rate) + offset
                    container.mux(voice.encode(frame))
            container.mux(voice.encode(None))
    return path


def taken(
    path: Path, *, bounds: MediaLimits = BOUNDS, wanted: int | None = None, language: str = "auto"
) -> tuple[ExtractedAudio, np.ndarray]:
    """Extracted audio and its samples."""
    file = io.BytesIO()
    sound = extract(path, file, bounds, lambda _: None, wanted=wanted, language=language)
    with av.open(io.BytesIO(file.getvalue())) as flac:
        stream = flac.streams.audio[0]
        assert (stream.rate, stream.channels, stream.codec_context.name) == (16000, 1, "flac")
        samples = np.concatenate([frame.to_ndarray()[0] for frame in flac.decode(stream)])
        assert flac.duration == pytest.approx(sound.seconds * 1e6, abs=100)  # the header says how long it is
    assert len(samples) == round(sound.seconds * 16000)
    return sound, samples / 32768


def heard(samples: np.ndarray) -> list[float]:
    """Seconds at which beeps begin."""
    level = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(axis=1) > 0.1
    return [float(index / 100) for index in np.flatnonzero(np.diff(level.astype(int), prepend=0) == 1)]


def pitch(samples: np.ndarray) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * 16000 / len(samples))


# --- time ----------------------------------------------------------------------------------------------------------


def test_a_gap_in_the_clock_is_silence(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", [(0, beeps([1], 2)), (7.5, beeps([0.5, 1], 2))], pictures=10)
    sound, samples = taken(path)
    assert heard(samples) == pytest.approx([1, 8, 8.5], abs=0.03)
    assert sound.seconds == pytest.approx(9.5, abs=0.05)
    assert sound.notes == ("6 s without sound in it are kept as silence, so that times match the recording",)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_sound_that_begins_after_the_pictures(tmp_path: Path, suffix: str) -> None:
    codec = "pcm_s16le" if suffix == "mkv" else "aac"
    path = record(tmp_path / f"a.{suffix}", [(1.5, beeps([0.5], 2))], codec=codec, pictures=4)
    assert heard(taken(path)[1]) == pytest.approx([2], abs=0.06)


def test_a_clock_that_begins_anew_loses_nothing(tmp_path: Path) -> None:
    one = record(tmp_path / "a.ts", [(0, beeps([1], 3))], codec="mp2").read_bytes()
    path = tmp_path / "b.ts"
    path.write_bytes(one * 3)
    sound, samples = taken(path)
    assert heard(samples) == pytest.approx([1, 4, 7], abs=0.15)
    assert any("clock jumps 2 times" in note for note in sound.notes)


def test_sound_without_a_clock(tmp_path: Path) -> None:
    sound, samples = taken(record(tmp_path / "a.aac", [(0, beeps([1, 2], 3))], codec="aac"))
    assert heard(samples) == pytest.approx([1, 2], abs=0.06)
    assert sound.notes == ()


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


def test_the_bound_holds_with_silence(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", [(0, beeps([1], 2)), (30, beeps([1], 2))])
    with pytest.raises(BeyondLimits, match="limit is 20 s"):
        taken(path, bounds=MediaLimits(10**7, 20))


# --- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "layout", "rate"),
    [
        ("a.wav", "pcm_u8", "mono", 8000),
        ("a.wav", "pcm_s16le", "stereo", 44100),
        ("a.wav", "pcm_s24le", "stereo", 96000),
        ("a.wav", "pcm_s32le", "5.1", 48000),
        ("a.wav", "pcm_f32le", "quad", 48000),
        ("a.wav", "pcm_mulaw", "mono", 8000),
        ("a.wav", "pcm_s16le", "3 channels", 16000),
        ("a.flac", "flac", "stereo", 48000),
        ("a.mp3", "libmp3lame", "stereo", 44100),
        ("a.ogg", "libopus", "stereo", 24000),
        ("a.webm", "libopus", "stereo", 48000),
        ("a.m4a", "alac", "stereo", 44100),
        ("a.mp4", "aac", "5.1", 48000),
        ("a.mkv", "ac3", "5.1", 48000),
        ("a.mkv", "eac3", "stereo", 44100),
    ],
)
def test_any_shape_of_sound(tmp_path: Path, name: str, codec: str, layout: str, rate: int) -> None:
    path = record(tmp_path / name, [(0, beeps([0.5, 1.5], 2.5, rate))], codec=codec, layout=layout, rate=rate)
    _, samples = taken(path)
    assert heard(samples) == pytest.approx([0.5, 1.5], abs=0.06)
    assert pitch(samples) == pytest.approx(800, abs=10)


def test_a_rate_that_changes_on_the_way(tmp_path: Path) -> None:
    parts = [
        record(tmp_path / f"{rate}.aac", [(0, beeps([1], 2, rate))], codec="aac", rate=rate).read_bytes()
        for rate in (44100, 24000)
    ]
    path = tmp_path / "a.aac"
    path.write_bytes(b"".join(parts))
    assert heard(taken(path)[1]) == pytest.approx([1, 3], abs=0.15)


def test_pictures_are_not_decoded(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", [(0, beeps([1], 2))], pictures=2)
    content = path.read_bytes()
    header = content.index(b"\x00\x00\x01\xb6")  # of the first picture of MPEG-4
    path.write_bytes(content.replace(b"\x00\x00\x01\xb6", b"\xff\xff\xff\xff"))
    assert content.count(b"\x00\x00\x01\xb6") > 10, header
    assert heard(taken(path)[1]) == pytest.approx([1], abs=0.03)


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


def test_damaged_packets_are_gaps(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", [(0, beeps([1, 3], 4))], codec="ac3")
    content = bytearray(path.read_bytes())
    frames = [at for at in range(len(content)) if content[at : at + 2] == b"\x0b\x77"]
    for at in frames[len(frames) // 2 - 10 : len(frames) // 2 + 10]:
        content[at : at + 64] = bytes(64)
    path.write_bytes(content)
    assert heard(taken(path)[1]) == pytest.approx([1, 3], abs=0.06)


def test_no_sound_in_its_track(tmp_path: Path) -> None:
    path = record(tmp_path / "a.mkv", [], pictures=1)
    with pytest.raises(Unsupported, match="no sound that can be decoded"):
        taken(path)


# --- tracks --------------------------------------------------------------------------------------------------------

LANGUAGES = ("eng", "ger", "fre")


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tracks = [[(0, beeps([0.2], 1, pitch=tone))] for tone in (500, 700, 900)]
    path = tmp_path_factory.mktemp("sound") / "a.mkv"
    comment, default, none = Disposition.comment, Disposition.default, Disposition(0)
    return record(path, *tracks, languages=LANGUAGES, dispositions=(comment, none, default), pictures=1)


@pytest.mark.parametrize(
    ("wanted", "language", "expected"),
    [(None, "auto", 900), (None, "de", 700), (None, "en_us", 900), (1, "auto", 500), (2, "fr", 700), (None, "xx", 900)],
)
def test_the_track(dubbed: Path, wanted: int | None, language: str, expected: int) -> None:
    sound, samples = taken(dubbed, wanted=wanted, language=language)
    assert pitch(samples) == pytest.approx(expected, abs=10)
    assert (sound.tracks, sound.track.language) == (3, LANGUAGES[sound.track.number - 1])


def test_a_track_that_is_not_there(dubbed: Path) -> None:
    with pytest.raises(
        NoAudioTrack, match=r"audioTrack is 4, the file's sound tracks are 1 \(eng\), 2 \(ger\), 3 \(fre\)"
    ):
        taken(dubbed, wanted=4)


def test_no_track(tmp_path: Path) -> None:
    with pytest.raises(NoAudioTrack, match="no sound track"):
        taken(record(tmp_path / "a.mp4", pictures=1))


def test_a_track_that_we_do_not_read_is_passed_over() -> None:
    tracks = [AudioTrack(1, "dts", default=True, readable=False), AudioTrack(2, "aac")]
    assert rank(tracks, None, "auto")[0].number == 2
    with pytest.raises(Unsupported, match="'dts'"):
        rank(tracks, 1, "auto")


def test_a_container_with_a_codec_that_is_not_on_the_list(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="'tta'"):
        taken(record(tmp_path / "a.mkv", [(0, beeps([0.5], 1))], codec="tta"))


# --- loudness ------------------------------------------------------------------------------------------------------


def test_a_faint_recording_says_so(tmp_path: Path) -> None:
    sound, _ = taken(record(tmp_path / "a.wav", [(0, beeps([1, 2], 4) * 0.004)]))
    assert len(sound.notes) == 1
    assert "almost silent (-5" in sound.notes[0]


def test_a_recording_that_ends_early_says_so(tmp_path: Path) -> None:
    sound, _ = taken(record(tmp_path / "a.mkv", [(0, beeps([1], 4))], pictures=20))
    assert sound.notes == ("the sound ends at 4 s of 20 s",)


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


def test_nothing_was_heard() -> None:
    assert LevelMeter().loudness(0) == Loudness(-96.0, 0.0, silent=True)
