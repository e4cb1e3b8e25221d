"""Sound as recorders, phones and editors write it: channels, tracks, lengths, containers. Files are made here."""

import io
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from contentgen_contract.resources.spec import TranscriptionOptions
from contentgen_worker.errors import BeyondLimits, DecoderCrashed, NoAudioTrack, Unsupported
from contentgen_worker.media.audio.extract import ExtractedAudio, extract
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.chunks import correction
from contentgen_worker.media.decode.probe import probe
from contentgen_worker.prepare import transcription

BOUNDS = MediaLimits(pixels=10**7, seconds=600)
RATE = 48000
Sound = npt.NDArray[np.float64]  # samples of a channel, -1 to 1


def tone(pitch: float, seconds: float = 2, level: float = 0.25, rate: int = RATE) -> Sound:
    return np.asarray(level * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate))


def noise(seconds: float, level: float = 0.2) -> Sound:
    return np.asarray(np.random.default_rng(0).normal(0, level, round(seconds * RATE)).clip(-1, 1))


def record(
    path: Path,
    *tracks: Sequence[Sound],
    codec: str = "pcm_s16le",
    layout: str = "",
    rate: int = RATE,
    bit_rate: int = 0,
    languages: Sequence[str] = (),
    options: dict[str, str] | None = None,
) -> Path:
    """Recording of tracks, each with its channels."""
    with av.open(str(path), "w", options=options or {}) as container:
        names = [layout or f"{len(channels)} channels" for channels in tracks]
        streams = [container.add_stream(codec, rate=rate, layout=name) for name in names]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for stream, channels, name in zip(streams, tracks, names, strict=True):
            if bit_rate:
                stream.bit_rate = bit_rate
            packed = np.rint(np.array(channels).T * 32767).astype(np.int16)
            for at in range(0, len(packed), 1024):
                frame = av.AudioFrame.from_ndarray(packed[at : at + 1024].reshape(1, -1), format="s16", layout=name)
                frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), at
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def taken(
    path: Path, bounds: MediaLimits = BOUNDS, wanted: int | None = None, language: str = "auto"
) -> tuple[ExtractedAudio, Sound]:
    file = io.BytesIO()
    sound = extract(path, file, bounds, lambda _: None, wanted=wanted, language=language)
    return sound, decoded(file.getvalue())


def decoded(content: bytes) -> Sound:
    with av.open(io.BytesIO(content)) as flac:
        return np.concatenate([frame.to_ndarray()[0] for frame in flac.decode(audio=0)]) / 32768


def level(samples: Sound, pitch: float) -> float:
    """Amplitude of a tone."""
    wave = np.exp(-2j * np.pi * pitch * np.arange(len(samples)) / 16000)
    return float(2 * np.abs(samples @ wave) / len(samples))


# --- channels ------------------------------------------------------------------------------------------------------

A, B = tone(500), tone(800)
LATE = np.r_[tone(500, 1), -tone(500, 1)]
CANCEL = "its channels cancel each other for {} s: some are mixed with opposite polarity there"
UNSTATED = "its {} channels have no stated layout: all are mixed with equal weight"
ROOT = 0.5**0.5


@pytest.mark.parametrize(
    ("kind", "channels", "expected", "notes"),
    [
        ("wav stereo", [A, -A], {500: 1}, [CANCEL.format(2)]),
        ("flac stereo", [A, -A], {500: 1}, [CANCEL.format(2)]),
        ("mkv ", [A, -A], {500: 1}, [CANCEL.format(2)]),
        ("wav stereo", [A, -0.9 * A], {500: 0.95}, [CANCEL.format(2)]),
        ("wav stereo", [A, -A / 2], {500: 0.75}, [CANCEL.format(2)]),  # 12 dB below the louder channel
        ("wav stereo", [A, -A / 5], {500: 0.4}, []),  # 8 dB below it
        ("wav stereo", [A + 0.3, -A + 0.3], {500: 1}, [CANCEL.format(2)]),  # the offset of a cheap converter
        ("wav stereo", [A, LATE], {500: 1}, [CANCEL.format(1)]),
        ("wav stereo", [A, A], {500: 1}, []),
        ("wav stereo", [A, B], {500: 0.5, 800: 0.5}, []),
        ("wav stereo", [A, 0 * A], {500: 0.5}, []),
        ("wav 5.1", [A, -A, *[0 * A] * 4], {500: 2 * ROOT / (2 + 2 * ROOT)}, [CANCEL.format(2)]),
        ("wav quad", [A, -A, B, -B], {500: ROOT * 2 / (1 + 2 * ROOT)}, [CANCEL.format(2)]),
        ("wav ", [A, -A, B, -B], {500: 1, 800: 1}, [UNSTATED.format(4), CANCEL.format(2)]),
        ("wav mono", [A], {500: 1}, []),
    ],
)
def test_channels_of_opposite_polarity_are_heard(
    tmp_path: Path, kind: str, channels: list[Sound], expected: dict[int, float], notes: list[str]
) -> None:
    suffix, _, layout = kind.partition(" ")
    path = record(tmp_path / f"a.{suffix}", channels, layout=layout, codec="flac" if suffix == "flac" else "pcm_s16le")
    sound, samples = taken(path)
    assert list(sound.notes) == notes
    for pitch, share in expected.items():
        assert level(samples, pitch) == pytest.approx(0.25 * share, rel=0.03)


