"""End-to-end test on a real cluster: three resources, killed operators, lost responses, invalid input, and mutants."""

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind, Step
from contentgen_e2e import media, runtime_mutants
from contentgen_e2e.oracle import OracleViolation, check_completed
from contentgen_e2e.settings import ASSEMBLYAI_CANARY, FAL_CANARY, ROOT
from contentgen_e2e.world import ClusterWorld

Spec = dict[str, Any]


def lora(film: str) -> Spec:
    return {
        "loraName": "jesse_avatar",
        "triggerWord": "jf",
        "source": {"url": film},
        "dataset": {"minImages": 8},
        "training": {"steps": 500},
    }


def pictures(**more: Any) -> Spec:
    return {
        "model": "flux-dev",
        "prompt": "a lighthouse at dusk",
        "image": {"size": {"width": 512, "height": 384}},
    } | more


def transcription(film: str) -> Spec:
    return {"source": {"url": film}}


def test_three_kinds_complete(world: ClusterWorld, film: str) -> None:
    before = len(world.billed())
    world.apply("ImageGeneration", "three", pictures(model="flux-lora", loras=[{"loraRef": {"name": "three"}}]))
    waiting = world.wait("ImageGeneration", "three", lambda s: s.get("reason") == "LoraMissing")
    assert "LoraTraining three" in waiting["status"]["message"]
    world.apply("LoraTraining", "three", lora(film))
    world.apply("Transcription", "three", transcription(film))
    for kind in Kind:
        world.kubectl("wait", f"{kind.lower()}/three", "--for=condition=Complete", "--timeout=240s")
        check_completed(world, kind, "three")
    assert len(world.billed()) == before + 3


def test_status_and_columns_are_readable(world: ClusterWorld) -> None:
    """kubectl's output for the resources of test_three_kinds_complete, which must run first."""
    table = world.kubectl("get", "contentgen")
    for column in ("PHASE", "PROGRESS", "STAGE", "ETA", "COST", "REASON", "AGE"):
        assert column in table
    assert table.count("Completed") >= 3, table
    story = world.kubectl("describe", "loratraining", "three")
    events = story[story.index("Events:") :]
    for reason in ("Preparing", "Submitting", "Processing", "Collecting", "Completed"):
        assert reason in events, story
    explained = world.kubectl("explain", "loratraining.spec.dataset")
    assert "minImages" in explained
    assert "Minimum number of pictures" in explained
    raw = f"/api/v1/namespaces/{release.NAMESPACE}/services/contentgen-sandbox:http/proxy/sandbox/ledger"
    assert len(json.loads(world.kubectl("get", "--raw", raw))["entries"]) >= 3


def test_applied_again_it_adopts_the_finished_run(world: ClusterWorld) -> None:
    before = len(world.billed())
    world.apply("ImageGeneration", "again", pictures())
    first = world.wait_for_end("ImageGeneration", "again")
    world.kubectl("delete", "imagegeneration", "again")
    world.apply("ImageGeneration", "again", pictures())
    second = world.wait_for_end("ImageGeneration", "again")
    assert second["status"]["reason"] == "AdoptedFinishedRun"
    assert second["status"]["cost"]["actual"] == "0.00"
    assert second["status"]["versions"][0]["files"] == first["status"]["versions"][0]["files"]
    assert len(world.billed()) == before + 1


_LOOK = """
import glob, json, os, ssl, urllib.error, urllib.request
token = open("/var/run/secrets/contentgen/token").read()
base = f"https://{os.environ['KUBERNETES_SERVICE_HOST']}:{os.environ['KUBERNETES_SERVICE_PORT']}"
request = urllib.request.Request(base + "/api/v1/namespaces", headers={"Authorization": "Bearer " + token})
try:
    answer = urllib.request.urlopen(request, context=ssl._create_unverified_context(), timeout=10).status
except urllib.error.HTTPError as error:
    answer = error.code
secrets = sorted(f for f in glob.glob("/var/run/secrets/**", recursive=True) if os.path.isfile(f))
print(json.dumps({"api": answer, "secrets": secrets, "environment": dict(os.environ)}))
"""


