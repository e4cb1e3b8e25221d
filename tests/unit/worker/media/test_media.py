"""Subtitles, probing, and timing of steps."""

import io
from pathlib import Path

import av
import numpy as np
import pytest
import webvtt

from contentgen_contract.names import Step
from contentgen_contract.worker.orders import Progress
from contentgen_worker.collect.subtitles import LINE_LENGTH, MAX_LINES, TimedWord, make_cues, srt, vtt
from contentgen_worker.errors import BeyondLimits, Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.probe import probe
from contentgen_worker.media.select.choose import sample_evenly
from contentgen_worker.progress import Reporter, Steps

BOUNDS = MediaLimits(pixels=10**7, seconds=3600)


@pytest.mark.parametrize(("count", "expected"), [(10, list(range(10))), (20, list(range(10))), (2, [2, 7]), (1, [5])])
def test_evenly(count: int, expected: list[int]) -> None:
    assert list(sample_evenly(range(10), count)) == expected


def clip(path: Path, frames: int = 12) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(frames):
            pixels = np.full((180, 320, 3), 20 * index, np.uint8)
            pixels[:, :160] = 255  # the left half is white
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_a_recording_is_known_by_its_content(tmp_path: Path) -> None:
    path = clip(tmp_path / "a.mp4").rename(tmp_path / "a.txt")
    found = probe(path, BOUNDS)
    assert (found.width, found.height, found.video_codec, found.audio_codec) == (320, 180, "h264", "")
    assert found.seconds == pytest.approx(1, abs=0.1)
    assert found.fps == 12
    with pytest.raises(BeyondLimits, match=r"limit is 0\.5 s"):
        probe(path, MediaLimits(pixels=10**7, seconds=0.5))


def test_a_codec_that_is_not_on_the_list(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 36, "yuv420p")))
        container.mux(stream.encode())
    with pytest.raises(Unsupported, match="ffv1"):
        probe(path, BOUNDS).require_video()


def test_a_container_that_is_not_on_the_list(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(64, 36, "yuv420p")))
        container.mux(stream.encode())
    with pytest.raises(Unsupported, match="not readable"):
        probe(path, BOUNDS)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    secret = clip(tmp_path / "secret.mp4")
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n"
    playlist = tmp_path / "a.m3u8"
    playlist.write_text(text)
    with av.open(str(playlist), container_options={"protocol_whitelist": "file"}) as open_media:
        assert open_media.format.name == "hls"  # the control: FFmpeg itself would take it
    with pytest.raises(Unsupported, match="not readable"):
        probe(playlist, BOUNDS)


def spoken(text: str, speaker: str = "", start: int = 0) -> list[TimedWord]:
    return [TimedWord(word, start + i * 300, start + i * 300 + 250, speaker) for i, word in enumerate(text.split())]


def test_subtitles_fit_their_lines() -> None:
    words = [*spoken("every good boy deserves fruit and " * 60, "A"), TimedWord("x" * 130, 10**6, 10**6 + 100, "B")]
    text = srt(make_cues(words))
    blocks = [block.split("\n")[2:] for block in text.strip().split("\n\n")]
    assert all(len(line) <= LINE_LENGTH for block in blocks for line in block)
    assert all(len(block) <= MAX_LINES for block in blocks[:-1])  # but for a word longer than two lines
    assert " ".join(" ".join(block) for block in blocks[:-1]) == "Speaker A: " + " ".join(w.text for w in words[:-1])


def test_cues_do_not_overlap_and_end_after_they_start() -> None:
    made = make_cues(
        [
            TimedWord("a", 0, 5000, "A"),
            TimedWord("b", 4000, 4500, "B"),
            TimedWord(" ", 5000, 5000),
            TimedWord("c", 9000, 9000),
        ]
    )
    assert [(cue.start, cue.end, cue.text) for cue in made] == [(0, 5000, "a"), (5000, 5001, "b"), (9000, 9001, "c")]


def test_a_silence_of_more_than_its_limit_ends_a_cue() -> None:
    made = make_cues([TimedWord("a", 0, 300), TimedWord("b", 1500, 1800), TimedWord("c", 3001, 3300)])
    assert [cue.text for cue in made] == ["a b", "c"]


def test_a_sentence_or_a_silence_ends_a_cue() -> None:
    words = spoken("This is a sentence of some length. And another one.") + spoken("After a pause.", start=9000)
    assert [cue.text for cue in make_cues(words)] == [
        "This is a sentence of some length.", "And another one.", "After a pause."
    ]  # fmt: skip


def test_vtt_is_what_a_player_reads() -> None:
    parsed = webvtt.from_buffer(io.StringIO(vtt(make_cues(spoken("a < b & c -->", "A")))))
    assert [(c.start, c.end, c.voice) for c in parsed] == [("00:00:00.000", "00:00:01.750", "Speaker A")]
    assert vtt(()) == "WEBVTT\n"
    assert srt(()) == "\n"


def test_steps_are_timed_and_told() -> None:
    told: list[Progress] = []
    steps = Steps(told.append)
    with steps(Step.DOWNLOADING) as fraction:
        fraction(0.5)
        fraction(7)
    assert [progress.fraction for progress in told] == [0, 0.5, 1]
    assert set(steps.seconds) == {"Downloading"}


def test_only_the_newest_progress_is_sent() -> None:
    sent: list[float] = []
    with Reporter(lambda progress: sent.append(progress.fraction), interval=0.05) as reporter:
        for done in range(1001):
            reporter.report(Progress(step=Step.DOWNLOADING, fraction=done / 1000))
    assert len(sent) < 10