@pytest.mark.parametrize("suffix", ["wav", "mkv", "mov", "caf"])
@pytest.mark.parametrize("count", [3, 5, 6, 7, 8, 10, 24])
def test_each_channel_without_a_stated_layout_is_heard(tmp_path: Path, suffix: str, count: int) -> None:
    pitches = [300 + 100 * number for number in range(count)]
    path = record(tmp_path / f"a.{suffix}", [tone(pitch, level=0.1) for pitch in pitches])
    sound, samples = taken(path)
    assert sound.notes == (UNSTATED.format(count),)
    levels = [level(samples, pitch) for pitch in pitches]
    assert min(levels) == pytest.approx(max(levels), rel=0.02)
    assert min(levels) > 0.1 / count
    assert np.abs(samples).max() < 1


def test_one_speaker_on_one_of_many_channels_is_not_faint(tmp_path: Path) -> None:
    sound, samples = taken(record(tmp_path / "a.wav", [tone(500, level=0.05), *[0 * A] * 31]))
    assert sound.notes == (UNSTATED.format(32),)
    assert level(samples, 500) == pytest.approx(0.05 / 32**0.5, rel=0.03)


def test_too_many_channels(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="its sound has 65 channels, at most 64 are read"):
        taken(record(tmp_path / "a.wav", [A] * 65))


WEIGHTS = {"FC": 1.0, "LFE": 0.0, **dict.fromkeys(("FL", "FR", "FLC", "FRC"), ROOT)}  # others 0.5


def assert_downmix(path: Path, names: Sequence[str], folder: Path) -> None:
    """Extract in a child, which may crash; each channel has the tone of its number."""
    folder.mkdir()
    sound = transcription._extract(path, folder / "audio.flac", TranscriptionOptions(), BOUNDS, lambda _: None)
    samples = decoded((folder / "audio.flac").read_bytes())
    assert sound.notes == ()
    weights = [WEIGHTS.get(name, 0.5) for name in names]
    for number, weight in enumerate(weights):
        assert level(samples, 300 + 150 * number) == pytest.approx(0.25 * weight / sum(weights), abs=0.002), number


@pytest.mark.parametrize(
    ("name", "layout", "codec"),
    [
        ("a.wav", "5.1", "pcm_s16le"),
        ("a.flac", "5.1", "flac"),
        ("a.mka", "5.1", "flac"),
        ("a.wav", "3.0", "pcm_s16le"),
        ("a.wav", "7.1", "pcm_s16le"),
        ("a.mov", "7.1", "pcm_s24le"),
        ("a.mov", "6.1", "pcm_s16le"),
        ("a.mov", "7.1(wide-side)", "pcm_s16le"),
    ],
)
def test_a_stated_layout_has_its_downmix(tmp_path: Path, name: str, layout: str, codec: str) -> None:
    names = [channel.name for channel in av.AudioLayout(layout).channels]
    sounds = [tone(300 + 150 * number) for number in range(len(names))]
    assert_downmix(record(tmp_path / name, sounds, layout=layout, codec=codec), names, tmp_path / "scratch")


