"""Invalid input and failing providers on the real cluster: clear reasons, no loss, no duplicate or useless payment.

All cases of a group are applied at once and waited for together; a valid resource among them completes.
"""

import json
import re
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from contentgen_cluster import release
from contentgen_contract.names import RESUBMIT_ANNOTATION as RESUBMIT
from contentgen_contract.names import Kind
from contentgen_e2e import media
from contentgen_e2e.oracle import check_completed
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld, TookTooLong, installed

Spec = dict[str, Any]
HOST = release.SANDBOX
SECRET = "hush-7f3a91"
METADATA = "http://169.254.169.254/latest/meta-data/"
SMALL = (
    "limits.downloadBytes=2000000",
    "limits.durationSeconds=30",
    "limits.pixels=230400",
    "adoptionSeconds=60",
    "worker.resources.requests.cpu=20m",
    "worker.resources.requests.memory=64Mi",
)


class Case(NamedTuple):
    """Resource that must fail, with the expected reason and a part of the message."""

    kind: Kind
    spec: Spec
    reason: str
    text: str


def transcription(url: str, **source: str) -> Spec:
    return {"source": {"url": url, **source}}


def lora(url: str, **dataset: Any) -> Spec:
    return {"loraName": "it", "triggerWord": "jf", "source": {"url": url}, "dataset": {"minImages": 4} | dataset}


def picture(prompt: str, model: str = "flux-dev", **more: Any) -> Spec:
    return {"model": model, "prompt": prompt, "image": {"size": {"width": 256, "height": 256}}} | more


def hostile(path: str, reason: str, text: str) -> Case:
    url = f"{HOST}/hostile/{path}{'&' if '?' in path else '?'}token={SECRET}"
    return Case(Kind.TRANSCRIPTION, transcription(url), reason, text)


HOSTILE = {
    "not-found": hostile("status/404", "SourceUnreachable", "HTTP 404"),
    "forbidden": hostile("status/403", "SourceUnreachable", "HTTP 403"),
    "error": hostile("status/500", "SourceUnreachable", "HTTP 500"),
    "unavailable": hostile("status/503", "SourceUnreachable", "HTTP 503"),
    "loop": hostile("loop", "SourceUnreachable", "more than 5 redirects"),
    "redirect-301": hostile(f"redirect/301?to={METADATA}", "SourceNotAllowed", "169.254.169.254"),
    "redirect-302": hostile(f"redirect/302?to={METADATA}", "SourceNotAllowed", "169.254.169.254"),
    "redirect-303": hostile(f"redirect/303?to={METADATA}", "SourceNotAllowed", "169.254.169.254"),
    "redirect-307": hostile("redirect/307?to=http://10.96.0.1/", "SourceNotAllowed", "10.0.0.0/8"),
    "redirect-308": hostile("redirect/308?to=http://127.0.0.1:8443/", "SourceNotAllowed", "127.0.0.0/8"),
    "endless": hostile("endless", "SourceTooLarge", "more than 2000000 bytes"),
    "huge": hostile("huge", "SourceTooLarge", "at most 2000000"),
    "drip": hostile("drip", "SourceUnreachable", "bytes/s"),
    "slow-head": hostile("slow-head", "SourceUnreachable", "no response began"),
    "silent": hostile("silent", "SourceUnreachable", "Timeout"),
    "reset": hostile("reset", "SourceUnreachable", "broke off"),
    "short": hostile("short", "SourceUnreachable", "broke off after 65536 bytes"),
    "long": hostile("long", "UnsupportedMedia", "of no recording known here"),
    "html": hostile("html", "UnsupportedMedia", "it is a web page (HTML)"),
    "text": hostile("text", "UnsupportedMedia", "it is text"),
    "empty": hostile("empty", "SourceEmpty", "0 bytes"),
    "compressed": hostile("compressed", "UnsupportedMedia", "of no recording known here"),
    "no-host": Case(
        Kind.TRANSCRIPTION, transcription("http://nobody.invalid/a.mp3"), "SourceUnreachable", "no address"
    ),
    "metadata": Case(Kind.TRANSCRIPTION, transcription(METADATA), "SourceNotAllowed", "169.254.0.0/16"),
    "kubernetes": Case(
        Kind.TRANSCRIPTION, transcription("https://kubernetes.default.svc/"), "SourceNotAllowed", "10.0.0.0/8"
    ),
    "mapped": Case(Kind.TRANSCRIPTION, transcription("http://[::ffff:10.96.0.1]/"), "SourceNotAllowed", "10.0.0.0/8"),
    "other-bucket": Case(
        Kind.TRANSCRIPTION, transcription("s3://somebody/a.mp3"), "SourceNotAllowed", "s3://somebody/"
    ),
    "no-object": Case(Kind.TRANSCRIPTION, transcription("s3://recordings/none.mp3"), "SourceUnreachable", "HTTP 404"),
    "lora-metadata": Case(
        Kind.IMAGE_GENERATION,
        picture("x", "flux-lora", loras=[{"path": f"{METADATA}?token={SECRET}"}]),
        "SourceNotAllowed",
        "spec.loras[0].path: " + METADATA,
    ),
}


