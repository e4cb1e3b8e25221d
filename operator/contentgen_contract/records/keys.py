"""Where things lie in the bucket: the seeds' layout, each key made in one place.

Version 1 of a job has exactly the seeds' keys; later versions add `v{n}/` where the seeds have none.
`{userId}` and `{jobId}` have passed strict patterns before they come here; `_part` checks once more, because
a key that escapes its prefix is another tenant's file.
"""

import hashlib
import re
from typing import NamedTuple

from contentgen_contract.names import Kind, Stage

_PART = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_FILES: dict[tuple[Kind, Stage], re.Pattern[str]] = {
    (Kind.LORA_TRAINING, Stage.PREPARE): re.compile(
        r"^(images/\d{4}\.jpg|captions/\d{4}\.txt|dataset\.(json|zip)|preview\.jpg)$"
    ),
    (Kind.LORA_TRAINING, Stage.COLLECT): re.compile(r"^(model\.safetensors|config\.json|preview\.png)$"),
    (Kind.IMAGE_GENERATION, Stage.COLLECT): re.compile(r"^image_\d{1,2}(_thumb)?\.(png|jpg)$"),
    (Kind.TRANSCRIPTION, Stage.PREPARE): re.compile(r"^audio\.flac$"),
    (Kind.TRANSCRIPTION, Stage.COLLECT): re.compile(r"^transcript\.(json|txt|srt|vtt)$"),
}

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
"""Content type by file name suffix. None of these can run scripts when a browser shows it."""

_STORED = re.compile(
    r"(loras|datasets|generated-images|transcripts)/(?P<user>[A-Za-z0-9][A-Za-z0-9._-]{0,127})"
    r"/(?P<job>[A-Za-z0-9][A-Za-z0-9._-]{0,127})/(v(?P<version>[1-9]\d{0,5})/)?((images|captions)/)?[a-z0-9_.]{1,64}"
)


def _part(text: str) -> str:
    # Two dots inside a part, as in a userId `a..b`, lead nowhere: a part neither begins with one nor has a slash.
    if not _PART.fullmatch(text):
        raise ValueError(f"not usable in an S3 key: {text!r}")
    return text


def prefix(kind: Kind, stage: Stage, user_id: str, job_id: str, version: int) -> str:
    """The folder (with a slash at its end) that one stage of one run writes into."""
    owner = f"{_part(user_id)}/{_part(job_id)}"
    later = f"v{version}/" if version > 1 else ""
    if kind is Kind.LORA_TRAINING:
        return f"datasets/{owner}/{later}" if stage is Stage.PREPARE else f"loras/{owner}/v{version}/"
    if kind is Kind.IMAGE_GENERATION:
        return f"generated-images/{owner}/{later}"
    return f"transcripts/{owner}/{later}"


def job_prefixes(kind: Kind, user_id: str, job_id: str) -> set[str]:
    """The folders that hold all versions of a job's files."""
    return {job_prefix_of(prefix(kind, stage, user_id, job_id, 1)) for stage in Stage}


def job_prefix_of(key: str) -> str:
    """The folder of the job that a file lies in: `{kind}/{userId}/{jobId}/`."""
    top, user_id, job_id = key.split("/")[:3]
    return f"{_part(top)}/{_part(user_id)}/{_part(job_id)}/"


class RunKeys(NamedTuple):
    """Where the files of one run of one job lie: `prefix` takes these."""

    user_id: str
    job_id: str
    version: int


def run_of(key: str) -> RunKeys | None:
    """The run that a stored file is of; None for what no stage stores."""
    found = _STORED.fullmatch(key)
    return RunKeys(found["user"], found["job"], int(found["version"] or 1)) if found else None


def internal_prefix(job_id: str) -> str:
    """The folder of a job's outcomes and its provider's answers."""
    return f"runs/{_part(job_id)}/"


def is_output(kind: Kind, stage: Stage, name: str) -> bool:
    """Whether a stage may write a file of this name under its prefix."""
    pattern = _FILES.get((kind, stage))
    return pattern is not None and pattern.fullmatch(name) is not None


def content_type(name: str) -> str:
    """Content type of an output, decided by its suffix alone. Raises ValueError for a suffix without an entry."""
    suffix = name.rpartition(".")[2]
    if suffix not in CONTENT_TYPES:
        raise ValueError(f"{name!r} has no known suffix; expected one of {', '.join(CONTENT_TYPES)}")
    return CONTENT_TYPES[suffix]


def outcome(job_id: str, run: int, stage: Stage, attempt: int) -> str:
    """Where a worker leaves the outcome of a stage, also while the operator is away."""
    return f"runs/{_part(job_id)}/{run}/{stage}-{attempt}.json"


def purchase_prefix(purchase_id: str) -> str:
    """The folder (with a slash at its end) of what is kept of one purchase."""
    return f"purchases/{_part(purchase_id)}/"


def purchase_response(purchase_id: str) -> str:
    """The provider's response, written once: providers delete theirs within the hour.

    Releases before 0.3 kept it at `runs/{jobId}/{run}/provider-{attempt}.json`; the ledger's `resultKey` names either.
    """
    return f"{purchase_prefix(purchase_id)}response.json"


def purchase_marker(buying_key: str) -> str:
    """The create-only object that witnesses a purchase; never deleted with its outputs."""
    return f"purchases/by-key/{hashlib.sha256(buying_key.encode()).hexdigest()}.json"
