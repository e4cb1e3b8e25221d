"""Consent to paid provider requests: requests, estimated costs, and the person's confirmation. Sends nothing."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from contentgen_contract.resources.models import model_of
from contentgen_contract.resources.prices import PRICES, estimate
from contentgen_contract.resources.spec import (
    Image,
    ImageGenerationSpec,
    ImageSize,
    LoraTrainingSpec,
    Source,
    Spec,
    Training,
    TranscriptionOptions,
    TranscriptionSpec,
)

SWITCH, CONFIRM, BASE = "REAL_API_TESTS", "REAL_API_CONFIRM", "REAL_API_BASE"
TRAINING = "REAL_API_TRAINING"
SOUND_SECONDS = 10
_NOWHERE = Source(url="https://example.com/input")  # each check replaces it by its own input's URL


@dataclass(frozen=True)
class ProviderCheck:
    """One test, with the spec of its purchase and the environment variables that it needs."""

    name: str
    spec: Spec
    key: str
    switch: str = ""  # further variable that must be true; empty if none

    @property
    def model(self) -> str:
        """Provider's name of the model."""
        return model_of(self.spec)

    @property
    def micros(self) -> int:
        """Estimated price by the price table, in micro-dollars."""
        return estimate(self.spec, PRICES[self.model], SOUND_SECONDS) or 0

    def missing(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Environment variables that must be set before the test can run."""
        key = () if environment.get(self.key) else (self.key,)
        switch = () if not self.switch or environment.get(self.switch) == "true" else (f"{self.switch}=true",)
        return key + switch


PICTURE = ProviderCheck(
    "picture",
    ImageGenerationSpec(
        model="flux-schnell", prompt="a red cube on a white table",
        image=Image(size=ImageSize(width=512, height=512), count=1),
    ),
    "FAL_KEY",
)  # fmt: skip
SOUND = ProviderCheck(
    "sound",
    TranscriptionSpec(source=_NOWHERE, options=TranscriptionOptions(language="en", speaker_labels=False)),
    "ASSEMBLYAI_API_KEY",
)
LORA = ProviderCheck(
    "training",
    LoraTrainingSpec(lora_name="real_test", trigger_word="jf", source=_NOWHERE, training=Training(steps=100)),
    "FAL_KEY",
    TRAINING,
)
CHECKS = (PICTURE, SOUND, LORA)


class NotAgreed(Exception):
    """The person did not agree, so nothing is sent; the message contains the cause and a remedy."""


def agreed(environment: Mapping[str, str], say: Callable[[str], None], ask: Callable[[str], str] | None) -> None:
    """Print the costs and ask for confirmation. `ask` is None if there is no terminal. Raises NotAgreed."""
    if environment.get(SWITCH) != "true":
        raise NotAgreed(_HOW)
    runs = [check for check in CHECKS if not check.missing(environment)]
    say(f"The tests with the real providers{_where(environment)} cost money:\n")
    for check in CHECKS:
        say(_line(check, environment))
    if not runs:
        raise NotAgreed("\nNothing can run: no key is set.\n\n" + _HOW)
    say(f"\nTogether about {dollars(sum(check.micros for check in runs))} USD.")
    if environment.get(CONFIRM) == "yes":
        return
    if ask is None:
        raise NotAgreed(f"Nobody can be asked here, so nothing was sent. {CONFIRM}=yes agrees beforehand.")
    if ask("Type yes to spend it: ").strip().lower() != "yes":
        raise NotAgreed("Not agreed to, so nothing was sent.")


def _line(check: ProviderCheck, environment: Mapping[str, str]) -> str:
    missing = check.missing(environment)
    verdict = f"left out: set {' and '.join(missing)}" if missing else f"runs with {check.key}"
    price = PRICES[check.model]
    return f"  {check.name:<9} {dollars(check.micros):>7} USD  {check.model} ({price.source}); {verdict}"


def _where(environment: Mapping[str, str]) -> str:
    base = environment.get(BASE)
    return f" (at {base}, a stand-in)" if base else ""


def dollars(micros: int) -> str:
    """Amount in dollars as text, rounded up to a hundredth of a cent."""
    return f"{Decimal(math.ceil(micros / 100)) / 10_000:.4f}"


_HOW = f"""make test-real sends a few paid requests to fal and AssemblyAI, with your keys. Set in the environment:

  {SWITCH}=true           that you want it
  FAL_KEY                       a picture of 512x512 by flux schnell
  ASSEMBLYAI_API_KEY            a transcript of {SOUND_SECONDS} seconds of sound
  {TRAINING}=true        and a LoRA training of 100 steps, with FAL_KEY

It says what that costs and asks before anything is sent ({CONFIRM}=yes answers beforehand)."""
