"""PyAV and FFmpeg are those that the corpus was run with (decision 0045), and each family is in the sample."""

import subprocess
import sys
from pathlib import Path

import av

from contentgen_footage import corpus as footage
from contentgen_recordings import corpus as recordings

_DECODE = "import av, sys\nfor path in sys.argv[1:]:\n with av.open(path) as file:\n  list(file.decode(audio=0))"


def test_an_upgrade_needs_the_whole_corpus() -> None:
    asked = "run make test-media and follow docs/decisions/0045-pyav-and-ffmpeg.md"
    assert (av.__version__, av.ffmpeg_version_info) == ("18.1.0", "8.1.2"), asked


def test_the_sample_has_each_family() -> None:
    for cases, sample in (
        (footage.CASES, footage.SAMPLE),
        (recordings.RECORDINGS, recordings.SAMPLE),
    ):
        assert {case.family for case in sample} == {case.family for case in cases}  # type: ignore[attr-defined]


def test_pyav_still_crashes_on_orders_of_channels(tmp_path: Path) -> None:
    """Once it does not, `_take_layout` of media/audio/mono.py can go."""
    case = next(case for case in recordings.RECORDINGS if case.name.startswith("order of channels"))
    path = str(case.make(tmp_path))
    done = subprocess.run([sys.executable, "-c", _DECODE, *[path] * 3], capture_output=True, check=False)
    assert done.returncode < 0
