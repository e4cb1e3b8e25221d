"""AssemblyAI's speech models: languages, defaults, prices."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from contentgen_sandbox.assemblyai import speech_models


@pytest.mark.parametrize(
    ("account", "day", "models"),
    [
        ("new", date(2026, 11, 27), ("assemblyai-stt-3-7",)),
        ("new", date(2026, 1, 1), ("assemblyai-stt-3-7",)),
        ("universal-3-5-pro", date(2026, 11, 27), ("universal-3-5-pro", "universal-2")),
        ("universal-3-5-pro", date(2026, 12, 8), ("assemblyai-stt-3-7",)),
        ("universal-2", date(2026, 12, 8), ("universal-2",)),
    ],
)
def test_default_depends_on_the_account_and_the_day(account: str, day: date, models: tuple[str, ...]) -> None:
    assert speech_models.default_models(account, day) == models


@pytest.mark.parametrize(
    ("model", "language", "known"),
    [
        ("universal-3-5-pro", "en", True),
        ("universal-3-5-pro", "en_us", True),
        ("universal-3-5-pro", "hu", False),
        ("universal-2", "hu", True),
        ("assemblyai-stt-3-7", "de", True),
        ("assemblyai-stt-3-7", "hu", False),
    ],
)
def test_model_has_the_languages_of_the_facts(model: str, language: str, known: bool) -> None:
    assert speech_models.has_language(model, language) is known


@pytest.mark.parametrize(
    ("model", "options", "usd"),
    [
        ("universal-3-5-pro", {}, "0.21"),
        ("universal-3-5-pro", {"speaker_labels": True}, "0.23"),
        ("universal-3-5-pro", {"speaker_labels": False, "keyterms_prompt": ["x"]}, "0.26"),
        ("universal-3-5-pro", {"domain": "medical-v1"}, "0.36"),
        ("universal-2", {}, "0.15"),
        ("universal-2", {"summarization": True}, "0.15"),
        ("assemblyai-stt-3-7", {}, "0.21"),
    ],
)
def test_price_of_an_hour_has_the_surcharges(model: str, options: dict[str, Any], usd: str) -> None:
    assert speech_models.price(3600, model, options) == Decimal(usd)


def test_retired_model_is_known_by_its_date() -> None:
    assert not speech_models.is_retired("universal-3-pro", date(2026, 7, 30))
    assert speech_models.is_retired("universal-3-pro", date(2026, 7, 31))
    assert not speech_models.is_retired("universal-2", date(2030, 1, 1))
