"""Malicious ids, parameters and bodies, generated from a seed, and a check of the MongoDB queries that they cause.

Each contains `MARK`, which occurs nowhere else, so its position shows how far a caller's text got.
"""

import base64
import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import bson
from mongomock.collection import Collection

MARK = "zqx"

_OPERATORS = (
    "$ne", "$gt", "$gte", "$lt", "$in", "$nin", "$not", "$regex", "$where", "$exists", "$expr", "$or", "$and", "$nor",
    "$elemMatch", "$type", "$mod", "$all", "$size", "$text", "$jsonSchema", "$function", "$accumulator", "$lookup",
    "$set", "$unset", "$inc", "$push", "$rename", "$out", "$merge", "$comment", "$bitsAllSet", "$geoWithin",
)  # fmt: skip
_FOLDERS = (
    "../", "..%2f", "%2e%2e/", "..\\", "./", "//", "/", "%00", "\x00", "\n", "\r\n", "%0a", " ", "?", "#", "&", ";",
)  # fmt: skip
# Look-alikes of dots, slash, dollar and letters; what changes its length in lower case; markup.
_ODD = (
    "\u2024\u2024", "\uff0f", "\uff04", "\u202e", "\ufeff", "\u00e9", "\u0130", "\u00df", "\U0001d4b6", "\ud7ff",
    "'", '"', "`", "${7*7}", "{{7*7}}", "<script>",
)  # fmt: skip
_TOPS = ("loras", "datasets", "generated-images", "transcripts", "runs", "temp", "red", "blue", "ann", "bob")
_METHODS = (
    "find", "find_one", "count_documents", "distinct", "aggregate", "update_one", "update_many", "insert_one",
    "insert_many", "delete_one", "delete_many", "find_one_and_update", "find_one_and_delete", "replace_one",
)  # fmt: skip
_NEVER = {"$where", "$regex", "$expr", "$text", "$function", "$accumulator", "$jsonSchema", "$out", "$merge"}
_COMPARE = {"$eq", "$in", "$gt", "$gte", "$lt", "$lte"}
_COMBINE = {"$and", "$or", "$elemMatch", "$set", "$setOnInsert", "$push", "$pull", "$addToSet", "$each", "$match"}
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")


class OperatorReached(AssertionError):
    """Text of a caller reached MongoDB as a key or operator instead of a value."""


def text(rng: random.Random, known: tuple[str, ...]) -> str:
    """Malicious id or parameter. `known` are existing ids."""
    pieces: dict[str, Callable[[], str]] = {
        "operator": lambda: json.dumps({rng.choice(_OPERATORS): MARK}),
        "parents": lambda: rng.choice(_FOLDERS) * rng.randint(1, 6) + rng.choice(_TOPS) + "/" + rng.choice(known),
        "inside": lambda: rng.choice(known) + rng.choice(_FOLDERS) + rng.choice(_TOPS) + rng.choice(_FOLDERS) + MARK,
        "key": lambda: rng.choice(_OPERATORS) + rng.choice(("", ".", "[", "]")) + MARK,
        "dotted": lambda: f"metadata.{MARK}.{rng.choice(_OPERATORS)}",
        "odd": lambda: MARK + "".join(rng.choices(_ODD, k=rng.randint(1, 4))),
        "long": lambda: MARK * rng.choice((20, 85, 200, 1500)),
        "bytes": lambda: "".join(chr(rng.randint(0, 0x2FF)) for _ in range(rng.randint(1, 40))) + MARK,
        "plain": lambda: MARK + rng.choice(("", "-", ".", "..", "--", "a", "0")),
        "cursor": lambda: _cursor(rng),
        "number": lambda: rng.choice(("-1", "0", "1e999", "NaN", "Infinity", "9" * 40, "0x10", "1_0")),
        "date": lambda: rng.choice(("0001-01-01", "9999-12-31T23:59:59Z", "2026-02-30", "-1", "1e12", "now")),
    }
    return pieces[rng.choice(tuple(pieces))]()