@pytest.fixture(scope="module")
def small() -> Iterator[ClusterWorld]:
    """Release with low limits."""
    with installed(ROOT, "bad-input", *SMALL) as opened:
        yield opened
        opened.sandbox.delete("/sandbox/faults").raise_for_status()


@pytest.fixture(scope="module")
def files(small: ClusterWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """URLs of recordings: valid ones, and ones with a single defect."""
    folder = tmp_path_factory.mktemp("media")
    good = media.film(folder, media.scenes(6))
    made = {
        "good": good,
        "cut": good[: len(good) // 2],
        "silent": media.film(folder, media.scenes(1), sound=False),
        "dark": media.film(folder, media.black(4) + media.scenes(2)),
        "long": media.film(folder, media.black(31), sound=False),
        "large": media.film(folder, media.scenes(1, 1, (800, 450))),
        "sound": media.recording(folder, 3),
    }
    return {name: _served(small, f"bad-input-{name}", content) for name, content in made.items()}


def _served(world: ClusterWorld, name: str, content: bytes) -> str:
    world.sandbox.put(f"/media/{name}", content=content).raise_for_status()
    return f"{HOST}/media/{name}"


@pytest.fixture(scope="module")
def stuck(small: ClusterWorld) -> str:
    """Request that never ends, with the shortest permitted deadline. It is sent first."""
    arm(small, flux_dev={"fault": "stuck"})
    marker = asked(small, "stuck", "flux-dev", deadlineSeconds=60)
    small.wait("ImageGeneration", "stuck", lambda status: status.get("phase") == "Processing")
    return marker


def of_files(files: dict[str, str]) -> dict[str, Case]:
    sound, video = Kind.TRANSCRIPTION, Kind.LORA_TRAINING
    return {
        "cut": Case(video, lora(files["cut"]), "UnsupportedMedia", "its index (moov) is missing"),
        "no-sound": Case(sound, transcription(files["silent"]), "NoAudio", "no sound track"),
        "no-video": Case(video, lora(files["sound"]), "NoVideo", "no video track"),
        "dark": Case(video, lora(files["dark"], framesPerScene=4, minImages=12), "InsufficientFrames", "TooDark"),
        "long-film": Case(video, lora(files["long"]), "SourceTooLarge", "31 s, the limit is 30 s"),
        "large-film": Case(video, lora(files["large"]), "SourceTooLarge", "800x450, at most 230400 pixels"),
        "sha256": Case(sound, transcription(files["good"], sha256="0" * 64), "SourceChecksumMismatch", "0" * 64),
    }


def ended(status: Body) -> bool:
    return status.get("phase") in ("Completed", "Failed")


def wait_for_all(
    world: ClusterWorld, names: set[str], reached: Callable[[Body], bool] = ended, seconds: float = 280
) -> Body:
    """Poll all resources with one list request until each has reached the state; returns them by name."""
    deadline = time.monotonic() + seconds
    while True:
        found = {
            resource["metadata"]["name"]: resource
            for resource in world.resources()
            if resource["metadata"]["name"] in names
        }
        late = {name: each.get("status") for name, each in found.items() if not reached(each.get("status") or {})}
        if not late and len(found) == len(names):
            return found
        if time.monotonic() > deadline:
            raise TookTooLong(json.dumps(late, indent=1))
        time.sleep(1)


def told(status: Body) -> str:
    """Status as JSON without `run`, which contains the spec as written."""
    return json.dumps({name: value for name, value in status.items() if name != "run"})


@pytest.mark.usefixtures("stuck")
def test_each_bad_input_fails_for_its_reason_and_costs_nothing(small: ClusterWorld, files: dict[str, str]) -> None:
    cases = HOSTILE | of_files(files)
    before = len(small.billed())
    for name, case in cases.items():
        small.apply(case.kind, name, case.spec)
    small.apply("Transcription", "neighbour", transcription(files["good"]))
    found = wait_for_all(small, {*cases, "neighbour"})
    wrong = []
    for name, case in cases.items():
        status = found[name]["status"]
        conditions = {
            condition["type"]: (condition["status"], condition["reason"]) for condition in status["conditions"]
        }
        right = (
            (status["phase"], status["reason"]) == ("Failed", case.reason)
            and case.text in status["message"]
            and "spec." in status["message"]
            and conditions["Stalled"] == ("True", case.reason)
            and conditions["Failed"] == ("True", case.reason)
            and SECRET not in told(status)
        )
        if not right:
            wrong.append(f"{name}: expected {case.reason} with {case.text!r}: {told(status)}")
    assert not wrong, "\n".join(wrong)
    check_completed(small, Kind.TRANSCRIPTION, "neighbour")
    assert len(small.billed()) == before + 1, "only the neighbour was to be paid"
    assert SECRET not in small.kubectl("get", "events", "--output", "yaml")
    assert SECRET not in small.operator_log()
    assert SECRET not in json.dumps([job.get("error") for job in small.jobs.find({"namespace": small.namespace})])


def test_too_few_frames_are_counted_by_reason(small: ClusterWorld) -> None:
    """Depends on the previous test's resources."""
    message = small.get("LoraTraining", "dark")["status"]["message"]
    assert "spec.dataset.minImages is 12" in message
    counted = re.search(r"(\d+) usable pictures(?: \(.*\))? of (\d+) taken.*left out: ([^.]*)\.", message)
    assert counted, message
    left_out = {reason: int(count) for reason, count in (text.split() for text in counted[3].split(", "))}
    assert int(counted[1]) + sum(left_out.values()) == int(counted[2]), message
    assert left_out["TooDark"] > 3, message


@pytest.mark.parametrize("word", ["two words", "", "-jf", "x" * 33, "jf;rm"])
def test_a_bad_trigger_word_is_refused_at_admission(small: ClusterWorld, word: str) -> None:
    with pytest.raises(release.CommandFailed, match=r"spec\.triggerWord"):
        small.apply("LoraTraining", "bad-word", lora("https://example.com/a.mp4") | {"triggerWord": word})


# --- providers -----------------------------------------------------------------------------------------------------

MODELS = {
    "flux-dev": "fal-ai/flux/dev",
    "flux-schnell": "fal-ai/flux/schnell",
    "flux-pro": "fal-ai/flux-pro/v1.1",
    "flux-lora": "fal-ai/flux-lora",
}


def arm(world: ClusterWorld, **faults: Spec) -> None:
    """Arm one fault per model alias."""
    armed = [{"provider": "fal", "model": MODELS[alias.replace("_", "-")]} | fault for alias, fault in faults.items()]
    world.sandbox.put("/sandbox/faults", json=armed).raise_for_status()


def asked(world: ClusterWorld, name: str, model: str, **more: Any) -> str:
    """ImageGeneration whose seed identifies its charges."""
    seed = seed_of(world, name)
    spec = picture(name, model, **more)
    world.apply("ImageGeneration", name, spec | {"image": spec["image"] | {"seed": seed}})
    return f"seed:{seed}"


def seed_of(world: ClusterWorld, name: str) -> int:
    return zlib.crc32(f"{world.namespace}/{name}".encode()) & 0x7FFFFFFF


def bills(world: ClusterWorld, marker: str) -> int:
    return sum(1 for purchase in world.billed() if purchase["marker"] == marker)


def saw(world: ClusterWorld, name: str, reason: str) -> bool:
    """Whether an event with this reason was posted."""
    selector = f"involvedObject.name={name},reason={reason}"
    return world.kubectl("get", "events", "--field-selector", selector, "--output", "name") != ""


def test_a_provider_that_is_busy_or_loses_its_reply_is_paid_once(small: ClusterWorld) -> None:
    arm(
        small,
        flux_dev={"fault": "refuse_429", "count": 3},  # the first run may end before it is read
        flux_schnell={"fault": "refuse_503"},
        flux_pro={"fault": "error_500"},
        flux_lora={"fault": "reply_lost"},
    )
    markers = [asked(small, "busy", "flux-dev"), asked(small, "lost", "flux-lora")]
    unclear = [asked(small, "e503", "flux-schnell"), asked(small, "e500", "flux-pro")]
    wait_for_all(small, {"busy", "lost"})
    for name in ("busy", "lost"):
        check_completed(small, Kind.IMAGE_GENERATION, name)
    assert saw(small, "busy", "ProviderUnavailable")
    # `lost` has this reason only where the first search precedes the history's entry.
    wait_for_all(small, {"e503", "e500"}, lambda status: status.get("reason") == "LookingForRequest")
    assert [bills(small, marker) for marker in markers + unclear] == [1, 1, 0, 0]


def test_a_provider_that_answers_badly_is_asked_again(small: ClusterWorld) -> None:
    arm(
        small,
        flux_dev={"fault": "timeout", "delay_s": 3},
        flux_schnell={"fault": "malformed_status", "count": 3},
        flux_pro={"fault": "slow_status", "delay_s": 5},
        flux_lora={"fault": "model_error"},
    )
    markers = {
        "hangs": asked(small, "hangs", "flux-dev"),
        "malformed": asked(small, "malformed", "flux-schnell"),
        "slow-status": asked(small, "slow-status", "flux-pro"),
        "model-error": asked(small, "model-error", "flux-lora"),
    }
    found = wait_for_all(small, set(markers))
    for name in ("hangs", "malformed", "slow-status"):
        check_completed(small, Kind.IMAGE_GENERATION, name)
    assert saw(small, "malformed", "ProviderUnavailable")
    status = found["model-error"]["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "ProviderFailed"), status
    assert "fal failed: " in status["message"]
    assert "The model failed on this input" in status["message"]
    assert {name: bills(small, marker) for name, marker in markers.items()} == dict.fromkeys(markers, 1)


def test_faulty_results_report_that_they_were_paid(small: ClusterWorld, files: dict[str, str]) -> None:
    trainer = {"provider": "fal", "model": "fal-ai/flux-lora-fast-training", "fault": "result_truncated"}
    small.sandbox.put("/sandbox/faults", json=[trainer]).raise_for_status()
    small.apply("LoraTraining", "cut-weights", lora(files["good"]) | {"training": {"steps": 100}})
    small.wait("LoraTraining", "cut-weights", lambda status: status.get("phase") in ("Processing", "Collecting"))
    arm(
        small,
        flux_dev={"fault": "result_url_dead"},
        flux_schnell={"fault": "result_html"},
        flux_pro={"fault": "result_private"},
        flux_lora={"fault": "result_huge"},
    )
    expected = {
        "dead": ("flux-dev", "ResultInvalid", "HTTP 404"),
        "page": ("flux-schnell", "ResultInvalid", "no picture that can be read"),
        "inside": ("flux-pro", "ResultInvalid", "169.254.169.254"),
        "terabyte": ("flux-lora", "ResultInvalid", "1099511627776 bytes"),
    }
    markers = {name: asked(small, name, model) for name, (model, _, _) in expected.items()}
    found = wait_for_all(small, {*expected, "cut-weights"})
    for name, (_, reason, text) in {**expected, "cut-weights": ("", "ResultInvalid", "not a safetensors")}.items():
        status = found[name]["status"]
        assert (status["phase"], status["reason"]) == ("Failed", reason), told(status)
        for part in (text, "was paid", "contentgen.dev/collect=1", status["run"]["requestId"]):
            assert part in status["message"], status["message"]
    assert {name: bills(small, marker) for name, marker in markers.items()} == dict.fromkeys(markers, 1)
    # As the message says, the paid result is fetched as soon as it is available, without another payment.
    request = found["dead"]["status"]["run"]["requestId"]
    small.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()
    small.kubectl("delete", "imagegeneration", "dead")
    asked(small, "dead", "flux-dev")
    body = small.wait_for_end("ImageGeneration", "dead")
    assert (body["status"]["phase"], bills(small, markers["dead"])) == ("Completed", 1), told(body["status"])


def test_a_provider_that_never_ends_is_cancelled(small: ClusterWorld, stuck: str) -> None:
    status = small.wait_for_end("ImageGeneration", "stuck", 120)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded"), told(status)
    assert "cancelled" in status["message"]
    request = status["run"]["requestId"]
    answer = small.sandbox.get(f"/fal/fal-ai/flux/requests/{request}/status", headers={"Authorization": "Key x"})
    assert answer.json()["error_type"] == "client_cancelled"
    assert bills(small, stuck) == 1


def test_a_person_decides_where_nobody_can_tell(small: ClusterWorld) -> None:
    """Requests of the first test with responses 503 and 500: only after a delay must a person decide."""
    found = wait_for_all(small, {"e503", "e500"}, lambda status: status.get("phase") == "SubmissionUnknown", 120)
    for name, each in found.items():
        small.kubectl("annotate", "imagegeneration", name, f"{RESUBMIT}={each['status']['run']['resubmitToken']}")
    ends = wait_for_all(small, {"e503", "e500"})
    assert {end["status"]["phase"] for end in ends.values()} == {"Completed"}
    prompts = [each["marker"] for each in small.billed()]
    for name in ("e503", "e500"):
        assert prompts.count(f"seed:{seed_of(small, name)}") == 1


# --- keys ----------------------------------------------------------------------------------------------------------


def put_secret(world: ClusterWorld, secret: Body | None) -> None:
    """Replace or delete the providers' Secret. A change of the pod makes the kubelet update its files immediately."""
    where = ("--namespace", release.NAMESPACE)
    if secret is None:
        release.kubectl(ROOT, *where, "delete", "secret", "contentgen-providers")
    else:
        release.kubectl(ROOT, *where, "apply", "--filename", "-", stdin=json.dumps(secret))
    release.kubectl(
        ROOT, *where, "annotate", "--overwrite", "pod", world.operator_pod(), f"tests/look={time.time_ns()}"
    )


def test_missing_and_wrong_keys_are_waited_for(small: ClusterWorld) -> None:
    where = ("--namespace", release.NAMESPACE)
    secret = json.loads(release.kubectl(ROOT, *where, "get", "secret", "contentgen-providers", "--output", "json"))
    for name in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        secret["metadata"].pop(name, None)
    operator = small.operator_pod()
    try:
        put_secret(small, secret | {"data": secret["data"] | {"fal-key": "d3Jvbmc="}})
        marker = _until_not_configured(small, "wrong-key", "fal answered 401")
        put_secret(small, None)
        second = _until_not_configured(small, "no-key", "there is no key for fal; put fal-key into")
    finally:
        put_secret(small, secret)
    for name in ("wrong-key", "no-key"):
        assert small.wait_for_end("ImageGeneration", name, 180)["status"]["phase"] == "Completed"
    assert (bills(small, marker), bills(small, second)) == (1, 1)
    assert small.operator_pod() == operator, "nobody restarted it"


def _until_not_configured(world: ClusterWorld, name: str, text: str) -> str:
    """Apply generations until one has the text in its message: until the kubelet updates, they use the former key."""
    deadline = time.monotonic() + 120
    for attempt in range(60):
        probe = f"{name}-{attempt}"
        asked(world, probe, "flux-schnell")
        status = world.wait(
            "ImageGeneration", probe, lambda s: ended(s) or s.get("reason") == "ProviderNotConfigured", 60
        )["status"]
        # A generation bought with the former key waits for its cancellation, which needs a key.
        world.kubectl("delete", "imagegeneration", probe, "--wait=false")
        if text in status["message"]:
            break
        assert time.monotonic() < deadline, told(status)
        time.sleep(1)
    marker = asked(world, name, "flux-dev")
    status = world.wait("ImageGeneration", name, lambda s: s.get("reason") == "ProviderNotConfigured", 60)["status"]
    assert text in status["message"]
    assert bills(world, marker) == 0
    return marker


def test_no_traceback_was_logged(small: ClusterWorld) -> None:
    assert "Traceback" not in small.operator_log()