@pytest.mark.parametrize("suffix", ["mov", "caf"])
@pytest.mark.parametrize(
    ("tag", "names"),
    [
        (122, "FL FR SL SR FC LFE"),
        (123, "FL FC FR SL SR LFE"),
        (124, "FC FL FR SL SR LFE"),
        (125, "FL FR FC LFE SL SR BC"),
        (126, "FL FR FC LFE SL SR FLC FRC"),
        (127, "FC FLC FRC FL FR SL SR LFE"),
        (128, "FL FR FC LFE SL SR BL BR"),
        (129, "FL FR SL SR FC LFE FLC FRC"),
    ],
)
def test_channels_in_an_order_on_which_pyav_crashes(tmp_path: Path, suffix: str, tag: int, names: str) -> None:
    """Layouts of Apple's CoreAudio, of film masters: the tag is written into the chunk `chan` of MOV or CAF."""
    count = len(names.split())
    sounds = [tone(300 + 150 * number) for number in range(count)]
    path = record(tmp_path / f"a.{suffix}", sounds, layout={6: "5.1", 7: "6.1", 8: "7.1(wide)"}[count])
    content = bytearray(path.read_bytes())
    struct.pack_into(">III", content, content.index(b"chan") + (8 if suffix == "mov" else 12), tag << 16 | count, 0, 0)
    path.write_bytes(content)
    assert_downmix(path, names.split(), tmp_path / "scratch")


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


# --- tracks --------------------------------------------------------------------------------------------------------

NONE, HISS = 0 * A, noise(2, level=3e-4)
OTHERS = "sound track {} of {} is taken, others have sound too: {}; name one in spec.options.audioTrack"
NOTHING = "nothing is heard in sound track {}: {} is taken"


@pytest.mark.parametrize(
    ("tracks", "languages", "pitch", "notes"),
    [
        ([A, B], "", 500, [OTHERS.format(1, 2, "2")]),
        ([NONE, B], "", 800, [NOTHING.format(1, 2)]),
        ([HISS, B], "", 800, [NOTHING.format(1, 2)]),
        ([A, NONE], "", 500, []),
        ([NONE, NONE, B], "", 800, [NOTHING.format("1, 2", 3)]),
        ([NONE, A, B], "", 500, [NOTHING.format(1, 2), OTHERS.format(2, 3, "3")]),
        ([A, B], "auto eng ger", 500, []),  # translations are chosen by spec.options.language
        ([NONE, B], "auto eng ger", 800, [NOTHING.format(1, 2)]),
        ([NONE, B], "en eng", 800, [NOTHING.format(1, 2)]),
    ],
)
def test_the_track_in_which_something_is_heard(
    tmp_path: Path, tracks: list[Sound], languages: str, pitch: int, notes: list[str]
) -> None:
    """`languages`: that of the spec, and those of the tracks."""
    language, *stated = languages.split() or ["auto"]
    path = record(tmp_path / "a.mkv", *([track] for track in tracks), layout="mono", languages=stated)
    sound, samples = taken(path, language=language)
    assert level(samples, pitch) == pytest.approx(0.25, rel=0.03)
    assert (list(sound.notes), sound.tracks) == (notes, len(tracks))


@pytest.mark.parametrize(
    ("tracks", "languages", "wanted", "message"),
    [
        ([NONE, NONE], "", None, "sound track 1, 2 of 2 is silent from beginning to end"),
        ([NONE, B], "", 1, "track 1 of 2 is silent from beginning to end; name another one"),
        ([NONE, B], "en eng ger", None, "track 1 of 2 is silent from beginning to end; name another one"),
    ],
)
def test_no_track_in_which_something_is_heard(
    tmp_path: Path, tracks: list[Sound], languages: str, wanted: int | None, message: str
) -> None:
    language, *stated = languages.split() or ["auto"]
    path = record(tmp_path / "a.mkv", *([track] for track in tracks), layout="mono", languages=stated)
    with pytest.raises(NoAudioTrack, match=message):
        taken(path, wanted=wanted, language=language)


def test_a_faint_track_is_better_than_silent_ones(tmp_path: Path) -> None:
    sound, samples = taken(record(tmp_path / "a.mkv", [NONE], [HISS], [NONE], layout="mono"))
    assert sound.track.number == 2
    assert np.abs(samples).max() > 0
    assert sound.notes[0] == NOTHING.format(1, 2)
    assert "almost silent (-7" in sound.notes[1]


# --- lengths -------------------------------------------------------------------------------------------------------

QUIET_START = np.r_[0 * tone(500, 3), noise(9)]


