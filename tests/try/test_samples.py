"""The three samples without a cluster: results, files, pages, the API server, and the end of all programs."""

import os
import re
import signal
import time
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from contentgen_simulation.try_runs import SECONDS, Start, TryRun
from contentgen_try.cluster import Cluster

README = Path(__file__).resolve().parents[2] / "README.md"
PICTURE = """
apiVersion: contentgen.dev/v1alpha1
kind: ImageGeneration
metadata: {name: lighthouse}
spec: {model: flux-dev, prompt: A lighthouse at dusk}
"""
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
    assert [subtitle.stat().st_size > 0 for subtitle in subtitles] == [True]
    pictures = list((folder / "default/imagegeneration-avatar").rglob("*.png"))
    assert len([picture for picture in pictures if picture.read_bytes().startswith(b"\x89PNG")]) >= 2


def test_no_line_has_an_unavailable_store(samples: tuple[TryRun, Path]) -> None:
    """The stores are ready before the manifests are applied."""
    run, _ = samples
    assert "StoreUnavailable" not in run.said
    assert "unavailable" not in (samples[1] / "_logs/operator.log").read_text()


def test_the_page_of_the_results_has_all_files_and_is_named_last(samples: tuple[TryRun, Path]) -> None:
    run, folder = samples
    assert run.said.splitlines()[-1] == f"Ctrl-C ends it. The results are on the page {folder}/index.html"
    page = (folder / "index.html").read_text()
    links = {unquote(each) for each in re.findall(r'(?:src|href)="\./([^"#]+)', page)}
    assert all((folder / link).is_file() for link in links)
    shown = {Path(link).name for link in links}
    assert {"preview.jpg", "0001.jpg", "image_1.png", "audio.flac", "transcript.srt", "model.safetensors"} <= shown
    assert page.count("<figcaption>") > 10
    assert page.count("<li data-start=") > 5


def test_a_second_run_adopts_the_results(start: Start, tmp_path: Path) -> None:
    (tmp_path / "picture.yaml").write_text(PICTURE)
    command = (tmp_path / "picture.yaml", "--folder", os.path.relpath(tmp_path / "results"))
    first = start(*command)
    assert first.ended() == 0, first.said
    assert "ImageGeneration lighthouse: Completed in" in first.said
    second = start(*command)
    assert second.ended() == 0, second.said
    assert "imagegeneration.contentgen.dev/lighthouse unchanged" in second.said
    assert "ImageGeneration lighthouse: finished earlier, nothing paid: 2 files in" in second.said
    assert "/.sandbox." in second.said  # a paid run in the same folder keeps its state


def test_the_readme_shows_what_is_printed(samples: tuple[TryRun, Path]) -> None:
    """The lines between depend on the machine's speed; tests/unit/try/test_readme.py has their format."""
    run, folder = samples
    printed = run.said.replace(str(folder), "contentgen-try")
    printed = printed.partition("\n\nThe pages and the HTTP API")[0] + printed.splitlines()[-1]
    shown = README.read_text().partition("$ make try\n")[2].partition("```")[0]
    assert outline(shown) == outline(printed.replace("Ctrl-C ends it. ", "\n"))


def outline(said: str) -> list[str]:
    """Lines that do not depend on the machine's speed, without times and numbers of files."""
    lines = [line for line in said.splitlines() if line and not line.startswith(" ")]
    return [re.sub(r"\d+\.\ds$|(?<=Completed in )\w+(?: \w+)?(?=,)", "TIME", line) for line in lines]


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


def test_a_wrong_manifest_is_explained_before_anything_starts(start: Start, tmp_path: Path) -> None:
    manifest = tmp_path / "bad.yaml"
    manifest.write_text(BAD)
    run = start(manifest, "--folder", tmp_path / "results")
    assert run.ended() == 1
    assert run.said == (
        f"✗ 2 errors in {manifest}, nothing was applied:\n"
        '  ImageGeneration bad: spec.prompt: "": must be at least 1 chars long\n'
        "  ImageGeneration bad: spec.image.count: 99: must be less than or equal to 4\n"
    )
    assert not (tmp_path / "results").exists()


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
    direct = {int(text) for file in children for text in file.read_text().split()}
    return direct | {deeper for element in direct for deeper in _descendants(element)}
