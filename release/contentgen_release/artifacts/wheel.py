"""Wheel of the release."""

import shutil
import sys
import tempfile
from pathlib import Path

from contentgen_cluster.commands import run
from contentgen_release.source import ReleaseSource


def build(staged: Path, origin: ReleaseSource, output: Path) -> Path:
    """Build the wheel from the staged sources, with the files of `contentgen try`; returns its path in `output`."""
    from contentgen_demo import wheel as data  # noqa: PLC0415 # it loads OpenCV, which verify and publish do not need

    data.place(staged / "try/contentgen_try/data")
    uv = Path(sys.executable).with_name("uv")
    times = {"SOURCE_DATE_EPOCH": str(origin.epoch)}
    with tempfile.TemporaryDirectory() as scratch:
        run(uv, "build", "--wheel", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", scratch,
            staged, env=times)  # fmt: skip
        (made,) = Path(scratch).glob("*.whl")
        return Path(shutil.copy(made, output / made.name))
