"""Report tables and checks as pure functions; the checks decide the exit code."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from contentgen_try.progress import View, duration

_NUMBERED = re.compile(r"^(?P<stem>.*?)(?P<number>\d{4})(?P<ending>\.\w+)$")
_FEWEST_TO_GROUP = 4


@dataclass(frozen=True)
class ReportedFile:
    """File in the bucket; size in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class Line:
    """Line of a file listing."""

    name: str
    count: int
    size: int


@dataclass(frozen=True)
class DemoCheck:
    """Check of the demo and its result."""

    description: str
    passed: bool
    found: str = ""


@dataclass(frozen=True)
class DemoJob:
    """Final state of one resource: status, files and record."""

    view: View
    job_id: str
    user_id: str
    request_id: str
    files: tuple[ReportedFile, ...]
    document: dict[str, Any] | None


def size(count: float) -> str:
    """Formatted size: `420 B`, `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def folders(files: Iterable[ReportedFile], prefixes: Iterable[str]) -> dict[str, tuple[ReportedFile, ...]]:
    """Files by prefix, without empty prefixes."""
    every = tuple(files)
    found = {prefix: tuple(file for file in every if file.key.startswith(prefix)) for prefix in prefixes}
    return {prefix: inside for prefix, inside in found.items() if inside}


def listing(files: Iterable[ReportedFile], prefix: str) -> tuple[Line, ...]:
    """Files relative to the prefix; a long numbered series becomes one line."""
    groups: dict[tuple[str, str], list[ReportedFile]] = {}
    for file in sorted(files, key=lambda each: each.key):
        name = file.key.removeprefix(prefix)
        numbered = _NUMBERED.match(name)
        key = (numbered["stem"], numbered["ending"]) if numbered else (name, "")
        groups.setdefault(key, []).append(file)
    return tuple(line for members in groups.values() for line in _lines(members, prefix))


def _lines(members: Sequence[ReportedFile], prefix: str) -> tuple[Line, ...]:
    names = [member.key.removeprefix(prefix) for member in members]
    if len(members) < _FEWEST_TO_GROUP:
        return tuple(Line(name, 1, member.size) for name, member in zip(names, members, strict=True))
    last = names[-1].rpartition("/")[2]
    return (Line(f"{names[0]} … {last}", len(members), sum(member.size for member in members)),)


def jobs_table(jobs: Sequence[DemoJob]) -> Table:
    """Table of kind, name, phase, duration and cost."""
    table = _table("KIND", "NAME", "PHASE", "TIME", "COST")
    for job in jobs:
        each = job.view
        phase = Text(each.phase or "—", "green" if each.completed else "bold red")
        table.add_row(each.kind, each.name, phase, duration(each.took), each.cost)
    return table


def ledger_table(entries: Sequence[dict[str, Any]]) -> Table:
    """Table of the ledger entries: simulated charges."""
    table = _table("PROVIDER", "MODEL", "WHAT", "USD")
    table.columns[3].justify = "right"
    for entry in entries:
        table.add_row(entry["provider"], entry["model"], entry["what"], f"{float(entry['amount_usd']):.4f}")
    total = sum(float(entry["amount_usd"]) for entry in entries)
    table.add_row("", "", Text("together", "dim"), f"{total:.4f}")
    return table


def files_table(jobs: Sequence[tuple[DemoJob, Sequence[str]]]) -> Table:
    """Table of keys and sizes, grouped by folder."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", style="dim")
    table.add_column(justify="right", no_wrap=True)
    for job, prefixes in jobs:
        for prefix, inside in folders(job.files, prefixes).items():
            table.add_row(Text(prefix, "cyan"))
            for line in listing(inside, prefix):
                table.add_row(f"  {line.name}", f"{line.count} files" if line.count > 1 else "", size(line.size))
    return table


def main_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Main fields of a record, and of its versions."""
    kept = ("jobId", "type", "status", "progress")
    return {name: document.get(name) for name in kept} | {
        "versions": [_version(version) for version in document.get("versions", ())]
    }


def _version(version: dict[str, Any]) -> dict[str, Any]:
    telling = ("version", "s3Key", "sizeBytes", "seed", "wordCount", "duration", "speakers", "language")
    kept = {name: version[name] for name in telling if version.get(name) is not None}
    if "s3Key" in kept:
        kept["s3Key"] = "…/" + "/".join(kept["s3Key"].split("/")[-2:])  # the listing has all of it
    if version.get("config"):
        kept["config"] = version["config"]
    if version.get("images"):
        kept["images"] = [
            f"{image['width']}x{image['height']} {size(image['sizeBytes'])}" for image in version["images"]
        ]
    return kept


def documents_table(jobs: Sequence[DemoJob]) -> Table:
    """Table of the records' main fields, one field per line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for job in jobs:
        if job.document is None:
            table.add_row(job.view.kind, Text("no record", "bold red"))
            continue
        fields = main_fields(job.document)
        table.add_row(Text(fields["type"] or "?", "cyan"), fields["jobId"])
        table.add_row("  status", f"{fields['status']}, {fields['progress']} %")
        for version in fields["versions"]:
            table.add_row(
                f"  versions[{version['version']}]", plain({k: v for k, v in version.items() if k != "version"})
            )
    return table


