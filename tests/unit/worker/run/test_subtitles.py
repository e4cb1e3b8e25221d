"""Subtitles of generated words in many scripts, read back by FFmpeg: within the limits, and without a loss."""

import html
import io
import random
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import av
import pytest
import webvtt

from contentgen_contract.resources.spec import Subtitles, TranscriptionOptions
from contentgen_contract.word_joining import joined
from contentgen_worker.collect import transcription

DEFAULT = Subtitles()
SHORTEST = 833  # ms
SCRIPTS = {
    "English": "So I would really say that all this was over by March",
    "German": "Gestern sprach Herr Dr. Müller, z.B. über die Donaudampfschifffahrtsgesellschaft. Ja! Das war es dann.",
    "Japanese": "今日 は 、 AI の 話 を し ます 。 「 東京 」 の 天気 は ちょっと 良く て 、 みんな 公園 に います 。",
    "Chinese": "预算 会议 ， 我们 明天 再 讨论 。 好 吗 ？ 《 红楼梦 》 是 一部 伟大 的 小说 ！",
    "Thai": "สวัสดี ครับ วันนี้ เรา จะ พูด ถึง เรื่อง น้ำ ที่ กรุงเทพฯ กำลัง ท่วม",
    "Lao": "ສະບາຍດີ ມື້ນີ້ ພວກເຮົາ ຈະ ເວົ້າ ກ່ຽວກັບ ນ້ຳ",
    "Khmer": "ខ្ញុំ ចង់ ទៅ ភ្នំពេញ ថ្ងៃ ស្អែក ។ សូម អរគុណ ។",
    "Burmese": "မင်္ဂလာပါ ကျွန်တော် မြန်မာ စကား ပြော တယ် ။",
    "Hindi": "नमस्ते , क्या आप कल आएंगे ? हम हिन्दी में बात करते हैं ।",
    "Arabic": "مرحبا ، هل تتحدث العربية ؟ نعم ، قليلا .",
    "Korean": "안녕하세요, 오늘은 날씨가 정말 좋네요. 회의를 시작합시다.",
    "marks": "Zoe\u0308 e\u0301te\u0301 👨\u200d👩\u200d👧 🇩🇪 q\u0323\u0307 <b>bold</b> {\\an8} a&b C:\\New -->",
    "long": f"https://example.com/{'a' * 90} {'今天天气很好我们去公园' * 9} {'น้ำ' * 60} end.",
    "sentences": "今天天气很好。我们去公园吧！你来吗？ 好的，我们走。他们说“没问题”。然后就出发了。",
}
TIMES = ["talk", "zero", "seconds", "missing", "late", "early", "ends", "shuffled"]
ANSWER = "no wait let me say something first please"
UNSPACED = {"Japanese", "Chinese", "Thai", "Lao", "Khmer", "Burmese", "sentences"}


class Shown(NamedTuple):
    start: int
    end: int
    text: str


def word(text: str, start: Any, end: Any, speaker: str | None = None) -> dict[str, Any]:
    return {"text": text, "start": start, "end": end, "speaker": speaker}


def talk(texts: Iterable[str], at: int = 1000, each: int = 300, gap: int = 50, speaker: str | None = None) -> Any:
    return [word(text, at + n * (each + gap), at + n * (each + gap) + each, speaker) for n, text in enumerate(texts)]


def files(words: Any, text: str | None = None, seconds: Any = None, **limits: int) -> dict[str, bytes]:
    options = TranscriptionOptions(subtitles=Subtitles(**limits))
    answer = {"status": "completed", "text": text, "words": words, "audio_duration": seconds}
    made = transcription._outputs(answer, transcription._read(answer), options)
    return {each.name: each.body() for each in made}  # type: ignore[misc]


def read(content: bytes, form: str) -> list[Shown]:
    with av.open(io.BytesIO(content), format=form) as file:
        packets = [packet for packet in file.demux() if packet.size]
        assert all(packet.time_base == packets[0].time_base for packet in packets)
        return [Shown(each.pts or 0, (each.pts or 0) + (each.duration or 0), bytes(each).decode()) for each in packets]


def cues(words: Any, text: str | None = None, seconds: Any = None, **limits: int) -> list[Shown]:
    return read(files(words, text, seconds, **limits)["transcript.srt"], "srt")


def width(text: str) -> int:
    """Columns, without a library; a picture of several characters is one."""
    whole = text.replace("👨\u200d👩\u200d👧", "漢").replace("🇩🇪", "漢")
    return sum(
        0
        if unicodedata.category(each) in ("Mn", "Me", "Cf")
        else 2
        if unicodedata.east_asian_width(each) in "WF"
        else 1
        for each in whole
    )


