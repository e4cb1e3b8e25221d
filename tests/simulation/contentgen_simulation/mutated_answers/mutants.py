"""Mutants of recorded answers, in a fixed order: each field dropped, null, of another type, huge, negative, half a
surrogate pair, a list for a scalar, an unknown enum; each item of a list broken; odd bodies; each header odd.
"""

import copy
import gzip
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from contentgen_simulation.mutated_answers.recorded import RECORDED, Recorded

Path = tuple[str | int, ...]
_DROP = object()
_VALUES: tuple[Any, ...] = (
    _DROP, None, "", " ", "odd", "UNKNOWN_ENUM", "\ud800", "\udfff\x00\x1b[31m\u202e", "x" * 70_000, 0, -1, 1.5,
    10**30, 2**63, float("nan"), float("-inf"), True, False, [], ["x"], [None], {}, {"x": 1}, {"message": "m"},
)  # fmt: skip
_HEADER_VALUES = (
    b"", b" ", b"-1", b"nan", b"9" * 400, b"a, b", b"\xff\xfe", b"text/html; charset=base64", b"gzip", b"br",
    b"identity",    b"client_cancelled", b"true", b"Wed, 21 Oct 2015 07:28:00 GMT", b"=?utf-8?b?AA==?=",
)  # fmt: skip
_MORE_HEADERS = (
    "content-encoding",
    "retry-after",
    "x-fal-billable-units",
    "x-fal-error-type",
    "set-cookie",
    "location",
)
_DEEP = b"[" * 3000 + b"]" * 3000


@dataclass(frozen=True)
class MutatedAnswer:
    """A changed answer. `paths` are the changed fields; empty: the body or a header was changed."""

    name: str  # of the recorded answer
    label: str
    content: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    paths: tuple[Path, ...] = ()
    is_whole: bool = False  # the body as a whole was changed

    @property
    def recorded(self) -> Recorded:
        """The answer that was changed."""
        return RECORDED[self.name]

    @property
    def touches_needed(self) -> bool:
        """True if a field without which the answer cannot be understood was changed, or one around it."""
        return any(_overlap(dotted(path), each) for path in self.paths for each in self.recorded.needed)


def dotted(path: Path) -> str:
    """A path as text."""
    return ".".join(map(str, path))


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def unchanged(name: str) -> MutatedAnswer:
    """The recorded answer as it is."""
    recorded = RECORDED[name]
    return MutatedAnswer(name, "unchanged", _json(recorded.body), _headers(recorded.headers))


def replaced(name: str, body: Any) -> MutatedAnswer:
    """The recorded answer with another body, as part of a run."""
    return MutatedAnswer(name, "of a run", _json(body), _headers(RECORDED[name].headers))


def _headers(headers: Mapping[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in headers.items())


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _paths(value: Any, path: Path = ()) -> Iterator[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, element in inner:
        yield (*path, name)
        yield from _paths(element, (*path, name))


def _changed(body: Any, path: Path, value: Any) -> Any:
    made = copy.deepcopy(body)
    place = made
    for name in path[:-1]:
        place = place[name]
    if value is _DROP:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return made


def _values(original: Any) -> Iterator[Any]:
    yield from _VALUES
    yield [original]
    yield {"value": original}
    if not isinstance(original, str):
        yield json.dumps(original)


def _at(body: Any, path: Path) -> Any:
    for name in path:
        body = body[name]
    return body


def _field_mutants(name: str, recorded: Recorded) -> Iterator[MutatedAnswer]:
    headers = _headers(recorded.headers)
    for path in _paths(recorded.body):
        for value in _values(_at(recorded.body, path)):
            label = f"{dotted(path)} = {'dropped' if value is _DROP else ascii(value)[:40]}"
            yield MutatedAnswer(name, label, _json(_changed(recorded.body, path, value)), headers, (path,))


def _bodies(content: bytes) -> Iterator[tuple[str, bytes, bytes]]:
    """Label, body and content encoding."""
    yield "empty", b"", b""
    yield "a BOM", b"\xef\xbb\xbf" + content, b""
    yield "white space", b"\r\n " + content + b" \n", b""
    yield "gzip", gzip.compress(content, mtime=0), b"gzip"
    yield "gzip, cut off", gzip.compress(content, mtime=0)[:-5], b"x-gzip"
    yield "aws-chunked", content, b"aws-chunked"
    yield "zstd", content, b"zstd"
    for label, body in (
        ("HTML", b"<html>nginx</html>"), ("null", b"null"), ("a number", b"7"), ("a list", b"[]"), ("an object", b"{}"),
        ("a string", b'"x"'), ("not UTF-8", b"\xff\xfe{}"), ("deep", b'{"x": ' + _DEEP + b"}"),
        ("long int", b"9" * 5000),        ("twice", content + content), ("UTF-16", content.decode().encode("utf-16")),
    ):  # fmt: skip
        yield label, body, b""
    for part in range(1, 8):
        yield f"{part}/8 of it", content[: len(content) * part // 8], b""


def _body_mutants(name: str, recorded: Recorded) -> Iterator[MutatedAnswer]:
    headers = _headers(recorded.headers)
    for label, content, coding in _bodies(_json(recorded.body)):
        more = ((b"content-encoding", coding),) if coding else ()
        yield MutatedAnswer(name, f"body: {label}", content, headers + more, is_whole=True)


def _header_mutants(name: str, recorded: Recorded) -> Iterator[MutatedAnswer]:
    content, given = _json(recorded.body), _headers(recorded.headers)
    for header in dict.fromkeys((*recorded.headers, *_MORE_HEADERS)):
        others = tuple(each for each in given if each[0] != header.encode())
        yield MutatedAnswer(name, f"without {header}", content, others)
        for value in _HEADER_VALUES:
            yield MutatedAnswer(name, f"{header}: {ascii(value)[:30]}", content, (*others, (header.encode(), value)))
        yield MutatedAnswer(
            name, f"{header} twice", content, (*given, (header.encode(), b"x"), (header.encode(), b"y"))
        )


@cache
def singles() -> tuple[MutatedAnswer, ...]:
    """Mutants with one change each."""
    return tuple(
        mutant
        for name, recorded in RECORDED.items()
        for made in (_field_mutants, _body_mutants, _header_mutants)
        for mutant in made(name, recorded)
    )


def mutants(count: int, seed: int = 0) -> list[MutatedAnswer]:
    """So many distinct mutants: those with one change in an order by the seed, then pairs of changed fields."""
    chance = random.Random(seed)  # noqa: S311 - reproducible, no secret
    every = list(singles())
    chance.shuffle(every)
    seen = {(each.name, each.label) for each in every}
    names = [name for name, recorded in RECORDED.items() if len(list(_paths(recorded.body))) > 1]
    while len(every) < count:
        pair = _pair(chance.choice(names), chance)
        if (pair.name, pair.label) not in seen:
            seen.add((pair.name, pair.label))
            every.append(pair)
    return every[:count]


def _pair(name: str, chance: random.Random) -> MutatedAnswer:
    recorded = RECORDED[name]
    body, paths, labels = recorded.body, list[Path](), list[str]()
    for _ in range(2):
        options = list(_paths(body))
        if not options:
            break
        path = chance.choice(options)
        value = chance.choice(list(_values(_at(body, path))))
        body = _changed(body, path, value)
        paths.append(path)
        labels.append(f"{dotted(path)} = {'dropped' if value is _DROP else ascii(value)[:40]}")
    return MutatedAnswer(name, " and ".join(labels), _json(body), _headers(recorded.headers), tuple(paths))
