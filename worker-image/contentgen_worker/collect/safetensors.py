"""Check of a safetensors file by its header alone: no tensor is read and nothing is executed.

Format: 8 bytes little-endian length N, N bytes of JSON {name: {dtype, shape, data_offsets: [begin, end]}}, data.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.sandbox.isolation import malformed_answer, spawn

_MAX_HEADER = 100 << 20  # limit of the reference implementation
_CPU_SECONDS = 60
_BITS = (
    {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
    | dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8)
    | dict.fromkeys(("I16", "U16", "F16", "BF16"), 16)
    | dict.fromkeys(("I32", "U32", "F32"), 32)
    | dict.fromkeys(("I64", "U64", "F64", "C64"), 64)
)


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
    """Number of tensors. Raises NotSafetensors for all that the reference library refuses."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise NotSafetensors(f"a header of {length} bytes in a file of {size} bytes")
        header = _header(file.read(length))
    _check_metadata(header.pop("__metadata__", None))
    if not header:
        raise NotSafetensors("it contains no tensor")
    end = 0
    for begin, end_of_it, name in sorted(_bytes_of(name, entry) for name, entry in header.items()):
        if begin != end:
            raise NotSafetensors(f"tensor {name[:80]!r} begins at byte {begin}, expected {end}")
        end = end_of_it
    if end != size - 8 - length:
        raise NotSafetensors(f"its tensors have {end} bytes, but {size - 8 - length} bytes of data follow the header")
    return len(header)


def _header(text: bytes) -> dict[str, object]:
    try:
        header = json.loads(text.decode())
    except (ValueError, RecursionError):
        raise NotSafetensors("its header is not JSON") from None
    if not isinstance(header, dict):
        raise NotSafetensors("its header is not a JSON object")
    return header


def _check_metadata(metadata: object) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or not all(isinstance(each, str) for each in metadata.values()):
        raise NotSafetensors("its __metadata__ is not an object of texts")


def _bytes_of(name: str, entry: object) -> tuple[int, int, str]:
    """First byte and end of a tensor in the data."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if all(
            _is_size(each) for each in (*shape, begin, end)
        ):
            pass
        case _:
            raise NotSafetensors(f"tensor {name[:80]!r} has no valid dtype, shape and offsets")
    if dtype not in _BITS:
        raise NotSafetensors(f"tensor {name[:80]!r} has the unknown type {dtype[:20]!r}")
    bits = _BITS[dtype] * math.prod(shape)
    if end < begin or 8 * (end - begin) != bits:
        raise NotSafetensors(f"tensor {name[:80]!r} of {bits} bits has the bytes {begin} to {end}")
    return begin, end, name


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
