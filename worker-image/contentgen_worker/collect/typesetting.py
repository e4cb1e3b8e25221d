"""Text as a player shows it: columns, lines, and the ends of sentences in all scripts. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache

import wcwidth

from contentgen_contract.word_joining import is_closing, is_opening, is_unspaced

# Unicode's Sentence_Terminal, for scripts that are spoken today, and the ellipsis.
_SENTENCE_ENDS = ".!?…‼⁇⁈⁉。．！？｡؟۔।॥։።፧፨။។៕᙮᠃᠉᥄᥅᪨᪩᭚᭛᭞᭟᰻᰼᱾᱿꓿꘎꘏꡶꡷꣎꣏꩝꩞꩟꫰꫱꯫܀܁܂߹༎།"
_CLAUSE_ENDS = ",;:、，；：،؛–—·፣፤၊"
_ENDS = frozenset(_SENTENCE_ENDS + _CLAUSE_ENDS)
_QUOTES = "\"'"
_ABBREVIATION = re.compile(
    r"(dr|mrs?|ms|prof|st|sr|jr|vs|nr|bzw|ca|hr|fr|sra|mme|mlle|approx|capt|sgt|usw|evtl|ggf|inkl|dipl|ing|vgl|dott|sig)\."
    r"|[^\W\d_]\.|[^\W\d_]{1,2}(\.[^\W\d_]{1,3})+\.",  # initials, U.S., e.g., z.B., Ph.D.
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"[0-9]{1,2}\.")


def columns(text: str) -> int:
    """Width in columns: 2 for East Asian wide and full-width characters, 0 for marks without a width of their own."""
    return len(text) if text.isascii() else sum(map(_cluster_columns, wcwidth.iter_graphemes(text)))


@lru_cache(maxsize=4096)
def _cluster_columns(cluster: str) -> int:
    if unicodedata.category(cluster[0])[0] == "S":  # a picture of several characters
        return wcwidth.width(cluster, control_codes="ignore")
    # A terminal has one column for a syllable of Khmer or Hindi; in proportional fonts vowel signs take place.
    return sum(1 if unicodedata.category(each) == "Mc" else max(0, wcwidth.wcwidth(each)) for each in cluster)


def ends_sentence(word: str, following: str = "") -> bool:
    """True if a sentence ends with the word, which `following` comes after; not after an abbreviation."""
    bare = _bare(word)
    if bare[-1:] == ";" and unicodedata.name(bare[-2:-1] or ";").startswith("GREEK"):
        return True  # its question mark
    if not bare or bare[-1] not in _SENTENCE_ENDS:
        return False
    if bare[-1] in ".…" and following and following.lstrip(_QUOTES)[:1].islower():
        return False
    if not bare.endswith(".") or bare.endswith(".."):
        return True
    last = bare.rsplit(maxsplit=1)[-1].lstrip("([{\"'")
    if _ABBREVIATION.fullmatch(last):
        return not following
    return not (following and _ORDINAL.fullmatch(last)) and not following[:1].isdigit()


def ends_clause(word: str) -> bool:
    """True if the word ends with a comma or the like, or with the end of a sentence."""
    return _bare(word)[-1:] in _ENDS


def _bare(word: str) -> str:
    """The word without the quotes and brackets that close after it."""
    end = len(word)
    while end and (word[end - 1] in _QUOTES or unicodedata.category(word[end - 1]) in ("Pe", "Pf")):
        end -= 1
    return word[:end]


def can_part(before: str, after: str) -> bool:
    """True if a line can end between two texts without a space between them."""
    if not before or not after or is_opening(before[-1]) or is_closing(after[0]):
        return False
    return is_unspaced(before[-1]) or is_unspaced(after[0])


def pieces(word: str, width: int, most: int = 1) -> tuple[str, ...]:
    """A word in pieces of at most `width` columns, `most` or more of about equal width; breaks at grapheme clusters.

    Words of a script without spaces also break after their punctuation.
    """
    found: list[str] = []
    for clause in _clauses(word):
        count = max(-(-columns(clause) // width), -(-most * columns(clause) // max(1, columns(word))), 1)
        found += _even(clause, min(width, -(-columns(clause) // count)), width) if count > 1 else [clause]
    return tuple(found)


def _clauses(word: str) -> list[str]:
    found = [""]
    for character in word:
        if _bare(found[-1])[-1:] in _ENDS and can_part(found[-1], character):
            found.append("")
        found[-1] += character
    return found


def _even(text: str, wanted: int, width: int) -> list[str]:
    found = [""]
    for cluster in wcwidth.iter_graphemes(text):
        full = columns(found[-1]) + columns(cluster)
        hangs = is_closing(cluster[0]) or is_opening(found[-1][-1:] or " ")
        if found[-1] and (full > width or (full > wanted and not hangs)):
            found.append("")
        found[-1] += cluster
    return found


def lines(parts: Sequence[str], length: int) -> list[str]:
    """Parts, each with the space before it, in the fewest lines of `length` columns, and those of about equal width."""
    fewest = _filled(parts, length)
    if len(fewest) < 2:
        return fewest
    least = -(-sum(map(columns, fewest)) // len(fewest))
    return next(
        (tried for width in range(least, length) if len(tried := _filled(parts, width)) == len(fewest)),
        fewest,
    )


def _filled(parts: Iterable[str], length: int) -> list[str]:
    found: list[str] = []
    width = 0
    for part in parts:
        more = columns(part)
        if found and width + more <= length:
            found[-1] += part
            width += more
        else:
            found.append(part.lstrip())
            width = columns(found[-1])
    return found
