"""Search in what was said, in many languages, by the API; tests/pages/test_finding.py has the transcript's page."""

import json
import re
import unicodedata

import pytest

from contentgen_contract.records.searching import MAX_CHARACTERS, fold, terms
from contentgen_contract.word_joining import joined
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.schemas.listings import query_terms
from contentgen_gateway.transcripts.index import MAX_TERMS, _terms
from contentgen_gateway.transcripts.passages import passages
from contentgen_simulation.gateway.spoken_languages import ACROSS, LANGUAGES, SAID_ACROSS, SearchedTranscripts, spoken


@pytest.fixture
def searched() -> SearchedTranscripts:
    return SearchedTranscripts()


@pytest.mark.parametrize(("said", "found", "missed"), LANGUAGES.values(), ids=LANGUAGES)
async def test_spoken_words_are_found_in_each_language(
    searched: SearchedTranscripts, said: str | list[str], found: list[str], missed: list[str]
) -> None:
    job = await searched.add(spoken(said))
    for q in found + missed:
        hit = (await searched.hits(q)).get(job)
        assert (hit is not None) == (q in found), q
        assert hit is None or hit["hits"][0]["marks"], q


@pytest.mark.parametrize(("q", "hits"), ACROSS)
async def test_a_phrase_across_two_passages_is_found_once(searched: SearchedTranscripts, q: str, hits: int) -> None:
    content = spoken(SAID_ACROSS)
    assert len(passages(content)) == 2
    job = await searched.add(content)
    assert (await searched.hits(q)).get(job, {"hitCount": 0})["hitCount"] == hits


async def test_snippet_marks_a_phrase_across_two_passages_whole(searched: SearchedTranscripts) -> None:
    await searched.add(spoken(["今", "天"] * 80 + ["预", "|", "算", "报"]))
    (found,) = (await searched.hits("预算报")).values()
    (hit,) = found["hits"]
    assert [hit["snippet"][mark["offset"] :][: mark["length"]] for mark in hit["marks"]] == ["预算报"]


def test_letters_with_a_stroke_hook_or_tail_are_their_letters() -> None:
    """All of Latin-1 and Latin Extended A and B, of which NFKD decomposes some."""
    for point in range(0xC0, 0x250):
        named = re.fullmatch(r"LATIN \w+ LETTER (\w) WITH (?!SMALL).*", unicodedata.name(chr(point)))
        assert named is None or fold(chr(point)) == named[1].lower(), chr(point)


def test_a_fold_is_final() -> None:
    for said, found, missed in LANGUAGES.values():
        for text in (*said, *found, *missed):
            assert fold(fold(text)) == fold(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], ""),
        (["Hello", ",", "you", "!"], "Hello, you!"),
        (["今天", "的", "预算", "。", "好"], "今天的预算。好"),
        (["我", "用", "iPhone", "拍"], "我用 iPhone 拍"),
        (["วันนี้", "เรา"], "วันนี้เรา"),
        (["デー", "タ", "、", "ﾊﾟ", "ﾊﾟ"], "データ、ﾊﾟﾊﾟ"),
        (["한국어", "예산"], "한국어 예산"),
        (["हिन्दी", "में", "।"], "हिन्दी में।"),
    ],
)
def test_words_are_joined_by_their_scripts(words: list[str], text: str) -> None:
    assert joined(words) == text


@pytest.mark.parametrize("text", ["预" * 300, "a-" * 150, "ﷺ" * 300, "ก\u0e33" * 150, "x" * 300, "é-算" * 100])
def test_terms_are_bounded(text: str) -> None:
    (passage, *_) = passages(json.dumps({"text": text}).encode())
    distinct = _terms(passage)
    assert len(distinct) <= MAX_TERMS
    assert max(len(each) for each in distinct) <= MAX_CHARACTERS + 1
    assert all(len(term.text) <= MAX_CHARACTERS for term in terms(text))


@pytest.mark.parametrize(
    "q",
    [
        "…",
        "\u0301",
        " ".join(map(str, range(17))),
        "".join(map(chr, range(0x4E00, 0x4E80))),
        "-".join(map(str, range(65))),
    ],
)
def test_a_query_is_bounded(q: str) -> None:
    with pytest.raises(BadRequest):
        query_terms(q)
