"""`make audit`: only packages that were looked up count as audited."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import audit
from audit import AuditFindings, findings, locked, status

ROOT = Path(__file__).parents[3]
LOCK = """# Locked by `make lock`
idna==3.20 \\
    --hash=sha256:aa
numpy==2.4.6 ; python_full_version < '3.0' \\
    --hash=sha256:bb
uvicorn[standard]==0.54.0 \\
    --hash=sha256:cc
"""
PACKAGES = {("idna", "3.20"), ("uvicorn", "0.54.0")}


def entry(name: str, version: str, *vulnerabilities: str) -> dict[str, Any]:
    return {"name": name, "version": version, "vulns": [{"id": id_, "fix_versions": ["9"]} for id_ in vulnerabilities]}


def run_with(tmp_path: Path, output: str, code: int = 0, error: str = "") -> AuditFindings:
    """The findings where pip-audit prints this."""
    (tmp_path / "lock.txt").write_text(LOCK)
    script = f"import sys; print({output!r}); print({error!r}, file=sys.stderr); sys.exit({code})"
    return audit.audit(tmp_path / "lock.txt", (sys.executable, "-c", script))


def test_packages_of_a_lock() -> None:
    assert locked(LOCK) == PACKAGES


@pytest.mark.parametrize("name", [path.name for path in sorted((ROOT / "requirements").glob("*.txt"))])
def test_every_lock_of_ours_is_read_whole(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    pins = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(audit.PIN.findall(text)) == len(pins) > 0


def test_all_were_looked_up(tmp_path: Path) -> None:
    report = {"dependencies": [entry("idna", "3.20"), entry("uvicorn", "0.54.0")]}
    found = run_with(tmp_path, json.dumps(report))
    assert found == AuditFindings()
    assert status({"lock.txt": found}) == 0


def test_a_vulnerability_is_a_failure(tmp_path: Path) -> None:
    report = {"dependencies": [entry("idna", "3.20", "PYSEC-1"), entry("uvicorn", "0.54.0")]}
    found = run_with(tmp_path, json.dumps(report), code=1)
    assert found.vulnerable == ("idna 3.20: PYSEC-1, fixed in 9",)
    assert status({"lock.txt": found}) == 1


def test_a_skipped_package_is_not_audited(tmp_path: Path) -> None:
    """pip-audit's exit status is 0 where the service knows no package at all."""
    report = {"dependencies": [entry("idna", "3.20"), {"name": "uvicorn", "skip_reason": "not found"}]}
    found = run_with(tmp_path, json.dumps(report))
    assert found.unaudited == {("uvicorn", "0.54.0"): "not found"}
    assert status({"lock.txt": found}) == 2


def test_an_unreachable_service_is_not_a_clean_result(tmp_path: Path) -> None:
    found = run_with(tmp_path, "", error="Traceback\nFailed to resolve the service")
    assert set(found.unaudited) == PACKAGES
    assert set(found.unaudited.values()) == {"pip-audit failed: Failed to resolve the service"}
    assert status({"lock.txt": found}) == 2


def test_a_package_that_the_report_leaves_out_is_not_audited() -> None:
    found = findings(PACKAGES, {"dependencies": [entry("idna", "3.20"), entry("uvicorn", "0.1")]})
    assert set(found.unaudited) == {("uvicorn", "0.54.0")}
    assert status({"other.txt": AuditFindings(("idna",)), "lock.txt": found}) == 2