def _cursor(rng: random.Random) -> str:
    place = rng.choice(
        (
            [{rng.choice(_OPERATORS): MARK}, MARK],
            [MARK, {rng.choice(_OPERATORS): MARK}],
            [None, MARK],
            ["2026-11-01T12:00:00+00:00", MARK],
            [9 ** rng.randint(1, 90), MARK],
            [[MARK], MARK],
            {MARK: 1, "$gt": 2},
        )
    )
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def value(rng: random.Random, known: tuple[str, ...], depth: int = 2) -> Any:
    """Unexpected JSON value for a body."""
    made = rng.randint(0, 9)
    if made <= 3 or depth == 0:
        return text(rng, known)
    if made <= 6:
        return {
            rng.choice((*_OPERATORS, f"{MARK}.a", f"a.{MARK}", MARK, "__proto__", "")): value(rng, known, depth - 1)
        }
    if made == 7:
        return [value(rng, known, depth - 1) for _ in range(rng.randint(0, 3))]
    return rng.choice((None, True, False, -1, 0, 2**63, 2**200, 1e308, [], {}, ""))


def body(rng: random.Random, usual: Any, known: tuple[str, ...]) -> Any:
    """Valid body with one malicious value, or another value altogether."""
    if usual is None or rng.random() < 0.1:
        return value(rng, known)
    return _spoilt(rng, json.loads(json.dumps(usual)), known)


def _spoilt(rng: random.Random, usual: Any, known: tuple[str, ...]) -> Any:
    if isinstance(usual, dict) and usual and rng.random() < 0.8:
        key = rng.choice(list(usual))
        if rng.random() < 0.2:
            return usual | {rng.choice((f"{key}.{MARK}", f"${MARK}", *_OPERATORS)): value(rng, known)}
        return usual | {key: _spoilt(rng, usual[key], known)}
    if isinstance(usual, list) and usual and rng.random() < 0.8:
        place = rng.randrange(len(usual))
        return [*usual[:place], _spoilt(rng, usual[place], known), *usual[place + 1 :]]
    return value(rng, known)


@contextmanager
def watched(asked: list[str]) -> Iterator[None]:
    """Check all arguments of mongomock calls within the context, and encode them like the real driver.

    The encoding raises OverflowError or UnicodeEncodeError for values that BSON does not support. OperatorReached is
    raised into the request, and again at the end in case it was caught.
    """
    found: list[OperatorReached] = []
    originals = {name: getattr(Collection, name) for name in _METHODS}

    def watching(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                look([*args, *kwargs.values()])
            except OperatorReached as reached:
                found.append(reached)
                raise
            bson.encode({"asked": [each for each in (*args, *kwargs.values()) if isinstance(each, dict | list)]})
            asked.append(name)
            return originals[name](self, *args, **kwargs)

        return method

    for name in _METHODS:
        setattr(Collection, name, watching(name))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(Collection, name, original)
    if found:
        raise found[0]


def look(asked: Any) -> None:
    """Check that a caller's text is only a value in a comparison or a document. Raises OperatorReached."""
    if isinstance(asked, list | tuple):
        for element in asked:
            look(element)
    elif isinstance(asked, dict):
        for key, inner in asked.items():
            if problem := _problem(str(key), inner):
                raise OperatorReached(f"{problem} in {asked!r}")
            if key not in _COMPARE:
                look(inner)


def _problem(key: str, inner: Any) -> str:
    if key in _NEVER or MARK in key:
        return f"{key!r}"
    if not key.startswith("$"):
        return "" if _FIELD.fullmatch(key) else f"the field {key!r}"
    if key in _COMPARE:
        compared = inner if isinstance(inner, list) else [inner]
        return f"{key!r} compares with a document" if any(map(_is_a_document, compared)) else ""
    return "" if key in _COMBINE or MARK not in repr(inner) else f"{key!r} takes a caller's text"


def _is_a_document(compared: Any) -> bool:
    """Whether the value is a document; the gateway's $ifNull in an aggregation contains no caller's text."""
    ours = isinstance(compared, dict) and compared.keys() == {"$ifNull"} and MARK not in repr(compared)
    return isinstance(compared, dict) and not ours
