# ruff: noqa: RUF001, E501 - a table of texts in other scripts, which reads best in one line
"""Transcripts in many languages, with what a search for each query finds in them, and a gateway with them."""

import json
import unicodedata
from typing import Any

from contentgen_contract.names import Kind
from contentgen_gateway.transcripts.passages import passages
from contentgen_simulation.gateway.server import GatewayWorld

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


class SearchedTranscripts:
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
        return {transcript["jobId"]: transcript for transcript in found.json()["transcripts"]}


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
"""Words or text that is said, queries that find it, and queries that don't, by language."""

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
"""Queries and the number of their hits in `SAID_ACROSS`."""
SAID_ACROSS = ["lighthouse", *_FILLER[:-1], "climate", "|", "report", *_FILLER, "island"]
