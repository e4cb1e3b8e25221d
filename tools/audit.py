"""`make audit`: pip-audit over every lock in requirements/, and a failure if a package was not looked up.

pip-audit alone reports success where the service does not know a package or cannot be reached: it lists the package as
skipped. Exit status 0: every locked package was looked up, and none has a known vulnerability. 1: some have one.
2: some were not looked up, whatever the others have.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parent.parent
PIP_AUDIT = ROOT / "build/audit/bin/pip-audit"
PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?==(\S+)(?: ; (.*?))?(?: \\)?$", re.MULTILINE)

Package = tuple[str, str]  # name, version


@dataclass(frozen=True)
class AuditFindings:
    """Known vulnerabilities as lines of text, and packages that were not looked up, with the reason."""

    vulnerable: tuple[str, ...] = ()
    unaudited: Mapping[Package, str] = field(default_factory=dict)


def locked(text: str) -> set[Package]:
    """The packages of a lock whose markers hold on this machine."""
    return {(name, version) for name, version, marker in PIN.findall(text) if not marker or Marker(marker).evaluate()}


def findings(packages: set[Package], report: Mapping[str, Any] | None, error: str = "") -> AuditFindings:
    """Findings of a pip-audit report about these packages. `report`: None where there is none, because of `error`."""
    entries = report["dependencies"] if report else []
    looked_up = {(entry["name"], entry["version"]): entry["vulns"] for entry in entries if "vulns" in entry}
    skipped = {entry["name"]: entry["skip_reason"] for entry in entries if "skip_reason" in entry}
    vulnerable = [
        f"{name} {version}: {vulnerability['id']}, fixed in {', '.join(vulnerability['fix_versions']) or 'no release'}"
        for (name, version), found in sorted(looked_up.items())
        for vulnerability in found
    ]
    missing = error or "the report does not name it"
    return AuditFindings(
        tuple(vulnerable),
        {(name, version): skipped.get(name, missing) for name, version in sorted(packages - looked_up.keys())},
    )


def audit(lock: Path, pip_audit: Sequence[str] = (str(PIP_AUDIT),)) -> AuditFindings:
    """AuditFindings of one lock."""
    packages = locked(lock.read_text())
    options = ("--format=json", "--progress-spinner=off", "--disable-pip", "--require-hashes", "--desc=off")
    done = subprocess.run([*pip_audit, *options, "-r", str(lock)], capture_output=True, text=True, check=False)
    try:
        return findings(packages, json.loads(done.stdout))
    except json.JSONDecodeError:
        last = (done.stderr.strip() or "no output").splitlines()[-1]
        return findings(packages, None, f"pip-audit failed: {last}")


def status(results: Mapping[str, AuditFindings]) -> int:
    """Exit status for the findings of each lock."""
    if any(result.unaudited for result in results.values()):
        return 2
    return int(any(result.vulnerable for result in results.values()))


def main() -> int:
    """Print the findings of each lock; the exit status."""
    results = {path.name: audit(path) for path in sorted((ROOT / "requirements").glob("*.txt"))}
    for name, found in results.items():
        print(f"{name}: {len(found.vulnerable)} known vulnerabilities, {len(found.unaudited)} packages not looked up")
        for line in found.vulnerable:
            print(f"  {line}")
        for reason in sorted(set(found.unaudited.values()))[:3]:
            print(f"  not looked up, for example: {reason}")
    if (result := status(results)) == 2:
        print("Not audited: the vulnerability service did not answer for every package. Nothing is known about those.")
    return result


if __name__ == "__main__":
    sys.exit(main())
