"""Execution of the documentation: all commands that are not in the reviewed list are run in the order of their page, in
a shell and in namespaces of their own; all manifests are sent to the API server.
"""

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import Template
from typing import Any

import httpx
import pytest
import yaml

from contentgen_cluster import release
from contentgen_cluster.paths import KUBECONFIG
from contentgen_contract.names import GATEWAY_AUDIENCE
from contentgen_demo import media
from contentgen_demo.film import video
from contentgen_documents import command_help, extract, pages, reviewed, shell
from contentgen_documents.extract import Command, DocumentedManifest
from contentgen_documents.session import Said, open_session
from contentgen_e2e.gateway import Gateway
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld
from contentgen_sandbox.testing import free_port

NOTES = "NOTES.txt"
READERS = 4
RUN = [command for command in pages.commands() if not reviewed.not_run(command)]
NOT_RUN = sorted({command.text for command in pages.commands() if reviewed.not_run(command)})
GIVEN = [manifest for manifest in pages.manifests() if not reviewed.not_applied(manifest)]
KINDS = ("lora", "imagegen", "transcript")
SMALL_PICTURE = {"model": "flux-schnell", "prompt": "A grey square", "image": {"size": {"width": 256, "height": 256}}}


def kubectl(*args: str, stdin: object = None) -> str:
    return release.kubectl(ROOT, *args, stdin=json.dumps(stdin) if stdin is not None else None)


def picture(name: str, namespace: str | None, **spec: object) -> dict[str, object]:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    api = "contentgen.dev/v1alpha1"
    return {"apiVersion": api, "kind": "ImageGeneration", "metadata": meta, "spec": SMALL_PICTURE | spec}


OLD_JOB = {
    "jobId": str(uuid.uuid4()),
    "type": "image-generation",
    "config": {"model": "flux-pro", "prompt": "Professional headshot"},
    "status": "failed",
    "createdAt": "2025-11-27T21:55:36.302Z",
}
WAITING = picture("waiting", None, model="flux-lora", loras=[{"loraRef": {"name": "not-there"}}])
"""A resource that waits for a LoRA, so that it can be cancelled at any time."""

ESTIMATE = picture("estimate", None, dryRun="Estimate")


def avatars(namespace: str, *kinds: str) -> list[dict[str, Any]]:
    listed = kubectl("--namespace", namespace, "get", ",".join(kinds), "--output", "json")
    return [resource for resource in json.loads(listed)["items"] if resource["metadata"]["name"] == "avatar"]


def completed(namespace: str, *kinds: str, seconds: int = 240) -> None:
    """Wait until the namespace's sample resources are Completed."""
    deadline = time.monotonic() + seconds
    while True:
        states = [(avatar["kind"], avatar.get("status", {})) for avatar in avatars(namespace, *kinds)]
        phases = [status.get("phase") for _, status in states]
        assert "Failed" not in phases, [(kind, status.get("message")) for kind, status in states]
        if phases == ["Completed"] * len(kinds):
            return
        assert time.monotonic() < deadline, f"not completed within {seconds} s: {states}"
        time.sleep(1)


@dataclass(frozen=True)
class Chapter:
    """Commands that are run in sequence in one namespace."""

    name: str
    namespace: str
    commands: tuple[Command, ...]


@dataclass(frozen=True)
class Told:
    """Results of all chapters."""

    said: dict[Command, Said]
    notes: tuple[Said, ...]
    versions: tuple[dict[str, str], dict[str, str]]
    """resourceVersions of the samples: after their completion, and after a second `kubectl apply`."""
    applied_again: str


