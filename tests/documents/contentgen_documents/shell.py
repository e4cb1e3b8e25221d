"""Static parsing of a shell line into its program calls."""

import re
import shlex
from collections.abc import Iterator
from itertools import groupby

_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_ENDS = frozenset("|;&")


def calls(text: str) -> Iterator[list[str]]:
    """Arguments of each called program: in a pipe, after `&&`, in `$(…)`, and after `kubectl exec … --`."""
    for inner in _SUBSTITUTION.findall(text):
        yield from calls(inner)
    lexer = shlex.shlex(_SUBSTITUTION.sub("substituted", text), posix=True, punctuation_chars="|;&<>")
    lexer.commenters, lexer.whitespace_split = "", True
    tokens = list(lexer)
    for ends, group in groupby(tokens, key=lambda token: bool(token) and set(token) <= _ENDS):
        if not ends and (words := _without_redirections(list(group))):
            outer, inner_words = _exec(words)
            yield outer
            if inner_words:
                yield inner_words


def _without_redirections(tokens: list[str]) -> list[str]:
    words: list[str] = []
    skip = False
    for token in tokens:
        if token in ("<", ">", ">>"):
            skip = True
        elif skip:
            skip = False
        else:
            words.append(token)
    return words


def _exec(words: list[str]) -> tuple[list[str], list[str]]:
    if words[0] == "kubectl" and "exec" in words and "--" in words:
        end = words.index("--")
        return words[:end], words[end + 1 :]
    return words, []