def joined_mp3(folder: Path) -> Path:
    bare = {"write_xing": "0", "id3v2_version": "0"}
    parts = [
        record(folder / f"{rate}.mp3", [sound], codec="libmp3lame", layout="mono", bit_rate=rate, options=bare)
        for sound, rate in ((noise(2), 32_000), (noise(10), 320_000))
    ]
    return join(folder / "a.mp3", parts)


def joined_ts(folder: Path) -> Path:
    parts = [
        record(folder / f"{start}.ts", [tone(500, 6)], codec="aac", layout="mono", options={"output_ts_offset": start})
        for start in ("1000", "0")
    ]
    return join(folder / "a.ts", parts)


def join(path: Path, parts: Sequence[Path]) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def quiet(name: str, codec: str, **options: str) -> Callable[[Path], Path]:
    return lambda folder: record(folder / name, [QUIET_START], codec=codec, layout="mono", options=options)


@pytest.mark.parametrize(
    "make",
    [
        joined_mp3,
        joined_ts,
        quiet("a.aac", "aac"),
        quiet("a.mp4", "aac", movflags="frag_keyframe+empty_moov+default_base_moof", frag_duration="1000000"),
        quiet("live.mkv", "pcm_s16le", live="1"),
        quiet("live.webm", "libopus", live="1"),
        quiet("a.ogg", "libopus"),
    ],
)
def test_an_estimated_length_refuses_nothing(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    path = make(tmp_path)
    sound, _ = taken(path, bounds=replace(BOUNDS, seconds=13))
    assert sound.seconds == pytest.approx(12, abs=0.2)
    assert not [note for note in sound.notes if "ends at" in note]
    with pytest.raises(BeyondLimits, match="limit is 11 s"):
        taken(path, bounds=replace(BOUNDS, seconds=11))


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "pcm_s16le"),
        ("a.mp4", "aac"),
        ("a.mp3", "libmp3lame"),
        ("a.flac", "flac"),
        ("a.wav", "pcm_s16le"),
        ("a.aiff", "pcm_s16be"),
        ("a.caf", "pcm_s16be"),
        ("a.w64", "pcm_s16le"),
        ("a.au", "pcm_s16be"),
    ],
)
def test_a_stated_length_refuses_before_anything_is_decoded(tmp_path: Path, name: str, codec: str) -> None:
    path = record(tmp_path / name, [noise(12)], codec=codec, layout="mono")
    progress: list[float] = []
    with pytest.raises(BeyondLimits, match="it lasts 12 s, the limit is 11 s"):
        extract(path, io.BytesIO(), replace(BOUNDS, seconds=11), progress.append)
    assert progress == []
    assert not probe(path, BOUNDS).estimated


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.flac", "flac")])
def test_sound_that_ends_before_its_stated_length(tmp_path: Path, name: str, codec: str) -> None:
    path = record(tmp_path / name, [noise(20)], codec=codec, layout="mono")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "the sound ends at 10 s of 20 s" in taken(path)[0].notes


# --- headers with a wrong length -----------------------------------------------------------------------------------

TOO_SMALL = "the length in its header is too small: {} s of sound after it are taken too"
BEEPS = np.r_[tone(500), 0 * A, tone(500), 0 * A]  # 8 s
CHUNKS = b"LIST" + struct.pack("<I", 4000) + bytes(4000) + b"id3 " + struct.pack("<I", 5) + b"ID3\x03\x00"


@dataclass(frozen=True)
class Header:
    """Where a file has the length of its sound: the chunk, the offset in it, and the struct of the length."""

    name: str
    chunk: bytes
    size: str
    offset: int = 4
    codec: str = "pcm_s16be"
    options: tuple[tuple[str, str], ...] = ()


WAV, AIFF, CAF = (
    Header("a.wav", b"data", "<I", codec="pcm_s16le"),
    Header("a.aiff", b"SSND", ">I"),
    Header("a.caf", b"data", ">q"),
)
RF64 = replace(WAV, chunk=b"ds64", size="<Q", offset=16, options=(("rf64", "always"),))


def patched(path: Path, header: Header, value: int, tail: bytes) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(header.size, content, content.index(header.chunk) + header.offset, value)
    path.write_bytes(content + tail)
    return path


SECOND = RATE * 2  # bytes


