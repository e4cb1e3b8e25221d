"""S3 keys in the layout of the legacy API. Pure.

Version 1 of a job has the keys of the legacy API; later versions add `v{n}/`. `_part` validates `{userId}` and
`{jobId}` a second time, because a key outside of its prefix would be another tenant's file.
"""

import hashlib
import re
from typing import NamedTuple

from contentgen_contract.names import KINDS, Kind, Stage

_PART = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
CONTENT_TYPES = {
    "flac": "audio/flac",
    "jpg": "image/jpeg",
    "json": "application/json",
    "png": "image/png",
    "safetensors": "application/octet-stream",
    "srt": "application/x-subrip",
    "txt": "text/plain",
    "vtt": "text/vtt",
    "zip": "application/zip",
}
"""Content type by file name suffix. Browsers execute scripts in none of these."""

FOLDERS = sorted({each_stage.folder for info in KINDS.values() for each_stage in info.stages.values()})
"""First folders of the keys of all kinds' files."""
_STORED = re.compile(
    rf"({'|'.join(FOLDERS)})/(?P<user>[A-Za-z0-9][A-Za-z0-9._-]{{0,127}})"
    r"/(?P<job>[A-Za-z0-9][A-Za-z0-9._-]{0,127})/(v(?P<version>[1-9]\d{0,5})/)?((images|captions)/)?[a-z0-9_.]{1,64}"
)


TEMPORARY = "temp/"
"""Prefix of temporary files, which the legacy service deleted after 24 hours. Nothing that a job waits for is there."""

_SEND = re.compile(r"purchases/by-key/[0-9a-f]{64}/(?P<number>[0-9]{9})(?P<end>-end)?\.json")
_OUTCOME = re.compile(
    r"runs/(?P<job>[A-Za-z0-9][A-Za-z0-9._-]{0,127})/(?P<run>[1-9]\d{0,6})/(prepare|collect)-[1-9]\d{0,8}\.json"
)


def _part(text: str) -> str:
    # Two dots inside a part, such as `a..b`, are harmless: a part has no slash and does not begin with a dot.
    if not _PART.fullmatch(text):
        raise ValueError(f"not usable in an S3 key: {text!r}")
    return text


def prefix(kind: Kind, stage: Stage, user_id: str, job_id: str, version: int) -> str:
    """Prefix (with a trailing slash) of the files of one stage of one run."""
    stages = kind.info.stages
    files = stages.get(stage, stages[Stage.COLLECT])
    numbered = f"v{version}/" if files.numbered or version > 1 else ""
    return f"{files.folder}/{_part(user_id)}/{_part(job_id)}/{numbered}"


def job_prefixes(kind: Kind, user_id: str, job_id: str) -> set[str]:
    """Prefixes of all versions of a job's files."""
    return {job_prefix_of(prefix(kind, stage, user_id, job_id, 1)) for stage in Stage}


def job_prefix_of(key: str) -> str:
    """Prefix of the job of a file: `{kind}/{userId}/{jobId}/`. Raises ValueError for an invalid part."""
    top, user_id, job_id = key.split("/")[:3]
    return f"{_part(top)}/{_part(user_id)}/{_part(job_id)}/"


class RunKeys(NamedTuple):
    """Arguments of `prefix` for one run of one job."""

    user_id: str
    job_id: str
    version: int


def run_of(key: str) -> RunKeys | None:
    """The run of a stored file; None for a key that no stage writes."""
    found = _STORED.fullmatch(key)
    return RunKeys(found["user"], found["job"], int(found["version"] or 1)) if found else None


OUTCOMES = "runs/"
"""Prefix of all jobs' outcomes."""


def internal_prefix(job_id: str) -> str:
    """Prefix of a job's outcomes."""
    return f"runs/{_part(job_id)}/"


def is_output(kind: Kind, stage: Stage, name: str) -> bool:
    """True if a stage may write a file of this name under its prefix."""
    files = kind.info.stages.get(stage)
    return files is not None and re.fullmatch(files.names, name) is not None


def content_type(name: str) -> str:
    """Content type of an output by its suffix. Raises ValueError for an unknown suffix."""
    suffix = name.rpartition(".")[2]
    if suffix not in CONTENT_TYPES:
        raise ValueError(f"{name!r} has no known suffix; expected one of {', '.join(CONTENT_TYPES)}")
    return CONTENT_TYPES[suffix]


def outcome(job_id: str, run: int, stage: Stage, attempt: int) -> str:
    """Key of a stage's outcome, which the worker writes even if the operator is unavailable."""
    return f"runs/{_part(job_id)}/{run}/{stage}-{attempt}.json"


class OutcomeKey(NamedTuple):
    """Job and run of a stage's outcome."""

    job_id: str
    run: int


def outcome_of(key: str) -> OutcomeKey | None:
    """The run whose attempt wrote an outcome; None for any other key, such as a provider's response."""
    found = _OUTCOME.fullmatch(key)
    return OutcomeKey(found["job"], int(found["run"])) if found else None


def purchase_prefix(purchase_id: str) -> str:
    """Prefix (with a trailing slash) of the objects of one purchase."""
    return f"purchases/{_part(purchase_id)}/"


def purchase_response(purchase_id: str) -> str:
    """Key of the provider's response, written once: providers delete theirs within an hour."""
    return f"{purchase_prefix(purchase_id)}response.json"


EVIDENCE = "purchases/by-key/"
"""Prefix of the create-only objects that prove purchases after a restore of the ledger. None is ever deleted."""

STORE_CHECK = f"{TEMPORARY}store-check/"
"""Prefix of objects with which the operator tries a store at its start, and which it deletes."""
CREATE_ONLY_CHECK = f"{EVIDENCE}create-only"
"""Key of the object with which the operator checks that the store refuses a second creation."""


def purchase_marker(buying_key: str) -> str:
    """Key of the create-only marker of a purchase, which is not deleted with its outputs."""
    return f"{EVIDENCE}{_digest(buying_key)}.json"


def sends_prefix(buying_key: str, number: int | None = None) -> str:
    """Prefix of the objects of all tries to send a purchase, or of one. Keys sort by the number of the try."""
    return f"{EVIDENCE}{_digest(buying_key)}/" + ("" if number is None else f"{number:09}")


def send_object(buying_key: str, number: int) -> str:
    """Key of the create-only object without which the try is not sent."""
    return f"{sends_prefix(buying_key, number)}.json"


def send_end(buying_key: str, number: int) -> str:
    """Key of the create-only object that says that the try was not accepted."""
    return f"{sends_prefix(buying_key, number)}-end.json"


def request_marks(name: str) -> str:
    """Prefix of the marks of all requests of a name (`state/request_marks.py`)."""
    return f"{EVIDENCE}{_digest(name)}/requests/"


class SendKey(NamedTuple):
    """Number of a try, and whether the object is its end."""

    number: int
    is_end: bool


def send_of(key: str) -> SendKey | None:
    """The try of an object under `sends_prefix`; None for any other key."""
    found = _SEND.fullmatch(key)
    return SendKey(int(found["number"]), found["end"] is not None) if found else None


def _digest(buying_key: str) -> str:
    return hashlib.sha256(buying_key.encode()).hexdigest()