def plain(fields: dict[str, Any]) -> str:
    """Value as `name value, name value`, without JSON punctuation."""
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({plain(value)})"
    if isinstance(value, list):
        return " + ".join(str(element) for element in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def condition_lines(resource: dict[str, Any]) -> tuple[str, ...]:
    """Conditions that add to the status' reason and message."""
    status = resource.get("status", {})
    return tuple(
        f"{condition['type']}={condition['status']}  {condition.get('reason', '')}: {condition.get('message', '')}"
        for condition in status.get("conditions", ())
        if (condition.get("reason"), condition.get("message")) != (status.get("reason"), status.get("message"))
    )


def new_entries(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Ledger entries that `before` lacks."""
    known = {entry["id"] for entry in before["entries"]}
    return tuple(entry for entry in after["entries"] if entry["id"] not in known)


def without_others(
    entries: Sequence[dict[str, Any]], jobs: Sequence[DemoJob], others: Collection[str], *, busy: bool
) -> tuple[dict[str, Any], ...]:
    """Ledger entries of the demo, while other resources may have been processed at the same time.

    `others` are the request ids in the status of other resources. While the cluster is `busy`, they may have sent
    requests that their status lacks; a duplicate payment of the demo still shows by its marker. On an idle
    cluster every new entry is the demo's.
    """
    ours = {job.request_id for job in jobs}
    markers = {entry["marker"] for entry in entries if entry["request_id"] in ours}
    return tuple(
        entry
        for entry in entries
        if entry["request_id"] in ours
        or (entry["request_id"] not in others and (not busy or entry["marker"] in markers))
    )


def checks(jobs: Sequence[DemoJob], entries: Sequence[dict[str, Any]]) -> tuple[DemoCheck, ...]:
    """All checks of the demo; only the first one if a resource is not Completed."""
    ended_otherwise = [
        f"{job.view.kind} is {job.view.phase or 'without status'}" for job in jobs if not job.view.completed
    ]
    if ended_otherwise:
        return (DemoCheck("all three are Completed", passed=False, found=", ".join(ended_otherwise)),)
    paid = sorted(entry["request_id"] for entry in entries)
    ours = sorted(job.request_id for job in jobs)
    unrecorded = [job.view.kind for job in jobs if (job.document or {}).get("status") != "completed"]
    missing = [f"{job.view.kind}: {name}" for job in jobs for name in missing_files(job)]
    return (
        DemoCheck("all three are Completed", passed=True),
        DemoCheck(
            "three new ledger entries, one per resource",
            len(entries) == len(jobs) and paid == ours,
            f"{len(entries)} new entries, {len(set(paid) & set(ours))} of this demo",
        ),
        DemoCheck("all expected files are in S3", not missing, ", ".join(missing)),
        DemoCheck("all records in MongoDB are completed", not unrecorded, ", ".join(unrecorded)),
    )


_PROMISED = {
    "LoraTraining": (
        r"/dataset\.zip",
        r"/dataset\.json",
        r"/preview\.jpg",
        r"/images/\d{4}\.jpg",
        r"/model\.safetensors",
        r"/config\.json",
        r"/preview\.png",
    ),
    "ImageGeneration": (r"/image_\d+\.(png|jpg)", r"/image_\d+_thumb\.(png|jpg)"),
    "Transcription": (r"/transcript\.json", r"/transcript\.txt", r"/transcript\.srt", r"/transcript\.vtt"),
}


def missing_files(job: DemoJob) -> tuple[str, ...]:
    """Patterns of expected files that no non-empty file matches."""
    return tuple(
        pattern
        for pattern in _PROMISED[job.view.kind]
        if not any(re.search(f"{pattern}$", file.key) for file in job.files if file.size > 0)
    )


def worth_opening(copied: Sequence[Path]) -> tuple[Path, ...]:
    """Three files to open first, one per kind; training frames if a kind has no picture."""
    wanted = ("lora/preview.png", "pictures/image_", "transcript/transcript.srt", "dataset/preview.jpg")
    found = [next((path for path in copied if part in path.as_posix()), None) for part in wanted]
    return tuple(path for path in found if path is not None)[:3]


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold dim")
    for heading in headings:
        table.add_column(heading)
    return table