def test_a_worker_holds_no_credential(world: ClusterWorld, tmp_path: Path) -> None:
    # A download of 20 seconds keeps the worker running, independently of the machine's speed.
    content = media.film(tmp_path, media.scenes(24, 2, (640, 360)), sound=False, streams=True)
    world.sandbox.put("/media/keyless.mp4", content=content).raise_for_status()
    uid = world.apply(
        "LoraTraining", "keyless", lora(f"{release.SANDBOX}/media/keyless.mp4?seconds=20") | {"loraName": "keyless"}
    )
    world.wait("LoraTraining", "keyless", lambda s: s.get("stage") in ("DetectingScenes", "ExtractingFrames"))
    (pod,) = world.worker_pods(uid)
    seen = json.loads(world.kubectl("exec", pod["metadata"]["name"], "--", "python3", "-c", _LOOK))
    # The token opens our worker API and nothing else: the API server does not know its audience.
    assert seen["api"] == 401
    assert [path for path in seen["secrets"] if not path.startswith("/var/run/secrets/contentgen/")] == []
    everything = json.dumps(seen) + json.dumps(pod)
    keys = release.kubectl(
        ROOT, "--namespace", release.NAMESPACE, "get", "secrets", "--output", "jsonpath={.items[*].data}"
    )
    assert "access-key-id" in keys
    for canary in (FAL_CANARY, ASSEMBLYAI_CANARY, "contentgen-sandbox-secret", "mongodb://"):
        assert canary not in everything
    # The control: the operator does hold them, so the search would find them.
    held = release.kubectl(
        ROOT, "--namespace", release.NAMESPACE, "exec", "deployment/contentgen", "--", "python3", "-c",
        "import os,glob;print(dict(os.environ), [open(f).read() for f in glob.glob('/etc/contentgen/*/*')])",
    )  # fmt: skip
    for canary in (FAL_CANARY, ASSEMBLYAI_CANARY, "contentgen-sandbox-secret", "mongodb://"):
        assert canary in held
    world.wait_for_end("LoraTraining", "keyless")
    check_completed(world, Kind.LORA_TRAINING, "keyless")


@pytest.mark.parametrize("phase", ["Preparing", "Processing", "Collecting"])
def test_killed_operator_only_delays_a_job(world: ClusterWorld, film: str, phase: str) -> None:
    name = f"killed-{phase.lower()}"
    reference = world.get("LoraTraining", "three")
    spec = lora(film) | {"loraName": name}  # another input, hence another purchase
    phases = Watch(world, "LoraTraining", name)
    uid = world.apply("LoraTraining", name, spec)
    with phases:
        world.wait("LoraTraining", name, lambda s: s.get("phase") == phase)
        killed = world.operator_pod()
        world.kill_operator()
        world.wait_for_end("LoraTraining", name)
    assert world.operator_pod() != killed
    body = check_completed(world, Kind.LORA_TRAINING, name)
    assert phases.seen == sorted(set(phases.seen), key=phases.seen.index), f"a phase came back: {phases.seen}"
    assert relative_keys(world, uid) == relative_keys(world, reference["metadata"]["uid"])
    jobs = json.loads(world.kubectl("get", "jobs", "--selector", f"contentgen.dev/uid={uid}", "--output", "json"))
    assert len(jobs["items"]) == 2, "a stage was run twice"
    assert body["status"]["run"]["paidAttempt"] == 1


def relative_keys(world: ClusterWorld, uid: str) -> set[str]:
    return {key.replace(uid, "UID") for key in world.objects(uid)}


class Watch:
    """Distinct values that a watch of a resource delivers within the context; `shown` is their JSONPath."""

    def __init__(self, world: ClusterWorld, kind: str, name: str, shown: str = "{.status.phase}") -> None:
        self.seen: list[str] = []
        self._command = [
            str(world.root / ".cluster/bin/kubectl"), "--kubeconfig", str(world.root / ".cluster/kubeconfig"),
            "--namespace", world.namespace, "get", kind.lower(), "--field-selector", f"metadata.name={name}",
            "--watch", "--output", f"jsonpath={shown}{{'\\n'}}",
        ]  # fmt: skip

    def __enter__(self) -> "Watch":
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        return self

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            shown = line.strip()
            if shown and (not self.seen or self.seen[-1] != shown):
                self.seen.append(shown)

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)  # for delivery of the last event
        self._process.terminate()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()


