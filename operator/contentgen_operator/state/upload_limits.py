"""Upload limits of one attempt of a stage: maximum size by file name, and number of files. Pure.

The sizes (`KindRow.file_limits`) are upper bounds of the worker's output, from spec and settings. A refused file fails
the attempt, also after a payment, so each limit is well above the real sizes.
"""

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.worker.orders import StoredFile

_PUT_BYTES = 5 * 2**30  # maximum of a single PUT in S3
MIB = 1 << 20


class FileLimit(Value):
    """Limit of files of one name; `*` in the name is a number from 1 to `count`."""

    name: str
    size_bytes: int
    count: int = 1


def limit_of(name: str, limits: Sequence[FileLimit]) -> FileLimit | None:
    """Limit of a file name; None: the stage has no file of that name or number."""
    found = next((limit for limit in limits if fnmatchcase(name, limit.name)), None)
    number = re.search(r"\d+", name)
    if found is None or (number and not 1 <= int(number[0]) <= found.count):
        return None
    return found


def files_problem(kind: Kind, stage: Stage, files: Collection[StoredFile], limits: Sequence[FileLimit]) -> str:
    """Problem with the files that an outcome lists, found without reading the bucket; empty: none."""
    most = sum(each_limit.count for each_limit in limits)
    if len(files) > most:
        return f"the {stage} stage lists {len(files)} files; expected at most {most}"
    for file in files:
        limit = limit_of(file.name, limits) if keys.is_output(kind, stage, file.name) else None
        if limit is None:
            return f"the {stage} stage may not write {file.name!r}"
        if file.size_bytes > limit.size_bytes:
            return f"{file.name} has {file.size_bytes} bytes; expected at most {limit.size_bytes}"
    return ""


def storable(limits: Sequence[FileLimit]) -> tuple[FileLimit, ...]:
    """The limits, none above the maximum of a single PUT."""
    return tuple(limit.model_copy(update={"size_bytes": min(limit.size_bytes, _PUT_BYTES)}) for limit in limits)
