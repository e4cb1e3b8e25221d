"""A fourth kind, in a copy of the sources: its spec, facts, module and rows, and nothing else, take it to its files."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CONTRACT, OPERATOR = "operator/contentgen_contract", "operator/contentgen_operator"
MODULE = f"{OPERATOR}/state/kinds/dubbing.py"
# (text that stands once in the file, text in its place), by file.
EDITS = {
    f"{CONTRACT}/names.py": [
        ('    TRANSCRIPTION = "Transcription"\n', '    TRANSCRIPTION = "Transcription"\n    DUBBING = "Dubbing"\n'),
        (
            "KINDS: dict[Kind, KindInfo] = {\n",
            """KINDS: dict[Kind, KindInfo] = {
    Kind.DUBBING: KindInfo(
        "dubbing",
        "dub",
        Step.GENERATING,
        progress={Step.EXTRACTING_AUDIO: (0, 50), Step.GENERATING: (50, 85), Step.STORING: (85, 95)},
        stages={
            Stage.PREPARE: StageFiles("dubs", r"audio\\.flac"),
            Stage.COLLECT: StageFiles("dubs", r"dub\\.flac"),
        },
    ),
""",
        ),
    ],
    f"{CONTRACT}/resources/spec.py": [
        (
            "Spec = LoraTrainingSpec | ImageGenerationSpec | TranscriptionSpec\n",
            '''class DubbingSpec(JobSpec):
    """A recording in another language."""

    source: Source = Field(description="The recording.")
    model: ModelName = Field("acme/dub", description="Full model id.")
    language: str = Field(max_length=16, description="Language of the dub.")
    metadata: Metadata = Field(default_factory=Metadata, description="Search fields and visibility.")


Spec = LoraTrainingSpec | ImageGenerationSpec | TranscriptionSpec | DubbingSpec
''',
        ),
        (
            "    Kind.LORA_TRAINING: LoraTrainingSpec,\n",
            "    Kind.LORA_TRAINING: LoraTrainingSpec,\n    Kind.DUBBING: DubbingSpec,\n",
        ),
    ],
    f"{CONTRACT}/resources/providers.py": [
        ("Kind.IMAGE_GENERATION)", "Kind.IMAGE_GENERATION, Kind.DUBBING)"),
    ],
    f"{CONTRACT}/worker/orders.py": [
        (
            "Facts = Annotated[DatasetFacts |",
            '''class DubFacts(Value):
    """Facts about a dub, from collect."""

    type: Literal["dub"] = "dub"
    duration_seconds: Seconds


Facts = Annotated[DubFacts | DatasetFacts |''',
        ),
    ],
    f"{OPERATOR}/state/kinds/table.py": [
        ("import image_generation, lora", "import dubbing, image_generation, lora"),
        (": lora_training.ROW,\n", ": lora_training.ROW,\n    Kind.DUBBING: dubbing.ROW,\n"),
    ],
}
BEHAVIOUR = '''"""Dubbing: the sound of a recording, sent with a language."""

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.worker.orders import AudioFacts, DubFacts
from contentgen_operator.state.canonical_request import prepared_content
from contentgen_operator.state.kinds.row import KindRow
from contentgen_operator.state.provider_requests import Call, StoredObject
from contentgen_operator.state.upload_limits import MIB, FileLimit


def _call(spec, given):
    job = given.job
    sound = keys.prefix(Kind.DUBBING, Stage.PREPARE, job.user_id, job.job_id, job.version) + "audio.flac"
    arguments = {"audio_url": StoredObject(key=sound), "target": spec.language}
    return Call(provider=job.provider, model=spec.model, arguments=arguments, correlation_key=sound)


_NAMES = {Stage.PREPARE: "audio.flac", Stage.COLLECT: "dub.flac"}
ROW = KindRow(
    facts={Stage.PREPARE: AudioFacts, Stage.COLLECT: DubFacts},
    call=_call,
    content=lambda _, call, facts, loras: prepared_content(call, facts, {}),
    units=lambda _, duration: duration,
    seconds=lambda _, duration: duration,
    file_limits=lambda _, stage, limits: (FileLimit(name=_NAMES[stage], size_bytes=MIB),),
    expected=lambda stage, _: {_NAMES[stage]},
    sent="audio.flac",
)
'''
DRIVER = """
import asyncio, json, sys
import pytest
import crds
from contentgen_contract.names import Kind, Stage
from contentgen_contract.worker.orders import Outcome
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_simulation import world
from contentgen_simulation.world import SHA, World, Writes

KIND = Kind("Dubbing")
SPEC = {"source": {"url": "https://example.com/talk.mp3"}, "language": "pt"}
FACTS = {
    Stage.PREPARE: {"type": "audio", "durationSeconds": 60.5, "sourceBytes": 1},
    Stage.COLLECT: {"type": "dub", "durationSeconds": 60},
}


def outcome_of(kind, stage, uid, spec=None):
    name = {Stage.PREPARE: "audio.flac", Stage.COLLECT: "dub.flac"}[stage]
    body = {"jobId": uid, "stage": stage, "attempt": 1, "reason": "Completed", "message": "", "facts": FACTS[stage]}
    file = {"name": name, "sizeBytes": 7, "sha256": SHA, "contentType": "audio/flac"}
    return Outcome.model_validate(body | {"files": [file]})


async def main():
    patch = pytest.MonkeyPatch()
    patch.setattr(world, "outcome_of", outcome_of)
    made = World(patch, Writes())
    made.decision_settings = DecisionSettings(models_allowed=("acme/dub",))
    made.restart()
    made.kube.apply(KIND, SPEC)
    seen = []
    for _ in range(14):
        await made.reconcile(KIND)
        seen.append(str(made.status(KIND).phase))
    (bought,) = made.database["ledger"].find()
    (record,) = made.database["jobs"].find()
    call = made.provider.posts[0]
    crd = crds.crd(KIND)
    return {
        "phases": list(dict.fromkeys(seen)),
        "message": made.status(KIND).message,
        "bought": [bought["provider"], bought["model"], bought["state"], bought["type"]],
        "posts": [len(made.provider.posts), call.arguments["target"]],
        "files": [each.key for each in made.status(KIND).versions[0].files],
        "record": [record["type"], record["versions"][0]["files"][0]["name"]],
        "crd": [crd["metadata"]["name"], crd["spec"]["names"]["shortNames"]],
        "fields": sorted(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["required"]),
    }


print(json.dumps(asyncio.run(main())))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results of a run of the kind, in a process that imports the copy."""
    tree = tmp_path_factory.mktemp("fourth")
    for folder in (CONTRACT, OPERATOR):
        shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path, edits in EDITS.items():
        text = (tree / path).read_text()
        for old, new in edits:
            assert text.count(old) == 1, (path, old)
            text = text.replace(old, new)
        (tree / path).write_text(text)
    (tree / MODULE).write_text(BEHAVIOUR)
    paths = (tree / "operator", ROOT / "operator", ROOT / "tests/simulation", ROOT / "tools")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER], env=environment, cwd=tree, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_fourth_kind_is_prepared_paid_once_and_collected(run: dict[str, Any]) -> None:
    assert run["phases"] == ["Preparing", "Submitting", "Processing", "Collecting", "Completed"], run["message"]
    assert run["bought"] == ["fal", "acme/dub", "collected", "dubbing"]
    assert run["posts"] == [1, "pt"]
    assert [re.fullmatch(r"dubs/ns/[^/]+/dub\.flac", file) is not None for file in run["files"]] == [True]
    assert run["record"] == ["dubbing", "dub.flac"]


def test_crd_of_a_fourth_kind_is_generated(run: dict[str, Any]) -> None:
    assert run["crd"] == ["dubbings.contentgen.dev", ["dub"]]
    assert run["fields"] == ["language", "source"]


def test_the_documents_name_the_files_of_a_new_kind() -> None:
    _, _, text = (ROOT / "docs/architecture.md").read_text().partition("\nA new kind touches these files")
    text, _, _ = text.partition("\n- its stages")
    named = set(re.findall(r"`(operator/contentgen_(?:contract|operator)/[^`]+)`", text))
    assert named == {*EDITS, f"{Path(MODULE).parent}/"}


def test_rows_of_a_fourth_kind_are_few() -> None:
    """Lines in modules of all kinds, with the classes of its spec and facts."""
    added = [new.count("\n") - old.count("\n") for edits in EDITS.values() for old, new in edits]
    assert sum(added) <= 30, added
