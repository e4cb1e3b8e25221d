"""`make test-real` against a stand-in in this process: consent, limit, journal, differences, secrets."""

import json
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from contentgen_real import journal
from contentgen_real.__main__ import main
from contentgen_real.consent import CONFIRM, SWITCH
from contentgen_real.journal import StepState
from contentgen_real.place import FOLDER
from contentgen_real.stand_in import SETTINGS, StandInProviders

# The SDK of AssemblyAI uses pydantic's older names.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.PydanticDeprecatedSince20")
KEYS = {"FAL_KEY": "fal-secret-1", "ASSEMBLYAI_API_KEY": "assembly-secret-2", "FAL_ADMIN_KEY": "admin-secret-3"}
PICTURE = "fal-ai/flux/schnell"


@dataclass
class Command:
    """The command with a stand-in, and all that it printed."""

    folder: Path
    providers: StandInProviders = field(default_factory=StandInProviders)
    said: list[str] = field(default_factory=list)

    def __call__(self, *arguments: str, answer: str | None = "yes", **more: str) -> int:
        environment = {**SETTINGS, **KEYS, SWITCH: "true", FOLDER: str(self.folder), **more}
        ask: Callable[[str], str] | None = None if answer is None else lambda _: answer
        return main(arguments, environment, self.said.append, ask, httpx.MockTransport(self.providers))

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    @property
    def paid(self) -> list[httpx.Request]:
        """Requests that may have been paid."""
        sent = self.providers.sent
        return [request for request in sent if request.method == "POST" and not request.url.path.endswith("/upload")]

    def states(self) -> dict[str, StepState]:
        with journal.opened(self.folder) as opened:
            names = {entry["step"] for entry in opened.entries}
            return {name: opened.state(name) for name in names}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def changing(endpoint: str, change: Callable[[dict[str, Any]], None]) -> Callable[[str, Any], Any]:
    def changed(name: str, answer: Any) -> Any:
        if name == endpoint:
            change(answer)
        return answer

    return changed


def test_all_steps_pass_with_answers_made_from_the_facts(command: Command) -> None:
    assert command() == 0, command.text
    assert "0 differences" in command.text
    assert "passed: prices, pictures, history, odd-requests, refusals, transcripts\n" in command.text + "\n"
    assert command("--later") == 0, command.text
    assert "passed: bills\n" in command.text


@pytest.mark.parametrize(
    ("answer", "more", "text"),
    [
        ("no", {}, "Not agreed to, so nothing was sent."),
        ("", {}, "Not agreed to, so nothing was sent."),
        ("y", {}, "Not agreed to, so nothing was sent."),
        (None, {}, "Nobody can be asked here, so nothing was sent."),
        (None, {CONFIRM: "no"}, "Nobody can be asked here, so nothing was sent."),
        ("yes", {SWITCH: ""}, "REAL_API_TESTS=true"),
        ("yes", dict.fromkeys(KEYS, ""), "Nothing can run."),
        ("yes", {"MAX_USD": "much"}, "Nothing was sent: MAX_USD=much is not a number"),
        ("yes", {"MAX_USD": "NaN"}, "Nothing was sent: MAX_USD=NaN is not an amount of US dollars"),
    ],
)
def test_without_consent_nothing_is_sent(command: Command, answer: str | None, more: dict[str, str], text: str) -> None:
    assert command(answer=answer, **more) == 2
    assert text in command.text
    assert command.providers.sent == []
    assert not command.folder.joinpath("journal.jsonl").exists() or command.states() == {}


def test_consent_comes_after_all_prices_and_before_requests(command: Command) -> None:
    def ask(_: str) -> str:
        assert "Together at most 0.0260 USD; earlier runs: at most 0.0000 USD." in command.text
        assert "training               2.0700 USD" in command.text
        assert command.providers.sent == []
        return " YES\n"

    environment = {**SETTINGS, **KEYS, SWITCH: "true", FOLDER: str(command.folder)}
    assert main([], environment, command.said.append, ask, httpx.MockTransport(command.providers)) == 0


def test_consent_can_be_given_beforehand(command: Command) -> None:
    assert command("--only", "prices", answer=None, **{CONFIRM: "yes"}) == 0