def test_progress_is_that_of_the_decoded_time(world: ClusterWorld, tmp_path: Path) -> None:
    """A video of 96 seconds is decoded during its download of 48; it has no sound, which would follow all frames."""
    content = media.film(tmp_path, media.scenes(48, 2, (640, 360)), sound=False, streams=True)
    world.sandbox.put("/media/paced.mp4", content=content).raise_for_status()
    url = f"{release.SANDBOX}/media/paced.mp4?seconds=48"
    watch = Watch(world, "LoraTraining", "paced", "{.status.stage} {.status.progress}")
    with watch:
        world.apply("LoraTraining", "paced", lora(url) | {"loraName": "paced"})
        world.wait_for_end("LoraTraining", "paced")
    decoding = [int(shown.split()[1]) for shown in watch.seen if shown.startswith("ExtractingFrames ")]
    first, last = Kind.LORA_TRAINING.info.progress[Step.EXTRACTING_FRAMES]
    assert decoding == sorted(decoding)
    assert len({each for each in decoding if first < each < last}) >= 4, watch.seen


def test_a_lost_reply_is_found_again_and_not_paid_again(world: ClusterWorld) -> None:
    before = len(world.billed())
    fault = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "reply_lost", "count": 1}
    world.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()
    world.apply("ImageGeneration", "lost", pictures(prompt="a reply that is lost"))
    world.wait("ImageGeneration", "lost", lambda s: s.get("reason") == "LookingForRequest")
    world.wait_for_end("ImageGeneration", "lost")
    check_completed(world, Kind.IMAGE_GENERATION, "lost")
    assert len(world.billed()) == before + 1


@pytest.mark.parametrize(
    ("name", "spec", "reason"),
    [
        (
            "missing",
            {"source": {"url": f"{release.SANDBOX}/media/none.mp4"}},
            "SourceUnreachable",
        ),
        ("private", {"source": {"url": "http://10.96.0.1/"}}, "SourceNotAllowed"),
        ("metadata", {"source": {"url": "http://169.254.169.254/latest/meta-data/"}}, "SourceNotAllowed"),
        ("bucket", {"source": {"url": "s3://content-generation-assets/loras/x"}}, "SourceNotAllowed"),
        ("text", {"source": {"url": f"{release.SANDBOX}/media/words.mp4"}}, "UnsupportedMedia"),
    ],
)
def test_bad_input_costs_nothing_and_says_why(world: ClusterWorld, name: str, spec: Spec, reason: str) -> None:
    world.sandbox.put("/media/words.mp4", content=b"these are words and no film\n" * 100).raise_for_status()
    before = len(world.billed())
    world.apply("Transcription", f"bad-{name}", spec)
    status = world.wait_for_end("Transcription", f"bad-{name}")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", reason), status
    stalled = next(condition for condition in status["conditions"] if condition["type"] == "Stalled")
    assert (stalled["status"], stalled["reason"]) == ("True", reason)
    assert len(world.billed()) == before


def test_no_secret_and_no_traceback_was_logged_or_recorded(world: ClusterWorld) -> None:
    """Logs and records of all previous tests; the mutants run later."""
    log = world.operator_log()
    records = str(list(world.jobs.find())) + str(list(world.ledger_collection.find()))
    resources = world.kubectl("get", "contentgen", "--output", "yaml") + world.kubectl(
        "get", "events", "--output", "yaml"
    )
    assert "bad-text" in log  # the last one, which the present process has logged even if it was restarted
    assert "Traceback" not in log
    for text in (log, records, resources):
        for secret in (FAL_CANARY, ASSEMBLYAI_CANARY, "contentgen-sandbox-secret", "X-Amz-Signature"):
            assert secret not in text


@pytest.mark.parametrize(
    ("name", "code", "found"),
    [
        ("uploads", runtime_mutants.WORKER_UPLOADS_NOTHING, "OutputMissing|is not stored|phase is Failed"),
        ("record", runtime_mutants.RECORD_IS_NOT_WRITTEN, "0 records of"),
        ("payment", runtime_mutants.PROVIDER_IS_CALLED_TWICE, "2 ledger lines with the marker"),
    ],
)
def test_the_oracle_goes_red_for_a_mutant(world: ClusterWorld, name: str, code: str, found: str) -> None:
    with runtime_mutants.sabotaged(world, code):
        world.apply(
            "ImageGeneration", f"mutant-{name}", pictures(prompt=f"mutant {name}") | {"collectDeadlineSeconds": 60}
        )
        world.wait_for_end("ImageGeneration", f"mutant-{name}")
        with pytest.raises(OracleViolation, match=found):
            check_completed(world, Kind.IMAGE_GENERATION, f"mutant-{name}")
