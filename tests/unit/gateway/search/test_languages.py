# ruff: noqa: RUF001, E501 - a table of texts in other scripts, which reads best in one line
"""Search in what was said, in many languages: the API and the page of the transcript find the same.

The page's script runs in the Node of Playwright's driver.
"""

import json
import random
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from playwright._impl._driver import compute_driver_executable

import contentgen_gateway
from contentgen_contract.names import Kind
from contentgen_contract.records.searching import MAX_CHARACTERS, _kind, conditions, fold, terms
from contentgen_contract.word_joining import joined
from contentgen_gateway.pages.rendering.turns import turns
from contentgen_gateway.problems import BadRequest
from contentgen_gateway.schemas.listings import query_terms
from contentgen_gateway.transcripts.index import MAX_TERMS, _terms
from contentgen_gateway.transcripts.passages import passages
from contentgen_simulation.gateway.server import GatewayWorld

_SCRIPT = Path(contentgen_gateway.__file__).parent / "pages/rendering/static/finding.js"
_FILLER = ["and", "so", "on", "it", "went", "for", "a", "very", "long", "time", "indeed,", "as", "it", "does", "here."]


def spoken(said: str | list[str], pause: int = 0) -> bytes:
    """Transcript of a provider; `|` begins another passage."""
    words, clock = [], 0
    for text in said.split(" ") if isinstance(said, str) else said:
        if text == "|":
            clock += 3000
            continue
        words.append({"text": text, "start": clock, "end": clock + 500, "speaker": "A"})
        clock += 500
    return json.dumps({"words": words}).encode()


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


class Searched:
    """Gateway with indexed transcripts."""

    def __init__(self) -> None:
        self.world = GatewayWorld(("ann", "*", "*", "red"))
        self._number = 0

    async def add(self, content: bytes) -> str:
        """jobId of an indexed transcript."""
        self._number += 1
        made = {"version": 1, "transcriptUrl": None, "textUrl": None}
        job = self.world.job(self._number, Kind.TRANSCRIPTION, versions=[made])
        record = self.world.database["jobs"].find_one({"jobId": job})
        assert record is not None
        about = {name: record[name] for name in ("namespace", "type", "userId", "createdAt")} | {"version": 1}
        await self.world.dependencies.transcripts.replace(job, about, {}, passages(content))
        return job

    async def hits(self, q: str) -> dict[str, dict[str, Any]]:
        """Found transcripts by jobId."""
        async with self.world.client("ann") as ann:
            found = await ann.get("/api/search/transcripts", params={"q": q, "hits": 50, "limit": 100})
        assert found.status_code == 200, found.text
        return {each["jobId"]: each for each in found.json()["transcripts"]}


@pytest.fixture
def searched() -> Searched:
    return Searched()


