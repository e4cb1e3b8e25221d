"""Whole runs in the simulated world, whose provider is the real client over a wire on which one answer is a mutant."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from contentgen_contract.characters import plain_text
from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.status import dump_status
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.refusals import MAYBE_TAKEN
from contentgen_simulation.mutated_answers.mutants import MutatedAnswer, replaced, unchanged
from contentgen_simulation.mutated_answers.recorded import RECORDED, SECRET, TRAINER, TRANSCRIBER
from contentgen_simulation.mutated_answers.wire import ThreadedAssemblyAI, Wire, body_of, fal_over
from contentgen_simulation.world import SPECS, World, Writes

NOT_MET = ("fal pricing", "fal bills", "fal cancel", "fal unknown")
"""Answers that no run asks for."""
_RECONCILES = 100
_ENDS = (Phase.COMPLETED, Phase.FAILED, Phase.SUBMISSION_UNKNOWN)
_REFUSALS = ("fal submit ", "assemblyai submit ")
_PARTS = {
    "fal": ("fal queued", "fal running", "fal completed"),
    "assemblyai": ("assemblyai queued", "", "assemblyai completed"),
}


def kind_of(mutant: MutatedAnswer) -> Kind:
    """Kind of the run that meets this answer."""
    kinds = {TRAINER: Kind.LORA_TRAINING, TRANSCRIBER: Kind.TRANSCRIPTION}
    return kinds.get(mutant.recorded.model, Kind.IMAGE_GENERATION)


class RunWire(Wire):
    """Provider that takes a request, works on it and lists it in its history, with one mutant among its answers."""

    def __init__(self, mutant: MutatedAnswer) -> None:
        super().__init__(mutant, {})
        self.kind = kind_of(mutant)
        self.taken = 0  # POSTs that may have been accepted
        self.world: World | None = None
        self._sent: tuple[dict[str, Any], str] | None = None  # input and time of the last POST
        self._polls = 0

    def asked(self, request: httpx.Request) -> str:
        """See Wire."""
        if request.method == "POST" and self.world is not None:
            self._sent = body_of(request), (self.world.now + timedelta(seconds=1)).isoformat()
        return super().asked(request)

    def answer(self, asked: str) -> MutatedAnswer:
        """See Wire."""
        chosen = self._chosen(asked)
        if asked == "submit":
            code = chosen.recorded.status
            self.taken += code < 400 or code >= 500 or code in MAYBE_TAKEN
        return chosen

    def _chosen(self, asked: str) -> MutatedAnswer:
        provider, mutant = self.mutant.recorded.provider, self.mutant
        training = self.kind is Kind.LORA_TRAINING
        match asked:
            case "submit" if mutant.name.startswith(_REFUSALS) and self.posts == 1:
                return mutant
            case "submit":
                name = "fal training submit" if training else f"{provider} submit"
            case "status":
                name = self._part(provider)
            case "result" if provider == "assemblyai":
                name = self._part(provider)
            case "result" if mutant.name.startswith("fal result"):
                name = mutant.name
            case "result" if mutant.name == "fal failed":
                name = "fal result 500"
            case "result":
                name = "fal lora" if training else "fal images"
            case "cancel":
                name = "fal cancel"
            case "history":
                return self._history("fal training history" if training else "fal history")
            case _:
                return self._list()
        return mutant if mutant.name == name else unchanged(name)

    def _part(self, provider: str) -> str:
        self._polls += 1
        ended = {"fal failed": "fal failed", "assemblyai error": "assemblyai error"}.get(self.mutant.name)
        names = [part for part in _PARTS[provider] if part]
        return names[self._polls - 1] if self._polls < len(names) else ended or names[-1]

    def _history(self, name: str) -> MutatedAnswer:
        if self.mutant.name == name or self._sent is None:
            return self.mutant if self.mutant.name == name else replaced(name, RECORDED[name].body | {"items": []})
        item = RECORDED[name].body["items"][0] | {"json_input": self._sent[0], "sent_at": self._sent[1]}
        return replaced(name, RECORDED[name].body | {"items": [item]})

    def _list(self) -> MutatedAnswer:
        name, body = "assemblyai list", RECORDED["assemblyai list"].body
        if self.mutant.name == name or self._sent is None:
            return self.mutant if self.mutant.name == name else replaced(name, body | {"transcripts": []})
        item = body["transcripts"][0] | {"audio_url": self._sent[0]["audio_url"], "created": self._sent[1]}
        return replaced(name, body | {"transcripts": [item]})


class WireWorld(World):
    """The simulated world with the real clients."""

    def __init__(self, patch: pytest.MonkeyPatch, wire: RunWire) -> None:
        self.wire = wire
        super().__init__(patch, Writes())
        wire.world = self
        self.decision_settings = self.decision_settings.model_copy(
            update={"provider_seconds": 3600, "adoption_seconds": 1800}
        )
        self.storage.put_answer = self._put  # type: ignore[method-assign]
        self.restart()

    async def _put(self, store: Any) -> None:
        self.storage.objects.setdefault(store.key, store.answer.file().read())

    def provider_accounts(self) -> ProviderAccounts:
        """See World."""
        return ProviderAccounts({"fal": fal_over(self.wire), "assemblyai": ThreadedAssemblyAI(self.wire)})


async def run(mutant: MutatedAnswer) -> list[str]:
    """What is wrong with a run that meets this answer; empty: nothing."""
    wire = RunWire(mutant)
    with pytest.MonkeyPatch.context() as patch:
        world = WireWorld(patch, wire)
        world.kube.apply(wire.kind, SPECS[wire.kind] | {"paidAttempts": 2})
        try:
            for _ in range(_RECONCILES):
                await world.reconcile(wire.kind)
                if world.status(wire.kind).phase in _ENDS:
                    break
            return _judged(mutant, world)
        except Exception as error:  # noqa: BLE001 - the finding
            return [f"a run: {type(error).__name__}: {ascii(str(error))[:200]}"]


def _judged(mutant: MutatedAnswer, world: WireWorld) -> list[str]:
    wrong, status, wire = list[str](), world.status(world.wire.kind), world.wire
    failed = mutant.name in ("fal failed", "fal result 500", "fal result 499", "assemblyai error") and wire.taken == 2
    if wire.taken > 1 and not failed:
        wrong.append(f"{wire.taken} requests may have been paid")
    message = status.message or ""
    if not message or message != plain_text(message) or SECRET in message:
        wrong.append(f"a message: {ascii(message)[:200]}")
    stored = [dump_status(status), *world.database["ledger"].find(), *world.database["jobs"].find()]
    try:
        text = json.dumps(stored, ensure_ascii=False, default=str)
        text.encode()
    except UnicodeEncodeError as error:
        wrong.append(f"MongoDB cannot store it: {error}")
    if status.phase not in _ENDS:
        wrong.append(f"it does not end: {status.phase} ({status.reason}): {ascii(message)[:150]}")
    good = mutant.recorded.status in (200, 202) and mutant.name not in ("fal failed", "assemblyai error")
    side = bool(mutant.paths) and not mutant.touches_needed
    if good and side and status.phase is not Phase.COMPLETED:
        wrong.append(f"{status.phase} ({status.reason}) for a side field: {ascii(message)[:150]}")
    return wrong
