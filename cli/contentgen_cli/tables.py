"""Rows of `get files` and `cost`. Amounts are decimals. Pure."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.names import FINAL_PHASES, Kind, Phase
from contentgen_contract.resources.status import OutputFile, VersionStatus
from contentgen_contract.worker.log import human_bytes

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def versions(item: Item, only: int | None) -> tuple[VersionStatus, ...]:
    """The finished versions, or the one with the number `only`. Raises CliError if there is none."""
    found = sorted(item.status.versions, key=lambda version: version.version)
    if only is not None:
        chosen = tuple(version for version in found if version.version == only)
        if not chosen:
            known = ", ".join(str(version.version) for version in found) or "none"
            raise CliError(f"{item.reference} has no version {only}; existing versions: {known}")
        return chosen
    if not found:
        raise CliError(
            f"{item.reference} has no files yet: it is {item.state.badge}. See the cause: kubectl contentgen why "
            f"{item.reference}"
        )
    return tuple(found)


def url(version: VersionStatus, file: OutputFile) -> str | None:
    """S3 URL of a file; None for a version of another operator class, without the bucket."""
    return f"s3://{version.bucket}/{file.key}" if version.bucket else None


@dataclass(frozen=True)
class VersionFiles:
    """Versions of a resource, for a list of their files."""

    item: Item
    versions: tuple[VersionStatus, ...]

    @property
    def urls(self) -> list[str]:
        """URLs of the files; keys if the bucket is unknown."""
        return [url(version, file) or file.key for version in self.versions for file in version.files]

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Version, size, first digits of the checksum and URL of each file."""
        facts = [
            (str(version.version), human_bytes(file.size_bytes), (file.sha256 or "")[:12])
            for version in self.versions
            for file in version.files
        ]
        return [(*fact, address) for fact, address in zip(facts, self.urls, strict=True)]


def files_of(item: Item, only: int | None) -> VersionFiles:
    """Files of the finished versions, or of the version `only`. Raises CliError if there are none."""
    return VersionFiles(item, versions(item, only))


def files_json(listed: Sequence[VersionFiles], *, several: bool) -> str:
    """JSON with a stable format: fields are added, never renamed or removed.

    One object for one requested resource; `items` for several, also if only one was found.
    """
    items = [_files(each) for each in listed]
    return json.dumps({"items": items} if several else items[0], indent=2)


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
    """Costs of the last runs of a kind in a namespace. `kind` None: the sum of a currency."""

    namespace: str
    kind: Kind | None
    currency: str
    runs: int
    estimated: Decimal
    actual: Decimal
    unestimated: int = 0  # runs without an estimate that are or may be paid; not included in it
    unknown: int = 0  # ended runs whose actual cost is unknown; not included in it


def costs(items: Iterable[Item]) -> tuple[CostRow, ...]:
    """A row per namespace, kind and currency; then a sum per currency."""
    rows: dict[tuple[str, Kind, str], CostRow] = {}
    for item in items:
        cost = item.status.cost
        if cost is None:
            continue
        key = (item.namespace, item.kind, cost.currency or "USD")
        # A run that ended unpaid, such as a dry run, has an estimate of what it would have cost.
        free = item.status.run is not None and item.status.run.billed is False
        over = item.status.phase in (*FINAL_PHASES, Phase.SUBMISSION_UNKNOWN)
        estimated = "0" if free else cost.estimated
        actual = "0" if free or not over else cost.actual
        amounts = Decimal(estimated or 0), Decimal(cost.actual or 0)
        amount = CostRow(*key, 1, *amounts, int(not estimated), int(not actual))
        rows[key] = _sum(rows[key], amount) if key in rows else amount
    listed = sorted(rows.values(), key=lambda row: (row.currency, row.namespace, str(row.kind)))
    sums: dict[str, CostRow] = {}
    for row in listed:
        start = sums.get(row.currency, CostRow("", None, row.currency, 0, Decimal(0), Decimal(0)))
        sums[row.currency] = _sum(start, row)
    return (*listed, *sums.values())


def costs_json(rows: Iterable[CostRow]) -> str:
    """JSON with a stable format: fields are added, never renamed or removed. Kind null: the sum of a currency."""
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
    """`2.00 USD`, or `2.00 USD + 1 unknown` with runs of unknown cost; `1 unknown` if there are no others."""
    words = [f"{amount} {currency}"] if amount or not unknown else []
    return " + ".join([*words, *([f"{unknown} unknown"] if unknown else [])])


def parse_period(text: str) -> timedelta:
    """Period from `30d`, `12h`, `90m` or `2w`. Raises CliError."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", text)
    if found is None:
        raise CliError(f"--since {text!r}: expected a number and m, h, d or w, such as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
