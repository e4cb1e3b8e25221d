"""Words that a record is found by: an array with a plain index, so that every server finds them alike."""

import re
import unicodedata
from collections.abc import Iterable

MOST = 256  # of one record
_WORD = re.compile(r"\w+")
_LONGEST = 40


def words(text: str) -> list[str]:
    """The words of a text as they are compared: without case and accents, in order, each as often as it comes."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(each))
    return [word[:_LONGEST] for word in _WORD.findall(plain.replace("_", " "))]


def terms(texts: Iterable[str]) -> list[str]:
    """Each word of some texts once, in the order in which they first come; at most `MOST`."""
    found = dict.fromkeys(word for text in texts for word in words(text))
    return list(found)[:MOST]
