"""Language codes that AssemblyAI transcribes, and their canonical spelling. Pure.

Source: the enum `TranscriptLanguageCode` of AssemblyAI's OpenAPI description and its page "Set language manually", read
on 2026-11-22. The API returns 400 for other codes, before any payment.
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
"""Codes that the CRD has always admitted, also codes that AssemblyAI does not know.

They remain valid and unchanged in run hashes: if a stored resource became invalid, the API server would refuse the
removal of its finalizer.
"""
SUGGESTIONS = {"en_gb": "en_uk", "nb": "no", "jv": "jw", "fil": "tl"}
"""AssemblyAI's code by BCP 47 code, where they differ."""


def canonical(code: str) -> str:
    """The code in AssemblyAI's spelling: `en_us` for `en-US`."""
    return code.lower().replace("-", "_")


def unknown_code_error(code: str) -> str:
    """Error text for an unknown code, with the nearest known one; empty for a known code."""
    given = canonical(code)
    if given == AUTO or given in CODES:
        return ""
    near = SUGGESTIONS.get(given) or (given[:2] if given[2:3] == "_" and given[:2] in CODES else "")
    meant = f"; did you mean {near}?" if near else "; auto detects the language"
    return f"{code} must be a language code of AssemblyAI, such as en, en_us or pt{meant}"


def is_admitted(code: str) -> bool:
    """True if the CRD admits a code that matches its pattern."""
    return re.search(ALWAYS_ADMITTED, code) is not None or not unknown_code_error(code)
