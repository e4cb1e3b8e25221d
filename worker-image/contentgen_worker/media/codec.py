"""Encoding of a confined child's messages: plain values, arrays, and frozen dataclasses marked with `@transferable`.

The decoder trusts nothing: length, depth and number of values are limited before anything is built, each field of a
dataclass is checked against its annotation, and floats must be finite. It raises Malformed.
"""

import dataclasses
import enum
import functools
import math
import struct
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

MAX_DEPTH = 16
MAX_VALUES = 1_000_000  # per message; 12 hours with a cut each second need 200,000
_MAX_DIMENSIONS = 4
_MAX_NAME = 64  # bytes of a dataclass's name
_DTYPES = (np.dtype(np.uint8), np.dtype(np.int16), np.dtype("<i4"), np.dtype("<f4"))

_COUNT, _INTEGER, _UNSIGNED, _FLOAT = struct.Struct("<I"), struct.Struct("<q"), struct.Struct("<Q"), struct.Struct("<d")
_RECORDS: dict[str, type] = {}


class Malformed(ValueError):
    """The bytes are no valid message."""


class _Tag(enum.IntEnum):
    NONE, FALSE, TRUE, INTEGER, UNSIGNED, FLOAT, TEXT, BYTES, SEQUENCE, RECORD, ARRAY = range(11)


def transferable(kind: type[T]) -> type[T]:
    """Decorator of a frozen dataclass that a child may send. Its `__post_init__` checks ranges and raises
    ValueError."""
    if not dataclasses.is_dataclass(kind) or _RECORDS.setdefault(kind.__name__, kind) is not kind:
        raise TypeError(f"{kind.__name__} is no dataclass, or its name is already registered")
    return kind


def encode(value: object) -> bytes:
    """Bytes of a value. Raises TypeError for an unsupported type, ValueError for a number out of range."""
    out = bytearray()
    _write(out, value)
    return bytes(out)


def decode(content: bytes) -> Any:
    """Value of encoded bytes. Raises Malformed."""
    reader = _Reader(content)
    try:
        value = reader.value(0)
    except Malformed:
        raise
    except (ValueError, TypeError, OverflowError, struct.error) as error:
        raise Malformed(str(error)[:200]) from None
    if reader.at != len(content):
        raise Malformed("bytes follow the message")
    return value


def _write(out: bytearray, value: object) -> None:
    match value:
        case None | bool():
            out.append(_Tag.NONE if value is None else _Tag.TRUE if value else _Tag.FALSE)
        case enum.Enum():
            _write(out, value.value)
        case int():
            _write_integer(out, value)
        case float():
            _write_float(out, value)
        case str():
            _write_bytes(out, _Tag.TEXT, value.encode())
        case bytes():
            _write_bytes(out, _Tag.BYTES, value)
        case tuple() | list():
            _write_values(out, value)
        case np.ndarray():
            _write_array(out, value)
        case _:
            _write_record(out, value)


def _write_record(out: bytearray, value: object) -> None:
    kind: type = type(value)
    if _RECORDS.get(kind.__name__) is not kind:
        raise TypeError(f"type not transferable: {kind.__module__}.{kind.__qualname__}")
    _write_bytes(out, _Tag.RECORD, kind.__name__.encode())
    _write_values(out, [getattr(value, name) for name in _fields(kind)])


def _write_integer(out: bytearray, value: int) -> None:
    unsigned = value >= 1 << 63
    out.append(_Tag.UNSIGNED if unsigned else _Tag.INTEGER)
    try:
        out += (_UNSIGNED if unsigned else _INTEGER).pack(value)
    except struct.error as error:
        raise ValueError(f"an integer of more than 64 bits ({error})") from None


