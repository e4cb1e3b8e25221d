"""The three samples without a cluster: results, files, pages, the API server, and the end of all programs."""

import signal
import time
from pathlib import Path

import httpx
import pytest

from contentgen_simulation.try_runs import SECONDS, Start, TryRun
from contentgen_try.cluster import Cluster

BAD = """
apiVersion: contentgen.dev/v1alpha1
kind: ImageGeneration
metadata: {name: bad, namespace: mine}
spec: {model: flux-dev, prompt: "", image: {count: 99}}
"""


def test_three_samples_are_completed_with_their_files(samples: tuple[TryRun, Path]) -> None:
    run, folder = samples
    assert run.said.count(": Completed in ") == 3
    for name in ("loratraining-avatar/loras/v1/model.safetensors", "imagegeneration-avatar", "transcription-avatar"):
        assert (folder / "default" / name).exists(), name
    subtitles = list((folder / "default/transcription-avatar").rglob("*.srt"))
    assert [each.stat().st_size > 0 for each in subtitles] == [True]
    pictures = list((folder / "default/imagegeneration-avatar").rglob("*.png"))
    assert len([each for each in pictures if each.read_bytes().startswith(b"\x89PNG")]) >= 2


def test_the_pages_and_the_api_answer_to_the_printed_token_only(samples: tuple[TryRun, Path]) -> None:
    run, _ = samples
    url, token = run.match(r"API: (http://127\.0\.0\.1:\d+)"), run.match(r"(?m)^([\w.-]{30,})$")
    assert httpx.get(f"{url}/api/jobs").status_code == 401
    jobs = httpx.get(f"{url}/api/jobs", headers={"Authorization": f"Bearer {token}"})
    assert jobs.status_code == 200
    assert jobs.text.count('"completed"') >= 3
    page = httpx.get(url, headers={"Accept": "text/html"}, follow_redirects=True)
    assert "Sign in" in page.text


def test_the_printed_kubeconfig_is_that_of_the_api_server(samples: tuple[TryRun, Path]) -> None:
    run, _ = samples
    cluster = Cluster(Path(run.match(r"KUBECONFIG=(\S+)")))
    found = cluster.items("/apis/contentgen.dev/v1alpha1/namespaces/default/transcriptions")
    assert [each["status"]["phase"] for each in found] == ["Completed"]
    cluster.close()


def test_a_refused_manifest_is_explained_as_by_kubectl(start: Start, tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text(BAD)
    run = start(manifest, "--folder", tmp_path / "results")
    assert run.ended() == 1
    assert 'The ImageGeneration "bad" is invalid:' in run.said
    assert "spec.image.count: Invalid value" in run.said
    assert "Traceback" not in run.said


def test_a_second_run_in_the_same_folder_is_refused(samples: tuple[TryRun, Path], start: Start) -> None:
    _, folder = samples
    second = start("--folder", folder)
    assert second.ended() == 1
    assert "another `contentgen try` works in" in second.said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_program_is_left(number: int, start: Start, tmp_path: Path) -> None:
    run = start("--folder", tmp_path / "results")
    run.until(lambda said: "transcription.contentgen.dev/avatar created" in said)
    left = _descendants(run.process.pid)
    assert len(left) >= 6
    run.process.send_signal(number)
    run.ended()
    deadline = time.monotonic() + SECONDS
    while left := {pid for pid in left if _lives(pid)}:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def _descendants(pid: int) -> set[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    direct = {int(each) for file in children for each in file.read_text().split()}
    return direct | {deeper for each in direct for deeper in _descendants(each)}
