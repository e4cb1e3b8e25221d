"""Search in texts of any language: folding, the terms of a text, and the conditions of a query. Pure.

`pages/rendering/static/finding.js` of the gateway applies the same rule on the page of a transcript; the tests compare
both. Linear time, without regular expressions: texts and queries are hostile.

Term: a folded word. A chunk between spaces with other characters inside, such as `e-mail`, has its parts and their
joined form as terms. Scripts without spaces have pairs of characters, and the last character of each run.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

MAX_CHARACTERS = 40  # of a term; longer words are cut
_SPACE, _JOINER, _WORD, _UNSPACED = " ", "-", "w", "u"
# Han, kana, Bopomofo, Yi, Thai, Lao, Myanmar, Khmer, Tai: without spaces between words.
_UNSPACED_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x1950, 0x19FF), (0x1A20, 0x1AAF), (0x2E80, 0x2FDF),
    (0x3003, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xA000, 0xA4CF),
    (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x20000, 0x3FFFF),
)  # fmt: skip
# Accents, Hebrew points, Arabic vowel signs and tatweel, the nukta, modifier apostrophes, and variation selectors.
# Marks of other scripts are letters: without them ก็ would be ก, and が would be か.
_IGNORED_RANGES = (
    (0x02B9, 0x02DF), (0x0300, 0x036F), (0x0483, 0x0489), (0x0591, 0x05BD), (0x05BF, 0x05BF), (0x05C1, 0x05C2),
    (0x05C4, 0x05C5), (0x05C7, 0x05C7), (0x0610, 0x061A), (0x0640, 0x0640), (0x064B, 0x065F), (0x0670, 0x0670),
    (0x06D6, 0x06DC), (0x06DF, 0x06E8), (0x06EA, 0x06ED), (0x0711, 0x0711), (0x0730, 0x074A), (0x08CA, 0x08FF),
    (0x093C, 0x093C), (0x1AB0, 0x1AFF), (0x1DC0, 0x1DFF), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F),
    (0xE0100, 0xE01EF),
)  # fmt: skip
# Letters that NFKD leaves whole: with a stroke, hook or tail; then ligatures, and variants of one letter.
_LETTERS = dict(
    zip(
        "øđħıłŧƀƃƈƌƒƙƚƞƥƫƭƴƶǥȡȥȴȵȶȷȼȿɀɇɉɋɍɏɓɖɗɠɨɲʉʋⱥⱦðəɛɔɵʈŋĸςґғқңҳұҷىیکةہٱ",
        "odhiltbbcdfklnpttyzgdzlntjcszejqrybddginuvatdeeootnkσггкнхучييكهها",  # noqa: RUF001 - letters of other scripts
        strict=True,
    )
) | {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
_FOLDED: dict[int, str | None] = {
    **{point: None for first, last in _IGNORED_RANGES for point in range(first, last + 1)},
    **{ord(letter): folded for letter, folded in _LETTERS.items()},
}


@dataclass(frozen=True, slots=True)
class Term:
    """A term and its place: positions of its first character and behind its last, in the text in NFC."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Sought:
    """A term to be found; `prefix`: also a term that begins with it."""

    text: str
    prefix: bool = False

    def matches(self, term: str) -> bool:
        """True if the term is the one sought."""
        return term.startswith(self.text) if self.prefix else term == self.text


Condition = tuple[Sought, ...]
"""Alternatives, one of which must be among the terms of a text."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Parts of a chunk between spaces, or the characters of a run of a script without spaces."""

    unspaced: bool
    parts: tuple[Term, ...]

    @property
    def joined(self) -> Term:
        text = "".join(part.text for part in self.parts)[:MAX_CHARACTERS]
        return Term(text, self.parts[0].start, self.parts[-1].end)


def fold(text: str) -> str:
    """Letters, digits and marks of a text without case, accents, and forms of a letter; idempotent."""
    plain = unicodedata.normalize("NFKD", text).lower().translate(_FOLDED)
    return unicodedata.normalize(
        "NFC", "".join(character for character in plain if unicodedata.category(character)[0] in "LMN")
    )


def terms(text: str) -> Iterator[Term]:
    """All terms of a text, in order, with repetitions."""
    for piece in _pieces(unicodedata.normalize("NFC", text)):
        if piece.unspaced:
            yield from (Term(one.text + two.text, one.start, two.end) for one, two in pairwise(piece.parts))
            yield piece.parts[-1]
        else:
            yield from piece.parts
            if len(piece.parts) > 1:
                yield piece.joined


def conditions(query: str) -> tuple[Condition, ...]:
    """Distinct conditions of a query, all of which a text must meet; the last word may be incomplete.

    A single character of a script without spaces is a prefix: it begins a pair, or ends its run.
    """
    pieces = list(_pieces(unicodedata.normalize("NFC", query)))
    found = (condition for piece in pieces for condition in _conditions(piece, last=piece is pieces[-1]))
    return tuple(dict.fromkeys(found))


def _conditions(piece: _Piece, *, last: bool) -> Iterator[Condition]:
    if piece.unspaced:
        if len(piece.parts) == 1:
            yield (Sought(piece.parts[0].text, prefix=True),)
        yield from ((Sought(one.text + two.text),) for one, two in pairwise(piece.parts))
        return
    joined = (Sought(piece.joined.text, prefix=last),) if len(piece.parts) > 1 else ()
    for part in piece.parts:
        yield (Sought(part.text, prefix=last and part is piece.parts[-1]), *joined)


def _pieces(text: str) -> Iterator[_Piece]:
    parts: list[Term] = []
    for kind, start, end in _runs(text):
        if kind == _WORD and (folded := fold(text[start:end])):
            parts.append(Term(folded[:MAX_CHARACTERS], start, end))
        elif kind in (_SPACE, _UNSPACED):
            if parts:
                yield _Piece(False, tuple(parts))
                parts = []
            if kind == _UNSPACED and (characters := tuple(_characters(text, start, end))):
                yield _Piece(True, characters)
    if parts:
        yield _Piece(False, tuple(parts))


def _characters(text: str, start: int, end: int) -> Iterator[Term]:
    """Folded characters of a run; those of one letter with its marks have its place."""
    first = start
    for at in range(start + 1, end + 1):
        if at == end or _kind(text[at]) is not None:
            yield from (Term(word, first, at) for word in fold(text[first:at]))
            first = at


def _runs(text: str) -> Iterator[tuple[str, int, int]]:
    """Longest runs of one kind; characters without a kind continue a run."""
    kind, start = _SPACE, 0
    for at, character in enumerate(text):
        now = _kind(character) or kind
        if now != kind:
            yield kind, start, at
            kind, start = now, at
    yield kind, start, len(text)


@lru_cache(maxsize=10_000)
def _kind(character: str) -> str | None:
    """Kind of a character; None for marks and ignored ones, which belong to the character before."""
    category = unicodedata.category(character)
    if category == "Cf" or _FOLDED.get(ord(character), "") is None:
        return None
    if unicodedata.category(unicodedata.normalize("NFKD", character)[0])[0] == "M":
        return None  # also half-width voiced marks
    if category[0] in "LN":
        return _UNSPACED if _within(character, _UNSPACED_RANGES) else _WORD
    return _SPACE if category[0] == "Z" or category == "Cc" else _JOINER


def _within(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(first <= ord(character) <= last for first, last in ranges)
