"""How it ended: pure functions from what was read to what is printed, and the checks that decide the exit code."""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from contentgen_demo.progress import View, duration

_NUMBERED = re.compile(r"^(?P<stem>.*?)(?P<number>\d{4})(?P<ending>\.\w+)$")
_FEWEST_TO_GROUP = 4


@dataclass(frozen=True)
class ReportedFile:
    """A file in the bucket; the size is in bytes."""

    key: str
    size: int


@dataclass(frozen=True)
class Line:
    """A line of a listing."""

    name: str
    count: int
    size: int


@dataclass(frozen=True)
class DemoCheck:
    """A promise of the demo, and whether it held."""

    promise: str
    held: bool
    found: str = ""


@dataclass(frozen=True)
class DemoJob:
    """All that is known of one resource at the end."""

    view: View
    job_id: str
    user_id: str
    request_id: str
    files: tuple[ReportedFile, ...]
    document: dict[str, Any] | None


def size(count: float) -> str:
    """Bytes in a person's units: `420 B`, `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def folders(files: Iterable[ReportedFile], prefixes: Iterable[str]) -> dict[str, tuple[ReportedFile, ...]]:
    """The files by the prefix that they lie under; empty prefixes are left out."""
    every = tuple(files)
    found = {prefix: tuple(file for file in every if file.key.startswith(prefix)) for prefix in prefixes}
    return {prefix: inside for prefix, inside in found.items() if inside}


def listing(files: Iterable[ReportedFile], prefix: str) -> tuple[Line, ...]:
    """Files relative to the prefix; `0001.jpg`, `0002.jpg`, … become one line where they are many."""
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
    """Kind, name, phase, time, cost."""
    table = _table("KIND", "NAME", "PHASE", "TIME", "COST")
    for job in jobs:
        each = job.view
        phase = Text(each.phase or "—", "green" if each.completed else "bold red")
        table.add_row(each.kind, each.name, phase, duration(each.took), each.cost)
    return table


def ledger_table(entries: Sequence[dict[str, Any]]) -> Table:
    """What would have been paid."""
    table = _table("PROVIDER", "MODEL", "WHAT", "USD")
    table.columns[3].justify = "right"
    for entry in entries:
        table.add_row(entry["provider"], entry["model"], entry["what"], f"{float(entry['amount_usd']):.4f}")
    total = sum(float(entry["amount_usd"]) for entry in entries)
    table.add_row("", "", Text("together", "dim"), f"{total:.4f}")
    return table


def files_table(jobs: Sequence[tuple[DemoJob, Sequence[str]]]) -> Table:
    """The bucket's keys and sizes, a heading for each of the jobs' folders."""
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


def document_essence(document: dict[str, Any]) -> dict[str, Any]:
    """The fields that a client of the API looks at first; of a version those that say something at a glance."""
    kept = ("jobId", "type", "status", "progress")
    return {name: document.get(name) for name in kept} | {
        "versions": [_version(each) for each in document.get("versions", ())]
    }


def _version(version: dict[str, Any]) -> dict[str, Any]:
    telling = ("version", "s3Key", "sizeBytes", "seed", "wordCount", "duration", "speakers", "language")
    kept = {name: version[name] for name in telling if version.get(name) is not None}
    if "s3Key" in kept:
        kept["s3Key"] = "…/" + "/".join(kept["s3Key"].split("/")[-2:])  # the listing has all of it
    if version.get("config"):
        kept["config"] = version["config"]
    if version.get("images"):
        kept["images"] = [f"{each['width']}x{each['height']} {size(each['sizeBytes'])}" for each in version["images"]]
    return kept


def documents_table(jobs: Sequence[DemoJob]) -> Table:
    """The essence of the documents, a field a line."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for job in jobs:
        if job.document is None:
            table.add_row(job.view.kind, Text("no document", "bold red"))
            continue
        essence = document_essence(job.document)
        table.add_row(Text(essence["type"] or "?", "cyan"), essence["jobId"])
        table.add_row("  status", f"{essence['status']}, {essence['progress']} %")
        for version in essence["versions"]:
            table.add_row(
                f"  versions[{version['version']}]", plain({k: v for k, v in version.items() if k != "version"})
            )
    return table


def plain(fields: dict[str, Any]) -> str:
    """`name value, name value`: JSON's marks tire the eye."""
    return ", ".join(f"{name} {_value(value)}" for name, value in fields.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({plain(value)})"
    if isinstance(value, list):
        return " + ".join(str(each) for each in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def condition_lines(resource: dict[str, Any]) -> tuple[str, ...]:
    """The conditions that say more than the status' reason and message."""
    status = resource.get("status", {})
    return tuple(
        f"{each['type']}={each['status']}  {each.get('reason', '')}: {each.get('message', '')}"
        for each in status.get("conditions", ())
        if (each.get("reason"), each.get("message")) != (status.get("reason"), status.get("message"))
    )


def new_entries(before: dict[str, Any], after: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The ledger's lines that were not there before."""
    known = {entry["id"] for entry in before["entries"]}
    return tuple(entry for entry in after["entries"] if entry["id"] not in known)


def without_others(
    entries: Sequence[dict[str, Any]], jobs: Sequence[DemoJob], others: Collection[str], *, busy: bool
) -> tuple[dict[str, Any], ...]:
    """The lines that the demo has to answer for, where other resources may have been worked on at the same time.

    `others` are the requests that other resources know of. While the cluster is `busy` with some, they may have sent
    one that they do not know of yet; a second payment for one of ours would still show, by our marker. On a quiet
    cluster every line is ours.
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
    """What the demo promises; where not all are Completed, the rest says nothing that this does not."""
    ended_otherwise = [
        f"{job.view.kind} is {job.view.phase or 'without a status'}" for job in jobs if not job.view.completed
    ]
    if ended_otherwise:
        return (DemoCheck("all three are Completed", held=False, found=", ".join(ended_otherwise)),)
    paid = sorted(entry["request_id"] for entry in entries)
    ours = sorted(job.request_id for job in jobs)
    unrecorded = [job.view.kind for job in jobs if (job.document or {}).get("status") != "completed"]
    missing = [f"{job.view.kind}: {name}" for job in jobs for name in missing_files(job)]
    return (
        DemoCheck("all three are Completed", held=True),
        DemoCheck(
            "three new lines in the ledger, one for each",
            len(entries) == len(jobs) and paid == ours,
            f"{len(entries)} new lines, {len(set(paid) & set(ours))} of them ours",
        ),
        DemoCheck("the files that were promised lie in S3", not missing, ", ".join(missing)),
        DemoCheck("the documents in MongoDB say completed", not unrecorded, ", ".join(unrecorded)),
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
    """Patterns of promised files that no file with content in it matches."""
    return tuple(
        pattern
        for pattern in _PROMISED[job.view.kind]
        if not any(re.search(f"{pattern}$", file.key) for file in job.files if file.size > 0)
    )


def worth_opening(copied: Sequence[Path]) -> tuple[Path, ...]:
    """The three to look at first: one of each kind; the frames that the LoRA learnt from where one has none."""
    wanted = ("lora/preview.png", "pictures/image_", "transcript/transcript.srt", "dataset/preview.jpg")
    found = [next((path for path in copied if part in path.as_posix()), None) for part in wanted]
    return tuple(path for path in found if path is not None)[:3]


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold dim")
    for heading in headings:
        table.add_column(heading)
    return table