@pytest.mark.parametrize(
    ("header", "stated", "tail", "notes"),
    [
        (WAV, 2 * SECOND, b"", [TOO_SMALL.format(6)]),
        (WAV, 2 * SECOND + 1, b"", [TOO_SMALL.format(6)]),
        (WAV, 100, CHUNKS, [TOO_SMALL.format(8)]),
        (WAV, 8 * SECOND, CHUNKS, []),
        (WAV, 8 * SECOND, CHUNKS + b"\0", []),
        (WAV, 8 * SECOND, b"TAG" + bytes(125), []),
        (WAV, 0, b"", []),
        (WAV, 0xFFFFFFFF, b"", []),
        (WAV, 9 * SECOND, b"", []),
        (RF64, 2 * SECOND, b"", [TOO_SMALL.format(6)]),
        (RF64, 8 * SECOND, CHUNKS, []),
        (AIFF, 2 * SECOND + 8, b"", [TOO_SMALL.format(6)]),
        (AIFF, 8 * SECOND + 8, b"ANNO" + struct.pack(">I", 600) + bytes(600), []),
        (CAF, 2 * SECOND + 4, b"", [TOO_SMALL.format(6)]),
        (CAF, 8 * SECOND + 4, b"free" + struct.pack(">q", 601) + bytes(601), []),
        (CAF, -1, b"", []),
    ],
)
def test_sound_after_its_stated_end_is_taken(
    tmp_path: Path, header: Header, stated: int, tail: bytes, notes: list[str]
) -> None:
    path = record(tmp_path / header.name, [BEEPS], codec=header.codec, layout="mono", options=dict(header.options))
    sound, samples = taken(patched(path, header, stated, tail))
    assert sound.seconds == pytest.approx(8, abs=0.1)
    assert list(sound.notes) == notes
    assert level(samples[4 * 16000 : 6 * 16000], 500) == pytest.approx(0.25, rel=0.03)
    assert np.abs(samples[7 * 16000 : 127000]).max() < 0.01


@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", b"RF64\0\0\0\0WAVEdata\1\0\0\0", b"caff\0\1\0\0data"]
)
def test_no_header_to_correct(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb", buffering=0) as file:
        assert correction(file) is None


# --- containers and codecs of phones and dictaphones ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        *[(f"a.{suffix}", "libopencore_amrnb", 8000) for suffix in ("amr", "3gp", "mov")],
        *[("a.wav", codec, 16000) for codec in ("adpcm_ms", "adpcm_ima_wav", "adpcm_yamaha", "g722", "pcm_f64le")],
        ("a.wav", "g726", 8000),
        *[(f"a.{suffix}", "adpcm_ima_qt", 16000) for suffix in ("aiff", "caf", "mov")],
        *[
            (f"a.{suffix}", codec, 16000)
            for suffix in ("aiff", "caf")
            for codec in ("pcm_s8", "pcm_s24be", "pcm_s32be", "pcm_f32be", "pcm_f64be", "pcm_mulaw", "pcm_alaw")
        ],
        ("a.caf", "alac", 16000),
        ("a.au", "pcm_mulaw", 8000),
        ("a.w64", "pcm_s24le", 48000),
    ],
)
def test_files_of_phones_and_dictaphones(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    bit_rate = {"libopencore_amrnb": 12_200, "g726": 32_000}.get(codec, 0)
    path = record(tmp_path / name, [tone(500, 3, rate=rate)], codec=codec, layout="mono", rate=rate, bit_rate=bit_rate)
    sound, samples = taken(path)
    assert sound.seconds == pytest.approx(3, abs=0.1)
    assert level(samples[8000:40000], 500) == pytest.approx(0.25, rel=0.25)
    assert sound.notes == ()


def test_gsm(tmp_path: Path) -> None:
    """FFmpeg has no encoder for it: frames of 33 bytes, whose first half byte is 13."""
    frames = np.random.default_rng(0).integers(0, 256, (100, 33), dtype=np.uint8)
    frames[:, 0] = 0xD0 | frames[:, 0] & 15
    (tmp_path / "a.gsm").write_bytes(frames.tobytes())
    assert taken(tmp_path / "a.gsm")[0].seconds == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("start", [b"wvpk", b"MAC ", b"\x02dss", b"TTA1"])
def test_other_files_of_sound_are_to_be_converted(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a").write_bytes(start + bytes(99))
    with pytest.raises(Unsupported, match=r"convert it, for example: ffmpeg -i FILE new\.flac"):
        taken(tmp_path / "a")