def test_price_is_printed_before_each_step(command: Command) -> None:
    command("--only", "pictures")
    assert [line for line in command.said if line.startswith("\npictures: at most 0.0090 USD")]


def test_a_small_limit_leaves_free_steps_alone(command: Command) -> None:
    assert command("--only", "prices", "--only", "pictures", MAX_USD="0.001") == 0
    assert "skipped: 0 USD of MAX_USD=0.001 are used; it needs MAX_USD=0.009" in command.text
    assert "passed: prices\n" in command.text
    assert command.paid == []


def test_limit_counts_earlier_runs(command: Command) -> None:
    assert command("--only", "pictures", MAX_USD="0.01") == 0
    assert command("--only", "refusals", MAX_USD="0.01") == 2
    assert "0.009 USD of MAX_USD=0.01 are used; it needs MAX_USD=0.012" in command.text


def test_training_needs_a_higher_limit(command: Command) -> None:
    bucket = {"S3_BUCKET": "assets", "S3_ACCESS_KEY": "access-key", "S3_SECRET_KEY": "secret-key"}
    assert command("--only", "training", **bucket) == 2
    assert "it needs MAX_USD=2.07" in command.text


def test_interrupted_step_counts_and_is_not_bought_again(command: Command) -> None:
    def interrupt(name: str, answer: Any) -> Any:
        if name == "submit":
            signal.raise_signal(signal.SIGINT)
        return answer

    command.providers.change = interrupt
    assert command("--only", "pictures") == 130
    assert command.states() == {"pictures": StepState.INTERRUPTED}
    command.providers.change = lambda _, answer: answer
    assert command("--only", "pictures", MAX_USD="0.02") == 2
    assert "begun and not ended before, so it may have been paid; --again pictures buys it again" in command.text
    assert len(command.providers.bought) == 1
    assert command("--only", "pictures", "--again", "pictures", MAX_USD="0.017") == 2
    assert "it needs MAX_USD=0.018" in command.text
    assert command("--only", "pictures", "--again", "pictures", MAX_USD="0.018") == 0


def test_finished_step_is_not_bought_again(command: Command) -> None:
    assert command("--only", "pictures", "--only", "prices") == 0
    assert command("--only", "pictures", "--only", "prices") == 0
    assert "bought and passed before; --again pictures buys it again" in command.text
    assert command.providers.bought == [PICTURE] * 2
    assert command("--only", "pictures", "--again", "pictures") == 0
    assert command.providers.bought == [PICTURE] * 4


def test_lost_reply_is_not_sent_again(command: Command) -> None:
    command.providers.lose = "submit"
    assert command("--only", "pictures") == 1
    assert len(command.paid) == 1
    assert command.states() == {"pictures": StepState.FAILED}
    assert command("--only", "pictures") == 2
    assert "bought before, and failed" in command.text


def test_lost_reply_of_a_raw_request_is_not_sent_again(command: Command) -> None:
    command.providers.lose = "submit"
    assert command("--only", "odd-requests") == 1
    assert "odd-requests, end: expected no error, found ReadTimeout" in command.text
    assert len(command.paid) == 1


@pytest.mark.parametrize(
    ("endpoint", "change", "difference"),
    [
        (
            "status",
            lambda answer: answer.update(status="WAITING"),
            "fal/platform.json status 202, $.status: expected IN_QUEUE, found WAITING",
        ),
        (
            "submit",
            lambda answer: answer.pop("status_url"),
            "fal/platform.json submit 200, $.status_url: expected a value, found nothing",
        ),
        (
            "result",
            lambda answer: answer["images"][0].update(nsfw=True),
            "fal/models/fal-ai--flux--schnell.json result, $.images[*].nsfw: expected no such name, found boolean",
        ),
        (
            "result",
            lambda answer: answer.update(seed="7"),
            "fal/models/fal-ai--flux--schnell.json result, $.seed: expected integer, found string",
        ),
    ],
)
def test_changed_answer_is_a_difference_with_its_path(
    command: Command, endpoint: str, change: Callable[[dict[str, Any]], None], difference: str
) -> None:
    command.providers.change = changing(endpoint, change)
    assert command("--only", "pictures") == 1
    assert f"DIFFERENCE {difference}" in command.text
    assert f"\n  {difference}\n" in command.text
    assert command.states() == {"pictures": StepState.FAILED}


