"""Check of a safetensors file by its header alone: no tensor is read and nothing is executed.

Format: 8 bytes little-endian length N, N bytes of JSON {name: {dtype, shape, data_offsets: [begin, end]}}, data.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.sandbox.isolation import malformed_answer, spawn

_MAX_HEADER = 100 << 20  # limit of the reference implementation
_CPU_SECONDS = 60


class NotSafetensors(ValueError):
    """The file is no valid safetensors file; the message says why."""


def count_tensors(path: Path, bounds: MediaLimits) -> int:
    """Number of tensors. Raises BadMedia.

    A confined child parses the header, since 100 MiB of JSON may take a hundred times as much memory.
    """
    limits = replace(bounds.child_limits(path), cpu_seconds=min(_CPU_SECONDS, bounds.cpu_seconds))
    with spawn(send_tensor_count, path, limits=limits) as child:
        for count in child.messages():
            if isinstance(count, int) and count > 0:
                return count
    raise malformed_answer("no number of tensors")


def send_tensor_count(send: Callable[[object], None], path: Path) -> None:
    """Child process: send the number of tensors."""
    try:
        send(check(path))
    except NotSafetensors as error:
        raise Unsupported(str(error)) from None


def check(path: Path) -> int:
    """Number of tensors. Raises NotSafetensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise NotSafetensors(f"a header of {length} bytes in a file of {size} bytes")
        header = _header(file.read(length))
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in tensors.items():
        _check_entry(name, entry, size - 8 - length)
    if not tensors:
        raise NotSafetensors("it contains no tensor")
    return len(tensors)


def _header(text: bytes) -> dict[str, object]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise NotSafetensors("its header is not JSON") from None
    if not isinstance(header, dict):
        raise NotSafetensors("its header is not a JSON object")
    return header


def _check_entry(name: str, entry: object, data_size: int) -> None:
    match entry:
        case {"dtype": str(), "shape": list(), "data_offsets": [int(begin), int(end)]} if (
            0 <= begin <= end <= data_size
        ):
            return
    raise NotSafetensors(f"tensor {name[:80]!r} has missing or invalid offsets; the file has {data_size} bytes of data")
