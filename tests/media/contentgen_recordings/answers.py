"""Family: answers of a speech recognition with odd words, times, speakers and fields."""

from typing import Any

from contentgen_contract.resources.spec import Subtitles
from contentgen_recordings.case import AnswerCase
from contentgen_recordings.scripts import SCRIPTS, answer, talk, word

_MADE_OF_WORDS = "the text of the answer is null; it is made of the words"
_EN, _DE = SCRIPTS["English"].split(), SCRIPTS["German"].split()


def answers() -> list[AnswerCase]:
    """Answers of AssemblyAI, and the transcripts and subtitles of each."""
    return [*_sentences(), *_joined(), *_speakers(), *_times(), *_fields(), *_texts()]


def _case(name: str, words: Any, *cues: str, text: Any = None, seconds: Any = None, **numbers: Any) -> AnswerCase:
    more = numbers.pop("more", {})
    given = answer(words, text, seconds, **more)
    notes = numbers.pop("notes", () if isinstance(text, str) else (_MADE_OF_WORDS,))
    return AnswerCase(name, "speech answers", given, cues, notes=notes, **numbers)


def _sentences() -> list[AnswerCase]:
    table = [
        ("title before a name", "Yesterday afternoon I was talking to Dr. Miller about the plan.", 1),
        ("initials", "We did spend a whole summer in the U.S. before we came back.", 1),
        ("German abbreviation", "Wir haben gestern im Garten gegessen, z.B. Kuchen und etwas Eis.", 1),
        ("decimals in two words", "It costs about seventeen euros and 3. 5 cents in this whole town.", 1),
        ("German date", "Wir sehen uns dann im Garten am 3. Mai um fünf Uhr nach der Arbeit.", 1),
        ("English", "We had lunch in the garden yesterday. Nobody came to visit us at all.", 2),
        ("French", "Hier soir nous avons mangé dehors ! Personne ne nous a rendu visite.", 2),
        ("Japanese", "昨日 の 夕方 みんな で 公園 で 食べ まし た 。 誰 も 遊び に 来 ませ ん でし た 。", 2),
        ("Arabic", "كنا نأكل في الحديقة مساء أمس معا ؟ لم يأت أحد لزيارتنا على الإطلاق .", 2),
        ("Hindi", "हमने कल शाम को बगीचे में खाना खाया था । कोई भी हमसे मिलने नहीं आया था ।", 2),
    ]
    return [_case(f"end of a sentence: {name}", talk(text.split()), count=parts) for name, text, parts in table]


def _joined() -> list[AnswerCase]:
    table = [
        ("Japanese by the text", "今日 は AI の 話 です 。", "今日はAIの話です。", "今日はAIの話です。"),
        ("Japanese by the script", "今日 は AI の 話 です 。", "", "今日は AI の話です。"),
        ("a comma that no word has", "今日 は いい", "今日は、いい", "今日はいい"),
        ("a word in pieces", "un believ able things", "Unbelievable things", "unbelievable things"),
        ("a word that the text has otherwise", "a b c X d e", "a b c YY d e", "a b c X d e"),
        ("punctuation as words", "Hello , world ! ( yes )", "", "Hello, world! (yes)"),
        ("French spaces", "Bonjour ! Ça va ?", "Bonjour ! Ça va ?", "Bonjour ! Ça va ?"),
        ("Korean", "나는 학교에", "", "나는 학교에"),
        ("Thai with a space", "สวัสดี ครับ ผม", "สวัสดีครับ ผม", "สวัสดีครับ ผม"),
        ("Khmer", "ខ្ញុំ ទៅ", "", "ខ្ញុំទៅ"),
        ("Lao", "ສະ ບາຍ", "", "ສະບາຍ"),
        ("Burmese", "မြန် မာ", "", "မြန်မာ"),
        ("Hindi", "नमस्ते आप ।", "", "नमस्ते आप।"),
        ("another text than the words", "one two three", "Something else was said.", "one two three"),
        ("only punctuation", ". , …", "", ".,…"),
    ]
    return [
        _case(f"spaces: {name}", talk(words.split()), shown, text=text, facts={"wordCount": len(words.split())})
        for name, words, text, shown in table
    ]


