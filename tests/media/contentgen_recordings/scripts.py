"""Family: scripts. Words as AssemblyAI gives them, one token each, and the subtitles that are made of them."""

from collections.abc import Iterable
from typing import Any

from contentgen_recordings.case import AnswerCase

_TEXTS: dict[str, tuple[str, ...]] = {
    "English": (
        "So I would really say that all this was over by March",
        "So I would really say that\nall this was over by March",
    ),
    "German": (
        "Gestern sprach Herr Dr. Müller, z.B. über die Donaudampfschifffahrtsgesellschaft. Ja! Das war es dann.",
        "Gestern sprach Herr Dr. Müller, z.B. über\ndie Donaudampfschifffahrtsgesellschaft.",
        "Ja! Das war es dann.",
    ),
    "French": (
        "Il a dit : « Où êtes-vous allés hier ? » Personne n’a répondu !",
        "Il a dit: «Où êtes-vous allés hier?»",
        "Personne n’a répondu!",
    ),
    "Vietnamese": (
        "Chúng tôi đã nói chuyện về những kế hoạch của năm tới, và mọi người đều đồng ý.",
        "Chúng tôi đã nói chuyện về những kế hoạch\ncủa năm tới, và mọi người đều đồng ý.",
    ),
    "Turkish": (
        "İstanbul'da ılık bir akşamdı; ağaçların altında uzun uzun konuştuk.",
        "İstanbul'da ılık bir akşamdı;\nağaçların altında uzun uzun konuştuk.",
    ),
    "Polish": (
        "Żółta łódź płynęła w stronę brzegu, gdzie czekała cała wieś.",
        "Żółta łódź płynęła w stronę\nbrzegu, gdzie czekała cała wieś.",
    ),
    "Russian": (
        "Вчера мы долго говорили о погоде, а потом и о том, что будет дальше. Вот и всё!",
        "Вчера мы долго говорили о погоде,\nа потом и о том, что будет дальше.",
        "Вот и всё!",
    ),
    "Ukrainian": (
        "Ми їхали до Києва; з'їли пів'яблука і ґречно подякували.",
        "Ми їхали до Києва; з'їли\nпів'яблука і ґречно подякували.",
    ),
    "Greek": (
        "Μιλήσαμε για τον καιρό χθες το βράδυ; Ναι, και μετά πήγαμε σπίτι.",
        "Μιλήσαμε για τον καιρό χθες το βράδυ;",
        "Ναι, και μετά πήγαμε σπίτι.",
    ),
    "Armenian": (
        "Երեկ մենք խոսեցինք եղանակի մասին։ Հետո գնացինք տուն։",
        "Երեկ մենք խոսեցինք եղանակի մասին։",
        "Հետո գնացինք տուն։",
    ),
    "Georgian": (
        "გუშინ ჩვენ ვისაუბრეთ ამინდზე და მერე სახლში წავედით.",
        "გუშინ ჩვენ ვისაუბრეთ ამინდზე\nდა მერე სახლში წავედით.",
    ),
    "Arabic": (
        "مرحبا ، هل تتحدث العربية ؟ نعم ، قليلا .",
        "مرحبا، هل تتحدث العربية؟ نعم، قليلا.",
    ),
    "Persian": (
        "سلام ، می\u200cخواهم درباره\u200cی هوا صحبت کنم . خیلی ممنون !",
        "سلام، می\u200cخواهم درباره\u200cی هوا صحبت کنم.",
        "خیلی ممنون!",
    ),
    "Urdu": (
        "السلام علیکم ، آج ہم موسم کے بارے میں بات کریں گے ۔ شکریہ ۔",
        "السلام علیکم، آج ہم موسم\nکے بارے میں بات کریں گے۔",
        "شکریہ۔",
    ),
    "Hebrew": (
        "שלום , דיברנו אתמול על מזג האוויר ; אחר כך הלכנו הביתה .",
        "שלום, דיברנו אתמול על מזג\nהאוויר; אחר כך הלכנו הביתה.",
    ),
    "Hebrew with points": (
        "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ .",
        "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם וְאֵת הָאָרֶץ.",
    ),
    "Hindi": (
        "नमस्ते , क्या आप कल आएंगे ? हम हिन्दी में बात करते हैं ।",
        "नमस्ते, क्या आप कल आएंगे? हम हिन्दी में बात करते हैं।",
    ),
    "Bengali": (
        "আমরা গতকাল আবহাওয়া নিয়ে কথা বলেছি । তারপর বাড়ি গেলাম ।",
        "আমরা গতকাল আবহাওয়া নিয়ে কথা বলেছি।",
        "তারপর বাড়ি গেলাম।",
    ),
    "Tamil": (
        "நேற்று நாங்கள் வானிலை பற்றி பேசினோம் . பிறகு வீட்டிற்குச் சென்றோம் .",
        "நேற்று நாங்கள் வானிலை பற்றி பேசினோம்.",
        "பிறகு வீட்டிற்குச் சென்றோம்.",
    ),
    "Telugu": (
        "మేము నిన్న వాతావరణం గురించి మాట్లాడాము . తరువాత ఇంటికి వెళ్ళాము .",
        "మేము నిన్న వాతావరణం గురించి మాట్లాడాము.",
        "తరువాత ఇంటికి వెళ్ళాము.",
    ),
    "Sinhala": (
        "අපි ඊයේ කාලගුණය ගැන කතා කළා . පසුව ගෙදර ගියා .",
        "අපි ඊයේ කාලගුණය ගැන කතා කළා. පසුව ගෙදර ගියා.",
    ),
    "Amharic": (
        "ትናንት ስለ አየር ሁኔታ ተነጋገርን ። ከዚያ ወደ ቤት ሄድን ።",
        "ትናንት ስለ አየር ሁኔታ ተነጋገርን። ከዚያ ወደ ቤት ሄድን።",
    ),
    "Thai": (
        "สวัสดี ครับ วันนี้ เรา จะ พูด ถึง เรื่อง น้ำ ที่ กรุงเทพฯ กำลัง ท่วม",
        "สวัสดีครับวันนี้เราจะพูดถึงเรื่องน้ำที่กรุงเทพฯกำลังท่วม",
    ),
    "Lao": (
        "ສະບາຍດີ ມື້ນີ້ ພວກເຮົາ ຈະ ເວົ້າ ກ່ຽວກັບ ນ້ຳ",
        "ສະບາຍດີມື້ນີ້ພວກເຮົາຈະເວົ້າກ່ຽວກັບນ້ຳ",
    ),
    "Khmer": (
        "ខ្ញុំ ចង់ ទៅ ភ្នំពេញ ថ្ងៃ ស្អែក ។ សូម អរគុណ ។",
        "ខ្ញុំចង់ទៅភ្នំពេញថ្ងៃស្អែក។សូមអរគុណ។",
    ),
    "Burmese": (
        "မင်္ဂလာပါ ကျွန်တော် မြန်မာ စကား ပြော တယ် ။",
        "မင်္ဂလာပါကျွန်တော်မြန်မာစကားပြောတယ်။",
    ),
    "Tibetan": (
        "བོད་ སྐད་ ཀྱི་ སྐོར་ ལ་ བཤད་ ཡོད །",
        "བོད་སྐད་ཀྱི་སྐོར་ལ་བཤད་ཡོད།",
    ),
    "Chinese, simplified": (
        "预算 会议 ， 我们 明天 再 讨论 。 好 吗 ？ 《 红楼梦 》 是 一部 伟大 的 小说 ！",
        "预算会议，我们明天再讨论。好吗？\n《红楼梦》是一部伟大的小说！",
    ),
    "Chinese, traditional": (
        "預算 會議 ， 我們 明天 再 討論 。 好 嗎 ？ 「 沒 問題 」 ， 她 說 。",
        "預算會議，我們明天再討論。\n好嗎？「沒問題」，她說。",
    ),
    "Chinese, sentences": (
        "今天天气很好。我们去公园吧！你来吗？ 好的，我们走。他们说“没问题”。然后就出发了。",
        "今天天气很好。我们去公园吧！你来吗？好的，\n我们走。他们说“没问题”。然后就出发了。",
    ),
    "Japanese": (
        "今日 は 、 AI の 話 を し ます 。 「 東京 」 の 天気 は ちょっと 良く て 、 みんな 公園 に います 。",
        "今日は、AI の話をします。",
        "「東京」の天気はちょっと良く\nて、みんな公園にいます。",
    ),
    "Korean": (
        "안녕하세요, 오늘은 날씨가 정말 좋네요. 회의를 시작합시다.",
        "안녕하세요, 오늘은 날씨가 정말 좋네요.",
        "회의를 시작합시다.",
    ),
    "emoji and combining marks": (
        "Zoe\u0308 e\u0301te\u0301 👨\u200d👩\u200d👧 🇩🇪 👋🏽 q\u0323\u0307 <b>bold</b> {\\an8} a&b C:\\New -->",
        "Zoe\u0308 e\u0301te\u0301 👨\u200d👩\u200d👧 🇩🇪 👋🏽 q\u0323\u0307 ‹b›bold‹/b›\n(∖an8) a&b C:∖New --›",
    ),
    "very long words": (
        f"https://example.com/{'a' * 90} {'今天天气很好我们去公园' * 9} {'น้ำ' * 60} end.",
        "https://example.com/aaaaaaaaaaaaaaaaa\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n今天天气很好我们去公园今天天气很好我们去",
    ),
    "two scripts": (
        "Ich habe 北京 烤鸭 gegessen, и это было очень вкусно , ครับ ผม .",
        "Ich habe 北京烤鸭 gegessen, и\nэто было очень вкусно, ครับผม.",
    ),
}
"""Tokens, then the texts of the first subtitles."""