def bare(text: str) -> str:
    """Without what SRT can't show and without spaces."""
    return "".join(text.translate(str.maketrans("<>{}\\", "‹›()∖")).split())


def check(shown: Sequence[Shown], limits: Subtitles = DEFAULT, *, in_order: bool = True) -> None:
    for cue in shown:
        assert cue.text.strip()
        assert not set(cue.text) & set("<>{}\\"), "players take it for markup"
        assert 0 < cue.end - cue.start <= limits.max_seconds * 1000
        lines = cue.text.split("\n")
        assert len(lines) <= limits.lines
        for line in lines:
            assert width(line) <= limits.line_length, line
            assert unicodedata.category(line[0])[0] != "M"
            assert not in_order or line[0] not in "。、，！？」》।؟.,!?ゃゅょっー"
            assert not in_order or line[-1] not in "「《"
    for cue, following in pairwise(shown):
        assert cue.end <= following.start
        room = following.start - cue.start
        assert following.start - cue.end >= min(limits.gap_milliseconds, room // 4)
        reading = len(cue.text.replace("\n", "")) * 1000 / limits.characters_per_second
        wanted = min(max(SHORTEST, reading), limits.max_seconds * 1000)
        assert cue.end - cue.start >= min(wanted, room - limits.gap_milliseconds) - 1


def odd(times: str, words: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The words with times of a kind."""
    for number, each in enumerate(words):
        rare = chance.random() < 0.1
        match times:
            case "zero":
                each |= {"start": 0, "end": 0}
            case "seconds":
                each |= {"start": each["start"] // 1000 * 1000, "end": each["end"] // 1000 * 1000 + 1000}
            case "missing" if rare:
                each |= {"start": None, "end": None}
            case "late" if rare:
                each |= {"start": each["start"] + 10_000_000, "end": each["end"] + 10_000_000}
            case "early" if rare and number:
                each |= {"start": 1, "end": 2}
            case "ends" if rare:
                each |= {"end": each["end"] + chance.choice([10_000, 10_000_000])}
    if times == "shuffled":
        chance.shuffle(words)
    return words


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_generated_words(script: str, times: str) -> None:
    chance = random.Random(f"{script} {times}")  # noqa: S311 - generated inputs
    texts, words, at = SCRIPTS[script].split(), list[dict[str, Any]](), 500
    for text in texts * 4:
        lasts = max(90, width(text) * chance.randint(40, 90))
        words.append(word(text, at, at + lasts))
        at += lasts + chance.choice([0, 0, 20, 60, 60, 400, 3000])
    given = "".join(texts * 4) if script in UNSPACED else " ".join(texts * 4)
    limits = chance.choice([{}, {"line_length": 32}, {"lines": 1}, {"lines": 3, "max_seconds": 4}])
    said = [each["text"] for each in words]
    shown = cues(odd(times, words, chance), given, at / 1000, **limits)
    if times != "shuffled":
        assert "".join(bare(cue.text) for cue in shown) == bare("".join(said))
    assert Counter(bare("".join(cue.text for cue in shown))) == Counter(bare("".join(said)))
    check(shown, Subtitles(**limits), in_order=times != "shuffled")
    if script in UNSPACED and times != "shuffled":
        assert not any(" " in cue.text for cue in shown)
    if times != "shuffled":
        assert shown[-1].end <= at + 7000


@pytest.mark.parametrize("overlap", ["in turn", "at once", "an answer"])
@pytest.mark.parametrize("limits", [{}, {"lines": 1}, {"lines": 4, "line_length": 60}])
def test_crosstalk(overlap: str, limits: dict[str, int]) -> None:
    first = talk(SCRIPTS["German"].split() * 3, 0, 250, 50, "A")
    second = {
        "in turn": talk(ANSWER.split() * 3, 150, 90, 210, "B"),
        "at once": talk(ANSWER.split(), 400, 250, 50, "B"),
        "an answer": talk(["Yeah."], 2000, 200, 0, "B"),
    }[overlap]
    for words in (first + second, sorted(first + second, key=lambda each: int(each["start"]))):
        made = files(words, "", **limits)
        shown = read(made["transcript.srt"], "srt")
        starts = {each["start"] for each in words}
        check([cue for cue in shown if limits.get("lines") != 1], Subtitles(**limits))
        assert all(any(0 <= cue.start - start <= 500 for start in starts) for cue in shown)
        if limits.get("lines") != 1:  # two speakers need two lines
            assert all(cue.end - cue.start >= 500 for cue in shown)
            spoken = {name: "".join(bare(each["text"]) for each in words if each["speaker"] == name) for name in "AB"}
            for name, text in spoken.items():
                voices = [
                    each.split("</v>")[0] for each in made["transcript.vtt"].decode().split(f"<v Speaker {name}>")
                ]
                assert bare("".join(voice.split("\n\n")[0] for voice in voices[1:])) == text


def test_no_speech() -> None:
    """FFmpeg refuses a file without a cue; this one shows nothing."""
    made = files([], "")
    with av.open(io.BytesIO(made["transcript.srt"])) as file:
        assert file.format.name == "srt"
        assert not any(packet.size and bytes(packet).strip() for packet in file.demux())
    assert made["transcript.vtt"] == b"WEBVTT\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Yesterday afternoon I was talking to Dr. Miller about the plan.", 1),
        ("We did spend a whole summer in the U.S. before we came back.", 1),
        ("Wir haben gestern im Garten gegessen, z.B. Kuchen und etwas Eis.", 1),
        ("It costs about seventeen euros and 3. 5 cents in this whole town.", 1),
        ("Wir sehen uns dann im Garten am 3. Mai um fünf Uhr nach der Arbeit.", 1),
        ("We had lunch in the garden yesterday. Nobody came to visit us at all.", 2),
        ("Hier soir nous avons mangé dehors ! Personne ne nous a rendu visite.", 2),
        ("昨日 の 夕方 みんな で 公園 で 食べ まし た 。 誰 も 遊び に 来 ませ ん でし た 。", 2),
        ("كنا نأكل في الحديقة مساء أمس معا ؟ لم يأت أحد لزيارتنا على الإطلاق .", 2),
        ("हमने कल शाम को बगीचे में खाना खाया था । कोई भी हमसे मिलने नहीं आया था ।", 2),
    ],
)
def test_sentences(text: str, parts: int) -> None:
    assert len(cues(talk(text.split()), joined(text.split()))) == parts


def test_reading_time() -> None:
    short, long = cues([*talk(["Yes."], 0, 100), *talk(["Unbelievably", "extraordinary", "circumstances"], 2000, 100)])
    assert (short.end - short.start, long.end - long.start) == (SHORTEST, 2000)


def test_a_word_without_a_speaker_takes_its_neighbours() -> None:
    words = talk(SCRIPTS["English"].split(), speaker="A")
    words[5]["speaker"] = None
    assert len(cues(words)) == 1
    words = [*talk(["Is", "it?"], 0, speaker="A"), *talk(["Yes."], 2000), *talk(["It", "is."], 2400, speaker="B")]
    assert [cue.text for cue in cues(words)] == ["Speaker A: Is it?", "Speaker B: Yes. It is."]


@pytest.mark.parametrize(
    ("words", "text", "expected"),
    [
        ("今日 は AI の 話 です 。", "今日はAIの話です。", "今日はAIの話です。"),
        ("今日 は AI の 話 です 。", "", "今日は AI の話です。"),
        ("今日 は いい", "今日は、いい", "今日はいい"),
        ("un believ able things", "Unbelievable things", "unbelievable things"),
        ("a b c X d e", "a b c YY d e", "a b c X d e"),
        ("Hello , world ! ( yes )", "", "Hello, world! (yes)"),
        ("Bonjour ! Ça va ?", "Bonjour ! Ça va ?", "Bonjour ! Ça va ?"),
        ("나는 학교에", "", "나는 학교에"),
        ("สวัสดี ครับ ผม", "สวัสดีครับ ผม", "สวัสดีครับ ผม"),
        ("ខ្ញុំ ទៅ", "", "ខ្ញុំទៅ"),
        ("ສະ ບາຍ", "", "ສະບາຍ"),
        ("မြန် မာ", "", "မြန်မာ"),
        ("नमस्ते आप ।", "", "नमस्ते आप।"),
        ("", "text", ""),
    ],
)
def test_joined_words(words: str, text: str, expected: str) -> None:
    assert joined(words.split(), text) == expected


def test_a_text_is_made_of_words_by_their_script() -> None:
    made = files(talk(SCRIPTS["Japanese"].split()), None)["transcript.txt"].decode()
    assert made.startswith("今日は、AI の話をします。「東京」の天気は")


def test_webvtt_is_what_a_player_reads() -> None:
    made = files(talk(["a", "<", "b", "&", "c", "-->"], at=0, speaker="A"))["transcript.vtt"].decode()
    (cue,) = webvtt.from_buffer(io.StringIO(made))
    assert (cue.start, cue.voice, html.unescape(cue.text)) == ("00:00:00.000", "Speaker A", "a < b & c -->")
