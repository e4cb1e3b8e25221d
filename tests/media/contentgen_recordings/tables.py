"""Tables for the documents: what works, what is refused with which words, and what is known to be wrong, by family."""

from collections.abc import Iterable, Sequence
from itertools import groupby

from contentgen_footage.case import FootageCase
from contentgen_footage.corpus import CASES
from contentgen_recordings.case import AnswerCase, RecordingCase
from contentgen_recordings.corpus import ANSWERS, RECORDINGS

CORPORA: dict[str, Sequence[FootageCase | RecordingCase | AnswerCase]] = {
    "footage": CASES,
    "recordings": RECORDINGS,
    "answers": ANSWERS,
}
"""Cases by the name of their table in a document."""

_HEAD = ("family", "works", "refused, with these words", "known to be wrong")


def table(corpus: str) -> str:
    """Markdown table with a row for each family. Raises KeyError for another name."""
    cases = CORPORA[corpus]
    rows = [_HEAD, tuple("---" for _ in _HEAD)]
    for family in dict.fromkeys(case.family for case in cases):
        of_family = [case for case in cases if case.family == family]
        refused = [case for case in of_family if case.refused]
        known = [case for case in of_family if case.known]
        works = [case for case in of_family if not case.refused and not (case.known and _at_all_speeds(case))]
        rows.append(
            (f"{family} ({len(of_family)})", _names(works), _reasons(refused, "refused"), _reasons(known, "known"))
        )
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows) + "\n"


def _at_all_speeds(case: FootageCase | RecordingCase | AnswerCase) -> bool:
    return not isinstance(case, FootageCase) or set(case.speeds) <= set(case.known_speeds)


def _names(cases: Iterable[FootageCase | RecordingCase | AnswerCase]) -> str:
    """Names, those of one topic together."""
    pairs = [_shown(case).partition(": ") for case in cases]
    topics = dict.fromkeys(topic for topic, _, _ in pairs)
    return "; ".join(
        f"{topic} ({', '.join(variants)})" if (variants := [pair for name, _, pair in pairs if name == topic and pair])
        else topic
        for topic in topics
    )  # fmt: skip


def _shown(case: FootageCase | RecordingCase | AnswerCase) -> str:
    if isinstance(case, FootageCase):
        only = "" if not case.known or _at_all_speeds(case) else f" ({', '.join(case.known_speeds)})"
        return case.name.replace("-", " ") + only
    return case.name


def _reasons(cases: Iterable[FootageCase | RecordingCase | AnswerCase], field: str) -> str:
    by_words = sorted(cases, key=lambda case: str(getattr(case, field)))
    groups = groupby(by_words, key=lambda case: str(getattr(case, field)))
    mark = "`" if field == "refused" else ""
    return "<br>".join(f"{_names(group)}: {mark}{words}{mark}" for words, group in groups)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\\N", "\\\\N")