SCRIPTS = {name: tokens for name, (tokens, *_) in _TEXTS.items()}
UNSPACED = {
    "Japanese", "Chinese, simplified", "Chinese, traditional", "Chinese, sentences", "Thai", "Lao", "Khmer", "Burmese",
    "Tibetan",
}  # fmt: skip
"""Without spaces between words."""


def word(text: str, start: Any, end: Any, speaker: Any = None) -> dict[str, Any]:
    """A word of an answer."""
    return {"text": text, "start": start, "end": end, "speaker": speaker}


def talk(
    texts: Iterable[str], at: int = 1000, each: int = 300, gap: int = 50, speaker: str | None = None
) -> list[dict[str, Any]]:
    """Words in turn, from `at` on; each lasts `each` ms."""
    return [word(text, at + n * (each + gap), at + n * (each + gap) + each, speaker) for n, text in enumerate(texts)]


def answer(words: Any, text: Any = None, seconds: Any = None, **more: Any) -> dict[str, Any]:
    """A transcript of AssemblyAI."""
    return {"status": "completed", "text": text, "words": words, "audio_duration": seconds, **more}


def scripts() -> list[AnswerCase]:
    """A text in each script; without a text of the provider, the spaces are those of the script."""
    made_of = ("the text of the answer is null; it is made of the words",)
    return [
        AnswerCase(name, "scripts", answer(talk(tokens.split())), tuple(cues), notes=made_of)
        for name, (tokens, *cues) in _TEXTS.items()
    ]
