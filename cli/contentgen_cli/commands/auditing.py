"""Audit of the providers' accounts, requested from the gateway and done by the operator."""

import time
from collections.abc import Callable
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.gateway import GatewayClient
from contentgen_contract.names import DEFAULT_ACCOUNT
from contentgen_contract.records.audits import FindingKind

HEADS = ("FINDING", "PROVIDER", "ACCOUNT", "REQUEST", "NAMESPACE", "NAME", "BILLED", "EXPECTED", "SINCE", "DETAILS")
_PATH = "/api/admin/audit"
_PAUSE_SECONDS = 2.0
_MICROS = 1_000_000
Report = dict[str, Any]


def last_report(gateway: GatewayClient) -> Report:
    """Newest report. Raises CliError."""
    if not isinstance(report := gateway.request("GET", _PATH).get("report"), dict):
        raise CliError("there is no report yet; request an audit: kubectl contentgen audit")
    return report


def new_report(
    gateway: GatewayClient,
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Report of an audit that is requested now. Raises CliError."""
    asked, until = gateway.request("POST", _PATH).get("token"), clock() + timeout
    while clock() < until:
        report = gateway.request("GET", _PATH).get("report")
        if isinstance(report, dict) and report.get("request") == asked:
            return report
        sleep(_PAUSE_SECONDS)
    raise CliError(
        f"the audit was requested and is not done after {timeout:.0f} s; is the operator running? See its result "
        "later: kubectl contentgen audit --last"
    )


def has_findings(report: Report) -> bool:
    """True if a person should act: requests of others with a shared account are known."""
    counts = report.get("counts") or {}
    return any(count for kind, count in counts.items() if kind != FindingKind.OTHER_USERS_REQUEST)


def rows(report: Report) -> list[tuple[str, ...]]:
    """Rows of the table."""
    return [_row(finding) for finding in report.get("findings") or ()]


def _row(finding: dict[str, Any]) -> tuple[str, ...]:
    words = [str(finding.get(name) or "") for name in ("kind", "provider", "account", "requestId", "namespace", "name")]
    amounts = [_dollars(finding.get(name)) for name in ("billedMicros", "expectedMicros")]
    return (*words, *amounts, str(finding.get("firstSeenAt") or "")[:10], str(finding.get("text") or ""))


def _dollars(micros: object) -> str:
    return f"{micros / _MICROS:.4f}" if isinstance(micros, int | float) else ""


def summary(report: Report) -> list[str]:
    """Lines with the numbers, and what could not be read."""
    counts = report.get("counts") or {}
    numbers = f"{sum(counts.values())} findings, {report.get('new')} of them new"
    since, ended = str(report.get("since"))[:10], str(report.get("finishedAt"))[:16]
    lines = [f"{numbers}; {report.get('purchases')} purchases since {since}, audited at {ended}"]
    unread = [each for each in report.get("coverage") or () if not each.get("complete")]
    lines += [
        f"not read completely: {error.get('provider')} {error.get('subject')} of account "
        f"{error.get('account') or DEFAULT_ACCOUNT}: {error.get('problem')}"
        for error in unread
    ]
    return lines
