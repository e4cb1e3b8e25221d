"""AssemblyAI's speech models by the facts: accepted names, languages, defaults and prices."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any

from contentgen_sandbox.facts import files

_FACTS = files.read("assemblyai/speech-models.json")
_MODELS: dict[str, Mapping[str, Any]] = {model["id"]: model for model in _FACTS["models"]}
_SMALLEST_USD = Decimal("0.000001")
_HOUR_S = 3600
_NEW_ACCOUNTS = "created on or after"


def is_retired(model: str, today: date) -> bool:
    """Whether a model is no longer accepted."""
    until = _MODELS.get(model, {}).get("acceptedUntil")
    return until is not None and date.fromisoformat(until) <= today


def has_language(model: str, language: str) -> bool:
    """Whether a model takes a language code. A model whose languages no source states has those of all others."""
    known = _MODELS[model]["languages"]
    spoken = _shared() if known is None else set(known)
    return language in spoken or language.partition("_")[0] in spoken


def _shared() -> set[str]:
    """Languages that every accepted model with a list has."""
    lists = [set(model["languages"]) for model in _MODELS.values() if model["languages"] and not model["acceptedUntil"]]
    return set.intersection(*lists)


def default_models(account: str, today: date) -> tuple[str, ...]:
    """Models of a request that names none. `account`: `new`, or the former default model of an older account.

    On a day without a documented default, such as before the first one, it is the last that is documented.
    """
    fitting = [default for default in _FACTS["defaults"] if default["speechModels"] and _is_of(default, account)]
    chosen = next((default for default in fitting if _applies(default, today)), fitting[-1])
    return tuple(chosen["speechModels"])


def _is_of(default: Mapping[str, Any], account: str) -> bool:
    """Whether a default is that of a kind of account."""
    accounts = str(default["accounts"])
    return accounts.startswith(_NEW_ACCOUNTS) if account == "new" else f"default {account}" in accounts


def _applies(default: Mapping[str, Any], today: date) -> bool:
    since, until = default.get("from"), default.get("until")
    return (since is None or date.fromisoformat(since) <= today) and (
        until is None or today < date.fromisoformat(until)
    )


def price(seconds: float, model: str, options: Mapping[str, Any]) -> Decimal:
    """Price in USD of a transcript. A model without a published price is billed as the dearest, an option without one
    is free.
    """
    known = [Decimal(other["usdPerHour"]) for other in _MODELS.values() if other["usdPerHour"]]
    stated = _MODELS[model]["usdPerHour"]
    hourly = (Decimal(stated) if stated else max(known)) + sum(_surcharges(options), Decimal(0))
    return (hourly * Decimal(str(seconds)) / _HOUR_S).quantize(_SMALLEST_USD, ROUND_CEILING)


def _surcharges(options: Mapping[str, Any]) -> Sequence[Decimal]:
    """Dollars per hour that the options add."""
    found = []
    for name, surcharge in _FACTS["surchargesUsdPerHour"].items():
        option, _, wanted = name.partition(": ")
        given = options.get(option)
        if surcharge["usd"] and given and wanted in ("", given):
            found.append(Decimal(surcharge["usd"]))
    return found
