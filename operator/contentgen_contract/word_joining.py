"""Words of a transcript joined to a text: not every script puts spaces between words. Pure."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

_GAP = re.compile(r"[\s\W_]*")
_WINDOW = 200  # characters of the text in which a word is searched after one that differs
_CLOSING, _OPENING = {"Pe", "Pf"}, {"Ps", "Pi"}
_CLOSING_MARKS = frozenset(".,:;!?…")
_OPENING_MARKS = frozenset("¿¡")
# First words of the Unicode names of letters whose script has no spaces between words and that are not wide.
_UNSPACED = frozenset({"THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE", "BALINESE", "TAI", "NEW", "HALFWIDTH"})


def joined(words: Sequence[str], text: str = "") -> str:
    """The words as one text; the separators are those of `text`, the provider's, where it has the words."""
    parts = zip(separators(words, text), words, strict=True)
    return "".join(f"{separator}{word.strip()}" for separator, word in parts).strip()


def separators(words: Sequence[str], text: str = "") -> tuple[str, ...]:
    """Separator before each word: a space, or the empty string. It is read from `text` where `text` has the word after
    the one before it; otherwise it follows from the words' script.
    """
    return tuple(" " if spaced else "" for spaced in _spaced([_plain(word) for word in words], _plain(text)))


def is_unspaced(character: str) -> bool:
    """True for a letter, mark or punctuation of a script without spaces between words, such as Chinese or Thai."""
    if character.isascii() or unicodedata.category(character)[0] not in "LMNP":
        return False
    script = unicodedata.name(character, "").split(" ", 1)[0]
    if unicodedata.east_asian_width(character) in "WF":
        return script != "HANGUL"
    return script in _UNSPACED


def has_space_between(before: str, word: str) -> bool:
    """True if a space belongs between two words, by their script and punctuation; False if one is empty."""
    if not before or not word:
        return False
    if _has_space(before, word):
        return True
    last, first = before[-1], word[0]
    if is_opening(last) or is_closing(first):
        return False
    return not (is_unspaced(last) and is_unspaced(first)) and not (_is_wide_mark(last) or _is_wide_mark(first))


def is_closing(character: str) -> bool:
    """True for a character that begins no line: closing punctuation, or a mark on the character before."""
    category = unicodedata.category(character)
    if category[0] == "M" or category in _CLOSING or character in _CLOSING_MARKS or character in "ー々ゝゞヽヾ〜":
        return True
    if category == "Lo" and " SMALL " in unicodedata.name(character, ""):  # the small kana
        return True
    return category == "Po" and not character.isascii() and character not in _OPENING_MARKS


def is_opening(character: str) -> bool:
    """True for a character that ends no line, such as an opening bracket."""
    return unicodedata.category(character) in _OPENING or character in _OPENING_MARKS


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _spaced(words: Sequence[str], text: str) -> Iterator[bool]:
    at: int | None = 0  # end of the word before in the text; None: the text has another word there
    place = 0
    for number, word in enumerate(words):
        found = _at(word.strip(), text, at) if at is not None else None
        if number == 0:
            yield False
        elif at is not None and found is not None:
            yield any(map(str.isspace, text[at:found])) or _has_space(words[number - 1], word)
        else:
            yield has_space_between(words[number - 1], word)
        if found is None:
            found = _search(words[number : number + 2], text, place)
        at = None if found is None else found + len(word.strip())
        place = place if at is None else at


def _at(word: str, text: str, at: int) -> int | None:
    """Index of the word in the text at `at`, after spaces or punctuation; None if another word is there."""
    begin = at
    while begin < len(text) and text[begin].isspace():
        begin += 1
    if text.startswith(word, begin):
        return begin
    gap = _GAP.match(text, at)
    begin = gap.end() if gap else at
    return begin if text.startswith(word, begin) else None


def _search(pair: Sequence[str], text: str, at: int) -> int | None:
    """Index of the next place in the text with both words in sequence, within `_WINDOW` characters; None if missing."""
    if not text or len(pair) < 2:
        return None
    first, second = (re.escape(word.strip()) for word in pair)
    found = re.compile(rf"{first}\s*{second}").search(text, at, at + _WINDOW + len(first) + len(second))
    return found.start() if found else None


def _has_space(before: str, word: str) -> bool:
    return before[-1:].isspace() or word[:1].isspace()


def _is_wide_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "P" and is_unspaced(character)
