"""Rows for `get files` and `cost`. Pure; amounts are decimals, never floats."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.names import Kind
from contentgen_contract.resources.status import OutputFile, VersionStatus
from contentgen_contract.worker.log import human_bytes

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def versions(item: Item, only: int | None) -> tuple[VersionStatus, ...]:
    """The finished versions, or the one asked for. Raises CliError where there is none."""
    found = sorted(item.status.versions, key=lambda version: version.version)
    if only is not None:
        chosen = tuple(version for version in found if version.version == only)
        if not chosen:
            known = ", ".join(str(version.version) for version in found) or "none"
            raise CliError(f"{item.reference} has no version {only}; there is: {known}")
        return chosen
    if not found:
        phase = item.status.phase or "not started"
        raise CliError(
            f"{item.reference} has no files yet: it is {phase}; why: kubectl contentgen why {item.reference}"
        )
    return tuple(found)


def url(version: VersionStatus, file: OutputFile) -> str | None:
    """Where a file lies; None where the status is older than the field that names the bucket."""
    return f"s3://{version.bucket}/{file.key}" if version.bucket else None


@dataclass(frozen=True)
class VersionFiles:
    """The versions of a resource whose files are listed."""

    item: Item
    versions: tuple[VersionStatus, ...]

    @property
    def urls(self) -> list[str]:
        """URLs of the files, or their keys where no bucket is known."""
        return [url(version, file) or file.key for version in self.versions for file in version.files]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Version, size, beginning of the checksum and URL of each file."""
        facts = [
            (str(version.version), human_bytes(file.size_bytes), (file.sha256 or "")[:12])
            for version in self.versions
            for file in version.files
        ]
        return [(*each, address) for each, address in zip(facts, self.urls, strict=True)]


def files_of(item: Item, only: int | None) -> VersionFiles:
    """The files of the finished versions, or of the one asked for. Raises CliError where there are none."""
    return VersionFiles(item, versions(item, only))


def files_json(listed: Sequence[VersionFiles], *, several: bool) -> str:
    """Stable for scripts: fields are added, never renamed or removed.

    One resource is an object; several, also where only one of them was found, are `items`.
    """
    told = [_files(each) for each in listed]
    return json.dumps({"items": told} if several else told[0], indent=2)


def _files(files: VersionFiles) -> dict[str, Any]:
    return {
        "kind": files.item.kind.value,
        "namespace": files.item.namespace,
        "name": files.item.name,
        "versions": [_version(version) for version in files.versions],
    }


def _version(version: VersionStatus) -> dict[str, Any]:
    dumped = version.model_dump(mode="json")
    return {name: dumped[name] for name in ("version", "completedAt", "jobId", "runHash", "bucket")} | {
        "files": [
            {"url": url(version, file), "key": file.key, "sizeBytes": file.size_bytes, "sha256": file.sha256}
            for file in version.files
        ]
    }


@dataclass(frozen=True)
class CostRow:
    """What the last runs of a kind cost in a namespace; None stands in the row of the sum."""

    namespace: str
    kind: Kind | None
    currency: str
    runs: int
    estimated: Decimal
    actual: Decimal
    unestimated: int = 0  # runs without an estimate, which are not in it
    unknown: int = 0  # runs whose actual cost is not known, likewise


def costs(items: Iterable[Item]) -> tuple[CostRow, ...]:
    """A row for each namespace and kind, by currency; then the sum of each currency."""
    rows: dict[tuple[str, Kind, str], CostRow] = {}
    for item in items:
        cost = item.status.cost
        if cost is None:
            continue
        key = (item.namespace, item.kind, cost.currency or "USD")
        amounts = Decimal(cost.estimated or 0), Decimal(cost.actual or 0)
        amount = CostRow(*key, 1, *amounts, int(not cost.estimated), int(not cost.actual))
        rows[key] = _sum(rows[key], amount) if key in rows else amount
    listed = sorted(rows.values(), key=lambda row: (row.currency, row.namespace, str(row.kind)))
    sums: dict[str, CostRow] = {}
    for row in listed:
        start = sums.get(row.currency, CostRow("", None, row.currency, 0, Decimal(0), Decimal(0)))
        sums[row.currency] = _sum(start, row)
    return (*listed, *sums.values())


def costs_json(rows: Iterable[CostRow]) -> str:
    """Stable for scripts: fields are added, never renamed or removed. A kind of null is the sum of a currency."""
    listed = [
        {
            "namespace": row.namespace,
            "kind": row.kind.value if row.kind else None,
            "currency": row.currency,
            "runs": row.runs,
            "estimated": str(row.estimated),
            "actual": str(row.actual),
            "unestimated": row.unestimated,
            "unknown": row.unknown,
        }
        for row in rows
    ]
    return json.dumps({"costs": listed}, indent=2)


def _sum(to: CostRow, row: CostRow) -> CostRow:
    return CostRow(
        to.namespace,
        to.kind,
        to.currency,
        to.runs + row.runs,
        to.estimated + row.estimated,
        to.actual + row.actual,
        to.unestimated + row.unestimated,
        to.unknown + row.unknown,
    )


def format_amount(amount: Decimal, currency: str, unknown: int) -> str:
    """`2.00 USD`, and how many are not in it: `2.00 USD + 1 unknown`; what is unknown alone is not 0."""
    words = [f"{amount} {currency}"] if amount or not unknown else []
    return " + ".join([*words, *([f"{unknown} unknown"] if unknown else [])])


def parse_period(text: str) -> timedelta:
    """`30d`, `12h`, `90m`, `2w`. Raises CliError."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text)
    if found is None:
        raise CliError(f"--since {text!r}: give a number and m, h, d or w, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