def _write_float(out: bytearray, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no finite number")
    out.append(_Tag.FLOAT)
    out += _FLOAT.pack(value)


def _write_bytes(out: bytearray, tag: _Tag, content: bytes) -> None:
    out.append(tag)
    out += _COUNT.pack(len(content))
    out += content


def _write_values(out: bytearray, values: Sequence[object]) -> None:
    out.append(_Tag.SEQUENCE)
    out += _COUNT.pack(len(values))
    for each in values:
        _write(out, each)


def _write_array(out: bytearray, array: "np.ndarray[Any, Any]") -> None:
    if array.dtype not in _DTYPES or not 1 <= array.ndim <= _MAX_DIMENSIONS:
        raise TypeError(f"an array of {array.ndim} dimensions of {array.dtype}")
    out.append(_Tag.ARRAY)
    out += bytes((_DTYPES.index(array.dtype), array.ndim))
    for side in array.shape:
        out += _COUNT.pack(side)
    out += array.tobytes()


class _Reader:
    """Reads a message from its beginning to its end."""

    def __init__(self, content: bytes) -> None:
        self.at = 0
        self._content = memoryview(content)
        self._values = 0

    def value(self, depth: int) -> Any:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise Malformed(f"deeper than {MAX_DEPTH}, or more than {MAX_VALUES} values")
        tag = self._byte()
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _NUMBERS:
            return _finite(_NUMBERS[tag].unpack(self._take(8))[0])
        if tag not in _VARIABLE:
            raise Malformed(f"tag {tag}")
        return _VARIABLE[tag](self, depth)

    def text(self, _depth: int) -> str:
        return str(self._take(self._count()), "utf-8")

    def content(self, _depth: int) -> bytes:
        return bytes(self._take(self._count()))

    def sequence(self, depth: int) -> tuple[Any, ...]:
        if (count := self._count()) > len(self._content) - self.at:  # each value takes at least a byte
            raise Malformed(f"{count} values announced, but fewer bytes follow")
        return tuple([self.value(depth + 1) for _ in range(count)])

    def _byte(self) -> int:
        return self._take(1)[0]

    def _count(self) -> int:
        return int(_COUNT.unpack(self._take(4))[0])

    def _take(self, size: int) -> memoryview:
        if size > len(self._content) - self.at:
            raise Malformed(f"cut off at byte {len(self._content)}")
        self.at += size
        return self._content[self.at - size : self.at]

    def record(self, depth: int) -> Any:
        name = str(self._take(min(self._count(), _MAX_NAME)), "utf-8")
        kind = _RECORDS.get(name)
        if kind is None:
            raise Malformed(f"{name!r} is not transferable")
        given = self.value(depth + 1)
        hints = _fields(kind)
        if not isinstance(given, tuple) or len(given) != len(hints):
            raise Malformed(f"fields of {name}")
        pairs = zip(given, hints.items(), strict=True)
        return kind(*(_checked(value, hint, f"{name}.{field}") for value, (field, hint) in pairs))

    def array(self, _depth: int) -> Any:
        code, dimensions = self._byte(), self._byte()
        if code >= len(_DTYPES) or not 1 <= dimensions <= _MAX_DIMENSIONS:
            raise Malformed(f"an array of type {code} with {dimensions} dimensions")
        shape = tuple(self._count() for _ in range(dimensions))
        content = self._take(math.prod(shape) * _DTYPES[code].itemsize)
        return np.frombuffer(bytes(content), _DTYPES[code]).reshape(shape)


_CONSTANTS: dict[int, bool | None] = {_Tag.NONE: None, _Tag.FALSE: False, _Tag.TRUE: True}
_NUMBERS: dict[int, struct.Struct] = {_Tag.INTEGER: _INTEGER, _Tag.UNSIGNED: _UNSIGNED, _Tag.FLOAT: _FLOAT}
_VARIABLE: dict[int, Callable[[_Reader, int], Any]] = {
    _Tag.TEXT: _Reader.text,
    _Tag.BYTES: _Reader.content,
    _Tag.SEQUENCE: _Reader.sequence,
    _Tag.RECORD: _Reader.record,
    _Tag.ARRAY: _Reader.array,
}


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise Malformed(f"{value} is no finite number")
    return value


@functools.cache
def _fields(kind: type) -> dict[str, Any]:
    """Annotations of a dataclass's fields by name, in order."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def _checked(value: Any, hint: Any, where: str) -> Any:
    """The value, converted as its annotation requires. Raises Malformed."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _checked_union(value, arguments, where)
    if origin is tuple:
        return _checked_tuple(value, arguments, where)
    if origin is np.ndarray:
        wanted = typing.get_args(arguments[1])[0]
        if isinstance(value, np.ndarray) and value.dtype == np.dtype(wanted):
            return value
    elif hint is float and type(value) is int:
        return float(value)
    elif isinstance(hint, type) and issubclass(hint, enum.Enum):
        return hint(value)
    elif type(value) is hint:
        return value
    raise Malformed(f"{where} is {type(value).__name__}, expected {hint}")


def _checked_union(value: Any, options: tuple[Any, ...], where: str) -> Any:
    for option in options:
        try:
            return _checked(value, option, where)
        except ValueError:
            continue
    raise Malformed(f"{where} is {type(value).__name__}, expected one of {options}")


def _checked_tuple(value: Any, items: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, tuple):
        raise Malformed(f"{where} is {type(value).__name__}, expected a tuple")
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple([_checked(element, items[0], where) for element in value])
    if len(value) != len(items):
        raise Malformed(f"{where} has {len(value)} values, expected {len(items)}")
    return tuple(_checked(each, item, where) for each, item in zip(value, items, strict=True))
