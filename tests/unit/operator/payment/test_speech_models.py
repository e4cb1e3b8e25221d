"""Speech models of a transcript: named in each request, priced by the site, and no part of a run's identity."""

from datetime import UTC, datetime

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.models import TRANSCRIBER
from contentgen_contract.resources.prices import PRICES, SPEECH_MODELS, Price, Unit, site_prices
from contentgen_contract.resources.status import dump_status
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import Resource
from contentgen_simulation.world import SPECS, World

pytestmark = pytest.mark.usefixtures("no_waiting")

TRANSCRIPT = Kind.TRANSCRIPTION
NOW = datetime(2026, 11, 25, tzinfo=UTC)


def an_hour(settings: DecisionSettings) -> DecisionInput:
    """The input of a decision about an hour of audio."""
    metadata = {"name": "it", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1"}
    metadata["creationTimestamp"] = "2026-11-25T00:00:00Z"
    case = decision_input(Resource.parse(TRANSCRIPT, {"metadata": metadata, "spec": SPECS[TRANSCRIPT]}), NOW, settings)
    facts = {"type": "audio", "durationSeconds": 3600, "sourceBytes": 1}
    return case.model_copy(update={"run": case.run.model_copy(update={"facts": facts})})


@pytest.mark.parametrize(
    ("models", "own", "first", "bound"),
    [
        (("universal-3-5-pro", "universal-2"), {}, 230_000, 230_064),
        (("universal-2", "universal-3-5-pro"), {}, 170_000, 230_064),
        (("universal-2",), {}, 170_000, 170_048),
        (("universal-2", "assemblyai-stt-3-7"), {}, 170_000, None),
        (("assemblyai-stt-3-7", "universal-2"), {}, None, None),
        (("assemblyai-stt-3-7", "universal-2"), {"assemblyai/assemblyai-stt-3-7": 250_000}, 250_000, 250_070),
        (("assemblyai-stt-3-7",), {TRANSCRIBER: 100_000}, 100_000, 100_028),
    ],
)
def test_estimate_uses_the_first_model_and_bound_the_dearest(
    models: tuple[str, ...], own: dict[str, int], first: int | None, bound: int | None
) -> None:
    """AssemblyAI chooses the model by the language."""
    given = {name: Price(micros=micros, unit=Unit.HOUR, source="t") for name, micros in own.items()}
    settings = DecisionSettings(prices=site_prices(given, models), own_prices=frozenset(given), speech_models=models)
    case = an_hour(settings)
    assert (case.estimated_micros, case.bound_micros) == (first, bound)


def test_the_default_is_priced() -> None:
    assert site_prices({}, SPEECH_MODELS) == PRICES
    assert an_hour(DecisionSettings()).bound_micros is not None


@pytest.mark.parametrize("models", [SPEECH_MODELS, ("assemblyai-stt-3-7", "universal-2")])
async def test_each_request_names_the_models_of_the_site(world: World, models: tuple[str, ...]) -> None:
    world.decision_settings = world.decision_settings.model_copy(update={"speech_models": models})
    world.restart()
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT])
    assert (await world.finish(TRANSCRIPT)).phase is Phase.COMPLETED
    assert [call.arguments["speech_models"] for call in world.provider.posts] == [list(models)]


async def test_another_value_starts_no_run(world: World) -> None:
    """Neither of a finished resource nor of one that is applied again."""
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT])
    before = await world.finish(TRANSCRIPT)
    world.decision_settings = world.decision_settings.model_copy(update={"speech_models": ("universal-2",)})
    world.restart()
    for _ in range(5):
        await world.reconcile(TRANSCRIPT)
    assert dump_status(world.status(TRANSCRIPT)) == dump_status(before)
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT], uid="another-uid")
    status = await world.finish(TRANSCRIPT)
    assert (status.phase, status.reason) == (Phase.COMPLETED, "AdoptedFinishedRun")
    assert len(world.provider.posts) == 1
