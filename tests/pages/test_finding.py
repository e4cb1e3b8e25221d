"""Search on a transcript's page: it finds what the API finds. Its script runs in the Node of Playwright's driver.

That Node needs a library that Chromium needs too, so these tests are in the suite of the pages.
"""

import json
import random
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

import contentgen_gateway
from contentgen_contract.records.searching import _kind, conditions, fold
from contentgen_gateway.pages.rendering.turns import turns
from contentgen_simulation.gateway.spoken_languages import ACROSS, LANGUAGES, SAID_ACROSS, SearchedTranscripts, spoken

_SCRIPT = Path(contentgen_gateway.__file__).parent / "pages/rendering/static/finding.js"


def in_node(expression: str, given: Any) -> Any:
    """Value of a JavaScript expression over `given`, with the page's script."""
    node, _ = compute_driver_executable()
    program = f"{_SCRIPT.read_text('utf-8')}\nconst given = JSON.parse(require('fs').readFileSync(0, 'utf-8'));"
    program += f"\nprocess.stdout.write(JSON.stringify({expression}))"
    done = subprocess.run(
        [node, "-e", program], input=json.dumps(given), capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def on_page(asked: list[tuple[bytes, list[str]]]) -> list[list[list[str]]]:
    """For each query in each transcript: for each hit, the words that the page marks."""
    given = [
        [
            [
                {"text": word.text, "first": word.first, "spaced": word.spaced}
                for turn in turns(content) or ()
                for word in turn.words
            ],
            queries,
        ]
        for content, queries in asked
    ]
    return in_node(
        """given.map(([said, queries]) => {
            const all = finding.passages(said), indexed = finding.indexed(all);
            return queries.map((q) =>
                finding.hits(indexed, q).map((hit) => finding.words(all, hit).map((word) => word.text)));
        })""",
        given,
    )


@pytest.mark.parametrize(("said", "found", "missed"), LANGUAGES.values(), ids=LANGUAGES)
def test_spoken_words_are_found_in_each_language(said: str | list[str], found: list[str], missed: list[str]) -> None:
    (page,) = on_page([(spoken(said), found + missed)])
    assert [q for q, marked in zip(found + missed, page, strict=True) if marked] == found


def test_a_phrase_across_two_passages_is_found_once() -> None:
    (page,) = on_page([(spoken(SAID_ACROSS), [q for q, _ in ACROSS])])
    assert [len(each) for each in page] == [hits for _, hits in ACROSS]


async def test_the_page_shows_each_hit_of_the_search_and_no_other() -> None:
    searched = SearchedTranscripts()
    chance = random.Random(31)  # noqa: S311 - test data
    tokens = [
        "e-mail", "email", "mail", "Łódź", "lodz", "预", "算", "预算", "表。", "ที่", "นี้", "ｶﾞ", "か\u3099", "한",
        "국어", "don't", "a.", "B", "|", "ß", "l'œ", "हिन्", "दी", "كِتَا", "wide", "wider", "—", "x" * 50, "2.5",
    ]  # fmt: skip
    asked = [spoken([chance.choice(tokens) for _ in range(chance.choice((5, 60, 200)))]) for _ in range(12)]
    drawn = (" ".join(chance.choices(tokens, k=chance.choice((1, 1, 2, 3)))) for _ in range(60))
    queries = [q for each in drawn if conditions(q := each.replace("|", ""))]
    jobs = [await searched.add(content) for content in asked]
    page = on_page([(content, queries) for content in asked])
    for number, q in enumerate(queries):
        found = await searched.hits(q)
        api = [found[job]["hitCount"] if job in found else 0 for job in jobs]
        assert api == [len(each[number]) for each in page], q


def test_the_page_folds_each_character_alike() -> None:
    known = [
        chr(point) for point in range(sys.maxunicode) if unicodedata.category(chr(point)) not in ("Cn", "Cs", "Co")
    ]
    # `known` is of the Unicode version of Python, which is not newer than that of a current Node.
    found = in_node("given.map((each) => [finding.fold(each), finding.kind(each)])", known)
    here = [[fold(each), _kind(each) or ""] for each in known]
    assert [(each, *pair) for each, *pair in zip(known, found, here, strict=True) if pair[0] != pair[1]] == []