LANGUAGES: dict[str, tuple[str | list[str], list[str], list[str]]] = {
    "Polish": (
        "Zażółć gęślą jaźń w Łodzi, żółć.",
        ["zolc", "ŻÓŁĆ", "lodzi", "łodz", "zazolc gesla"],
        ["lodzia", "zol gesla"],
    ),
    "Danish": ("Rødgrød med fløde på Ærø, århus.", ["rodgrod", "RØDGRØD", "aero", "ærø", "arhus pa"], ["rodgrot"]),
    "Norwegian": ("Blåbærsyltetøy på øya.", ["blabaersyltetoy", "blåbær", "oya"], ["blabar"]),
    "Turkish": (
        "Isparta'da ışık, İstanbul'da ılık.",
        ["isik", "IŞIK", "ışık", "istanbul", "ISTANBUL", "ısparta"],
        ["isikk"],
    ),
    "German": (
        "Die Straße in Köln: Größe und Maß.",
        ["strasse", "STRASSE", "STRAẞE", "koln", "grosse", "mass"],
        ["koeln"],
    ),
    "French": (
        "L’œuvre du cœur, déjà aujourd'hui.",
        ["oeuvre", "l'œuvre", "loeuvre", "coeur", "deja", "aujourdhui"],
        ["euvre"],
    ),
    "Icelandic": ("Það er þörf á góðum degi.", ["thad", "það", "thorf", "godum"], ["pad"]),
    "Vietnamese": ("Đường phố Hà Nội đẹp quá.", ["duong", "ĐƯỜNG", "ha noi", "dep qua"], ["dong"]),
    "Croatian": ("Đorđe čeka đak.", ["dorde", ["djak", "dorde"][1], "ceka"], ["djak"]),
    "Maltese": ("Il-ħobż u l-għasel.", ["hobz", "ħobż", "ilhobz", "ghasel"], ["obz"]),
    "Greek": ("Ο Σίσυφος κυλάει τον βράχο.", ["σισυφοσ", "ΣΊΣΥΦΟΣ", "βραχο", "σίσυφος κυλ"], ["ισυφος"]),
    "Russian": ("Ёлка зелёная, ещё живёт.", ["елка", "ЁЛКА", "зеленая", "еще жив"], ["лка"]),
    "Ukrainian": ("Ґанок і їжак.", ["ганок", "ґанок", "їжак"], ["анок"]),
    "Arabic with signs": ("كِتَابٌ جَدِيدٌ", ["كتاب", "كِتَاب", "كتـــاب جديد"], ["تاب"]),
    "Arabic without": ("كتـاب أحمد في المدرسة", ["كتاب", "كِتَابٌ", "احمد", "المدرسه"], ["مدرسة"]),
    "Hebrew": ("שָׁלוֹם עוֹלָם, צה״ל", ["שלום", "שָׁלוֹם", "עולם", "צהל"], ["לום"]),
    "Hindi": ("हिन्दी में क़लम की ज़रूरत है", ["हिन्दी", "हिन्", "जरूरत", "कलम", "की"], ["दी", "हन"]),
    "Tamil": ("தமிழ் மொழி", ["தமிழ்", "மொழி", "தமி"], ["மழ"]),
    "Thai": (
        ["วันนี้", "เรา", "คุย", "เรื่อง", "งบประมาณ"],
        ["งบประมาณ", "วันนี้เรา", "ประมาณ", "ง", "คุย งบ"],
        ["มากมาย"],
    ),
    "Lao": (["ສະບາຍດີ", "ເຈົ້າ"], ["ສະບາຍ", "ດີເຈົ້າ"], ["ເຮືອນ"]),
    "Khmer": (["ខ្ញុំ", "ស្រឡាញ់", "អ្នក"], ["ស្រឡាញ់", "ខ្ញុំស្រ"], ["ផ្ទះ"]),
    "Burmese": (["မင်္ဂလာပါ", "ခင်ဗျာ"], ["မင်္ဂလာ", "ပါခင်ဗျာ"], ["အိမ်"]),
    "Chinese": (["今", "天", "我们", "讨论", "预", "算", "表。"], ["预算", "预算表", "表", "预", "讨论预算", "今天 预算"], ["算预", "预报"]),
    "Chinese and Latin": (["我", "用", "iPhone", "15", "拍"], ["iphone", "我用", "拍", "IPHONE 拍", "15"], ["用拍"]),
    "Japanese": (["データ", "を", "ﾊﾟｿｺﾝ", "で", "が", "っこう"], ["ﾃﾞｰﾀ", "データ", "パソコン", "がっこう", "を"], ["かっこう", "ハソコン"]),
    "Japanese half width": (["ﾃﾞｰﾀ", "Ａ１"], ["データ", "a1", "ﾃﾞ"], ["テータ"]),
    "Korean": ("한국어 예산을 논의", ["한국어", unicodedata.normalize("NFD", "한국"), "예산"], ["국어"]),
    "Korean in jamo": (
        unicodedata.normalize("NFD", "한국어 예산"),
        ["한국어", "예산", unicodedata.normalize("NFD", "예")],
        ["산"],
    ),
    "hyphens": (
        "Send an e-mail on Wi-Fi, don’t re-enter.",
        ["email", "e-mail", "mail", "e mail", "wifi", "wi fi", "dont", "don't", "e-ma"],
        ["ail", "e-m send"],
    ),
    "joined": ("Send email over wifi", ["e-mail", "wi-fi", "e-ma"], ["mail"]),
    "order": ("the climate report", ["report climate", "climate rep", "climate-report"], ["climat report"]),
    "Uzbek": ("O‘zbek va oʻzbek", ["ozbek", "o'zbek", "oʻzbek"], ["uzbek"]),
    "Hausa": ("ɓera ƙofa", ["bera", "kofa"], ["era"]),
}  # fmt: skip


@pytest.mark.parametrize(("said", "found", "missed"), LANGUAGES.values(), ids=LANGUAGES)
async def test_what_is_said_is_found_in_each_language(
    searched: Searched, said: str | list[str], found: list[str], missed: list[str]
) -> None:
    content = spoken(said)
    job = await searched.add(content)
    api = [(await searched.hits(q)).get(job) for q in found + missed]
    (page,) = on_page([(content, found + missed)])
    for q, hit, marked in zip(found + missed, api, page, strict=True):
        assert (hit is not None) == bool(marked) == (q in found), q
        assert hit is None or hit["hits"][0]["marks"], q


# A phrase across two passages, each of which is longer than what is searched around its end.
ACROSS = [
    ("climate report", 1),
    ("climate repo", 1),
    ("climate", 1),
    ("report", 1),
    ("here. report", 1),
    ("very long", 2),
    ("lighthouse report", 0),
    ("climate island", 0),
]


@pytest.mark.parametrize(("q", "hits"), ACROSS)
async def test_a_phrase_across_two_passages_is_found_once(searched: Searched, q: str, hits: int) -> None:
    said = ["lighthouse", *_FILLER[:-1], "climate", "|", "report", *_FILLER, "island"]
    content = spoken(said)
    assert len(passages(content)) == 2
    job = await searched.add(content)
    found = (await searched.hits(q)).get(job, {"hitCount": 0})
    assert found["hitCount"] == len(on_page([(content, [q])])[0][0]) == hits


async def test_the_snippet_of_a_phrase_across_two_passages_marks_it_whole(searched: Searched) -> None:
    await searched.add(spoken(["今", "天"] * 80 + ["预", "|", "算", "报"]))
    (found,) = (await searched.hits("预算报")).values()
    (hit,) = found["hits"]
    assert [hit["snippet"][each["offset"] :][: each["length"]] for each in hit["marks"]] == ["预算报"]


async def test_the_page_shows_each_hit_of_the_search_and_no_other(searched: Searched) -> None:
    chance = random.Random(31)  # noqa: S311 - test data
    tokens = ["e-mail", "email", "mail", "Łódź", "lodz", "预", "算", "预算", "表。", "ที่", "นี้", "ｶﾞ", "か\u3099", "한", "국어",
              "don't", "a.", "B", "|", "ß", "l'œ", "हिन्", "दी", "كِتَا", "wide", "wider", "—", "x" * 50, "2.5"]  # fmt: skip
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
    assert all(len(each.text) <= MAX_CHARACTERS for each in terms(text))


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