def _speakers() -> list[AnswerCase]:
    unnamed = talk(_EN, speaker="A")
    unnamed[5] = unnamed[5] | {"speaker": None}
    asked = [*talk(["Is", "it?"], 0, speaker="A"), *talk(["Yes."], 2000), *talk(["It", "is."], 2400, speaker="B")]
    names = [
        f"{first}{second}" for first in ("", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ") for second in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    ]
    many = [
        each
        for n, name in enumerate(names[:120])
        for each in talk(["I", "agree", "with", "that."], 3000 * n, speaker=name)
    ]
    numbers = [*talk(["Hello", "there."], 0, speaker=1), *talk(["Good", "day."], 3000, speaker=2)]  # type: ignore[arg-type]
    answered = talk(["no", "wait", "let", "me", "say", "something", "first", "please"], 400, 250, 50, "B")
    return [
        _case("a word without a speaker", unnamed, "Speaker A: So I would really say\nthat all this was over by March"),
        _case("an answer without a speaker", asked, "Speaker A: Is it?", "Speaker B: Yes. It is."),
        _case("one speaker", talk(_EN, speaker="A"), facts={"speakers": 1}),
        _case("120 speakers, A to DP", many, "Speaker A: I agree with that.", facts={"speakers": 120}),
        _case("speakers by number", numbers, "Speaker 1: Hello there.", "Speaker 2: Good day.", facts={"speakers": 2}),
        _case("a speaker's name of 60 characters", talk(_EN, speaker="Ann " * 15), facts={"speakers": 1}),
        _case("crosstalk: at once", talk(_DE, 0, 250, 50, "A") + answered, facts={"speakers": 2}),
        _case("crosstalk: an answer within", talk(_DE * 3, 0, 250, 50, "A") + talk(["Yeah."], 2000, 200, 0, "B")),
        _case("crosstalk: in turn", talk(_DE * 2, 0, 250, 50, "A") + talk(["no", "wait", "let", "me"] * 3, 150, 90, 210, "B")),
    ]  # fmt: skip


def _times() -> list[AnswerCase]:
    late = talk(_EN)
    late[4] = late[4] | {"start": 10_000_000, "end": 10_000_300}
    hours = [each | {"start": each["start"] + 400_000_000, "end": each["end"] + 400_000_000} for each in talk(_EN)]
    zero = [word(text, 1000 + 400 * n, 1000 + 400 * n) for n, text in enumerate(_EN)]
    whole = "So I would really say that\nall this was over by March"
    no_stops = talk(("and then we went on and on without an end " * 400).split())
    return [
        _case("a word with a late time", late, whole, seconds=6, begins=(1000,)),
        _case("words out of order", talk(_EN)[::-1], whole, seconds=6, begins=(1000,)),
        _case("two words at one time", [*talk(_EN[:6]), word("that", 2750, 3050), *talk(_EN[6:], 3100)], begins=(1000,)),
        _case("all words at one time", [word(text, 0, 0) for text in _EN], whole, begins=(0,)),
        _case("words without a length", zero, whole, begins=(1000,)),
        _case("times beyond 99 hours", hours, whole, begins=(400_001_000,), seconds=400_010),
        _case("an end before the start", [word(each["text"], each["end"], each["start"]) for each in talk(_EN)],
              whole, begins=(1300,)),
        _case("fractions of milliseconds", [word(e["text"], e["start"] + 0.4, e["end"] + 0.4) for e in talk(_EN)], whole, begins=(1000,)),
        _case("a long word over a pause", [word("Wait…", 0, 9_000), *talk(_EN, 12_000)], "Wait…", begins=(0, 12_000)),
        _case("an end beyond the recording", [*talk(_EN[:-1]), word("March", 4850, 900_000)], whole, begins=(1000,), seconds=6),
        _case("two short words", [*talk(["Yes."], 0, 100), *talk(["Unbelievably", "extraordinary", "circumstances"], 2000, 100)],
              "Yes.", "Unbelievably extraordinary circumstances", begins=(0, 2000)),
        _case("4,000 words without punctuation", no_stops, facts={"wordCount": 4000}),
        _case("fast speech", talk(_DE * 8, each=90, gap=0)),
        _case("one word in an hour", [word("Hello.", 1_800_000, 1_800_400)], "Hello.", begins=(1_800_000,), seconds=3600),
        _case("times in seconds", [word(e["text"], e["start"] / 1000, e["end"] / 1000) for e in talk(_EN)], seconds=6, begins=(1000,),
              known="times in seconds can't be told from milliseconds: AssemblyAI states milliseconds"),
    ]  # fmt: skip


def _fields() -> list[AnswerCase]:
    full = answer(talk(_EN, speaker="A"), " ".join(_EN) + ".", 6, language_code="en")
    said = [{"speaker": "A", "text": "Good morning.", "start": 0, "end": 900, "words": None},
            {"speaker": "B", "text": "And to you.", "start": 1500, "end": 2400, "words": None}]  # fmt: skip

    def changed(name: str, *notes: str, **change: Any) -> AnswerCase:
        numbers = {key: change.pop(key) for key in ("facts", "refused", "text_file", "cues") if key in change}
        return AnswerCase(
            name, "speech answers", full | change, numbers.get("cues", ()), text=numbers.get("text_file", ""),
            notes=notes, facts=numbers.get("facts", {}), refused=numbers.get("refused", ""),
        )  # fmt: skip

    null = [dict(each) for each in talk(_EN, speaker="A")]
    null[3] |= {"start": None, "end": None, "speaker": {}}
    return [
        changed("complete", facts={"wordCount": 12, "speakers": 1, "durationSeconds": 6.0, "language": "en", "notes": []}),
        changed("null times and an odd speaker of a word", "1 word has no times",
                "1 word has no speaker that can be read", words=null, facts={"wordCount": 12}),
        changed("words are null, with utterances", words=None, utterances=said, facts={"speakers": 2},
                text_file="Speaker A: Good morning.\n\nSpeaker B: And to you.",
                cues=("Speaker A: Good morning.", "Speaker B: And to you.")),
        changed("words are null, without utterances", "the answer has no times, so its subtitles are empty", words=None, facts={"wordCount": 12, "durationSeconds": 6.0}),
        changed("text is null", "the text of the answer is null; it is made of the words", text=None,
                text_file=" ".join(_EN)),
        changed("text and words are null", "the text of the answer is null; it is made of the utterances", text=None,
                words=None, utterances=said, facts={"wordCount": 5}),
        changed("words are a text", "words of the provider is 'x', which is left out",
                "the answer has no times, so its subtitles are empty", words="x"),
        changed("a word is null", "1 of 13 words can't be read", words=[None, *full["words"]], facts={"wordCount": 12}),
        changed("a word's text is a number", "1 of 13 words can't be read", words=[*full["words"], word(7, 9, 10)]),  # type: ignore[arg-type]
        changed("utterances are a number", "utterances of the provider is 5, which is left out", utterances=5),
        changed("utterances without speakers", "2 utterances have no speaker that can be read",
                utterances=[text | {"speaker": None} for text in said]),
        changed("negative length", "audio_duration of the provider is -1, which is left out", audio_duration=-1,
                facts={"durationSeconds": 5.15}),
        changed("length is a text", "audio_duration of the provider is '12', which is left out", audio_duration="12"),
        changed("length is null", audio_duration=None, facts={"durationSeconds": 5.15}),
        changed("length is 0", audio_duration=0, facts={"durationSeconds": 5.15}),
        changed("language is a number", "language_code of the provider is 7, which is left out", language_code=7,
                facts={"language": None}),
        changed("unknown fields", chapters=[{"gist": "x"}], iab_categories_result={}, utterances=None),
        changed("no speech", text="", words=[], facts={"wordCount": 0, "durationSeconds": 6.0}),
        changed("no speech, as AssemblyAI's error", "the provider found no speech", status="error", text=None, words=None,
                error="language_detection cannot be performed on files with no spoken audio.", facts={"wordCount": 0}),
        changed("another error", status="error", text=None, words=None, error="Download error",
                refused="the provider's answer is no transcript: status 'error', expected 'completed', and text null"),
        changed("no text at all", text=None, words=None,
                refused="the provider's answer is no transcript: status 'completed', expected 'completed', and text null"),
        changed("still processing", status="processing", text=None, words=None, refused="status 'processing', expected 'completed'"),
    ]  # fmt: skip


def _texts() -> list[AnswerCase]:
    arrow = "a < b & c --> {x} \\N d"
    right = ["שלום", "עולם", "(Hello)", "123"]
    return [
        _case("markup", talk(arrow.split()), "a ‹ b & c --› (x) ∖N d"),
        _case("right to left with Latin words", talk(right), "שלום עולם (Hello) 123"),
        _case("line ends within a word", talk(["one\ntwo", "three\r\n\r\nfour"]), "one two three four"),
        _case("spaces around words", talk([" Hello ", "\tthere\u00a0", "  "]), "Hello there"),
        _case("controls and halves of characters", talk(["Good\u0000", "\u202emorning"]), "Good� �morning"),
        _case("one line", talk(_DE), limits=Subtitles(lines=1)),
        _case("lines of 20 columns", talk(_DE), limits=Subtitles(line_length=20)),
        _case("four lines, 60 columns, slow reading", talk(_DE * 2),
              limits=Subtitles(lines=4, line_length=60, characters_per_second=10, max_seconds=10)),
    ]  # fmt: skip
