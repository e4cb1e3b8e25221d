"""Probing, and timing of steps."""

import threading
from pathlib import Path

import av
import numpy as np
import pytest

from contentgen_contract.names import Step
from contentgen_contract.worker.orders import Progress
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


def test_steps_are_timed_and_told() -> None:
    told: list[Progress] = []
    steps = Steps(told.append)
    with steps(Step.DOWNLOADING) as fraction:
        fraction(0.5)
        fraction(7)
    assert [progress.fraction for progress in told] == [0, 0.5, 1]
    assert set(steps.seconds) == {"Downloading"}


def test_the_cause_of_a_retry_is_short_and_ends_with_it() -> None:
    sent: list[Progress] = []
    got = threading.Condition()

    def send(progress: Progress) -> None:
        with got:
            sent.append(progress)
            got.notify()

    def told(number: int) -> Progress:
        with got:
            assert got.wait_for(lambda: len(sent) >= number, timeout=60)
            return sent[number - 1]

    with Reporter(send, interval=0) as reporter:
        reporter.tell("a request", OSError("before any step"))
        reporter.report(Progress(step=Step.STORING, fraction=0.5))
        assert (told(1).step, told(1).message) == (Step.STORING, "")
        url = "https://user:pass@s3.example.com:8443/bucket/" + "k" * 500 + "?X-Amz-Signature=abc"
        reporter.tell("a request", OSError(f"PUT {url}: [SSL: CERTIFICATE_VERIFY_FAILED] no issuer; eyJhbGci.e30.sig"))
        text = "PUT https://s3.example.com:8443/... [SSL: CERTIFICATE_VERIFY_FAILED] no issuer; ***"
        assert (told(2).fraction, told(2).message) == (0.5, f"a request failed and is tried again: {text}")
        reporter.tell("a request", OSError("x" * 9000))
        assert len(told(3).message) == 400
        reporter.tell("a request", None)
        assert (told(4).fraction, told(4).message) == (0.5, "")


def test_only_the_newest_progress_is_sent() -> None:
    sent: list[float] = []
    with Reporter(lambda progress: sent.append(progress.fraction), interval=0.05) as reporter:
        for done in range(1001):
            reporter.report(Progress(step=Step.DOWNLOADING, fraction=done / 1000))
    assert len(sent) < 10
