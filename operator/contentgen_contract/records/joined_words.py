"""Joining of the words of an answer to text, by script. Pure."""

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from contentgen_contract.records.searching import begins_unspaced, ends_unspaced

_CLOSING = frozenset(".,!?:;%…)]}»”’、。،؛؟।॥")  # noqa: RUF001 - punctuation of other scripts
_WIDE = ("W", "F")  # East Asian width: such punctuation contains its space


def join_words(words: Sequence[str]) -> str:
    """Text of these words: with a space between two, except where `has_space_between` says no."""
    following = [right if not has_space_between(left, right) else f" {right}" for left, right in pairwise(words)]
    return "".join((*words[:1], *following))


def has_space_between(left: str, right: str) -> bool:
    """False between two words of scripts without spaces, beside wide punctuation, and before closing punctuation."""
    if not left or not right:
        return False
    if _is_wide_punctuation(left[-1]) or _is_wide_punctuation(right[0]) or right[0] in _CLOSING:
        return False
    return not (ends_unspaced(left) and begins_unspaced(right))


def _is_wide_punctuation(character: str) -> bool:
    return unicodedata.east_asian_width(character) in _WIDE and unicodedata.category(character)[0] == "P"