def test_other_input_in_the_history_is_a_difference(command: Command) -> None:
    assert command("--only", "pictures") == 0
    for job in command.providers.jobs.values():
        job.input["num_inference_steps"] = 4
    assert command("--only", "history") == 1
    text = "fal history, $.items[0].json_input.num_inference_steps: expected equal, found another value"
    assert text in command.text


def test_other_unit_of_a_price_is_a_difference(command: Command) -> None:
    def other_unit(answer: dict[str, Any]) -> None:
        for row in answer.get("prices", ()):
            row["unit"] = "trainings" if row["unit"] == "steps" else row["unit"]

    command.providers.change = changing("pricing", other_unit)
    assert command("--only", "prices") == 1
    text = "fal pricing of fal-ai/flux-lora-fast-training, $.prices[0].unit: expected steps, found trainings"
    assert text in command.text


def test_accepted_unknown_parameter_is_a_difference(command: Command) -> None:
    def without_name(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/transcript") and request.method == "POST":
            body = {name: value for name, value in json.loads(request.content).items() if name != "no_such_parameter"}
            request = httpx.Request("POST", request.url, json=body, headers={"authorization": "key"})
        return providers(request)

    providers = command.providers
    environment = {**SETTINGS, **KEYS, SWITCH: "true", FOLDER: str(command.folder)}
    options = ["--only", "transcripts"]
    assert main(options, environment, command.said.append, lambda _: "yes", httpx.MockTransport(without_name)) == 1
    assert "AssemblyAI transcript with an unknown parameter, status: expected 400, found 200" in command.text


def test_charge_above_the_bound_is_a_difference(command: Command) -> None:
    assert command("--only", "refusals") == 0

    def dear(answer: dict[str, Any]) -> None:
        for row in answer.get("billing_events", ()):
            row["cost_total"] = 0.5

    command.providers.change = changing("billingEvents", dear)
    assert command("--later") == 1
    assert "fal bills of refusals, sum: expected within its bound, found 0.5" in command.text


def test_bills_without_purchases_are_skipped(command: Command) -> None:
    assert command("--later") == 0
    assert "skipped: no run has bought anything at fal" in command.text
    assert command.providers.sent == []


def test_no_key_is_printed_or_written(command: Command) -> None:
    def with_key(answer: dict[str, Any]) -> None:
        for row in answer.get("prices", ()):
            row["unit"] = KEYS["FAL_KEY"]

    command.providers.change = changing("pricing", with_key)
    assert command() == 1
    assert "found ***" in command.text
    assert command("--later") == 0
    written = [path.read_text() for path in command.folder.rglob("*.json*")]
    assert len(written) > 10
    for key in KEYS.values():
        assert key not in command.text
        assert not any(key in text for text in written)


def test_shapes_hold_types_without_values(command: Command) -> None:
    assert command("--only", "pictures") == 0
    text = command.folder.joinpath("shapes/pictures-fal-result-200.json").read_text()
    [answer] = json.loads(text)["answers"]
    assert answer["body"]["images"] == [
        {"content_type": "string", "height": "integer", "url": "string", "width": "integer"}
    ]
    assert "x-fal-billable-units" in answer["headers"]
    assert "127.0.0.1" not in text


def test_two_runs_at_once_are_refused(command: Command) -> None:
    with journal.opened(command.folder):
        assert command() == 2
    assert "Nothing was sent: another run uses" in command.text


def test_some_failed_reads_do_not_end_a_paid_step(command: Command) -> None:
    def unreadable(name: str, answer: Any) -> Any:
        failures.append(name)
        return {"status": "WAITING"} if name == "status" and failures.count("status") < 5 else answer

    failures: list[str] = []
    command.providers.change = unreadable
    command("--only", "pictures")
    assert command.providers.bought == [PICTURE] * 2
    assert "512x512: 1 billable units" in command.text


def test_recorded_request_has_its_input_without_values_of_urls(command: Command) -> None:
    assert command("--only", "pictures", "--only", "transcripts") == 0
    with journal.opened(command.folder) as opened:
        [first, second] = opened.requests("fal")
        transcript = opened.requests("assemblyai")[0]
    assert json.loads(first.arguments)["image_size"] == {"width": 1024, "height": 1024}
    assert first.request_id != second.request_id
    assert "127.0.0.1" not in transcript.arguments
