"""Language codes that AssemblyAI transcribes, and their canonical spelling. Pure.

From the enum `TranscriptLanguageCode` of AssemblyAI's OpenAPI description and its page "Set language manually", read on
2026-11-22. The API answers 400 to all others, before anything is paid.
"""

import re

AUTO = "auto"
CODES = (
    "en", "en_au", "en_uk", "en_us", "es", "fr", "de", "it", "pt", "nl", "af", "sq", "am", "ar", "hy", "as", "az",
    "ba", "eu", "be", "bn", "bs", "br", "bg", "my", "ca", "zh", "hr", "cs", "da", "et", "fo", "fi", "gl", "ka", "el",
    "gu", "ht", "ha", "haw", "he", "hi", "hu", "is", "id", "ja", "jw", "kn", "kk", "km", "ko", "lo", "la", "lv", "ln",
    "lt", "lb", "mk", "mg", "ms", "ml", "mt", "mi", "mr", "mn", "ne", "no", "nn", "oc", "pa", "ps", "fa", "pl", "ro",
    "ru", "sa", "sr", "sn", "sd", "si", "sk", "sl", "so", "su", "sw", "sv", "tl", "tg", "ta", "tt", "te", "th", "bo",
    "tr", "tk", "uk", "ur", "uz", "vi", "cy", "yi", "yo",
)  # fmt: skip
ALWAYS_ADMITTED = r"^[a-z]{2}(_[a-z]{2})?$"
"""Codes that the CRD has always admitted, whether AssemblyAI knows them or not.

They stay valid, and stand in run hashes as they were written: a stored resource must remain valid, or the API server
would not let its finalizer be removed.
"""
SUGGESTIONS = {"en_gb": "en_uk", "nb": "no", "jv": "jw", "fil": "tl"}
"""AssemblyAI's code by the BCP 47 code of the same language, where they differ."""


def canonical(code: str) -> str:
    """The code in lower case with an underscore, as AssemblyAI has it: `en_us` for `en-US`."""
    return code.lower().replace("-", "_")


def unknown_code_error(code: str) -> str:
    """Error text for a code that AssemblyAI does not have, naming the nearest one; empty for a known code."""
    given = canonical(code)
    if given == AUTO or given in CODES:
        return ""
    near = SUGGESTIONS.get(given) or (given[:2] if given[2:3] == "_" and given[:2] in CODES else "")
    meant = f"; did you mean {near}?" if near else "; auto detects the language"
    return f"{code} must be a language code of AssemblyAI, such as en, en_us or pt{meant}"


def is_admitted(code: str) -> bool:
    """Whether the CRD admits a code of the right form."""
    return re.search(ALWAYS_ADMITTED, code) is not None or not unknown_code_error(code)
