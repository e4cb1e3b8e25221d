"""`make audit-base`: newer Debian packages are found, and an archive that does not answer is no clean result."""

import subprocess
import sys
from pathlib import Path

import pytest

import lock_base
from lock_base import LOCK, outdated

LOCKED = LOCK.read_text().splitlines()


def changed(old: str, new: str) -> list[str]:
    assert any(old in line for line in LOCKED)
    return [line.replace(old, new) for line in LOCKED]


def test_the_lock_itself_is_not_outdated() -> None:
    assert outdated(LOCKED, LOCKED) == []
    assert len(LOCKED) > 40


def test_a_newer_version_is_found_and_a_security_update_is_named() -> None:
    (line,) = [line for line in LOCKED if line.startswith("amd64 libssl3 ")]
    _, _, version, _, path = line.split()
    update = line.replace(version, "99").replace(
        path, "debian-security/pool/updates/main/o/openssl/libssl3_99_amd64.deb"
    )
    now = [update if each == line else each for each in LOCKED]
    assert outdated(LOCKED, now) == [f"amd64 libssl3: the lock has {version}, the archive 99, a security update"]


def test_a_package_that_came_or_went_is_found() -> None:
    without = [line for line in LOCKED if not line.startswith("arm64 tzdata ")]
    assert [line.partition(":")[0] for line in outdated(LOCKED, without)] == ["arm64 tzdata"]
    assert [line.partition(":")[0] for line in outdated(without, LOCKED)] == ["arm64 tzdata"]


def test_an_archive_that_does_not_answer_is_no_clean_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(architecture: str, folder: Path) -> list[str]:
        raise subprocess.CalledProcessError(100, ["apt-get", "update"])

    monkeypatch.setattr(lock_base, "_resolve", fails)
    monkeypatch.setattr(sys, "argv", ["lock_base.py", "--check"])
    assert lock_base.main() == 2
    assert "Nothing is known" in capsys.readouterr().err


@pytest.mark.parametrize(("lines", "status"), [(LOCKED, 0), (changed(" tzdata ", " tzdata2 "), 1)])
def test_the_exit_status_tells_whether_there_are_updates(
    lines: list[str], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = {name: [line for line in lines if line.startswith(f"{name} ")] for name in lock_base.ARCHITECTURES}
    monkeypatch.setattr(lock_base, "_newest", lambda architecture: of[architecture])
    monkeypatch.setattr(sys, "argv", ["lock_base.py", "--check"])
    assert lock_base.main() == status