class Reader:
    """Working folder with links to the repository's files and with the files that readers write."""

    def __init__(self, world: ClusterWorld, gateway: Gateway, folder: Path) -> None:
        self.folder = folder
        self.namespace = f"docs-{int(time.time())}"
        self._environment = os.environ | {
            "PATH": os.pathsep.join([str(ROOT / ".cluster/bin"), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "CURL_HOME": str(folder / "home"),
            "NO_PROXY": "*",
            "RELEASE_NAMESPACE": release.NAMESPACE,
            "NAMESPACE": self.namespace,
            "GATEWAY": gateway.url,
            "SANDBOX": str(world.sandbox.base_url).rstrip("/"),
            "FREE_PORT": str(free_port()),
            "OLD_MONGODB": f"mongodb://contentgen-sandbox.{release.NAMESPACE}.svc:27017/",
            "OLD_JOB": json.dumps(OLD_JOB | {"userId": self.namespace}),
            "FILM": f"http://contentgen-sandbox.{release.NAMESPACE}.svc/media/{media.SAMPLES_NAME}",
        }

    def lay_out(self) -> None:
        """Create links to the repository's files, samples with this release's address, readers' files, and a video."""
        for path in pages.ROOT.iterdir():
            if path.name not in ("samples", ".git"):
                (self.folder / path.name).symlink_to(path)
        (self.folder / "samples").mkdir()
        for path in (pages.ROOT / "samples").glob("*.yaml"):
            copy = self.folder / path.relative_to(pages.ROOT)
            copy.write_text(self.for_this_release(path.read_text()))
        for file in reviewed.FILES:
            documents = [m.document for m in pages.manifests() if m.file == file.page and m.kind in file.kinds]
            chosen = [document for document in documents if "Statement" not in document]
            (self.folder / file.name).write_text(self.for_this_release(yaml.safe_dump_all(chosen)))
        (self.folder / "waiting.yaml").write_text(yaml.safe_dump(WAITING))
        (self.folder / "estimate.yaml").write_text(yaml.safe_dump(ESTIMATE))
        (self.folder / "talk.mp4").symlink_to(video.ensure_film().path)
        for name in ("fal-key", "assemblyai-key"):
            (self.folder / name).write_text("example")
        (self.folder / "home").mkdir()
        (self.folder / "home/.curlrc").write_text("fail-with-body\nshow-error\nsilent\n")

    def for_this_release(self, text: str) -> str:
        for old, new in reviewed.IN_MANIFESTS:
            text = text.replace(old, new)
        return Template(text).safe_substitute(self._environment)

    def make_namespace(self, name: str) -> None:
        release.kubectl(ROOT, "create", "namespace", name)
        kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
        (self.folder / f"{name}.kubeconfig").write_text(KUBECONFIG.read_text())
        kubectl("--kubeconfig", self._kubeconfig(name), "config", "set-context", "--current", "--namespace", name)

    def know(self, **variables: str) -> None:
        self._environment |= variables

    def read(self, chapter: Chapter) -> list[Said]:
        """Run a chapter's commands."""
        environment = self._environment | {"KUBECONFIG": self._kubeconfig(chapter.namespace)}
        with open_session(self.folder, environment, re.sub(r"\W+", "-", chapter.name)) as session:
            for command in chapter.commands:
                session.type(command, reviewed.typed(command))
        return session.said

    def _kubeconfig(self, namespace: str) -> str:
        return str(self.folder / f"{namespace}.kubeconfig")


def is_helm_test(command: Command) -> bool:
    """Whether the command is `helm test`, which is slow and documented on several pages: it is run once."""
    return command.text.startswith("helm test ")


def chapters(reader: Reader, commands: Iterable[Command]) -> list[Chapter]:
    """Chapters: one per page, or several if a page starts over."""
    found: list[Chapter] = []
    for file, group in groupby(commands, key=lambda command: command.file):
        page = tuple(command for command in group if not is_helm_test(command))
        texts = [command.text for command in page]
        first = texts.index(reviewed.ANEW[file]) if file in reviewed.ANEW else len(page)
        namespace = play(reader, file) if file in reviewed.PLAY else reader.namespace
        parts = [Chapter(file, namespace, page[:first]), Chapter(f"{file} anew", play(reader, file), page[first:])]
        found += [part for part in parts if part.commands]
    return found


def play(reader: Reader, file: str) -> str:
    return f"{reader.namespace}-{Path(file).stem.lower()}"


def notes() -> list[Command]:
    """Commands in the NOTES of the installed release and, in addition, in those of other values."""
    texts = [release.helm(ROOT, "get", "notes", release.RELEASE, "--namespace", release.NAMESPACE)]
    for settings in ((), ("--set", "watchNamespaces={marketing}")):
        rendered = release.helm(
            ROOT,
            "install",
            release.RELEASE,
            "charts/contentgen",
            "--namespace",
            "contentgen",
            "--dry-run=client",
            *settings,
        )
        texts.append(rendered.partition("\nNOTES:\n")[2])
    texts = [text.replace(f"--namespace {release.NAMESPACE}", "--namespace contentgen") for text in texts]
    found = [command for text in texts for command in extract.indented(NOTES, text)]
    return list({command.text: command for command in found}.values())


def resource_versions(namespace: str) -> dict[str, str]:
    return {avatar["kind"]: avatar["metadata"]["resourceVersion"] for avatar in avatars(namespace, *KINDS)}


@pytest.fixture(scope="module")
def reader(world: ClusterWorld, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Reader's working folder, with the video uploaded under the name that `make demo` uses."""
    reader = Reader(world, gateway, tmp_path_factory.mktemp("reader"))
    reader.lay_out()
    port = world.sandbox.base_url.port
    assert port is not None
    media.upload(reader.folder / "talk.mp4", port, media.SAMPLES_NAME)
    names = [reader.namespace, *(play(reader, file) for file in (*reviewed.ANEW, *reviewed.PLAY))]
    for name in names:
        reader.make_namespace(name)
    yield reader
    kubectl("delete", "namespace", *names, "--wait=false")


@pytest.fixture(scope="module")
def told(reader: Reader, gateway: Gateway) -> Told:
    """Results of all chapters: README first, pages that need no samples while these complete, then the other pages."""
    kubectl("apply", "--filename", str(reader.folder / "content-maker.yaml"))
    kubectl("--namespace", reader.namespace, "create", "configmap", "argocd-cm")
    for file in reviewed.PLAY:
        kubectl("apply", "--filename", "-", stdin=picture("avatar", play(reader, file)))
    token = kubectl("--namespace", reader.namespace, "create", "token", "default", "--audience", GATEWAY_AUDIENCE)
    reader.know(TOKEN=token.strip(), JOB="not known yet")
    refused = httpx.get(f"{gateway.url}/api/jobs", headers={"Authorization": "Bearer wrong"}, trust_env=False)
    given = httpx.get(f"{gateway.url}/api/jobs", headers={"Authorization": f"Bearer {token.strip()}"}, trust_env=False)
    assert (refused.status_code, given.status_code) == (401, 200)  # runbooks search the log for both
    readme, *others = chapters(reader, RUN)
    said = reader.read(readme)
    uid = "jsonpath={.metadata.uid}"
    reader.know(JOB=kubectl("--namespace", reader.namespace, "get", "transcript", "avatar", "--output", uid))
    tests = [command for command in RUN if is_helm_test(command)]
    waiting = [each for each in others if waits(reader, each)]
    with ThreadPoolExecutor(READERS) as pool:
        testing = pool.submit(reader.read, Chapter("helm test", reader.namespace, tuple(tests[:1])))
        reading = [pool.submit(_play, reader, each) for each in others if each not in waiting]
        completed(reader.namespace, *KINDS)
        before = resource_versions(reader.namespace)
        applied_again = kubectl("--namespace", reader.namespace, "apply", "--filename", str(reader.folder / "samples"))
        after = resource_versions(reader.namespace)
        (tested,) = testing.result()
        reading += [pool.submit(reader.read, each) for each in waiting]
        in_notes = Chapter(NOTES, reader.namespace, tuple(note for note in notes() if not is_helm_test(note)))
        noting = pool.submit(reader.read, in_notes)
        said += [each for future in reading for each in future.result()]
        found = {text.command: text for text in said} | dict.fromkeys(tests, tested)
        return Told(found, (tested, *noting.result()), (before, after), applied_again)


def waits(reader: Reader, chapter: Chapter) -> bool:
    """Whether a chapter must run after the samples' completion and after `helm test`, which deletes objects."""
    typed = " ".join(reviewed.typed(command) for command in chapter.commands)
    needs = re.search(r"avatar|\$JOB|grep Completed|contentgen restore", typed) is not None
    return needs and chapter.namespace == reader.namespace


def _play(reader: Reader, chapter: Chapter) -> list[Said]:
    if chapter.name in reviewed.PLAY:
        completed(chapter.namespace, "imagegen")
    return reader.read(chapter)


def failed(said: Iterable[Said]) -> str:
    return "\n".join(str(text) for text in said if text.problem)


# The next step of the README


def test_applying_completed_samples_again_changes_nothing(told: Told) -> None:
    before, after = told.versions
    assert set(before) == {"LoraTraining", "ImageGeneration", "Transcription"}
    assert after == before
    assert told.applied_again.count(" unchanged") == 3, told.applied_again


# All commands


@pytest.mark.parametrize("name", sorted({command.file for command in RUN}))
def test_every_command_works(told: Told, name: str) -> None:
    assert failed(said for command, said in told.said.items() if command.file == name) == ""


def test_every_command_of_the_notes_works(told: Told) -> None:
    typed = {said.command.text for said in told.notes}
    assert {"helm test contentgen --namespace contentgen --logs"} < typed
    assert any(text.startswith("kubectl apply --filename samples/") for text in typed)
    assert any(text.startswith("curl --header") for text in typed)
    assert any("--from-file=fal-key" in text for text in typed)
    assert failed(told.notes) == ""


def test_no_command_is_left_out(told: Told) -> None:
    assert {command for command in RUN if command not in told.said} == set()


@pytest.mark.parametrize("text", [text for text in NOT_RUN if re.search(r"^(kubectl(?! contentgen)|helm) ", text)])
def test_the_words_of_a_command_that_is_not_run_are_known(text: str) -> None:
    for words in shell.calls(text):
        if words[0] in ("kubectl", "helm"):  # commands in pods: tests/unit/docs/test_commands.py
            assert command_help.problems(words, asking(words[0])) == []


@pytest.mark.parametrize(
    "text", ["kubectl gett pods", "kubectl wait --fort=condition=Complete", "helm upgrad", "helm test --log-all a"]
)
def test_words_that_nobody_knows_are_told(text: str) -> None:
    (words,) = shell.calls(text)
    try:
        found = command_help.problems(words, asking(words[0]))
    except release.CommandFailed as error:
        found = [str(error)]
    assert len(found) == 1


def asking(program: str) -> Callable[..., str]:
    def ask(*arguments: str) -> str:
        return kubectl(*arguments) if program == "kubectl" else release.helm(ROOT, *arguments)

    return ask


# All manifests


def name_of(manifest: DocumentedManifest) -> str:
    return f"{manifest.file} {manifest.kind}"


@pytest.mark.parametrize("manifest", GIVEN, ids=name_of)
def test_the_server_takes_every_manifest(reader: Reader, manifest: DocumentedManifest) -> None:
    text = reader.for_this_release(yaml.safe_dump(manifest.document))
    path = reader.folder / "given.yaml"
    path.write_text(text)
    namespace = ("--namespace", reader.namespace)
    kubectl(*namespace, "apply", "--dry-run=server", "--validate=strict", "--filename", str(path))


def test_a_manifest_that_is_wrong_is_refused(reader: Reader) -> None:
    wrong = picture("wrong", reader.namespace, sise=1)
    with pytest.raises(release.CommandFailed, match="sise"):
        kubectl("apply", "--dry-run=server", "--validate=strict", "--filename", "-", stdin=wrong)
